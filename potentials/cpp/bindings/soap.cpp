// Density expansions and their power spectra for Python: what fitting needs.
#include "forcemap/soap.hpp"

#include <nanobind/stl/vector.h>

#include "descriptors.hpp"
#include "forcemap/sphere_products.hpp"

using forcemap::Environments;
using forcemap::SoapDescriptors;
using forcemap::SoapExpansion;

namespace {

// The expansion together with the elements that its weights are about.
struct Expansion {
  SoapExpansion soap;
  std::vector<int> numbers;
};

using Tables = nb::ndarray<const double, nb::ndim<4>, nb::c_contig, nb::device::cpu>;

std::vector<double> copied(const double* begin, std::size_t count) {
  return {begin, begin + count};
}

void make(Expansion* self, double cutoff, Tables radial, Matrix self_density, Matrix weights,
          const std::vector<int>& numbers) {
  if (radial.shape(1) < 4) throw nb::value_error("radial needs 4 rows at least");
  if (weights.shape(1) != numbers.size())
    throw nb::value_error("weights must be (channels, numbers)");
  if (self_density.shape(1) != radial.shape(3) || self_density.shape(0) != radial.shape(0))
    throw nb::value_error("self_density must be (tables, n_max)");
  if (radial.shape(2) < 1) throw nb::value_error("radial must have l_max + 1 columns");
  if (radial.shape(0) != 1 && radial.shape(0) != numbers.size())
    throw nb::value_error("radial must have one table, or one for each of the numbers");
  forcemap::SoapBasis basis{cutoff,
                            radial.shape(3),
                            radial.shape(2) - 1,
                            radial.shape(1) - 3,
                            copied(radial.data(), radial.size()),
                            copied(self_density.data(), self_density.size()),
                            weights.shape(0),
                            copied(weights.data(), weights.size())};
  basis.by_species = radial.shape(0) != 1;
  new (self) Expansion{SoapExpansion(basis, numbers.size()), numbers};
}

// (atoms (n), descriptors (n, dimension)) of the atoms of one species.
nb::tuple all_values(const SoapDescriptors& descriptors) {
  auto out = new_array(descriptors.centers().size(), descriptors.dimension());
  double* data = out.data();
  {
    nb::gil_scoped_release release;
    descriptors.spectra(data);
  }
  return nb::make_tuple(index_array(descriptors.centers()), out);
}

nb::tuple spectra(const Expansion& e, const Environments& environments, int center) {
  return all_values({e.soap, e.numbers, environments, center});
}

nb::ndarray<nb::numpy, double> isolated(const Expansion& e, const Environments& environments,
                                        int center) {
  const SoapDescriptors descriptors(e.soap, e.numbers, environments, center);
  auto out = new_array(e.soap.dimension());
  descriptors.isolated(out.data());
  return out;
}

// Products of fields of an expansion, which is part of it.
struct Products {
  Expansion expansion;
  std::unique_ptr<forcemap::SphereProducts> functions;
};

using Fields = nb::ndarray<const std::int64_t, nb::ndim<2>, nb::c_contig, nb::device::cpu>;

void make_products(Products* self, double cutoff, Tables radial, const std::vector<int>& numbers,
                   double offset, Fields products, const std::vector<double>& scales) {
  if (products.shape(1) != forcemap::most_factors)
    throw nb::value_error("products must be (products, 4)");
  if (radial.shape(0) != numbers.size() || radial.shape(1) < 4 || radial.shape(2) < 1)
    throw nb::value_error("radial must be (numbers, intervals + 3, l_max + 1, n_max)");
  forcemap::SoapBasis basis{cutoff,
                            radial.shape(3),
                            radial.shape(2) - 1,
                            radial.shape(1) - 3,
                            copied(radial.data(), radial.size()),
                            std::vector<double>(numbers.size() * radial.shape(3), 0.0),
                            1,
                            std::vector<double>(numbers.size(), 1.0)};
  basis.by_species = true;
  std::vector<forcemap::FieldProduct> given(products.shape(0));
  for (std::size_t n = 0; n < products.size(); ++n)
    given[n / forcemap::most_factors][n % forcemap::most_factors] =
        static_cast<int>(products.data()[n]);
  Expansion expansion{SoapExpansion(basis, numbers.size()), numbers};
  auto functions =
      std::make_unique<forcemap::SphereProducts>(expansion.soap, offset, std::move(given), scales);
  new (self) Products{std::move(expansion), std::move(functions)};
}

SoapDescriptors described(const Products& p, const Environments& environments, int center) {
  return {p.expansion.soap, p.expansion.numbers, environments, center, p.functions.get()};
}

nb::tuple product_values(const Products& p, const Environments& environments, int center) {
  return all_values(described(p, environments, center));
}

nb::tuple product_derivatives(const Products& p, const Environments& environments, int center,
                              std::size_t first, std::size_t last) {
  const SoapDescriptors descriptors = described(p, environments, center);
  return derivative_rows(descriptors, first, last);
}

nb::tuple derivatives(const Expansion& e, const Environments& environments, int center,
                      std::size_t first, std::size_t last) {
  const SoapDescriptors descriptors(e.soap, e.numbers, environments, center);
  return derivative_rows(descriptors, first, last);
}

void add_weighted_rows(Places targets, Places centers, Matrix values, Matrix weights,
                       MutableMatrix rows, std::size_t column) {
  const std::size_t count = values.shape(1);
  if (targets.shape(0) != values.shape(0) || centers.shape(0) != values.shape(0) ||
      weights.shape(1) != count || column > rows.shape(1) || count > rows.shape(1) - column)
    throw nb::value_error("targets, centers, values, weights and rows do not fit together");
  for (std::size_t k = 0; k < targets.shape(0); ++k)
    if (targets.data()[k] < 0 || static_cast<std::size_t>(targets.data()[k]) >= rows.shape(0) ||
        centers.data()[k] < 0 || static_cast<std::size_t>(centers.data()[k]) >= weights.shape(0))
      throw nb::value_error("a target or a centre is out of range");
  nb::gil_scoped_release release;
  for (std::size_t k = 0; k < targets.shape(0); ++k)
    forcemap::add_product_row(
        values.data() + k * count,
        weights.data() + static_cast<std::size_t>(centers.data()[k]) * count, count,
        rows.data() + static_cast<std::size_t>(targets.data()[k]) * rows.shape(1) + column);
}

}  // namespace

