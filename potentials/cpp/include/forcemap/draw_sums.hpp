#pragma once

#include <cstddef>

namespace forcemap {

/// Where the draws of a site's energy are added up.
struct DrawSums {
  double* energies;   // (width) eV
  double* gradients;  // (neighbours, 3, width) d(energy)/dr_j, eV/Å
  std::size_t width;  // draws up to a multiple of 8, beyond which nothing has a meaning
};

/// What the draws of sites add to.
struct DrawForces {
  double* forces;       // (atoms, 3, width)
  const int* owner;     // the atom of a neighbour's index; null: the index itself
  double factor = 1.0;  // on the energy
  double* strain;       // (6, width) dE/d(strain) xx, xy, xz, yy, yz, zz; null: not wanted
};

}  // namespace forcemap
