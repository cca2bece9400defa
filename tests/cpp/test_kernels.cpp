// Kernel matrices, sums and grids against their formulas.
#include <cmath>
#include <vector>

#include "forcemap/kernels.hpp"
#include "structures.hpp"

using forcemap::KernelKind;
using forcemap::KernelSettings;
using structures::close;
using structures::random_values;
using structures::Values;

namespace {

KernelSettings settings(KernelKind kind) {
  return {kind, 0.8, forcemap::CutoffKind::quintic, 4.0, 1.0};
}

double kernel(KernelKind kind, double square) {
  const double x = square / 0.64, u = std::sqrt(5.0 * x);
  return kind == KernelKind::squared_exponential ? std::exp(-0.5 * x)
                                                 : (1.0 + u + u * u / 3.0) * std::exp(-u);
}

}  // namespace

TEST(matrix_is_the_kernel_summed_over_images) {
  constexpr std::size_t n = 5, count = 11, per_point = 3;
  for (const KernelKind kind : {KernelKind::squared_exponential, KernelKind::matern52})
    for (const std::size_t dimension : {1, 2, 3, 6}) {
      const Values points = random_values(n * dimension, 0.0, 2.0, 1);
      const Values images = random_values(count * per_point * dimension, 0.0, 2.0, 2);
      const Values weights = random_values(count, -1.0, 1.0, 3);
      Values expected(n * count, 0.0), sums(n, 0.0), matrix(n * count), sum(n);
      for (std::size_t i = 0; i < n; ++i)
        for (std::size_t s = 0; s < count; ++s) {
          for (std::size_t m = 0; m < per_point; ++m) {
            double square = 0.0;
            for (std::size_t d = 0; d < dimension; ++d) {
              const double by =
                  points[i * dimension + d] - images[(s * per_point + m) * dimension + d];
              square += by * by;
            }
            expected[i * count + s] += kernel(kind, square);
          }
          sums[i] += weights[s] * expected[i * count + s];
        }
      const forcemap::SparsePoints sparse{images.data(), count, per_point, dimension};
      forcemap::kernel_matrix(settings(kind), {points.data(), n}, sparse, matrix.data());
      forcemap::kernel_sum(settings(kind), {points.data(), n}, sparse, weights.data(), sum.data());
      // The exponential is good to 2 ulp.
      CHECK(close(matrix, expected, 1e-14));
      CHECK(close(sum, sums, 1e-13));
    }
}

TEST(far_points_have_nothing_in_common) {
  for (const KernelKind kind : {KernelKind::squared_exponential, KernelKind::matern52}) {
    const double point = 0.0, image = 1e6;
    double value = 1.0;
    forcemap::kernel_matrix(settings(kind), {&point, 1}, {&image, 1, 1, 1}, &value);
    CHECK(value >= 0.0 && value < 1e-290);
    forcemap::kernel_matrix(settings(kind), {&image, 1}, {&image, 1, 1, 1}, &value);
    CHECK(value == 1.0);
  }
}

TEST(no_points_no_numbers) {
  double untouched = 3.0;
  forcemap::kernel_matrix(settings(KernelKind::matern52), {nullptr, 0}, {nullptr, 0, 1, 3},
                          &untouched);
  CHECK(untouched == 3.0);
}

TEST(grid_is_the_sum_at_its_points) {
  constexpr std::size_t pairs = 4, n = 7, count = 5, per_point = 2;
  const KernelSettings s = settings(KernelKind::squared_exponential);
  const Values first = random_values(pairs, 1.0, 3.0, 4),
               second = random_values(pairs, 1.0, 3.0, 5);
  const Values third = random_values(n, 1.0, 6.0, 6), weights = random_values(count, -1.0, 1.0, 7);
  const Values images = random_values(count * per_point * 3, 1.0, 4.0, 8);
  const forcemap::SparsePoints sparse{images.data(), count, per_point, 3};
  Values points, expected(pairs * n), grid(pairs * n);
  for (std::size_t i = 0; i < pairs; ++i)
    for (std::size_t k = 0; k < n; ++k)
      points.insert(points.end(), {first[i], second[i], third[k]});
  forcemap::kernel_sum(s, {points.data(), pairs * n}, sparse, weights.data(), expected.data());
  forcemap::kernel_grid(s, {first.data(), second.data(), pairs, third.data(), n}, sparse,
                        weights.data(), grid.data());
  CHECK(close(grid, expected, 1e-14));
}

TEST(grid_keeps_what_large_weights_leave) {
  // 1e10 and -1e10 at images that differ by 1e-8 Å: some 1e2 are left, of which doubles would lose
  // 1e-6 each time. The difference is the derivative of the kernel.
  const KernelSettings s = settings(KernelKind::squared_exponential);
  const double images[] = {2.0, 2.0, 2.0, 2.0, 2.0, 2.0 + 1e-8}, weights[] = {1e10, -1e10};
  const double leg = 2.1, base[] = {2.5, 2.5 + 1e-3, 2.5 + 2e-3, 2.5 + 3e-3};
  Values grid(4);
  forcemap::kernel_grid(s, {&leg, &leg, 1, base, 4}, {images, 2, 1, 3}, weights, grid.data());
  const double shift = images[5] - 2.0;
  for (std::size_t k = 0; k < 4; ++k) {
    // Between the images the derivative is that of the midpoint, to order shift^2.
    const double d = base[k] - 2.0 - 0.5 * shift;
    const double expected =
        -1e10 * shift * d / 0.64 * kernel(KernelKind::squared_exponential, 0.02 + d * d);
    CHECK(std::abs(grid[k] - expected) < 1e-9 * std::abs(expected));
  }
  CHECK_ERROR(forcemap::kernel_grid(settings(KernelKind::matern52), {&leg, &leg, 1, base, 4},
                                    {images, 2, 1, 3}, weights, grid.data()),
              "kernel_grid needs the squared exponential");
}

int main() { return check::run_all(); }
