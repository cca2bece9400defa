// Potential and Calculator for Python.
#include "forcemap/potential.hpp"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <tuple>

#include "forcemap/calculator.hpp"
#include "forcemap/content.hpp"
#include "forcemap/fail.hpp"
#include "forcemap/lacking.hpp"
#include "forcemap/potential_file.hpp"
#include "module.hpp"

using forcemap::Calculator;
using forcemap::Potential;

namespace {

// A structure as Python gives it.
struct Structure {
  Rows3 positions;
  Integers numbers;
  Cell cell;
  Flags pbc;

  std::size_t count() const { return positions.shape(0); }
  forcemap::StructureView view() const {
    if (numbers.shape(0) != count())
      throw nb::value_error("positions and numbers differ in length");
    return {count(), positions.data(), numbers.data(), cell.data(), pbc.data()};
  }
};

nb::tuple compute(Calculator& calculator, Rows3 positions, Integers numbers, Cell cell, Flags pbc,
                  bool grades) {
  const Structure structure{positions, numbers, cell, pbc};
  const forcemap::StructureView view = structure.view();
  auto energies = new_array(view.count);
  auto forces = new_array(view.count, 3);
  auto virial = new_array(3, 3);
  auto graded = new_array(grades ? view.count : 0);
  forcemap::ResultView result;
  result.energies = energies.data();
  result.forces = forces.data();
  if (grades) result.grades = graded.data();
  {
    nb::gil_scoped_release release;
    calculator.compute(view, result);
  }
  std::copy(result.virial, result.virial + 9, virial.data());
  return nb::make_tuple(result.energy, energies, forces, virial,
                        grades ? nb::cast(graded) : nb::none());
}

nb::tuple compute_draws(Calculator& calculator, Rows3 positions, Integers numbers, Cell cell,
                        Flags pbc) {
  const Structure structure{positions, numbers, cell, pbc};
  const forcemap::StructureView view = structure.view();
  const std::size_t draws = calculator.potential().draws();
  auto energies = new_array(draws);
  auto forces = new_array(draws, view.count, 3);
  auto virials = new_array(draws, 3, 3);
  {
    nb::gil_scoped_release release;
    calculator.compute_draws(view, {energies.data(), forces.data(), virials.data()});
  }
  return nb::make_tuple(energies, forces, virials);
}

// (cutoff, radial, angular cutoff, angular radial), or nothing; zeros where there are no angles
using MomentsTuple = std::optional<std::tuple<double, std::size_t, double, std::size_t>>;

void check_moments(const char* what, double cutoff, std::size_t radial) {
  if (!(cutoff > 0.0) || radial < 1 || radial > forcemap::max_moment_radial)
    forcemap::fail(what, ": found cutoff ", cutoff, ", radial ", radial,
                   ", expected cutoff > 0, radial from 1 to ", forcemap::max_moment_radial);
}

std::optional<forcemap::Moments> moments_of(const MomentsTuple& given) {
  if (!given) return std::nullopt;
  const auto [cutoff, radial, angular_cutoff, angular_radial] = *given;
  check_moments("moments", cutoff, radial);
  if (angular_cutoff != 0.0 || angular_radial != 0)
    check_moments("moments of angles", angular_cutoff, angular_radial);
  return forcemap::Moments{cutoff, radial, angular_cutoff, angular_radial};
}

std::vector<std::size_t> feature_counts(const Potential& potential, const MomentsTuple& given) {
  const auto moments = moments_of(given);
  std::vector<std::size_t> counts;
  for (std::size_t n = 0; n < potential.numbers().size(); ++n)
    counts.push_back(potential.feature_count(n, moments ? &*moments : nullptr));
  return counts;
}

nb::object features(Calculator& calculator, Rows3 positions, Integers numbers, Cell cell, Flags pbc,
                    const MomentsTuple& given) {
  const Structure structure{positions, numbers, cell, pbc};
  const forcemap::StructureView view = structure.view();
  const auto moments = moments_of(given);
  const std::vector<std::size_t> counts = feature_counts(calculator.potential(), given);
  const std::size_t stride = *std::max_element(counts.begin(), counts.end());
  auto found = new_array(view.count, stride);
  {
    nb::gil_scoped_release release;
    calculator.compute_features(view, {moments ? &*moments : nullptr, stride, found.data()});
  }
  return nb::cast(found);
}

void add_calculator(nb::module_& m) {
  nb::class_<Calculator>(m, "Calculator",
                         "Evaluates whole structures with a neighbour list that has a skin.")
      .def(
          "__init__",
          [](Calculator* self, std::shared_ptr<Potential> potential, double skin, int threads) {
            new (self) Calculator(std::move(potential), skin, threads);
          },
          nb::arg("potential"), nb::arg("skin"), nb::arg("threads"))
      .def("compute", &compute, nb::arg("positions"), nb::arg("numbers"), nb::arg("cell"),
           nb::arg("pbc"), nb::arg("grades"),
           "(energy, energies (n), forces (n, 3), virial (3, 3), grades (n) or None); eV, Å.")
      .def("compute_draws", &compute_draws, nb::arg("positions"), nb::arg("numbers"),
           nb::arg("cell"), nb::arg("pbc"),
           "(energies (draws), forces (draws, n, 3), virials (draws, 3, 3)), differences; eV, Å.")
      .def("features", &features, nb::arg("positions"), nb::arg("numbers"), nb::arg("cell"),
           nb::arg("pbc"), nb::arg("moments").none(), "Features of the sites, (n, most features).")
      .def_prop_ro("rebuilds", &Calculator::rebuilds, "Neighbour lists built so far.");
}

}  // namespace

