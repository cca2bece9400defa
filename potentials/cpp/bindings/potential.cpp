// Potential and Calculator for Python.
#include "forcemap/potential.hpp"

#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <memory>

#include "forcemap/calculator.hpp"
#include "forcemap/content.hpp"
#include "forcemap/potential_file.hpp"
#include "module.hpp"

using forcemap::Calculator;
using forcemap::Potential;

namespace {

nb::tuple compute(Calculator& calculator, Rows3 positions, Integers numbers, Cell cell, Flags pbc) {
  const std::size_t n = positions.shape(0);
  if (numbers.shape(0) != n) throw nb::value_error("positions and numbers differ in length");
  auto energies = new_array(n);
  auto forces = new_array(n, 3);
  auto virial = new_array(3, 3);
  forcemap::ResultView result;
  result.energies = energies.data();
  result.forces = forces.data();
  {
    nb::gil_scoped_release release;
    calculator.compute({n, positions.data(), numbers.data(), cell.data(), pbc.data()}, result);
  }
  std::copy(result.virial, result.virial + 9, virial.data());
  return nb::make_tuple(result.energy, energies, forces, virial);
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
      .def_prop_ro("bytes", &Potential::bytes, "Memory of the tables of all terms.");

  nb::class_<Calculator>(m, "Calculator",
                         "Evaluates whole structures with a neighbour list that has a skin.")
      .def(
          "__init__",
          [](Calculator* self, std::shared_ptr<Potential> potential, double skin, int threads) {
            new (self) Calculator(std::move(potential), skin, threads);
          },
          nb::arg("potential"), nb::arg("skin"), nb::arg("threads"))
      .def("compute", &compute, nb::arg("positions"), nb::arg("numbers"), nb::arg("cell"),
           nb::arg("pbc"), "(energy, energies (n), forces (n, 3), virial (3, 3)); eV, Å.")
      .def_prop_ro("rebuilds", &Calculator::rebuilds, "Neighbour lists built so far.");

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
  m.def("term_kinds", &forcemap::term_kinds, "The kinds of term that a potential file may hold.");
  m.def("instruction_set", &Potential::instruction_set,
        "Instruction set of the evaluator: avx512, avx2 or generic.");
}
