// Blocks of rows in arrays of Python.
#pragma once

#include <tuple>

#include "forcemap/environments.hpp"
#include "forcemap/frame_rows.hpp"
#include "module.hpp"

using Pair = std::tuple<int, int>;
using Triplet = std::tuple<int, int, int>;  // centre, a, b

inline forcemap::PairSpecies species_of(const Pair& pair) {
  return {std::get<0>(pair), std::get<1>(pair)};
}

inline forcemap::TripletSpecies species_of(const Triplet& triplet) {
  return {std::get<0>(triplet), std::get<1>(triplet), std::get<2>(triplet)};
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
