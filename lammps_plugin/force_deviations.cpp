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
  width = 3 * potential.draws();
  differences.assign(width * all, 0.0);
  reserve(local);
  for (std::vector<double>* each : {&norm, &component[0], &component[1], &component[2]})
    std::fill(each->begin(), each->end(), 0.0);
}

void ForceDeviations::add(const forcemap::Potential& potential, forcemap::Site& site, std::size_t i,
                          double factor) {
  potential.deviate(site, draws);
  const std::size_t count = site.count;
  for (std::size_t k = 0; k < width / 3; k++) {
    const double* const gradient[] = {draws.gradient(k, 0), draws.gradient(k, 1),
                                      draws.gradient(k, 2)};
    double* const of_draw = differences.data() + 3 * k;
    double x = 0.0, y = 0.0, z = 0.0;
    for (std::size_t n = 0; n < count; n++) {
      const double gx = factor * gradient[0][n];
      const double gy = factor * gradient[1][n];
      const double gz = factor * gradient[2][n];
      double* const on_neighbor = of_draw + width * static_cast<std::size_t>(site.index[n]);
      on_neighbor[0] -= gx;
      on_neighbor[1] -= gy;
      on_neighbor[2] -= gz;
      x += gx;
      y += gy;
      z += gz;
    }
    double* const on_center = of_draw + width * i;
    on_center[0] += x;
    on_center[1] += y;
    on_center[2] += z;
  }
}

void ForceDeviations::pack(std::size_t i, std::size_t first, std::size_t count,
                           double* buffer) const {
  std::copy_n(differences.data() + width * i + first, count, buffer);
}

void ForceDeviations::unpack(std::size_t i, std::size_t first, std::size_t count,
                             const double* buffer) {
  double* const own = differences.data() + width * i + first;
  for (std::size_t c = 0; c < count; c++) own[c] += buffer[c];
}

// (standard deviation)^2 = floor^2 + factor^2 R / (R - 2) <d^2> per component, as for the draws'
// deviations in Python (potentials/uncertainty.py).
void ForceDeviations::finish(const forcemap::Potential& potential, std::size_t i, double factor) {
  const forcemap::Uncertainty* const known = potential.uncertainty();
  const forcemap::Calibration calibration = known ? known->force : forcemap::Calibration();
  const double floor = factor * calibration.floor;
  const double multiple =
      calibration.factor * calibration.factor / (static_cast<double>(width / 3) - 2.0);
  double total = 0.0;
  for (std::size_t c = 0; c < 3; c++) {
    double sum = 0.0;
    for (std::size_t k = c; k < width; k += 3)
      sum += differences[width * i + k] * differences[width * i + k];
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
