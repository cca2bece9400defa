// Rows of 2-body blocks.
#include <vector>

#include "forcemap/rows.hpp"
#include "kernel_functions.hpp"
#include "row_writer.hpp"
#include "spline_columns.hpp"

namespace forcemap {

namespace {

// k(r, point) and dk/dr of points of one image.
template <typename Kernel>
FORCEMAP_INLINE void distance_columns(const Kernel& kernel, double r, const SparsePoints& points,
                                      double* value, double* slope) {
  for (std::size_t s = 0; s < points.count; ++s) {
    const double d = r - points.images[s];
    double g;
    value[s] = kernel.value(d * d, g);
    slope[s] = g * d;
  }
}

FORCEMAP_CLONES void distance_columns_se(double lengthscale, double r, const SparsePoints& points,
                                         double* value, double* slope) {
  distance_columns(SquaredExponential(lengthscale), r, points, value, slope);
}
FORCEMAP_CLONES void distance_columns_matern(double lengthscale, double r,
                                             const SparsePoints& points, double* value,
                                             double* slope) {
  distance_columns(Matern52(lengthscale), r, points, value, slope);
}

// The part of add_pairs that knows the functions: columns(r, value, slope) fills (count) each.
struct PairBlock {
  PairSpecies species;
  double cutoff;
  std::size_t count;
};

template <typename Columns>
void add_pairs(const Environments& environments, const PairBlock& pairs, const RowBlock& block,
               const Columns& columns) {
  environments.check(pairs.cutoff);
  const std::size_t count = pairs.count;
  const auto [a, b] = pairs.species;
  const RowWriter writer(block, environments.atoms());
  std::vector<double> value(count), slope(count), gradient(3 * count);
  for (std::size_t i = 0; i < environments.atoms(); ++i) {
    const int number = environments.numbers()[i], other = number == a ? b : a;
    if (number != a && number != b) continue;
    for (const Environments::Neighbor& nb : environments.near(i, pairs.cutoff)) {
      if (nb.number != other) continue;
      columns(nb.r, value.data(), slope.data());
      add_scaled(1.0, value.data(), writer.energy(), count);
      const double unit[3] = {nb.x / nb.r, nb.y / nb.r, nb.z / nb.r};
      for (std::size_t d = 0; d < 3; ++d)
        for (std::size_t s = 0; s < count; ++s) gradient[d * count + s] = slope[s] * unit[d];
      writer.add(i, nb, gradient.data(), count);
    }
  }
}

}  // namespace

void add_two_body(const Environments& environments, const KernelSettings& settings,
                  const PairSpecies& species, const SparsePoints& points, const RowBlock& block) {
  const auto columns = settings.kernel == KernelKind::squared_exponential ? distance_columns_se
                                                                          : distance_columns_matern;
  add_pairs(environments, {species, settings.cutoff, points.count}, block,
            [&](double r, double* value, double* slope) {
              double df;
              const double f = cutoff_function(settings, r, df);
              columns(settings.lengthscale, r, points, value, slope);
              for (std::size_t s = 0; s < points.count; ++s) {
                slope[s] = f * slope[s] + df * value[s];
                value[s] *= f;
              }
            });
}

void add_splines(const Environments& environments, const PairSpecies& species,
                 const SplineColumns& splines, const RowBlock& block) {
  add_pairs(
      environments, {species, splines.range, splines.count}, block,
      [&](double r, double* value, double* slope) { spline_values(splines, r, value, slope); });
}

}  // namespace forcemap
