#include "forcemap/environments.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

#include "forcemap/fail.hpp"

namespace forcemap {

Environments::Environments(std::size_t count, const double* positions, const int* numbers,
                           const double* cell, const bool* pbc, double cutoff)
    : cutoff_(cutoff), numbers_(numbers, numbers + count) {
  const NeighborList list = find_neighbors(count, positions, cell, pbc, cutoff);
  std::vector<double> placed;
  list.place(positions, cell, placed);
  first_.assign(count + 1, 0);
  neighbors_.reserve(list.neighbors.size());
  for (std::size_t i = 0; i < count; ++i) {
    for (std::size_t n = list.first[i]; n < list.first[i + 1]; ++n) {
      const std::size_t e = static_cast<std::size_t>(list.neighbors[n]);
      Neighbor nb;
      nb.x = placed[3 * e] - placed[3 * i];
      nb.y = placed[3 * e + 1] - placed[3 * i + 1];
      nb.z = placed[3 * e + 2] - placed[3 * i + 2];
      nb.r = std::sqrt(nb.x * nb.x + nb.y * nb.y + nb.z * nb.z);
      nb.owner = list.owner[e];
      nb.number = numbers[nb.owner];
      if (!(nb.r > 0.0)) fail("atoms ", i, " and ", nb.owner, " are in the same place");
      neighbors_.push_back(nb);
    }
    // Sorted by distance: a term with a shorter cutoff takes the first of them.
    std::sort(neighbors_.begin() + static_cast<std::ptrdiff_t>(first_[i]), neighbors_.end(),
              [](const Neighbor& p, const Neighbor& q) { return p.r < q.r; });
    first_[i + 1] = neighbors_.size();
  }
}

Environments::Range Environments::near(std::size_t i, double cutoff) const {
  const Neighbor* const first = neighbors_.data() + first_[i];
  const Neighbor* const last = neighbors_.data() + first_[i + 1];
  return {first,
          std::partition_point(first, last, [&](const Neighbor& n) { return n.r < cutoff; })};
}

void Environments::check(double cutoff) const {
  if (cutoff > cutoff_)
    fail("a term's cutoff of ", cutoff, " Å is beyond the environments' ", cutoff_, " Å");
}

std::vector<std::size_t> Environments::of_species(int number) const {
  std::vector<std::size_t> all;
  for (std::size_t i = 0; i < atoms(); ++i)
    if (numbers_[i] == number) all.push_back(i);
  return all;
}

std::vector<double> Environments::distances(const PairSpecies& species, double cutoff) const {
  check(cutoff);
  const auto [a, b] = species;
  std::vector<double> all;
  for (const std::size_t i : of_species(a))
    for (const Neighbor& nb : near(i, cutoff))
      // Of a pair of one species, both directions are met: the first index is the lower one. An
      // image of the centre itself comes with its opposite; both stay, they change no selection.
      if (nb.number == b && (a != b || static_cast<int>(i) <= nb.owner)) all.push_back(nb.r);
  return all;
}

std::vector<double> Environments::triplets(const TripletSpecies& species, double cutoff) const {
  check(cutoff);
  std::vector<double> all;
  for (const std::size_t i : of_species(species.center)) {
    const Range around = near(i, cutoff);
    each_pair(around, species.a, species.b, [&](std::size_t j, std::size_t k) {
      const Neighbor &p = around[j], &q = around[k];
      const double dx = q.x - p.x, dy = q.y - p.y, dz = q.z - p.z;
      all.insert(all.end(), {p.r, q.r, std::sqrt(dx * dx + dy * dy + dz * dz)});
    });
  }
  return all;
}

std::vector<double> Environments::triangles(const std::array<int, 3>& species,
                                            double cutoff) const {
  check(cutoff);
  std::vector<double> all;
  for (std::size_t corner = 0; corner < 3; ++corner) {
    const int center = species[corner];
    if (std::find(species.begin(), species.begin() + corner, center) != species.begin() + corner)
      continue;
    const std::size_t first = corner == 0 ? 1 : 0, second = corner == 2 ? 1 : 2;
    for (const std::size_t i : of_species(center)) {
      const auto earlier = [&](const Neighbor& n) {
        return std::make_pair(n.number, n.owner) < std::make_pair(center, static_cast<int>(i));
      };
      const Range around = near(i, cutoff);
      each_pair(around, species[first], species[second], [&](std::size_t j, std::size_t k) {
        const Neighbor &p = around[j], &q = around[k];
        const double dx = q.x - p.x, dy = q.y - p.y, dz = q.z - p.z;
        const double r = std::sqrt(dx * dx + dy * dy + dz * dz);
        // With three short sides every atom is a centre.
        if (r < cutoff && (earlier(p) || earlier(q))) return;
        double sides[3];
        sides[corner + first - 1] = p.r;
        sides[corner + second - 1] = q.r;
        sides[first + second - 1] = r;
        all.insert(all.end(), sides, sides + 3);
      });
    }
  }
  return all;
}

std::size_t Environments::triplet_count(const TripletSpecies& species, double cutoff) const {
  check(cutoff);
  const auto [center, a, b] = species;
  std::size_t total = 0;
  for (const std::size_t i : of_species(center)) {
    std::size_t na = 0, nb = 0;
    for (const Neighbor& neighbor : near(i, cutoff)) {
      na += neighbor.number == a;
      nb += neighbor.number == b;
    }
    total += a == b ? na * (na ? na - 1 : 0) / 2 : na * nb;
  }
  return total;
}

}  // namespace forcemap
