// Neighbour lists of a structure in any cell: atoms, their periodic images, and who is near whom.
#pragma once

#include <array>
#include <cstddef>
#include <vector>

namespace forcemap {

/// The atoms of a structure followed by those periodic images that lie within a range of any atom.
/// Position of entry e: positions[owner[e]] + shift[e] . cell. The first `atoms` entries are the
/// atoms themselves, shifted into the cell along periodic directions. r_ij = r_j - r_i.
struct NeighborList {
  std::size_t atoms = 0;
  std::vector<int> owner;                 // (entries)
  std::vector<std::array<int, 3>> shift;  // (entries) whole lattice vectors
  std::vector<std::size_t> first;         // (atoms + 1) begin of each atom's list in `neighbors`
  std::vector<int> neighbors;             // entries within the range of the atom, both directions

  /// Positions of all entries, (entries, 3), Å.
  void place(const double* positions, const double* cell, std::vector<double>& placed) const;
};

/// All neighbours within `range` (Å). `cell` rows are lattice vectors; directions that are not
/// periodic may have zero rows. Throws Error for a cell that is singular along periodic directions,
/// for non-finite numbers, and for more images than memory can hold.
NeighborList find_neighbors(std::size_t count, const double* positions, const double* cell,
                            const bool* pbc, double range);

/// The cell with unit vectors (normal to the periodic ones) in place of non-periodic rows.
/// Throws Error if the periodic rows are singular.
std::array<double, 9> completed_cell(const double* cell, const bool* pbc);

/// Inverse of a 3x3 matrix, row-major. The caller knows that it is regular.
std::array<double, 9> inverse3(const double* m);

}  // namespace forcemap
