// The kernels as functions of the distance between points, in a form that compilers vectorise.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "clones.hpp"
#include "forcemap/kernels.hpp"

#define FORCEMAP_INLINE static inline __attribute__((always_inline))

namespace forcemap {

// exp(x) for x <= 0, to 2 ulp, in a form that compilers vectorise; below -708 it gives exp(-708).
FORCEMAP_INLINE double exp_of_negative(double x) {
  x = x < -708.0 ? -708.0 : x;
  // 1.5 * 2^52 rounds to the nearest integer, which then stands in the low bits.
  const double shifted = x * 1.4426950408889634 + 6755399441055744.0;
  const double n = shifted - 6755399441055744.0;
  const double f = (x - n * 0.693147180369123816490) - n * 1.90821492927058770002e-10;
  double p = 1.0 / 6227020800.0;
  p = p * f + 1.0 / 479001600.0;
  p = p * f + 1.0 / 39916800.0;
  p = p * f + 1.0 / 3628800.0;
  p = p * f + 1.0 / 362880.0;
  p = p * f + 1.0 / 40320.0;
  p = p * f + 1.0 / 5040.0;
  p = p * f + 1.0 / 720.0;
  p = p * f + 1.0 / 120.0;
  p = p * f + 1.0 / 24.0;
  p = p * f + 1.0 / 6.0;
  p = p * f + 0.5;
  p = p * f + 1.0;
  p = p * f + 1.0;
  std::int64_t bits;
  std::memcpy(&bits, &shifted, sizeof bits);
  bits = static_cast<std::int64_t>(static_cast<std::uint64_t>(bits) << 52);
  std::int64_t result;
  std::memcpy(&result, &p, sizeof result);
  result += bits;
  std::memcpy(&p, &result, sizeof p);
  return p;
}

// k(d^2) and slope with dk/dq = slope * (q - s).
struct SquaredExponential {
  double c;  // 1/lengthscale^2
  explicit SquaredExponential(double lengthscale) : c(1.0 / (lengthscale * lengthscale)) {}
  inline __attribute__((always_inline)) double value(double d2, double& slope) const {
    const double k = exp_of_negative(-0.5 * c * d2);
    slope = -c * k;
    return k;
  }
};

// (1 + u + u^2/3) exp(-u), u = sqrt(5) d / lengthscale.
struct Matern52 {
  double c;  // 5/lengthscale^2
  explicit Matern52(double lengthscale) : c(5.0 / (lengthscale * lengthscale)) {}
  inline __attribute__((always_inline)) double value(double d2, double& slope) const {
    const double u2 = c * d2;
    const double u = __builtin_sqrt(u2);
    const double e = exp_of_negative(-u);
    slope = -c * (1.0 / 3.0) * (1.0 + u) * e;
    return (1.0 + u + u2 * (1.0 / 3.0)) * e;
  }
};

// Images of sparse points in the order of the loops, (per_point, dimension, count): the inner ones
// run over points.
struct PointPlanes {
  std::vector<double> values;
  std::size_t count, per_point, dimension;

  explicit PointPlanes(const SparsePoints& points);
};

}  // namespace forcemap
