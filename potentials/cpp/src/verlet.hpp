// A neighbour list with a skin and the structure it was made for; the sums over a structure's
// sites.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <vector>

#include "forcemap/calculator.hpp"
#include "forcemap/neighbors.hpp"
#include "forcemap/potential.hpp"

namespace forcemap {

class VerletList {
 public:
  /// Is every pair of `s` within the cutoff in the list? True also between `adopt` and `build`.
  bool holds(const StructureView& s, double cutoff, double range) const;

  /// Become the list of `s` within `range`. `build` makes it: that takes the time, and may be left
  /// to another thread. Until then, and if it fails, the list must not be used.
  void adopt(const StructureView& s);
  void build(const Potential& potential, double range);

  /// Holds no structure any more.
  void forget() { adopted_ = false; }

  const NeighborList& neighbors() const { return list_; }
  const int* kinds() const { return kinds_.data(); }  // species of all entries

 private:
  NeighborList list_;
  std::vector<int> kinds_;
  std::vector<int> numbers_;       // of the structure the list was made for
  std::vector<double> reference_;  // its positions
  std::array<double, 9> cell_{};
  std::array<bool, 3> pbc_{};
  bool adopted_ = false;
};

/// Sites that one thread evaluates together, and their energies.
struct SiteScratch {
  explicit SiteScratch(const Potential& potential)
      : sites(potential.batch()), energies(potential.batch()), grades(potential.batch()) {}
  std::vector<Site> sites;
  std::vector<double> energies;
  std::vector<double*> grades;  // where they go
  GradeQueue queue;
  std::vector<SiteDraws> draws;  // of the sites, once they are wanted
};

/// What one thread adds up.
struct SiteSums {
  std::vector<double> forces;  // (atoms, 3), eV/Å
  double energy = 0.0;
  std::array<double, 9> strain{};  // dE/d(strain), upper half

  void clear(std::size_t atoms);
  void add(const SiteSums& other);
};

/// Sites of a structure with a list.
struct SiteRange {
  const VerletList& list;
  const double* placed;  // where its entries are
  const int* identity;   // 0, 1, 2, ...: the list's kinds are species already
  std::size_t from, to;
};

/// What is wanted of each site; null: not wanted.
struct SiteValues {
  double* energies;          // (atoms)
  double* grades = nullptr;  // (atoms)
};

/// Calls each(begin, count) after so many sites from `begin` on were gathered in `scratch`.
template <typename Each>
void each_gathered(const Potential& potential, const SiteRange& range, SiteScratch& scratch,
                   const Each& each) {
  const NeighborList& list = range.list.neighbors();
  const int* kinds = potential.numbers().size() == 1 ? nullptr : range.list.kinds();
  for (std::size_t begin = range.from; begin < range.to; begin += scratch.sites.size()) {
    const std::size_t count = std::min(scratch.sites.size(), range.to - begin);
    for (std::size_t n = 0; n < count; ++n) {
      const std::size_t i = begin + n;
      potential.gather({range.placed, kinds, range.identity, static_cast<int>(i),
                        list.neighbors.data() + list.first[i], list.first[i + 1] - list.first[i]},
                       scratch.sites[n]);
    }
    each(begin, count);
  }
}

/// Add the sites of `range`. `scratch` is the calling thread's.
void sum_sites(const Potential& potential, const SiteRange& range, SiteScratch& scratch,
               SiteSums& out, const SiteValues& values);

/// The same of all draws, whose number is a multiple of 8 here.
struct DrawnSums {
  std::size_t width = 0;
  std::vector<double> forces;    // (atoms, 3, width)
  std::vector<double> energies;  // (width)
  std::vector<double> strain;    // (6, width), the upper half

  void clear(std::size_t atoms, std::size_t draws_width);
  void add(const DrawnSums& other);
  /// Of draw k.
  SiteSums of_draw(std::size_t k) const;
};

/// Add the differences of the draws.
void sum_draws(const Potential& potential, const SiteRange& range, SiteScratch& scratch,
               DrawnSums& out);

bool all_finite(const double* values, std::size_t count);

/// Is everything that was added up a number?
bool finite(const SiteSums& sums);

/// The virial -dE/d(strain), (3, 3), from the upper half that was added up: dE/d(strain) is
/// symmetric because the energy knows no direction.
void virial_of(const SiteSums& sums, double* virial);

/// Throws the Error that says which atoms are at fault for an energy that is not a number.
[[noreturn]] void explain_fault(const StructureView& s, const NeighborList& list,
                                const double* placed);

}  // namespace forcemap
