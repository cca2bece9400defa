// Sums of product kernels on a grid in doubled precision. Compiled without contraction of products
// and sums: the error terms below rely on every operation being rounded by itself.
#include <cmath>
#include <vector>

#include "clones.hpp"
#include "forcemap/fail.hpp"
#include "forcemap/process.hpp"

namespace forcemap {

namespace {

// A number as the unevaluated sum of two doubles (Dekker, Numer. Math. 18, 224 (1971)).
struct Pair {
  double high, low;
};

Pair split(long double value) {
  const double high = static_cast<double>(value);
  return {high, static_cast<double>(value - static_cast<long double>(high))};
}

// sum += factor * values, element by element.
FORCEMAP_CLONES void add_product(double factor_high, double factor_low,
                                 const double* __restrict value_high,
                                 const double* __restrict value_low, double* __restrict sum_high,
                                 double* __restrict sum_low, std::size_t n) {
  for (std::size_t k = 0; k < n; ++k) {
    const double product = factor_high * value_high[k];
    const double product_error = __builtin_fma(factor_high, value_high[k], -product) +
                                 (factor_high * value_low[k] + factor_low * value_high[k]);
    const double old = sum_high[k];
    const double total = old + product;
    const double share = total - old;
    const double sum_error = (old - (total - share)) + (product - share);
    sum_high[k] = total;
    sum_low[k] += sum_error + product_error;
  }
}

// exp(-(r - s)^2 / 2 l^2) of every image's coordinate at every grid distance, (images, n).
struct Table {
  std::vector<double> high, low;
  std::size_t n;

  Table(const double* grid, std::size_t size, const double* images, std::size_t image_count,
        std::size_t coordinate, double lengthscale)
      : high(size * image_count), low(size * image_count), n(size) {
    for (std::size_t m = 0; m < image_count; ++m)
      for (std::size_t i = 0; i < size; ++i) {
        const long double d =
            (static_cast<long double>(grid[i]) - images[3 * m + coordinate]) / lengthscale;
        const Pair p = split(std::exp(-0.5L * d * d));
        high[m * size + i] = p.high;
        low[m * size + i] = p.low;
      }
  }
};

}  // namespace

void kernel_grid(const KernelSettings& settings, const double* first, const double* second,
                 std::size_t pairs, const double* third, std::size_t n, const double* images,
                 std::size_t count, std::size_t images_per_point, const double* weights,
                 double* out) {
  if (settings.kernel != KernelKind::squared_exponential)
    fail("kernel_grid needs the squared exponential, which is a product over distances");
  const std::size_t image_count = count * images_per_point;
  const Table base(third, n, images, image_count, 2, settings.lengthscale);
  std::vector<double> high(n), low(n);
  for (std::size_t i = 0; i < pairs; ++i) {
    high.assign(n, 0.0);
    low.assign(n, 0.0);
    for (std::size_t m = 0; m < image_count; ++m) {
      const long double d1 =
          (static_cast<long double>(first[i]) - images[3 * m]) / settings.lengthscale;
      const long double d2 =
          (static_cast<long double>(second[i]) - images[3 * m + 1]) / settings.lengthscale;
      const Pair factor =
          split(weights[m / images_per_point] * std::exp(-0.5L * (d1 * d1 + d2 * d2)));
      add_product(factor.high, factor.low, &base.high[m * n], &base.low[m * n], high.data(),
                  low.data(), n);
    }
    for (std::size_t k = 0; k < n; ++k) out[i * n + k] = high[k] + low[k];
  }
}

}  // namespace forcemap
