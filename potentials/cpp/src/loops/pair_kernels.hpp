// The boundary between the pair terms and their loops (pair_loops.ipp), as in site_kernels.hpp.
#pragma once

#include <cstddef>

namespace forcemap {

struct DrawForces;
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

/// The same term for many sets of weights: coefficients are (intervals + 3, the width of DrawSums).
struct TwoBodyDrawsView {
  TwoBodyView term;
};

struct ZblView {
  std::size_t species;
  const ZblFunction* functions;  // (species, species); outer = 0: no core
  double outer;                  // the largest of theirs
};

/// Energy of a site, eV; its derivatives are added to the site's gradients.
using TwoBodyFunction = double (*)(const TwoBodyView& term, const SiteView& site);
/// Adds the draws' energies and derivatives.
using TwoBodyDrawsFunction = void (*)(const TwoBodyDrawsView& term, const SiteView& site,
                                      const DrawSums& sums);
/// Adds a site's derivatives (neighbours, 3, width), as DrawSums has them, to forces.
using SpreadDrawsFunction = void (*)(const SiteView& site, const double* gradients,
                                     std::size_t width, std::size_t center, const DrawForces& to);
using ZblEnergyFunction = double (*)(const ZblView& term, const SiteView& site);

}  // namespace forcemap
