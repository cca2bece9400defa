// Sums of product kernels on a grid in doubled precision. Compiled without contraction of products
// and sums: the error terms below rely on every operation being rounded by itself.
#include <cmath>
#include <vector>

#include "clones.hpp"
#include "forcemap/fail.hpp"
#include "forcemap/kernels.hpp"

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

// Such numbers side by side.
struct Pairs {
  const double *high, *low;
};

// sum += factor * values, element by element.
FORCEMAP_CLONES void add_product(const Pair& factor, const Pairs& values, double* sum_high,
                                 double* sum_low, std::size_t n) {
  const double factor_high = factor.high, factor_low = factor.low;
  const auto [value_high, value_low] = values;
  FORCEMAP_INDEPENDENT
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

// exp(-(r - s)^2 / 2 l^2) of every image's third coordinate at every grid distance, (images, n).
struct Table {
  std::vector<double> high, low;

  Table(const DistanceGrid& grid, const SparsePoints& sparse, double lengthscale)
      : high(grid.n * sparse.count * sparse.per_point), low(high.size()) {
    for (std::size_t m = 0; m < sparse.count * sparse.per_point; ++m)
      for (std::size_t i = 0; i < grid.n; ++i) {
        const long double d =
            (static_cast<long double>(grid.third[i]) - sparse.images[3 * m + 2]) / lengthscale;
        const Pair p = split(std::exp(-0.5L * d * d));
        high[m * grid.n + i] = p.high;
        low[m * grid.n + i] = p.low;
      }
  }
};

}  // namespace

void kernel_grid(const KernelSettings& settings, const DistanceGrid& grid,
                 const SparsePoints& sparse, const double* weights, double* out) {
  if (settings.kernel != KernelKind::squared_exponential)
    fail("kernel_grid needs the squared exponential, which is a product over distances");
  const std::size_t n = grid.n;
  const Table base(grid, sparse, settings.lengthscale);
  std::vector<double> high(n), low(n);
  for (std::size_t i = 0; i < grid.pairs; ++i) {
    high.assign(n, 0.0);
    low.assign(n, 0.0);
    for (std::size_t m = 0; m < sparse.count * sparse.per_point; ++m) {
      const long double d1 =
          (static_cast<long double>(grid.first[i]) - sparse.images[3 * m]) / settings.lengthscale;
      const long double d2 = (static_cast<long double>(grid.second[i]) - sparse.images[3 * m + 1]) /
                             settings.lengthscale;
      const Pair factor =
          split(weights[m / sparse.per_point] * std::exp(-0.5L * (d1 * d1 + d2 * d2)));
      add_product(factor, {&base.high[m * n], &base.low[m * n]}, high.data(), low.data(), n);
    }
    for (std::size_t k = 0; k < n; ++k) out[i * n + k] = high[k] + low[k];
  }
}

}  // namespace forcemap
