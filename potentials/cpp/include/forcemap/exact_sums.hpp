// Sums in twice the working precision: of each number and of what rounding has cut off it.
#pragma once

#include <cstddef>

namespace forcemap {

/// high[n] + low[n] += value[n], n < count, but for the rounding of `low` (two-sum: Knuth, The Art
/// of Computer Programming 2, 4.2.2).
void add_exactly(double* high, double* low, const double* value, std::size_t count);

}  // namespace forcemap
