// The loops of embedding terms. Included by site_loops.ipp.

#include "embedding_kernels.hpp"

namespace forcemap {
namespace FORCEMAP_LOOPS {

// F(rho) - F(0) and its slope. A NaN stays one.
FORCEMAP_INLINE double embedding_energy(const DensityFunction& f, double rho, double& slope) {
  const double u = rho * f.inverse_spacing, end = f.last_interval + 1.0;
  double inside = u < end ? u : end;
  inside = inside > 0.0 ? inside : 0.0;
  double m = __builtin_floor(inside);
  m = m < f.last_interval ? m : f.last_interval;
  Vec4 b[4], d[4];
  basis(splat(inside - m), b, d);
  transpose(b[0], b[1], b[2], b[3]);
  transpose(d[0], d[1], d[2], d[3]);
  const Vec4 c = load(f.coefficients + static_cast<std::ptrdiff_t>(m));
  const double by_u = sum(d[0] * c);
  slope = by_u * f.inverse_spacing;
  // Without neighbours exactly nothing, whatever the last digit of the spline.
  if (rho == 0.0) return 0.0;
  return sum(b[0] * c) - f.zero + by_u * (u - inside);
}

// Two passes over the neighbours: the density is needed before any force.
static double embedding(const EmbeddingView& term, const SiteView& s, double* slopes) {
  const DensityFunction& function = term.functions[s.species];
  if (!function.coefficients) return 0.0;
  const double* const* tables = term.tables + static_cast<std::size_t>(s.species) * term.species;
  const Vec4 scale = splat(term.inverse_spacing), last = splat(term.last_interval);
  const Vec4 cutoff = splat(term.cutoff);
  Vec4 density = splat(0.0);
  for (std::size_t n = 0; n < s.padded; n += 4) {
    const Vec4 r = load(s.r + n);
    int m[4];
    const Vec4 t = locate(r * scale, last, m);
    Vec4 b[4], d[4], c[4];
    basis(t, b, d);
    for (int k = 0; k < 4; ++k) {
      const double* table = tables[s.kind[n + static_cast<std::size_t>(k)]];
      c[k] = table ? load(table + m[k]) : splat(0.0);
    }
    transpose(c[0], c[1], c[2], c[3]);
    const Vec4 value = fma(b[0], c[0], fma(b[1], c[1], fma(b[2], c[2], b[3] * c[3])));
    const Vec4 slope = fma(d[0], c[0], fma(d[1], c[1], fma(d[2], c[2], d[3] * c[3])));
    density = density + keep_below(r, cutoff, value);
    store(slopes + n, keep_below(r, cutoff, slope * scale * load(s.inverse_r + n)));
  }
  double by_density;
  const double energy = embedding_energy(function, sum(density), by_density);
  const Vec4 factor = splat(by_density);
  for (std::size_t n = 0; n < s.padded; n += 4) {
    const Vec4 g = factor * load(slopes + n);
    store(s.gx + n, fma(g, load(s.x + n), load(s.gx + n)));
    store(s.gy + n, fma(g, load(s.y + n), load(s.gy + n)));
    store(s.gz + n, fma(g, load(s.z + n), load(s.gz + n)));
  }
  return energy;
}

}  // namespace FORCEMAP_LOOPS
}  // namespace forcemap
