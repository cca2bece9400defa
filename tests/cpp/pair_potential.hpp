// A small potential for tests of what surrounds the evaluation.
#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "forcemap/potential.hpp"

/// Silicon with e0 = -1 eV, pair energies of some tenths of an eV within 4 Å, and a core.
inline std::shared_ptr<forcemap::Potential> pair_potential() {
  forcemap::PotentialData data;
  data.numbers = {14};
  data.e0 = {-1.0};
  forcemap::TwoBodyTerm two_body;
  two_body.cutoff = 4.0;
  two_body.intervals = 10;
  std::vector<double> table(13);
  for (std::size_t n = 0; n < 10; ++n) table[n] = 1.0 / static_cast<double>(n + 1) - 0.1;
  two_body.tables.push_back({{0, 0}, table});
  data.two_body.push_back(two_body);
  data.zbl.push_back({{0, 0}, 1.0, 2.4});
  return std::make_shared<forcemap::Potential>(std::move(data));
}
