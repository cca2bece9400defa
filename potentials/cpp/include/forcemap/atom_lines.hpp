// The lines of atoms of an extended XYZ frame, read fast where they are regular.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

namespace forcemap {

/// What the lines hold: an atomic number for each, and its real numbers one line after another.
struct AtomLines {
  std::vector<std::int64_t> numbers;
  std::vector<double> reals;
};

/// Read `text` of `rows` lines. Each character of `columns` is a column: 'E' the symbol of an
/// element, 'R' a real number, '-' anything.
///
/// Nothing for whatever is not certain to be read alike by everyone: other numbers of lines or
/// columns, unknown elements, numbers that are not plain decimals (such as nan) or out of range,
/// characters beyond ASCII.
std::optional<AtomLines> parse_atom_lines(std::string_view text, std::size_t rows,
                                          std::string_view columns);

}  // namespace forcemap
