// The walk over the triplets about a centre, whatever is summed over them.
#pragma once

#include <cmath>
#include <cstddef>
#include <vector>

#include "forcemap/environments.hpp"
#include "row_writer.hpp"

namespace forcemap {

/// Neighbours of two species about a centre.
struct NearAtoms {
  std::vector<const Environments::Neighbor*> atoms;
  std::size_t size() const { return atoms.size(); }
  const Environments::Neighbor& operator[](std::size_t n) const { return *atoms[n]; }
};

/// One triplet: its neighbours' places, the distances r_ij, r_ik, r_jk and the unit vector from j
/// to k.
struct Triplet {
  std::size_t j, k;
  double distances[3];
  double along[3];
};

/// Where a triplet adds its values, (count), and derivatives: along r_ij and r_ik, (count), and
/// through r_jk by the positions of j and k, (3, count).
struct TripletSums {
  double *energy, *radial_j, *radial_k, *pull_j, *pull_k;
};

/// Values of `count` functions of a triplet and their slopes by its three distances.
struct TripletValues {
  const double *value, *by_ij, *by_ik, *by_jk;
};

/// Triplets of centres and neighbours of two species: what is added up over the pairs of neighbours
/// of one centre. `Columns` has `count`, is shown a centre's neighbours by prepare(near, a, b), and
/// adds a triplet by add(triplet, sums).
class TripletWalk {
 public:
  TripletWalk(const Environments& environments, double cutoff, const TripletSpecies& species)
      : environments_(environments), cutoff_(cutoff), species_(species) {}

  /// Values to `energy` and, where there is a writer, derivatives to its rows.
  template <typename Columns>
  void add(std::size_t center, Columns& columns, double* energy, const RowWriter* writer) {
    const std::size_t count = columns.count;
    near_.atoms.clear();
    for (const auto& neighbor : environments_.near(center, cutoff_))
      if (neighbor.number == species_.a || neighbor.number == species_.b)
        near_.atoms.push_back(&neighbor);
    columns.prepare(near_, species_.a, species_.b);
    radial_.assign(near_.size() * count, 0.0);
    pull_.assign(3 * near_.size() * count, 0.0);
    each_pair(near_, species_.a, species_.b, [&](std::size_t j, std::size_t k) {
      columns.add(triplet(j, k), TripletSums{energy, &radial_[j * count], &radial_[k * count],
                                             &pull_[3 * j * count], &pull_[3 * k * count]});
    });
    if (writer) write(*writer, center, count);
  }

  /// All centres of the species into a frame's rows.
  template <typename Columns>
  void add_all(Columns& columns, const RowBlock& block) {
    const RowWriter writer(block, environments_.atoms());
    for (const std::size_t i : environments_.of_species(species_.center))
      add(i, columns, writer.energy(), &writer);
  }

 private:
  Triplet triplet(std::size_t j, std::size_t k) const {
    const auto &p = near_[j], &q = near_[k];
    Triplet t{j, k, {p.r, q.r, 0.0}, {q.x - p.x, q.y - p.y, q.z - p.z}};
    double* const u = t.along;
    const double r = std::sqrt(u[0] * u[0] + u[1] * u[1] + u[2] * u[2]);
    for (double& v : t.along) v /= r;
    t.distances[2] = r;
    return t;
  }

  void write(const RowWriter& writer, std::size_t center, std::size_t count) {
    for (std::size_t j = 0; j < near_.size(); ++j) {
      const auto& nb = near_[j];
      const double r[3] = {nb.x, nb.y, nb.z};
      double* g = &pull_[3 * j * count];
      for (std::size_t d = 0; d < 3; ++d)
        add_scaled(r[d] / nb.r, &radial_[j * count], g + d * count, count);
      writer.add(center, nb, g, count);
    }
  }

  const Environments& environments_;
  double cutoff_;
  TripletSpecies species_;
  NearAtoms near_;
  std::vector<double> radial_, pull_;
};

}  // namespace forcemap
