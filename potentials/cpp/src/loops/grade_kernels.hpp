// The boundary between grades and their loops (grade_loops.ipp), as in site_kernels.hpp.
#pragma once

#include <cstddef>

namespace forcemap {

struct SiteView;

/// Sums of a channel: f; f x, f y, f z; f xx, f yy, f zz, f yz, f xz, f xy of unit vectors.
constexpr std::size_t kMomentParts = 12;  // ten and two that nobody reads

/// See Moments (grade.hpp).
struct MomentsView {
  double cutoff;
  std::size_t radial, l_max, species;
};

/// Fills sums (parts, channels), as far as l_max asks for. There is room for (2 kMomentParts,
/// channels).
using MomentsFunction = void (*)(const MomentsView& moments, const SiteView& site, double* sums);

/// |W x|^2 of a lower triangular W, (count, count) with a multiple of 8 as count, by blocks of 8
/// rows: of each the columns up to its last row, 8 numbers of each.
using WhitenFunction = double (*)(const double* blocks, std::size_t count, const double* x);

}  // namespace forcemap
