// Sums in twice the working precision.
#include "forcemap/exact_sums.hpp"

#include "clones.hpp"

namespace forcemap {

FORCEMAP_CLONES static void add(double* __restrict high, double* __restrict low,
                                const double* __restrict value, std::size_t count) {
  for (std::size_t n = 0; n < count; ++n) {
    const double total = high[n] + value[n], part = total - high[n];
    low[n] += (high[n] - (total - part)) + (value[n] - part);
    high[n] = total;
  }
}

void add_exactly(double* high, double* low, const double* value, std::size_t count) {
  add(high, low, value, count);
}

}  // namespace forcemap
