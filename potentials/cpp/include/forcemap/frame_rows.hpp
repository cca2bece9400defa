// The layout of a frame's rows: what a fit has of one structure.
#pragma once

#include <cstddef>

namespace forcemap {

/// The energy; three forces for each atom; six strain derivatives dE/d(strain), xx yy zz yz xz xy.
struct FrameRows {
  std::size_t atoms;

  static constexpr std::size_t energy() { return 0; }
  std::size_t force(std::size_t atom, std::size_t d) const { return 1 + 3 * atom + d; }
  std::size_t strain(std::size_t v) const { return 1 + 3 * atoms + v; }
  std::size_t count() const { return strain(6); }
};

/// Columns of a frame's rows, to which a block adds: those from the first on that it has.
struct RowBlock {
  double* rows;        // (FrameRows::count(), stride) row-major
  std::size_t stride;  // columns of all blocks
};

}  // namespace forcemap
