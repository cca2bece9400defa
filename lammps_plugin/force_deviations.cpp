#include "force_deviations.h"

#include <algorithm>
#include <cmath>

namespace LAMMPS_NS {

void ForceDeviations::reserve(std::size_t local) {
  // At least one, since LAMMPS takes null for something that does not exist.
  const std::size_t room = std::max<std::size_t>(local, 1);
  for (std::vector<double>* each : {&norm, &component[0], &component[1], &component[2]})
    if (each->size() < room) each->resize(room, 0.0);
}

void ForceDeviations::begin(const forcemap::Potential& potential, std::size_t local,
                            std::size_t all) {
  count = potential.draws();
  width = potential.draws_width();
  differences.assign(3 * width * all, 0.0);
  reserve(local);
  for (std::vector<double>* each : {&norm, &component[0], &component[1], &component[2]})
    std::fill(each->begin(), each->end(), 0.0);
}

void ForceDeviations::evaluate(const forcemap::Potential& potential,
                               std::vector<forcemap::Site>& sites, std::size_t some) {
  if (draws.size() < sites.size()) draws.resize(sites.size());
  potential.deviate(sites.data(), some, draws.data());
}

void ForceDeviations::add(const forcemap::Potential& potential, const forcemap::Site& site,
                          std::size_t n, std::size_t i, double factor) {
  potential.add_forces(site, draws[n], i, {differences.data(), nullptr, factor, nullptr});
}

void ForceDeviations::pack(std::size_t i, std::size_t first, std::size_t some,
                           double* buffer) const {
  for (std::size_t v = 0; v < some; v++) buffer[v] = differences[place(i, first + v)];
}

void ForceDeviations::unpack(std::size_t i, std::size_t first, std::size_t some,
                             const double* buffer) {
  for (std::size_t v = 0; v < some; v++) differences[place(i, first + v)] += buffer[v];
}

// (standard deviation)^2 = floor^2 + factor^2 R / (R - 2) <d^2> per component, as for the draws'
// deviations in Python (potentials/uncertainty.py).
void ForceDeviations::finish(const forcemap::Potential& potential, std::size_t i, double factor) {
  const forcemap::Uncertainty* const known = potential.uncertainty();
  const forcemap::Calibration calibration = known ? known->force : forcemap::Calibration();
  const double floor = factor * calibration.floor;
  const double multiple =
      calibration.factor * calibration.factor / (static_cast<double>(count) - 2.0);
  double total = 0.0;
  for (std::size_t c = 0; c < 3; c++) {
    double sum = 0.0;
    const double* const own = &differences[(3 * i + c) * width];
    for (std::size_t k = 0; k < count; k++) sum += own[k] * own[k];
    const double variance = floor * floor + multiple * sum;
    component[c][i] = std::sqrt(variance);
    total += variance;
  }
  norm[i] = std::sqrt(total);
}

std::size_t ForceDeviations::bytes() const {
  return sizeof(double) * (differences.capacity() + 4 * norm.capacity());
}

}  // namespace LAMMPS_NS
