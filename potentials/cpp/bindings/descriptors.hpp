// Descriptors of atoms and their derivatives as arrays, the same for every kind of descriptor.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "module.hpp"

inline nb::ndarray<nb::numpy, std::int64_t> index_array(const std::vector<std::size_t>& values) {
  auto* data = new std::int64_t[values.size() + 1];
  for (std::size_t n = 0; n < values.size(); ++n) data[n] = static_cast<std::int64_t>(values[n]);
  nb::capsule owner(data, [](void* p) noexcept { delete[] static_cast<std::int64_t*>(p); });
  const std::size_t shape[] = {values.size()};
  return nb::ndarray<nb::numpy, std::int64_t>(data, 1, shape, owner);
}

/// (targets (k), centres (k), derivatives (k, dimension)) of centres [first, last).
template <typename Descriptors>
nb::tuple derivative_rows(const Descriptors& descriptors, std::size_t first, std::size_t last) {
  if (last > descriptors.centers().size() || first > last)
    throw nb::value_error("first and last do not select centres");
  auto rows = std::make_unique<std::vector<double>>();
  std::vector<std::size_t> targets, centers;
  {
    nb::gil_scoped_release release;
    for (std::size_t n = first; n < last; ++n) {
      descriptors.derivatives(n, *rows, targets);
      centers.resize(targets.size(), n);
      // Of the others, with a quarter more: rows that move as the array grows cost as much again.
      if (n == first) rows->reserve(rows->size() + rows->size() * (last - n) * 5 / 4);
    }
  }
  const std::size_t shape[] = {targets.size(), descriptors.dimension()};
  double* data = rows->data();
  nb::capsule owner(rows.release(),
                    [](void* p) noexcept { delete static_cast<std::vector<double>*>(p); });
  nb::ndarray<nb::numpy, double> matrix(data, 2, shape, owner);
  return nb::make_tuple(index_array(targets), index_array(centers), matrix);
}
