// Rows of blocks of splines for Python.
#include "forcemap/rows.hpp"

#include <nanobind/stl/vector.h>

#include "blocks.hpp"
#include "module.hpp"

using forcemap::Environments;

namespace {

// Holds on to the array of the coefficients.
struct Density {
  Matrix coefficients;
  forcemap::DensitySplines splines;
};

void make_density(Density* self, double cutoff, Integers numbers, Matrix coefficients) {
  if (!(cutoff > 0.0)) throw nb::value_error("cutoff must be > 0");
  if (coefficients.shape(0) != numbers.shape(0) || coefficients.shape(1) < 4)
    throw nb::value_error("coefficients must be (numbers, intervals + 3)");
  new (self) Density{
      coefficients,
      {cutoff, coefficients.shape(1) - 3,
       std::vector<int>(numbers.data(), numbers.data() + numbers.shape(0)), coefficients.data()}};
}

void add_splines(const Environments& e, double cutoff, const std::vector<int>& species,
                 Matrix coefficients, MutableMatrix rows, std::size_t column) {
  if (coefficients.shape(0) < 4) throw nb::value_error("coefficients need 4 rows at least");
  const std::size_t count = coefficients.shape(1);
  const forcemap::RowBlock block = row_block(e, rows, column, count);
  nb::gil_scoped_release release;
  forcemap::add_splines(e, pair_of(species),
                        {cutoff, coefficients.shape(0) - 3, count, coefficients.data()}, block);
}

void add_product(const Environments& e, double cutoff, const std::vector<int>& species,
                 const std::vector<Images>& splines, MutableMatrix rows, std::size_t column) {
  if (splines.size() != 3) throw nb::value_error("splines must be those of r_ij, r_ik and r_jk");
  const Images &first = splines[0], &second = splines[1], &base = splines[2];
  const std::size_t images = first.shape(0), count = first.shape(2);
  if (second.shape(0) != images || base.shape(0) != images || second.shape(2) != count ||
      base.shape(2) != count || second.shape(1) != first.shape(1) || first.shape(1) < 4 ||
      base.shape(1) < 4)
    throw nb::value_error("first, second and base differ in their images or points");
  const forcemap::RowBlock block = row_block(e, rows, column, count);
  const forcemap::ProductBlock product{
      cutoff,       count,         images,     first.shape(1) - 3, base.shape(1) - 3,
      first.data(), second.data(), base.data()};
  nb::gil_scoped_release release;
  forcemap::add_product(e, triplet_of(species), product, block);
}

nb::ndarray<nb::numpy, double> densities(const Environments& e, const Density& density,
                                         int center) {
  return to_array(forcemap::densities(e, density.splines, center), 1);
}

void add_embedding(const Environments& e, const Density& density, int center, double range,
                   Matrix functions, MutableMatrix rows, std::size_t column) {
  if (functions.shape(0) < 4) throw nb::value_error("functions need 4 rows at least");
  if (!(range > 0.0)) throw nb::value_error("range must be > 0");
  const forcemap::SplineColumns columns{range, functions.shape(0) - 3, functions.shape(1),
                                        functions.data()};
  const forcemap::RowBlock block = row_block(e, rows, column, columns.count);
  nb::gil_scoped_release release;
  forcemap::add_embedding(e, density.splines, center, columns, block);
}

}  // namespace

void add_rows(nb::module_& m) {
  nb::class_<Density>(m, "DensitySplines",
                      "Density functions about one species of centre: splines (numbers, intervals "
                      "+ 3) over [0, cutoff], one for each neighbour's atomic number.")
      .def("__init__", &make_density, nb::arg("cutoff"), nb::arg("numbers"),
           nb::arg("coefficients"));
  m.def("add_splines", &add_splines, nb::arg("environments"), nb::arg("cutoff"), nb::arg("species"),
        nb::arg("coefficients"), nb::arg("rows").noconvert(), nb::arg("column"),
        "Add the rows of a 2-body block of splines, coefficients (intervals + 3, points).");
  m.def("add_product", &add_product, nb::arg("environments"), nb::arg("cutoff"), nb::arg("species"),
        nb::arg("splines"), nb::arg("rows").noconvert(), nb::arg("column"),
        "Add the rows of a 3-body block of product splines, of species (centre, a, b); splines are "
        "those of r_ij, r_ik and r_jk, B-spline coefficients (images, intervals + 3, points).");
  m.def("densities", &densities, nb::arg("environments"), nb::arg("density"), nb::arg("center"),
        "Densities at the atoms of species `center`.");
  m.def("add_embedding", &add_embedding, nb::arg("environments"), nb::arg("density"),
        nb::arg("center"), nb::arg("range"), nb::arg("functions"), nb::arg("rows").noconvert(),
        nb::arg("column"),
        "Add the rows of functions of the density, splines (intervals + 3, points) over "
        "[0, range].");
}
