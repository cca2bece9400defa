// Densities of atoms and rows of functions of them.
#include <algorithm>
#include <vector>

#include "forcemap/rows.hpp"
#include "row_writer.hpp"
#include "spline_columns.hpp"

namespace forcemap {

namespace {

// rho_i, and the slope of phi at every neighbour within the cutoff.
double density_of(const Environments& environments, const DensitySplines& density, std::size_t i,
                  std::vector<double>& slopes) {
  double rho = 0.0;
  slopes.clear();
  for (const Environments::Neighbor& nb : environments.near(i, density.cutoff)) {
    double value = 0.0, slope = 0.0;
    for (std::size_t s = 0; s < density.numbers.size(); ++s)
      if (density.numbers[s] == nb.number)
        spline_values({density.cutoff, density.intervals, 1,
                       density.coefficients + s * (density.intervals + 3)},
                      nb.r, &value, &slope);
    rho += value;
    slopes.push_back(slope);
  }
  return rho;
}

// dV/d(anything) = V' drho/d(anything): numbers of the densities first, then all columns.
void add_density(const Environments& environments, std::size_t i,
                 const std::vector<double>& density_slopes, const std::vector<double>& slope,
                 const RowWriter& writer) {
  const std::size_t count = slope.size();
  double pull[3] = {0.0, 0.0, 0.0}, strain[6] = {0.0, 0.0, 0.0, 0.0, 0.0, 0.0};
  const Environments::Range near = environments.near(i, environments.cutoff());
  for (std::size_t n = 0; n < density_slopes.size(); ++n) {
    const Environments::Neighbor& nb = near[n];
    const double r[3] = {nb.x, nb.y, nb.z};
    double g[3];
    for (std::size_t d = 0; d < 3; ++d) g[d] = density_slopes[n] * r[d] / nb.r;
    for (std::size_t d = 0; d < 3; ++d) strain[d] += r[d] * g[d];
    strain[3] += r[1] * g[2];
    strain[4] += r[0] * g[2];
    strain[5] += r[0] * g[1];
    const auto owner = static_cast<std::size_t>(nb.owner);
    if (owner == i) continue;
    for (std::size_t d = 0; d < 3; ++d) {
      add_scaled(-g[d], slope.data(), writer.force(owner, d), count);
      pull[d] += g[d];
    }
  }
  for (std::size_t d = 0; d < 3; ++d) add_scaled(pull[d], slope.data(), writer.force(i, d), count);
  for (std::size_t v = 0; v < 6; ++v) add_scaled(strain[v], slope.data(), writer.strain(v), count);
}

}  // namespace

std::vector<double> densities(const Environments& environments, const DensitySplines& density,
                              int center) {
  environments.check(density.cutoff);
  std::vector<double> all, slopes;
  for (const std::size_t i : environments.of_species(center))
    all.push_back(density_of(environments, density, i, slopes));
  return all;
}

void add_embedding(const Environments& environments, const DensitySplines& density, int center,
                   const SplineColumns& functions, const RowBlock& block) {
  environments.check(density.cutoff);
  const std::size_t count = functions.count;
  const RowWriter writer(block, environments.atoms());
  std::vector<double> value(count), slope(count), free(count), slopes;
  spline_values(functions, 0.0, free.data(), slope.data());
  for (const std::size_t i : environments.of_species(center)) {
    const double rho = density_of(environments, density, i, slopes);
    if (slopes.empty()) continue;
    const double inside = std::min(std::max(rho, 0.0), functions.range);
    spline_values(functions, inside, value.data(), slope.data());
    double* const energy = writer.energy();
    for (std::size_t s = 0; s < count; ++s)
      energy[s] += value[s] - free[s] + slope[s] * (rho - inside);
    add_density(environments, i, slopes, slope, writer);
  }
}

}  // namespace forcemap
