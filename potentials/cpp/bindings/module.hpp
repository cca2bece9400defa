// Array types at the border to Python, and the registration function of each subject.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <algorithm>
#include <cstdint>
#include <vector>

#include "forcemap/kernels.hpp"

namespace nb = nanobind;

using Doubles = nb::ndarray<const double, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Integers = nb::ndarray<const std::int32_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Places = nb::ndarray<const std::int64_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Flags = nb::ndarray<const bool, nb::shape<3>, nb::c_contig, nb::device::cpu>;
using Rows3 = nb::ndarray<const double, nb::shape<-1, 3>, nb::c_contig, nb::device::cpu>;
using Cell = nb::ndarray<const double, nb::shape<3, 3>, nb::c_contig, nb::device::cpu>;
using Matrix = nb::ndarray<const double, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
/// (count, images of each, dimension)
using Images = nb::ndarray<const double, nb::ndim<3>, nb::c_contig, nb::device::cpu>;
using MutableMatrix = nb::ndarray<double, nb::ndim<2>, nb::c_contig, nb::device::cpu>;

/// A new numpy array that owns its memory.
template <typename... Shape>
nb::ndarray<nb::numpy, double> new_array(Shape... shape) {
  const std::size_t sizes[] = {static_cast<std::size_t>(shape)...};
  std::size_t total = 1;
  for (std::size_t s : sizes) total *= s;
  double* data = new double[total ? total : 1]();
  nb::capsule owner(data, [](void* p) noexcept { delete[] static_cast<double*>(p); });
  return nb::ndarray<nb::numpy, double>(data, sizeof...(shape), sizes, owner);
}

/// Values, `width` of them a row.
inline nb::ndarray<nb::numpy, double> to_array(const std::vector<double>& values,
                                               std::size_t width) {
  auto out = width == 1 ? new_array(values.size()) : new_array(values.size() / width, width);
  std::copy(values.begin(), values.end(), out.data());
  return out;
}

inline forcemap::SparsePoints sparse_points(const Images& images) {
  return {images.data(), images.shape(0), images.shape(1), images.shape(2)};
}

inline void check_triplets(const Images& images) {
  if (images.shape(2) != 3) throw nb::value_error("images must be (count, n, 3)");
}

void add_batch(nb::module_& m);
void add_environments(nb::module_& m);
void add_files(nb::module_& m);
void add_kernels(nb::module_& m);
void add_leaving(nb::module_& m);
void add_neighbors(nb::module_& m);
void add_potential(nb::module_& m);
void add_rows(nb::module_& m);
void add_soap(nb::module_& m);
void add_sums(nb::module_& m);
void add_triplets(nb::module_& m);
void add_zbl(nb::module_& m);
