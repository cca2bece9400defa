// Draws from the posterior of a fit's weights, each held as its difference to the mean.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "forcemap/draw_sums.hpp"

namespace forcemap {

struct SiteView;
class Workspace;

/// Prepared sites of any species, and where their draws are added up.
struct DrawnSites {
  std::size_t count;
  const SiteView* const* site;  // (count)
  const DrawSums* sums;         // (count)
};

/// One kind of site energy for the weights of all draws. Immutable, shared by threads.
class DrawnTerm {
 public:
  virtual ~DrawnTerm() = default;

  virtual double cutoff() const = 0;      // Å
  virtual std::size_t bytes() const = 0;  // of its tables

  /// Add each draw's energy of a prepared site and its derivatives. The site's own gradients may be
  /// used on the way. `space` is the calling thread's.
  virtual void add(const SiteView& site, const DrawSums& sums, Workspace& space) const = 0;
  /// The same of several.
  virtual void add_all(const DrawnSites& sites, Workspace& space) const {
    for (std::size_t n = 0; n < sites.count; ++n) add(*sites.site[n], sites.sums[n], space);
  }
  /// How many sites of one species are best added together.
  virtual std::size_t sites_at_once() const { return 1; }
};

struct Draws {
  std::size_t count = 0;
  std::vector<double> e0;  // (count, species) energies of the isolated atoms, eV
  std::vector<std::shared_ptr<const DrawnTerm>> terms;
};

}  // namespace forcemap
