// The boundary between the pair terms and their loops (pair_loops.ipp), as in site_kernels.hpp.
#pragma once

#include <cstddef>

namespace forcemap {

struct SiteView;
struct ZblFunction;

struct TwoBodyView {
  std::size_t species;
  double cutoff;
  double inverse_spacing;
  double last_interval;         // intervals - 1
  const double* const* tables;  // (species, species) coefficients, or null
};

struct ZblView {
  std::size_t species;
  const ZblFunction* functions;  // (species, species); outer = 0: no core
};

/// Energy of a site, eV; its derivatives are added to the site's gradients.
using TwoBodyFunction = double (*)(const TwoBodyView& term, const SiteView& site);
using ZblEnergyFunction = double (*)(const ZblView& term, const SiteView& site);

}  // namespace forcemap
