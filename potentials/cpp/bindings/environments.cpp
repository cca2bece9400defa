// Structures' environments, and the rows of blocks of exact kernels, for Python.
#include "forcemap/environments.hpp"

#include <nanobind/stl/vector.h>

#include "blocks.hpp"
#include "forcemap/rows.hpp"
#include "module.hpp"

using forcemap::Environments;
using forcemap::KernelSettings;

namespace {

void make(Environments* self, Rows3 positions, Integers numbers, Cell cell, Flags pbc,
          double cutoff) {
  if (numbers.shape(0) != positions.shape(0))
    throw nb::value_error("positions and numbers differ in length");
  new (self) Environments(positions.shape(0), positions.data(), numbers.data(), cell.data(),
                          pbc.data(), cutoff);
}

void add_two_body(const Environments& e, const KernelSettings& s, const std::vector<int>& species,
                  Doubles points, MutableMatrix rows, std::size_t column) {
  const forcemap::RowBlock block = row_block(e, rows, column, points.shape(0));
  nb::gil_scoped_release release;
  forcemap::add_two_body(e, s, pair_of(species), {points.data(), points.shape(0), 1, 1}, block);
}

void add_three_body(const Environments& e, const KernelSettings& s, const std::vector<int>& species,
                    Images images, MutableMatrix rows, std::size_t column) {
  check_triplets(images);
  const forcemap::RowBlock block = row_block(e, rows, column, images.shape(0));
  nb::gil_scoped_release release;
  forcemap::add_three_body(e, s, triplet_of(species), sparse_points(images), block);
}

}  // namespace

void add_environments(nb::module_& m) {
  nb::class_<Environments>(m, "Environments", "A structure's environments within a cutoff.")
      .def("__init__", &make, nb::arg("positions"), nb::arg("numbers"), nb::arg("cell"),
           nb::arg("pbc"), nb::arg("cutoff"))
      .def_prop_ro("atoms", &Environments::atoms)
      .def_prop_ro(
          "rows", [](const Environments& e) { return forcemap::FrameRows{e.atoms()}.count(); },
          "1 energy + 3 atoms forces + 6 strain rows.")
      .def(
          "distances",
          [](const Environments& e, int a, int b, double cutoff) {
            return to_array(e.distances({a, b}, cutoff), 1);
          },
          nb::arg("a"), nb::arg("b"), nb::arg("cutoff"), "Pair distances, each pair once, Å.")
      .def(
          "triplets",
          [](const Environments& e, int c, int a, int b, double cutoff) {
            return to_array(e.triplets({c, a, b}, cutoff), 3);
          },
          nb::arg("center"), nb::arg("a"), nb::arg("b"), nb::arg("cutoff"),
          "(r_ij, r_ik, r_jk) of each unordered triplet, (n, 3), Å.")
      .def(
          "triangles",
          [](const Environments& e, int a, int b, int c, double cutoff) {
            return to_array(e.triangles({a, b, c}, cutoff), 3);
          },
          nb::arg("a"), nb::arg("b"), nb::arg("c"), nb::arg("cutoff"),
          "(r_12, r_13, r_23) of each triangle with two sides below the cutoff, (n, 3), Å.")
      .def(
          "triplet_count",
          [](const Environments& e, int c, int a, int b, double cutoff) {
            return e.triplet_count({c, a, b}, cutoff);
          },
          nb::arg("center"), nb::arg("a"), nb::arg("b"), nb::arg("cutoff"))
      .def("add_two_body", &add_two_body, nb::arg("settings"), nb::arg("species"),
           nb::arg("points"), nb::arg("rows").noconvert(), nb::arg("column"),
           "Add the rows of a 2-body block from `column` on.")
      .def("add_three_body", &add_three_body, nb::arg("settings"), nb::arg("species"),
           nb::arg("images"), nb::arg("rows").noconvert(), nb::arg("column"),
           "Add the rows of a 3-body block, of species (centre, a, b), from `column` on.");
}
