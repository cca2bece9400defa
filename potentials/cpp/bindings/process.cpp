// Environments and kernels of the unmapped process, and the neighbour list, for Python.
#include "forcemap/process.hpp"

#include <nanobind/stl/string.h>

#include <string>

#include "forcemap/neighbors.hpp"
#include "forcemap/zbl.hpp"
#include "module.hpp"

using forcemap::Environments;
using forcemap::KernelSettings;

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

double* block(const Environments& env, MutableMatrix& rows, std::size_t column, std::size_t count) {
  if (rows.shape(0) != env.rows()) throw nb::value_error("rows must be (1 + 3 atoms + 6, columns)");
  if (column > rows.shape(1) || count > rows.shape(1) - column)
    throw nb::value_error("the block's columns do not fit into rows");
  return rows.data() + column;
}

forcemap::DensitySplines density_splines(double cutoff, const Integers& numbers,
                                         const Matrix& coefficients) {
  if (!(cutoff > 0.0)) throw nb::value_error("cutoff must be > 0");
  if (coefficients.shape(0) != numbers.shape(0) || coefficients.shape(1) < 4)
    throw nb::value_error("coefficients must be (numbers, intervals + 3)");
  return {cutoff, coefficients.shape(1) - 3,
          std::vector<int>(numbers.data(), numbers.data() + numbers.shape(0)), coefficients.data()};
}

nb::ndarray<nb::numpy, double> to_array(const std::vector<double>& values, std::size_t width) {
  auto out = width == 1 ? new_array(values.size()) : new_array(values.size() / width, width);
  std::copy(values.begin(), values.end(), out.data());
  return out;
}

// images (count, images_per_point, dimension)
using Images = nb::ndarray<const double, nb::ndim<3>, nb::c_contig, nb::device::cpu>;

void check_dimensions(const Matrix& points, const Images& images) {
  if (points.shape(1) != images.shape(2)) throw nb::value_error("points and images differ in size");
}

}  // namespace

