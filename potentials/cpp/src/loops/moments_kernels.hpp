// The boundary between moments and their loop (moments_loops.ipp), as in site_kernels.hpp.
#pragma once

#include <cstddef>

namespace forcemap {

struct SiteView;

/// Sums of a channel: f; f x, f y, f z; f xx, f yy, f zz, f yz, f xz, f xy of unit vectors.
constexpr std::size_t kMomentParts = 10;

/// See Moments (grade.hpp).
struct MomentsView {
  double cutoff;
  std::size_t radial, l_max, species;
};

/// Fills sums (species, radial, kMomentParts), as far as l_max asks for.
using MomentsFunction = void (*)(const MomentsView& moments, const SiteView& site, double* sums);

}  // namespace forcemap
