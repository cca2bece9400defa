// The boundary between grades and their loops (grade_loops.ipp), as in site_kernels.hpp.
#pragma once

#include <cstddef>

namespace forcemap {

struct SiteView;

/// Sums over a channel's neighbours of g x, g y, g z; g xy, g yz, g xz, g (xx - yy),
/// g (zz - (xx + yy) / 2).
constexpr std::size_t kMomentParts = 8;

/// See Moments (grade.hpp).
struct MomentsView {
  double cutoff;
  std::size_t radial;
  double angular_cutoff;
  std::size_t angular_radial, species;  // angular_radial is 0 where there is no angular_cutoff
  /// Room for the vectors to the neighbours within the angular cutoff, up to a multiple of 8 and
  /// eight more.
  double *x, *y, *z;
  int* kind;
  double* sums;    // room for (species, radial up to 16)
  double* angles;  // room for (species, angular_radial, kMomentParts)
};

/// Writes the features of a site, as Moments numbers them.
using MomentsFunction = void (*)(const MomentsView& moments, const SiteView& site,
                                 double* features);

/// |W (x - mean)|^2 of a lower triangular W, (count, count) with a multiple of 8 as count, by
/// blocks of 8 rows: of each the columns up to its last row, 8 numbers of each. Leaves x - mean in
/// x.
using WhitenFunction = double (*)(const double* blocks, const double* mean, std::size_t count,
                                  double* x);

}  // namespace forcemap