void add_soap(nb::module_& m) {
  nb::class_<Expansion>(m, "SoapExpansion", "Expansion of the density of neighbours about an atom.")
      .def(
          "__init__", &make, nb::arg("cutoff"), nb::arg("radial"), nb::arg("self_density"),
          nb::arg("weights"), nb::arg("numbers"),
          "radial (tables, intervals + 3, l_max + 1, n_max) B-spline coefficients over [0, cutoff] "
          "in Å and self_density (tables, n_max), with one table for all species or one for each; "
          "weights (channels, species) for the atomic numbers `numbers`, increasing.")
      .def_prop_ro(
          "dimension", [](const Expansion& e) { return e.soap.dimension(); },
          "Numbers of the power spectrum.")
      .def("spectra", &spectra, nb::arg("environments"), nb::arg("center"),
           "(atoms (n), normalised power spectra (n, dimension)) of the atoms of one species.")
      .def("isolated", &isolated, nb::arg("environments"), nb::arg("center"),
           "Power spectrum of an isolated atom of one species, (dimension).")
      .def("derivatives", &derivatives, nb::arg("environments"), nb::arg("center"),
           nb::arg("first"), nb::arg("last"),
           "(targets (k), centres (k), derivatives (k, dimension)) of centres [first, last): rows "
           "of -dp/dx and dp/d(strain), with the structure's row that each adds to.");

  nb::class_<Products>(m, "FieldProducts",
                       "Integrals over the sphere of products of fields of an atom's density.")
      .def("__init__", &make_products, nb::arg("cutoff"), nb::arg("radial"), nb::arg("numbers"),
           nb::arg("offset"), nb::arg("products"), nb::arg("scales"),
           "radial (numbers, intervals + 3, l_max + 1, n_max) B-spline coefficients over [0, "
           "cutoff] in Å for the atomic numbers `numbers`, increasing; products (products, 4) of "
           "fields k + n_max l, -1 behind the last; scales (products).")
      .def("values", &product_values, nb::arg("environments"), nb::arg("center"),
           "(atoms (n), products (n, products)) of the atoms of one species.")
      .def("derivatives", &product_derivatives, nb::arg("environments"), nb::arg("center"),
           nb::arg("first"), nb::arg("last"), "As SoapExpansion.derivatives, of the products.");

  m.def("add_weighted_rows", &add_weighted_rows, nb::arg("targets"), nb::arg("centers"),
        nb::arg("values"), nb::arg("weights"), nb::arg("rows"), nb::arg("column"),
        "rows[targets[k], column:] += values[k] * weights[centers[k]], element by element.");
}
