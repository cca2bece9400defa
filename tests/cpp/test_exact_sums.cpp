// Sums in twice the working precision.
#include <cmath>
#include <vector>

#include "check.hpp"
#include "forcemap/exact_sums.hpp"

TEST(sums_keep_what_rounding_cuts_off) {
  // 19 numbers: no multiple of what any machine adds at once.
  std::vector<double> high(19, 1.0), low(19, 0.0), value(19, 1e-17);
  for (int k = 0; k < 1000; ++k)
    forcemap::add_exactly(high.data(), low.data(), value.data(), value.size());
  value.assign(19, -1.0);
  forcemap::add_exactly(high.data(), low.data(), value.data(), value.size());
  for (std::size_t n = 0; n < high.size(); ++n) CHECK(std::abs(high[n] + low[n] - 1e-14) < 1e-26);
}

int main() { return check::run_all(); }
