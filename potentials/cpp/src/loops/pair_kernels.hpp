// The boundary between the pair terms and their loops (pair_loops.ipp), as in site_kernels.hpp.
#pragma once

#include <cstddef>

namespace forcemap {

struct DrawSums;
struct SiteView;
struct ZblFunction;

struct TwoBodyView {
  std::size_t species;
  double cutoff;
  double inverse_spacing;
  double last_interval;         // intervals - 1
  const double* const* tables;  // (species, species) coefficients, or null
};

/// The same term for many sets of weights: coefficients are (intervals + 3, padded_draws), a
/// multiple of 8 of them.
struct TwoBodyDrawsView {
  std::size_t draws, padded_draws;
  TwoBodyView term;
};

struct ZblView {
  std::size_t species;
  const ZblFunction* functions;  // (species, species); outer = 0: no core
};

/// Energy of a site, eV; its derivatives are added to the site's gradients.
using TwoBodyFunction = double (*)(const TwoBodyView& term, const SiteView& site);
/// Adds the draws' energies and derivatives. `slopes` has room for (padded_draws, padded
/// neighbours), `energies` for padded_draws numbers.
using TwoBodyDrawsFunction = void (*)(const TwoBodyDrawsView& term, const SiteView& site,
                                      double* slopes, double* energies, const DrawSums& sums);
using ZblEnergyFunction = double (*)(const ZblView& term, const SiteView& site);

}  // namespace forcemap
