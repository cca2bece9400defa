// Kernels between points for Python.
#include "forcemap/kernels.hpp"

#include <nanobind/stl/string.h>

#include <string>

#include "module.hpp"

using forcemap::KernelSettings;
using forcemap::SparsePoints;

namespace {

KernelSettings make_settings(const std::string& kernel, double lengthscale, double cutoff,
                             double cutoff_width, const std::string& cutoff_function) {
  KernelSettings s{};
  if (kernel == "squared_exponential") {
    s.kernel = forcemap::KernelKind::squared_exponential;
  } else if (kernel == "matern52") {
    s.kernel = forcemap::KernelKind::matern52;
  } else {
    throw nb::value_error("kernel is squared_exponential or matern52");
  }
  if (cutoff_function == "quintic") {
    s.cutoff_kind = forcemap::CutoffKind::quintic;
  } else if (cutoff_function == "cosine") {
    s.cutoff_kind = forcemap::CutoffKind::cosine;
  } else {
    throw nb::value_error("cutoff_function is quintic or cosine");
  }
  if (!(lengthscale > 0.0)) throw nb::value_error("lengthscale must be > 0");
  if (!(cutoff_width > 0.0 && cutoff_width <= cutoff))
    throw nb::value_error("cutoff_width must be > 0 and at most the cutoff");
  s.lengthscale = lengthscale;
  s.cutoff = cutoff;
  s.cutoff_width = cutoff_width;
  return s;
}

nb::ndarray<nb::numpy, double> cutoff_values(const KernelSettings& s, Doubles r) {
  auto out = new_array(r.shape(0));
  double slope;
  for (std::size_t n = 0; n < r.shape(0); ++n)
    out.data()[n] = forcemap::cutoff_function(s, r.data()[n], slope);
  return out;
}

forcemap::Points points_of(const Matrix& points, const Images& images) {
  if (points.shape(1) != images.shape(2)) throw nb::value_error("points and images differ in size");
  return {points.data(), points.shape(0)};
}

void check_weights(const Doubles& weights, const Images& images) {
  if (weights.shape(0) != images.shape(0)) throw nb::value_error("one weight per sparse point");
}

nb::ndarray<nb::numpy, double> matrix(const KernelSettings& s, Matrix points, Images images) {
  const forcemap::Points rows = points_of(points, images);
  auto out = new_array(points.shape(0), images.shape(0));
  double* data = out.data();
  nb::gil_scoped_release release;
  forcemap::kernel_matrix(s, rows, sparse_points(images), data);
  return out;
}

nb::ndarray<nb::numpy, double> sum(const KernelSettings& s, Matrix points, Images images,
                                   Doubles weights) {
  const forcemap::Points rows = points_of(points, images);
  check_weights(weights, images);
  auto out = new_array(points.shape(0));
  double* data = out.data();
  nb::gil_scoped_release release;
  forcemap::kernel_sum(s, rows, sparse_points(images), weights.data(), data);
  return out;
}

nb::ndarray<nb::numpy, double> grid(const KernelSettings& s, Doubles first, Doubles second,
                                    Doubles third, Images images, Doubles weights) {
  check_triplets(images);
  if (first.shape(0) != second.shape(0)) throw nb::value_error("first and second differ in length");
  check_weights(weights, images);
  auto out = new_array(first.shape(0), third.shape(0));
  double* data = out.data();
  nb::gil_scoped_release release;
  forcemap::kernel_grid(s,
                        {first.data(), second.data(), first.shape(0), third.data(), third.shape(0)},
                        sparse_points(images), weights.data(), data);
  return out;
}

}  // namespace

void add_kernels(nb::module_& m) {
  nb::class_<KernelSettings>(m, "KernelSettings", "Kernel and cutoff of a 2- or 3-body term.")
      .def(
          "__init__",
          [](KernelSettings* self, const std::string& kernel, double lengthscale, double cutoff,
             double cutoff_width, const std::string& cutoff_function) {
            new (self) KernelSettings(
                make_settings(kernel, lengthscale, cutoff, cutoff_width, cutoff_function));
          },
          nb::arg("kernel"), nb::arg("lengthscale"), nb::arg("cutoff"), nb::arg("cutoff_width"),
          nb::arg("cutoff_function") = "quintic")
      .def("cutoff_values", &cutoff_values, nb::arg("r"),
           "Smooth cutoff factor at distances r (n), Å.")
      .def("matrix", &matrix, nb::arg("points"), nb::arg("images"),
           "k(point, image) summed over each sparse point's images, (n, count), without cutoff.")
      .def("sum", &sum, nb::arg("points"), nb::arg("images"), nb::arg("weights"),
           "matrix(points, images) @ weights without forming the matrix, (n).")
      .def("grid", &grid, nb::arg("first"), nb::arg("second"), nb::arg("third"), nb::arg("images"),
           nb::arg("weights"),
           "sum() at (first[i], second[i], third[k]), (pairs, n), in doubled precision; squared "
           "exponential only.");
}
