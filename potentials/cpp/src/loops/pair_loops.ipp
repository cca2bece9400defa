// The loops of pair terms: 2-body splines and repulsive cores. Included by site_loops.ipp.

#include "forcemap/draw_sums.hpp"
#include "forcemap/zbl.hpp"
#include "pair_kernels.hpp"

namespace forcemap {
namespace FORCEMAP_LOOPS {

// `only`: the table of every neighbour; null where it depends on the neighbour's species.
FORCEMAP_INLINE double pair_energy(const TwoBodyView& term, const double* const* tables,
                                   const double* only, const SiteView& s) {
  static const double kNoTable[4] = {};
  Vec8 energy = splat8(0.0);
  const Vec8 scale = splat8(term.inverse_spacing), last = splat8(term.last_interval);
  const Vec8 cutoff = splat8(term.cutoff);
  for (std::size_t n = 0; n < s.padded; n += 8) {
    const Vec8 r = load8(s.r + n), u = r * scale, m = interval_of(u, last);
    int interval[8];
    store_integers(interval, m);
    Vec8 b[4], d[4], c[4];
    basis(u - m, b, d);
    const double* rows[8];
    for (std::size_t k = 0; k < 8; ++k) {
      const double* table = only ? only : tables[s.kind[n + k]];
      rows[k] = table ? table + interval[k] : kNoTable;
    }
    load_columns(rows, c);
    const Vec8 value = fma(b[0], c[0], fma(b[1], c[1], fma(b[2], c[2], b[3] * c[3])));
    const Vec8 slope = fma(d[0], c[0], fma(d[1], c[1], fma(d[2], c[2], d[3] * c[3])));
    const unsigned near = below(r, cutoff);
    energy = energy + keep(near, value);
    const Vec8 g = keep(near, slope * scale * load8(s.inverse_r + n));
    const Vec8 gx = g * load8(s.x + n), gy = g * load8(s.y + n), gz = g * load8(s.z + n);
    store(s.gx + n, load8(s.gx + n) + gx);
    store(s.gy + n, load8(s.gy + n) + gy);
    store(s.gz + n, load8(s.gz + n) + gz);
  }
  return sum(energy);
}

static double two_body(const TwoBodyView& term, const SiteView& s) {
  const double* const* tables = term.tables + static_cast<std::size_t>(s.species) * term.species;
  // Two copies of the loop: looking up the tables is a third of it.
  return term.species == 1 && tables[0] ? pair_energy(term, tables, tables[0], s)
                                        : pair_energy(term, tables, nullptr, s);
}

// The draws' functions at the distances of eight neighbours. Their slopes, over r, go to `slopes`.
FORCEMAP_INLINE void pairs_of_draws(const TwoBodyDrawsView& v, const SiteView& s, std::size_t n,
                                    double* slopes, double* energies) {
  const TwoBodyView& term = v.term;
  const double* const* tables = term.tables + static_cast<std::size_t>(s.species) * term.species;
  const Vec8 r = load8(s.r + n), scale = splat8(term.inverse_spacing);
  const Vec8 u = r * scale, m = interval_of(u, splat8(term.last_interval));
  const unsigned near = below(r, splat8(term.cutoff));
  const Vec8 by_r = scale * load8(s.inverse_r + n);
  Vec8 b[4], d[4];
  basis(u - m, b, d);
  double value[32], slope[32];
  int interval[8];
  store_integers(interval, m);
  for (int a = 0; a < 4; ++a) d[a] = keep(near, d[a] * by_r), b[a] = keep(near, b[a]);
  store_rows(value, b);
  store_rows(slope, d);
  for (std::size_t k = 0; k < 8; ++k) {
    const double* const table = near >> k & 1u ? tables[s.kind[n + k]] : nullptr;
    double* out = slopes + n + k;
    for (std::size_t draw = 0; draw < v.padded_draws; draw += 8) {
      Vec8 e = splat8(0.0), g = e;
      if (table) {
        const double* c = table + static_cast<std::size_t>(interval[k]) * v.padded_draws + draw;
#pragma GCC unroll 4
        for (std::size_t a = 0; a < 4; ++a, c += v.padded_draws) {
          e = fma(splat8(value[4 * k + a]), load8(c), e);
          g = fma(splat8(slope[4 * k + a]), load8(c), g);
        }
        store(energies + draw, load8(energies + draw) + e);
      }
      double lanes[8];
      store(lanes, g);
      for (std::size_t lane = 0; lane < 8; ++lane, out += s.padded) *out = lanes[lane];
    }
  }
}

static void two_body_draws(const TwoBodyDrawsView& v, const SiteView& s, double* slopes,
                           double* energies, const DrawSums& sums) {
  for (std::size_t draw = 0; draw < v.padded_draws; ++draw) energies[draw] = 0.0;
  for (std::size_t n = 0; n < s.padded; n += 8) pairs_of_draws(v, s, n, slopes, energies);
  for (std::size_t draw = 0; draw < v.draws; ++draw) {
    sums.energies[draw] += energies[draw];
    double* const gx = sums.gradients + 3 * draw * sums.stride;
    double *const gy = gx + sums.stride, *const gz = gy + sums.stride;
    for (std::size_t n = 0; n < s.padded; n += 8) {
      const Vec8 g = load8(slopes + draw * s.padded + n);
      store(gx + n, fma(g, load8(s.x + n), load8(gx + n)));
      store(gy + n, fma(g, load8(s.y + n), load8(gy + n)));
      store(gz + n, fma(g, load8(s.z + n), load8(gz + n)));
    }
  }
}

// Half of each pair's core energy belongs to this centre.
static double zbl(const ZblView& term, const SiteView& s) {
  double energy = 0.0;
  const ZblFunction* functions =
      term.functions + static_cast<std::size_t>(s.species) * term.species;
  for (std::size_t n = 0; n < s.count; ++n) {
    const ZblFunction& f = functions[s.kind[n]];
    if (!(s.r[n] < f.outer)) continue;
    double slope, screened[4];
    store(screened, exponential(splat(-s.r[n]) * load(f.screening)));
    energy += 0.5 * f.evaluate(s.r[n], screened, slope);
    const double g = 0.5 * slope * s.inverse_r[n];
    s.gx[n] += g * s.x[n];
    s.gy[n] += g * s.y[n];
    s.gz[n] += g * s.z[n];
  }
  return energy;
}

}  // namespace FORCEMAP_LOOPS
}  // namespace forcemap
