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

// The draws at the distances of eight neighbours; their lanes are the draws.
FORCEMAP_INLINE void pairs_of_draws(const TwoBodyDrawsView& v, const SiteView& s, std::size_t n,
                                    const DrawSums& sums) {
  const TwoBodyView& term = v.term;
  const double* const* tables = term.tables + static_cast<std::size_t>(s.species) * term.species;
  const Vec8 r = load8(s.r + n), scale = splat8(term.inverse_spacing);
  const Vec8 u = r * scale, m = interval_of(u, splat8(term.last_interval));
  const unsigned near = below(r, splat8(term.cutoff));
  const Vec8 by_r = scale * load8(s.inverse_r + n);
  Vec8 b[4], d[4];
  basis(u - m, b, d);
  for (int a = 0; a < 4; ++a) d[a] = d[a] * by_r;
  double value[32], slope[32];
  int interval[8];
  store_integers(interval, m);
  store_rows(value, b);
  store_rows(slope, d);
  for (unsigned rest = near & first_lanes(s.count - n); rest != 0; rest &= rest - 1) {
    const std::size_t k = static_cast<std::size_t>(__builtin_ctz(rest));
    const double* const table = tables[s.kind[n + k]];
    if (!table) continue;
    const Vec8 x = splat8(s.x[n + k]), y = splat8(s.y[n + k]), z = splat8(s.z[n + k]);
    const double* row = table + static_cast<std::size_t>(interval[k]) * sums.width;
    double* to = sums.gradients + 3 * (n + k) * sums.width;
    for (std::size_t draw = 0; draw < sums.width; draw += 8, row += 8, to += 8) {
      Vec8 e = splat8(0.0), g = e;
#pragma GCC unroll 4
      for (std::size_t a = 0; a < 4; ++a) {
        const Vec8 c = load8(row + a * sums.width);
        e = fma(splat8(value[4 * k + a]), c, e);
        g = fma(splat8(slope[4 * k + a]), c, g);
      }
      store(sums.energies + draw, load8(sums.energies + draw) + e);
      store(to, fma(g, x, load8(to)));
      store(to + sums.width, fma(g, y, load8(to + sums.width)));
      store(to + 2 * sums.width, fma(g, z, load8(to + 2 * sums.width)));
    }
  }
}

static void two_body_draws(const TwoBodyDrawsView& v, const SiteView& s, const DrawSums& sums) {
  for (std::size_t n = 0; n < s.padded; n += 8) pairs_of_draws(v, s, n, sums);
}

// Eight draws at a time; of each its strain, if it is wanted.
template <bool strain>
FORCEMAP_INLINE void spread_eight(const SiteView& s, const double* gradients, std::size_t width,
                                  std::size_t center, const DrawForces& to) {
  const Vec8 zero = splat8(0.0), factor = splat8(to.factor);
  Vec8 own[3] = {zero, zero, zero}, strains[6] = {zero, zero, zero, zero, zero, zero};
  for (std::size_t n = 0; n < s.count; ++n, gradients += 3 * width) {
    const int index = to.owner ? to.owner[s.index[n]] : s.index[n];
    double* const force = to.forces + 3 * static_cast<std::size_t>(index) * width;
    Vec8 g[3];
#pragma GCC unroll 3
    for (std::size_t d = 0; d < 3; ++d) {
      g[d] = factor * load8(gradients + d * width);
      own[d] = own[d] + g[d];
      store(force + d * width, load8(force + d * width) - g[d]);
    }
    if constexpr (strain) {
      const Vec8 x = splat8(s.x[n]), y = splat8(s.y[n]), z = splat8(s.z[n]);
      strains[0] = fma(x, g[0], strains[0]);
      strains[1] = fma(x, g[1], strains[1]);
      strains[2] = fma(x, g[2], strains[2]);
      strains[3] = fma(y, g[1], strains[3]);
      strains[4] = fma(y, g[2], strains[4]);
      strains[5] = fma(z, g[2], strains[5]);
    }
  }
  double* const force = to.forces + 3 * center * width;
  for (std::size_t d = 0; d < 3; ++d) store(force + d * width, load8(force + d * width) + own[d]);
  if constexpr (strain)
    for (std::size_t c = 0; c < 6; ++c)
      store(to.strain + c * width, load8(to.strain + c * width) + strains[c]);
}

static void spread_draws(const SiteView& s, const double* gradients, std::size_t width,
                         std::size_t center, const DrawForces& to) {
  for (std::size_t draw = 0; draw < width; draw += 8) {
    DrawForces some = to;
    some.forces += draw;
    if (to.strain) {
      some.strain += draw;
      spread_eight<true>(s, gradients + draw, width, center, some);
    } else {
      spread_eight<false>(s, gradients + draw, width, center, some);
    }
  }
}

// Half of each pair's core energy belongs to this centre.
static double zbl(const ZblView& term, const SiteView& s) {
  double energy = 0.0;
  const ZblFunction* functions =
      term.functions + static_cast<std::size_t>(s.species) * term.species;
  const Vec8 outer = splat8(term.outer);
  for (std::size_t first = 0; first < s.padded; first += 8)
    // Few neighbours are so near; the padding is not.
    for (unsigned rest = less(load8(s.r + first), outer); rest != 0; rest &= rest - 1) {
      const std::size_t n = first + static_cast<std::size_t>(__builtin_ctz(rest));
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
