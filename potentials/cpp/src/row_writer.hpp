// Gradients of an atom's energy, or of its descriptor, into rows of forces and strain.
#pragma once

#include <cstddef>
#include <vector>

#include "clones.hpp"

namespace forcemap {

// y += a x
FORCEMAP_CLONES static void add_scaled(double a, const double* __restrict x, double* __restrict y,
                                       std::size_t count) {
  for (std::size_t s = 0; s < count; ++s) y[s] += a * x[s];
}

// A neighbour's gradient, dE_i/dr_j, into the rows of both atoms and of the strain.
struct RowWriter {
  double* rows;
  std::size_t stride;
  std::size_t atoms;
  // Of the rows of one centre (CenterRows): each atom's place. Else the rows are the structure's,
  // with the energy's before them.
  const std::size_t* place = nullptr;

  double* force(std::size_t atom, std::size_t d) const {
    return rows + (place ? 3 * place[atom] + d : 1 + 3 * atom + d) * stride;
  }
  double* strain(std::size_t v) const { return rows + ((place ? 0 : 1) + 3 * atoms + v) * stride; }

  // gradient (3, count) with respect to the neighbour's position
  void add(std::size_t center, std::size_t neighbor, const double r[3], const double* gradient,
           std::size_t count) const {
    for (std::size_t d = 0; d < 3; ++d) {
      const double* g = gradient + d * count;
      // A periodic image of the centre itself feels no force of its own.
      if (center != neighbor) {
        add_scaled(-1.0, g, force(neighbor, d), count);
        add_scaled(1.0, g, force(center, d), count);
      }
      add_scaled(r[d], g, strain(d), count);
    }
    // yz, xz, xy
    add_scaled(r[1], gradient + 2 * count, strain(3), count);
    add_scaled(r[0], gradient + 2 * count, strain(4), count);
    add_scaled(r[0], gradient + count, strain(5), count);
  }
};

// Rows of the derivatives of one centre: three for the centre itself, three for each atom about it,
// however often it appears, then six of the strain.
class CenterRows {
 public:
  CenterRows(std::size_t atoms, std::size_t center) : place_(atoms, atoms), involved_{center} {
    place_[center] = 0;
  }

  void include(std::size_t atom) {
    if (place_[atom] != place_.size()) return;
    place_[atom] = involved_.size();
    involved_.push_back(atom);
  }

  // Appends the rows, filled with zeros, and for each the row of the structure that it adds to. The
  // writer is good until either argument changes, and while this lives.
  RowWriter append(std::size_t width, std::vector<double>& rows,
                   std::vector<std::size_t>& targets) const {
    const std::size_t begin = rows.size(), atoms = place_.size();
    rows.resize(begin + (3 * involved_.size() + 6) * width, 0.0);
    for (const std::size_t atom : involved_)
      for (std::size_t d = 0; d < 3; ++d) targets.push_back(1 + 3 * atom + d);
    for (std::size_t v = 0; v < 6; ++v) targets.push_back(1 + 3 * atoms + v);
    return {rows.data() + begin, width, involved_.size(), place_.data()};
  }

 private:
  std::vector<std::size_t> place_;  // number of atoms: not involved
  std::vector<std::size_t> involved_;
};

}  // namespace forcemap
