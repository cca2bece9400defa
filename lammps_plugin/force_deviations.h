// Deviations of forces, from the differences of a potential's draws.
#pragma once

#include <cstddef>
#include <vector>

#include "forcemap/potential.hpp"

namespace LAMMPS_NS {

/// Adds up what each draw's forces differ from the potential's by, site after site, and makes
/// standard deviations of them. Holds 3 values per draw for every atom and ghost once it is used.
class ForceDeviations {
 public:
  /// Values of an atom that are communicated together: of four draws.
  static constexpr std::size_t values_at_once = 12;

  /// Begin anew, with `local` atoms and `all` with the ghosts.
  void begin(const forcemap::Potential& potential, std::size_t local, std::size_t all);
  /// Evaluates sites whose own forces were taken from them, before they are added.
  void evaluate(const forcemap::Potential& potential, std::vector<forcemap::Site>& sites,
                std::size_t some);
  /// The n-th of them, that of atom `i`; `factor` is on its energy.
  void add(const forcemap::Potential& potential, const forcemap::Site& site, std::size_t n,
           std::size_t i, double factor);

  std::size_t values() const { return 3 * count; }
  /// Values `first` to `first` + `some` of atom `i`, to and from a buffer.
  void pack(std::size_t i, std::size_t first, std::size_t some, double* buffer) const;
  void unpack(std::size_t i, std::size_t first, std::size_t some, const double* buffer);

  /// With the ghosts' shares at home: the deviations of atom `i`, whose calibration's floor counts
  /// `factor` times.
  void finish(const forcemap::Potential& potential, std::size_t i, double factor);

  double* norms() { return norm.data(); }
  double* components(std::size_t c) { return component[c].data(); }
  /// Room for atoms, so that `norms` and `components` can be read.
  void reserve(std::size_t local);
  std::size_t bytes() const;

 private:
  std::size_t count = 0;            // draws
  std::size_t width = 0;            // the same up to a whole vector
  std::vector<double> differences;  // (atoms and ghosts, 3, width) of forces
  std::vector<double> norm;         // (atoms) deviation of the force vector; 0: absent
  std::vector<double> component[3];
  std::vector<forcemap::SiteDraws> draws;  // of sites that are evaluated together

  // Where value v of atom i is.
  std::size_t place(std::size_t i, std::size_t v) const {
    return (3 * i + v / count) * width + v % count;
  }
};

}  // namespace LAMMPS_NS
