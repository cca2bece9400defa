// A structure's atoms and the neighbours of each, for fitting.
#pragma once

#include <array>
#include <cstddef>
#include <vector>

#include "forcemap/neighbors.hpp"

namespace forcemap {

/// Chemical species (atomic numbers) of a pair, in any order.
struct PairSpecies {
  int a, b;
};

/// Those of a centre and, in their order, of its two neighbours.
struct TripletSpecies {
  int center, a, b;
};

/// A structure's environments within a cutoff.
class Environments {
 public:
  /// Arguments as StructureView; throws Error as find_neighbors.
  Environments(std::size_t count, const double* positions, const int* numbers, const double* cell,
               const bool* pbc, double cutoff);

  std::size_t atoms() const { return first_.size() - 1; }
  double cutoff() const { return cutoff_; }
  /// Atomic numbers. (atoms)
  const std::vector<int>& numbers() const { return numbers_; }

  /// r_j - r_i and its length, Å; which atom j (or its image) is, and its atomic number.
  struct Neighbor {
    double x, y, z, r;
    int owner, number;
  };
  /// Neighbours of one atom, by distance.
  struct Range {
    const Neighbor *first, *last;
    const Neighbor* begin() const { return first; }
    const Neighbor* end() const { return last; }
    std::size_t size() const { return static_cast<std::size_t>(last - first); }
    const Neighbor& operator[](std::size_t n) const { return first[n]; }
  };
  /// Neighbours of atom i nearer than `cutoff`, which is at most cutoff().
  Range near(std::size_t i, double cutoff) const;
  /// Indices of the atoms of one element, increasing.
  std::vector<std::size_t> of_species(int number) const;
  /// Throws Error if a term's cutoff is beyond that of the environments.
  void check(double cutoff) const;

  /// Distances r_ij < cutoff with species {a, b}, each pair once. (n)
  std::vector<double> distances(const PairSpecies& species, double cutoff) const;

  /// Triplets (r_ij, r_ik, r_jk) about centres with neighbours of species a (first leg) and b, both
  /// legs < cutoff, each unordered pair once. (n, 3)
  std::vector<double> triplets(const TripletSpecies& species, double cutoff) const;

  /// Triangles of three species, two or three of whose sides are < cutoff, each once: a triplet
  /// about one of its atoms, whichever. Sides (12, 13, 23) of atoms in the order of `species`.
  /// A triangle with two images of one atom may come twice. (n, 3)
  std::vector<double> triangles(const std::array<int, 3>& species, double cutoff) const;

  /// Number of the triplets about centres.
  std::size_t triplet_count(const TripletSpecies& species, double cutoff) const;

 private:
  double cutoff_;
  std::vector<int> numbers_;
  std::vector<std::size_t> first_;
  std::vector<Neighbor> neighbors_;
};

/// Calls use(j, k) for each pair of neighbours {near[j], near[k]} of species a and b, once.
template <typename Near, typename Use>
void each_pair(const Near& near, int a, int b, const Use& use) {
  for (std::size_t j = 0; j < near.size(); ++j) {
    if (near[j].number != a) continue;
    for (std::size_t k = a == b ? j + 1 : 0; k < near.size(); ++k)
      if (near[k].number == b && k != j) use(j, k);
  }
}

}  // namespace forcemap
