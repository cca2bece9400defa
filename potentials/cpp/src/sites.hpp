// The sites that a term is shown at once.
#pragma once

#include <cstddef>

#include "loops/site_kernels.hpp"

namespace forcemap {

/// Prepared sites of any species; no two atoms of them coincide.
struct Sites {
  std::size_t count;
  const SiteView* const* site;  // (count)
  /// (count) where the term writes its features of each site; null: they are not wanted.
  double* const* features = nullptr;
};

constexpr std::size_t most_sites_at_once = 32;

/// energies[n] += energy(site n).
template <typename Energy>
void add_each(const Sites& sites, double* energies, const Energy& energy) {
  for (std::size_t n = 0; n < sites.count; ++n) energies[n] += energy(*sites.site[n]);
}

}  // namespace forcemap
