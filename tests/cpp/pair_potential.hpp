// A small potential for tests of what surrounds the evaluation.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "forcemap/potential.hpp"
#include "forcemap/potential_file.hpp"
#include "potential_bytes.hpp"

/// Silicon with e0 = -1 eV, pair energies of some tenths of an eV within 4 Å, and a core.
inline std::shared_ptr<forcemap::Potential> pair_potential() {
  std::vector<double> table(13);
  for (std::size_t n = 0; n < 10; ++n) table[n] = 1.0 / static_cast<double>(n + 1) - 0.1;
  potential_bytes::PairFile file("4.0", table);
  file.document =
      potential_bytes::replaced(file.document, R"([["Si", "Si"]]}])",
                                R"([["Si", "Si"]]}, {"kind": "zbl", "pairs": [)"
                                R"({"species": ["Si", "Si"], "inner": 1.0, "outer": 2.4}]}])");
  const std::string bytes = file.bytes();
  return std::make_shared<forcemap::Potential>(
      forcemap::parse_potential(bytes.data(), bytes.size(), "file"));
}
