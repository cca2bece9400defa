// A term of a mapped potential: one kind of site energy, whatever it is made of.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace forcemap {

struct Sites;
class Workspace;

/// One kind of site energy, as a file holds it and a step needs it. Immutable, shared by threads.
/// The kinds are in src/terms, a file each.
class MappedTerm {
 public:
  virtual ~MappedTerm() = default;

  virtual double cutoff() const = 0;      // Å
  virtual std::size_t bytes() const = 0;  // of its tables

  /// How many sites it evaluates best together.
  virtual std::size_t sites_at_once() const { return 1; }

  /// How many features it has of a site with a centre of this species, for the grade.
  virtual std::size_t features(std::size_t /*species*/) const { return 0; }

  /// Add the sites' energies (eV) to `energies` (sites.count) and their derivatives by the
  /// neighbours' positions (eV/Å) to the sites' gradients; write their features where they are
  /// wanted. `space` is the calling thread's.
  virtual void add(const Sites& sites, double* energies, Workspace& space) const = 0;
};

/// The kinds that files may hold, as they name them.
std::vector<std::string> term_kinds();

}  // namespace forcemap
