// Gradients of an atom's energy, or of its descriptor, into rows of forces and strain.
#pragma once

#include <cstddef>
#include <vector>

#include "clones.hpp"
#include "forcemap/environments.hpp"
#include "forcemap/frame_rows.hpp"

namespace forcemap {

// y += a x
FORCEMAP_CLONES static void add_scaled(double a, const double* __restrict x, double* __restrict y,
                                       std::size_t count) {
  for (std::size_t s = 0; s < count; ++s) y[s] += a * x[s];
}

// A neighbour's gradient, dE_i/dr_j, into the rows of both atoms and of the strain.
class RowWriter {
 public:
  // The rows of a frame.
  RowWriter(const RowBlock& block, std::size_t atoms) : block_(block), layout_{atoms} {}
  // The rows of one centre (CenterRows), where atoms have places of their own and the first
  // `missing` rows, that of the energy, are not there.
  RowWriter(const RowBlock& block, std::size_t involved, const std::size_t* place,
            std::size_t missing)
      : block_(block), layout_{involved}, place_(place), missing_(missing) {}

  double* energy() const { return row(FrameRows::energy()); }
  double* force(std::size_t atom, std::size_t d) const {
    return row(layout_.force(place_ ? place_[atom] : atom, d));
  }
  double* strain(std::size_t v) const { return row(layout_.strain(v)); }

  // The same rows from a later column on.
  RowWriter from(std::size_t column) const {
    RowWriter later = *this;
    later.block_.rows += column;
    return later;
  }

  // gradient (3, count) with respect to the neighbour's position
  void add(std::size_t center, const Environments::Neighbor& neighbor, const double* gradient,
           std::size_t count) const {
    const double r[3] = {neighbor.x, neighbor.y, neighbor.z};
    const auto owner = static_cast<std::size_t>(neighbor.owner);
    for (std::size_t d = 0; d < 3; ++d) {
      const double* g = gradient + d * count;
      // A periodic image of the centre itself feels no force of its own.
      if (center != owner) {
        add_scaled(-1.0, g, force(owner, d), count);
        add_scaled(1.0, g, force(center, d), count);
      }
      add_scaled(r[d], g, strain(d), count);
    }
    // yz, xz, xy
    add_scaled(r[1], gradient + 2 * count, strain(3), count);
    add_scaled(r[0], gradient + 2 * count, strain(4), count);
    add_scaled(r[0], gradient + count, strain(5), count);
  }

 private:
  double* row(std::size_t n) const { return block_.rows + (n - missing_) * block_.stride; }

  RowBlock block_;
  FrameRows layout_;
  const std::size_t* place_ = nullptr;
  std::size_t missing_ = 0;
};

// Rows of the derivatives of one centre: three for the centre itself, three for each atom about it,
// however often it appears, then six of the strain.
class CenterRows {
 public:
  CenterRows(std::size_t atoms, std::size_t center) : place_(atoms, atoms), involved_{center} {
    place_[center] = 0;
  }

  void include(std::size_t atom) {
    if (place_[atom] != place_.size()) return;
    place_[atom] = involved_.size();
    involved_.push_back(atom);
  }

  // Each atom's place among those involved; of an atom that is not involved the number of atoms.
  const std::vector<std::size_t>& places() const { return place_; }
  std::size_t involved() const { return involved_.size(); }

  // Appends the rows, filled with zeros, and for each the row of the frame that it adds to. The
  // writer is good until either argument changes, and while this lives.
  RowWriter append(std::size_t width, std::vector<double>& rows,
                   std::vector<std::size_t>& targets) const {
    const std::size_t begin = rows.size();
    const FrameRows frame{place_.size()}, here{involved_.size()};
    const std::size_t missing = FrameRows::energy() + 1;
    rows.resize(begin + (here.count() - missing) * width, 0.0);
    for (const std::size_t atom : involved_)
      for (std::size_t d = 0; d < 3; ++d) targets.push_back(frame.force(atom, d));
    for (std::size_t v = 0; v < 6; ++v) targets.push_back(frame.strain(v));
    return {{rows.data() + begin, width}, involved_.size(), place_.data(), missing};
  }

 private:
  std::vector<std::size_t> place_;
  std::vector<std::size_t> involved_;
};

}  // namespace forcemap