void add_potential(nb::module_& m) {
  m.def(
      "describe_content",
      [](nb::bytes head) { return forcemap::describe_content({head.c_str(), head.size()}); },
      nb::arg("head"), "What a file is by its first bytes, in words for a message.");
  m.def(
      "is_of_another_kind",
      [](nb::bytes head) { return forcemap::is_of_another_kind({head.c_str(), head.size()}); },
      nb::arg("head"), "Whether a file begins as something known that is no safetensors file.");
  nb::class_<Potential>(m, "Potential", "A mapped potential, read from a file.")
      .def_static(
          "parse",
          [](nb::bytes content, const std::string& name) {
            const char* bytes = content.c_str();
            const std::size_t size = content.size();
            nb::gil_scoped_release release;
            return std::make_shared<Potential>(forcemap::parse_potential(bytes, size, name));
          },
          nb::arg("content"), nb::arg("name"),
          "Potential from the bytes of a file; ForcemapError if they cannot be used.")
      .def_prop_ro("cutoff", &Potential::cutoff, "Largest cutoff, Å.")
      .def_prop_ro("numbers", &Potential::numbers, "Atomic numbers, increasing.")
      .def_prop_ro("e0", &Potential::e0, "Isolated-atom energies in the order of numbers, eV.")
      .def_prop_ro("metadata", &Potential::metadata, "The file's JSON document.")
      .def_prop_ro("bytes", &Potential::bytes, "Memory of the tables of all terms.")
      .def_prop_ro("bytes_of_draws", &Potential::bytes_of_draws, "The same of the draws.")
      .def_prop_ro("draws", &Potential::draws, "Number of draws; 0 without.")
      .def_prop_ro("has_grade", &Potential::has_grade, "Whether atoms can be graded.")
      .def("feature_counts", &feature_counts, nb::arg("moments").none(),
           "How many features sites have, by species.");

  add_calculator(m);

  m.def(
      "check_potential",
      [](nb::bytes content, const std::string& name) {
        forcemap::parse_potential(content.c_str(), content.size(), name);
      },
      nb::arg("content"), nb::arg("name"),
      "Raise ForcemapError, with `name`, unless these are the bytes of a potential file.");

  m.def(
      "read_bytes",
      [](const std::string& path) {
        const std::string bytes = forcemap::read_bytes(path);
        return nb::bytes(bytes.data(), bytes.size());
      },
      nb::arg("path"), "The bytes of a potential file; ForcemapError if it cannot be read.");
  m.def("without_draws", &forcemap::without_draws, nb::arg("name"),
        "What to say of a potential that has no draws, and what to do.");
  m.def("without_grade", &forcemap::without_grade, nb::arg("name"),
        "What to say of a potential that has no extrapolation grade, and what to do.");
  m.def("term_kinds", &forcemap::term_kinds, "The kinds of term that a potential file may hold.");
  m.def("instruction_set", &Potential::instruction_set,
        "Instruction set of the evaluator: avx512, avx2 or generic.");
}
