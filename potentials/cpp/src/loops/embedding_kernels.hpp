// The boundary between embedding terms and their loops (embedding_loops.ipp), as in
// site_kernels.hpp.
#pragma once

#include <cstddef>

namespace forcemap {

struct SiteView;

/// Spline of the density at one species of centre, continued linearly.
struct DensityFunction {
  double inverse_spacing;
  double last_interval;        // intervals - 1
  double zero;                 // value at density 0
  const double* coefficients;  // null: no energy
};

struct EmbeddingView {
  std::size_t species;
  double cutoff;
  double inverse_spacing;
  double last_interval;              // intervals - 1
  const double* const* tables;       // (centre, neighbour) coefficients of the densities, or null
  const DensityFunction* functions;  // (species)
};

/// Energy of a site, eV; its derivatives are added to the site's gradients. `slopes` has room for
/// the site's neighbours, aligned and padded as its arrays.
using EmbeddingEnergyFunction = double (*)(const EmbeddingView& term, const SiteView& site,
                                           double* slopes);

}  // namespace forcemap
