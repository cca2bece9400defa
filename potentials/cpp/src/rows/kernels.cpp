#include "forcemap/kernels.hpp"

#include <algorithm>
#include <cmath>

#include "kernel_functions.hpp"

namespace forcemap {

double cutoff_function(const KernelSettings& s, double r, double& derivative) {
  const double x = (r - (s.cutoff - s.cutoff_width)) / s.cutoff_width;
  derivative = 0.0;
  if (x <= 0.0) return 1.0;
  if (x >= 1.0) return 0.0;
  if (s.cutoff_kind == CutoffKind::cosine) {
    constexpr double pi = 3.14159265358979323846;
    derivative = -0.5 * pi * std::sin(pi * x) / s.cutoff_width;
    return 0.5 * (std::cos(pi * x) + 1.0);
  }
  derivative = -30.0 * x * x * (1.0 - x) * (1.0 - x) / s.cutoff_width;
  return 1.0 + x * x * x * (-10.0 + x * (15.0 - 6.0 * x));
}

PointPlanes::PointPlanes(const SparsePoints& points)
    : values(points.dimension * points.count * points.per_point),
      count(points.count),
      per_point(points.per_point),
      dimension(points.dimension) {
  for (std::size_t s = 0; s < count; ++s)
    for (std::size_t m = 0; m < per_point; ++m)
      for (std::size_t d = 0; d < dimension; ++d)
        values[(m * dimension + d) * count + s] =
            points.images[(s * per_point + m) * dimension + d];
}

namespace {

// k(point, s) summed over the images of each s.
template <typename Kernel>
FORCEMAP_INLINE void kernel_row(const Kernel& kernel, const double* point,
                                const PointPlanes& planes, double* out) {
  const std::size_t count = planes.count, dimension = planes.dimension;
  for (std::size_t s = 0; s < count; ++s) out[s] = 0.0;
  for (std::size_t m = 0; m < planes.per_point; ++m) {
    const double* p = planes.values.data() + m * dimension * count;
    if (dimension == 3) {
      for (std::size_t s = 0; s < count; ++s) {
        const double d1 = point[0] - p[s], d2 = point[1] - p[count + s];
        const double d3 = point[2] - p[2 * count + s];
        double g;
        out[s] += kernel.value(d1 * d1 + d2 * d2 + d3 * d3, g);
      }
    } else {
      for (std::size_t s = 0; s < count; ++s) {
        double d2 = 0.0;
        for (std::size_t d = 0; d < dimension; ++d) {
          const double delta = point[d] - p[d * count + s];
          d2 += delta * delta;
        }
        double g;
        out[s] += kernel.value(d2, g);
      }
    }
  }
}

FORCEMAP_CLONES void kernel_row_se(double lengthscale, const double* point,
                                   const PointPlanes& planes, double* out) {
  kernel_row(SquaredExponential(lengthscale), point, planes, out);
}
FORCEMAP_CLONES void kernel_row_matern(double lengthscale, const double* point,
                                       const PointPlanes& planes, double* out) {
  kernel_row(Matern52(lengthscale), point, planes, out);
}

// Rows of the kernel matrix, one after the other, handed to `use(row number, values)`.
template <typename Use>
void each_row(const KernelSettings& settings, const Points& points, const SparsePoints& sparse,
              const Use& use) {
  const PointPlanes planes(sparse);
  std::vector<double> row(sparse.count);
  const auto function =
      settings.kernel == KernelKind::squared_exponential ? kernel_row_se : kernel_row_matern;
  for (std::size_t i = 0; i < points.count; ++i) {
    function(settings.lengthscale, points.values + i * sparse.dimension, planes, row.data());
    use(i, row.data());
  }
}

}  // namespace

void kernel_matrix(const KernelSettings& settings, const Points& points, const SparsePoints& sparse,
                   double* out) {
  each_row(settings, points, sparse, [&](std::size_t i, const double* row) {
    std::copy(row, row + sparse.count, out + i * sparse.count);
  });
}

void kernel_sum(const KernelSettings& settings, const Points& points, const SparsePoints& sparse,
                const double* weights, double* out) {
  each_row(settings, points, sparse, [&](std::size_t i, const double* row) {
    double sum = 0.0;
    for (std::size_t s = 0; s < sparse.count; ++s) sum += row[s] * weights[s];
    out[i] = sum;
  });
}

}  // namespace forcemap
