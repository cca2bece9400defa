#pragma once

#include <cstddef>

namespace forcemap {

/// Where the draws of a site's energy are added up.
struct DrawSums {
  double* energies;    // (draws) eV
  double* gradients;   // (draws, 3, stride) d(energy)/dr_j, eV/Å
  std::size_t stride;  // at least the site's neighbours up to a whole vector
};

}  // namespace forcemap
