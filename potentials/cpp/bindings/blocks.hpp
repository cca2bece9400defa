// Blocks of rows in arrays of Python.
#pragma once

#include <vector>

#include "forcemap/environments.hpp"
#include "forcemap/frame_rows.hpp"
#include "module.hpp"

inline forcemap::PairSpecies pair_of(const std::vector<int>& species) {
  if (species.size() != 2) throw nb::value_error("species must be (a, b)");
  return {species[0], species[1]};
}

inline forcemap::TripletSpecies triplet_of(const std::vector<int>& species) {
  if (species.size() != 3) throw nb::value_error("species must be (center, a, b)");
  return {species[0], species[1], species[2]};
}

/// `count` columns of `rows` from `column` on.
inline forcemap::RowBlock row_block(const forcemap::Environments& environments,
                                    const MutableMatrix& rows, std::size_t column,
                                    std::size_t count) {
  if (rows.shape(0) != forcemap::FrameRows{environments.atoms()}.count())
    throw nb::value_error("rows must be (1 + 3 atoms + 6, columns)");
  if (column > rows.shape(1) || count > rows.shape(1) - column)
    throw nb::value_error("the block's columns do not fit into rows");
  return {rows.data() + column, rows.shape(1)};
}
