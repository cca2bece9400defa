// Splines side by side.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>

#include "clones.hpp"
#include "forcemap/rows.hpp"

namespace forcemap {

// Values and slopes at x of all of them, (count) each.
FORCEMAP_CLONES static void spline_values(const SplineColumns& splines, double x,
                                          double* __restrict value, double* __restrict slope) {
  const std::size_t count = splines.count;
  const double inverse_spacing = static_cast<double>(splines.intervals) / splines.range;
  const double u = x * inverse_spacing;
  const double m = std::min(std::floor(u), static_cast<double>(splines.intervals) - 1.0);
  const double t = u - m, s = 1.0 - t;
  const double b[4] = {s * s * s / 6.0, (3.0 * t * t * t - 6.0 * t * t + 4.0) / 6.0,
                       (3.0 * s * s * s - 6.0 * s * s + 4.0) / 6.0, t * t * t / 6.0};
  const double d[4] = {-0.5 * s * s * inverse_spacing, (1.5 * t * t - 2.0 * t) * inverse_spacing,
                       (2.0 * s - 1.5 * s * s) * inverse_spacing, 0.5 * t * t * inverse_spacing};
  const double* __restrict c = splines.coefficients + static_cast<std::size_t>(m) * count;
  for (std::size_t n = 0; n < count; ++n) {
    const double c0 = c[n], c1 = c[count + n], c2 = c[2 * count + n], c3 = c[3 * count + n];
    value[n] = b[0] * c0 + b[1] * c1 + b[2] * c2 + b[3] * c3;
    slope[n] = d[0] * c0 + d[1] * c1 + d[2] * c2 + d[3] * c3;
  }
}

}  // namespace forcemap