void add_process(nb::module_& m) {
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
      .def(
          "cutoff_values",
          [](const KernelSettings& s, Doubles r) {
            auto out = new_array(r.shape(0));
            double slope;
            for (std::size_t n = 0; n < r.shape(0); ++n)
              out.data()[n] = forcemap::cutoff_function(s, r.data()[n], slope);
            return out;
          },
          nb::arg("r"), "Smooth cutoff factor at distances r (n), Å.")
      .def(
          "matrix",
          [](const KernelSettings& s, Matrix points, Images images) {
            check_dimensions(points, images);
            auto out = new_array(points.shape(0), images.shape(0));
            double* data = out.data();
            nb::gil_scoped_release release;
            forcemap::kernel_matrix(s, points.shape(1), points.data(), points.shape(0),
                                    images.data(), images.shape(0), images.shape(1), data);
            return out;
          },
          nb::arg("points"), nb::arg("images"),
          "k(point, image) summed over each sparse point's images, (n, count), without cutoff.")
      .def(
          "sum",
          [](const KernelSettings& s, Matrix points, Images images, Doubles weights) {
            check_dimensions(points, images);
            if (weights.shape(0) != images.shape(0))
              throw nb::value_error("one weight per sparse point");
            auto out = new_array(points.shape(0));
            double* data = out.data();
            nb::gil_scoped_release release;
            forcemap::kernel_sum(s, points.shape(1), points.data(), points.shape(0), images.data(),
                                 images.shape(0), images.shape(1), weights.data(), data);
            return out;
          },
          nb::arg("points"), nb::arg("images"), nb::arg("weights"),
          "matrix(points, images) @ weights without forming the matrix, (n).")
      .def(
          "grid",
          [](const KernelSettings& s, Doubles first, Doubles second, Doubles third, Images images,
             Doubles weights) {
            if (images.shape(2) != 3) throw nb::value_error("images must be (count, n, 3)");
            if (first.shape(0) != second.shape(0))
              throw nb::value_error("first and second differ in length");
            if (weights.shape(0) != images.shape(0))
              throw nb::value_error("one weight per sparse point");
            auto out = new_array(first.shape(0), third.shape(0));
            double* data = out.data();
            nb::gil_scoped_release release;
            forcemap::kernel_grid(s, first.data(), second.data(), first.shape(0), third.data(),
                                  third.shape(0), images.data(), images.shape(0), images.shape(1),
                                  weights.data(), data);
            return out;
          },
          nb::arg("first"), nb::arg("second"), nb::arg("third"), nb::arg("images"),
          nb::arg("weights"),
          "sum() at (first[i], second[i], third[k]), (pairs, n), in doubled precision; squared "
          "exponential only.");

  nb::class_<Environments>(m, "Environments", "A structure's environments within a cutoff.")
      .def(
          "__init__",
          [](Environments* self, Rows3 positions, Integers numbers, Cell cell, Flags pbc,
             double cutoff) {
            if (numbers.shape(0) != positions.shape(0))
              throw nb::value_error("positions and numbers differ in length");
            new (self) Environments(positions.shape(0), positions.data(), numbers.data(),
                                    cell.data(), pbc.data(), cutoff);
          },
          nb::arg("positions"), nb::arg("numbers"), nb::arg("cell"), nb::arg("pbc"),
          nb::arg("cutoff"))
      .def_prop_ro("atoms", &Environments::atoms)
      .def_prop_ro("rows", &Environments::rows, "1 energy + 3 atoms forces + 6 strain rows.")
      .def(
          "distances",
          [](const Environments& e, int a, int b, double cutoff) {
            return to_array(e.distances(a, b, cutoff), 1);
          },
          nb::arg("a"), nb::arg("b"), nb::arg("cutoff"), "Pair distances, each pair once, Å.")
      .def(
          "triplets",
          [](const Environments& e, int c, int a, int b, double cutoff) {
            return to_array(e.triplets(c, a, b, cutoff), 3);
          },
          nb::arg("center"), nb::arg("a"), nb::arg("b"), nb::arg("cutoff"),
          "(r_ij, r_ik, r_jk) of each unordered triplet, (n, 3), Å.")
      .def("triplet_count", &Environments::triplet_count, nb::arg("center"), nb::arg("a"),
           nb::arg("b"), nb::arg("cutoff"))
      .def(
          "add_two_body",
          [](const Environments& e, const KernelSettings& s, int a, int b, Doubles points,
             MutableMatrix rows, std::size_t column) {
            double* out = block(e, rows, column, points.shape(0));
            nb::gil_scoped_release release;
            e.add_two_body(s, a, b, points.data(), points.shape(0), out, rows.shape(1));
          },
          nb::arg("settings"), nb::arg("a"), nb::arg("b"), nb::arg("points"), nb::arg("rows"),
          nb::arg("column"), "Add the rows of a 2-body block from `column` on.")
      .def(
          "add_three_body",
          [](const Environments& e, const KernelSettings& s, int c, int a, int b, Images images,
             MutableMatrix rows, std::size_t column) {
            if (images.shape(2) != 3) throw nb::value_error("images must be (count, n, 3)");
            double* out = block(e, rows, column, images.shape(0));
            nb::gil_scoped_release release;
            e.add_three_body(s, c, a, b, images.data(), images.shape(0), images.shape(1), out,
                             rows.shape(1));
          },
          nb::arg("settings"), nb::arg("center"), nb::arg("a"), nb::arg("b"), nb::arg("images"),
          nb::arg("rows"), nb::arg("column"), "Add the rows of a 3-body block from `column` on.");

  m.def(
      "add_splines",
      [](const Environments& e, double cutoff, int a, int b, Matrix coefficients,
         MutableMatrix rows, std::size_t column) {
        if (coefficients.shape(0) < 4) throw nb::value_error("coefficients need 4 rows at least");
        double* out = block(e, rows, column, coefficients.shape(1));
        nb::gil_scoped_release release;
        e.add_splines(cutoff, coefficients.shape(0) - 3, coefficients.data(), coefficients.shape(1),
                      a, b, out, rows.shape(1));
      },
      nb::arg("environments"), nb::arg("cutoff"), nb::arg("a"), nb::arg("b"),
      nb::arg("coefficients"), nb::arg("rows"), nb::arg("column"),
      "Add the rows of a 2-body block of splines, coefficients (intervals + 3, points).");

  m.def(
      "add_product",
      [](const Environments& e, double cutoff, int c, int a, int b, Images first, Images second,
         Images base, MutableMatrix rows, std::size_t column) {
        const std::size_t images = first.shape(0), count = first.shape(2);
        if (second.shape(0) != images || base.shape(0) != images || second.shape(2) != count ||
            base.shape(2) != count || second.shape(1) != first.shape(1) || first.shape(1) < 4 ||
            base.shape(1) < 4)
          throw nb::value_error("first, second and base differ in their images or points");
        double* out = block(e, rows, column, count);
        const forcemap::ProductBlock product{
            cutoff,       count,         images,     first.shape(1) - 3, base.shape(1) - 3,
            first.data(), second.data(), base.data()};
        nb::gil_scoped_release release;
        e.add_product(product, c, a, b, out, rows.shape(1));
      },
      nb::arg("environments"), nb::arg("cutoff"), nb::arg("center"), nb::arg("a"), nb::arg("b"),
      nb::arg("first"), nb::arg("second"), nb::arg("base"), nb::arg("rows"), nb::arg("column"),
      "Add the rows of a 3-body block of product splines; first, second, base are B-spline "
      "coefficients (images, intervals + 3, points).");

  m.def(
      "densities",
      [](const Environments& e, double cutoff, int center, Integers numbers, Matrix coefficients) {
        const forcemap::DensitySplines density = density_splines(cutoff, numbers, coefficients);
        return to_array(e.densities(density, center), 1);
      },
      nb::arg("environments"), nb::arg("cutoff"), nb::arg("center"), nb::arg("numbers"),
      nb::arg("coefficients"),
      "Densities at the atoms of species `center`; splines (numbers, intervals + 3) by neighbour.");

  m.def(
      "add_embedding",
      [](const Environments& e, double cutoff, int center, Integers numbers, Matrix coefficients,
         double range, Matrix functions, MutableMatrix rows, std::size_t column) {
        if (functions.shape(0) < 4) throw nb::value_error("functions need 4 rows at least");
        if (!(range > 0.0)) throw nb::value_error("range must be > 0");
        const forcemap::DensitySplines density = density_splines(cutoff, numbers, coefficients);
        const forcemap::DensityColumns columns{range, functions.shape(0) - 3, functions.shape(1),
                                               functions.data()};
        double* out = block(e, rows, column, columns.count);
        nb::gil_scoped_release release;
        e.add_embedding(density, center, columns, out, rows.shape(1));
      },
      nb::arg("environments"), nb::arg("cutoff"), nb::arg("center"), nb::arg("numbers"),
      nb::arg("coefficients"), nb::arg("range"), nb::arg("functions"), nb::arg("rows"),
      nb::arg("column"),
      "Add the rows of functions of the density, splines (intervals + 3, points) over [0, range].");

  m.def(
      "neighbor_list",
      [](Rows3 positions, Cell cell, Flags pbc, double range) {
        const forcemap::NeighborList list = forcemap::find_neighbors(
            positions.shape(0), positions.data(), cell.data(), pbc.data(), range);
        const std::size_t pairs = list.neighbors.size();
        auto out = new_array(pairs, 5);
        double* p = out.data();
        for (std::size_t i = 0; i < list.atoms; ++i)
          for (std::size_t n = list.first[i]; n < list.first[i + 1]; ++n, p += 5) {
            const std::size_t e = static_cast<std::size_t>(list.neighbors[n]);
            p[0] = static_cast<double>(i);
            p[1] = list.owner[e];
            for (std::size_t d = 0; d < 3; ++d) p[2 + d] = list.shift[e][d] - list.shift[i][d];
          }
        return out;
      },
      nb::arg("positions"), nb::arg("cell"), nb::arg("pbc"), nb::arg("range"),
      "All pairs as rows (i, j, S1, S2, S3): r_ij = r_j - r_i + S . cell.");

  m.def(
      "zbl",
      [](int first, int second, double inner, double outer, Doubles r) {
        const forcemap::ZblFunction f(first, second, inner, outer);
        auto out = new_array(r.shape(0), 2);
        for (std::size_t n = 0; n < r.shape(0); ++n)
          out.data()[2 * n] = f.evaluate(r.data()[n], out.data()[2 * n + 1]);
        return out;
      },
      nb::arg("first"), nb::arg("second"), nb::arg("inner"), nb::arg("outer"), nb::arg("r"),
      "Switched ZBL pair energy and derivative at distances r, (n, 2), eV and eV/Å.");
}
