// BatchCalculator for Python.
#include "forcemap/batch.hpp"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/shared_ptr.h>

#include <memory>
#include <optional>

#include "module.hpp"

using forcemap::BatchCalculator;
using forcemap::Potential;

namespace {

using Cells = nb::ndarray<const double, nb::shape<-1, 3, 3>, nb::device::cpu>;
using Structures = nb::ndarray<const double, nb::shape<-1, -1, 3>, nb::c_contig, nb::device::cpu>;
using Energies = nb::ndarray<double, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Forces = nb::ndarray<double, nb::shape<-1, -1, 3>, nb::c_contig, nb::device::cpu>;
using Virials = nb::ndarray<double, nb::shape<-1, 3, 3>, nb::c_contig, nb::device::cpu>;
using Grades = nb::ndarray<double, nb::ndim<2>, nb::c_contig, nb::device::cpu>;

void compute(BatchCalculator& calculator, Cells cells, Structures positions, Energies energies,
             Forces forces, Virials virials, std::optional<Grades> grades) {
  const std::size_t n = positions.shape(0), atoms = calculator.atoms();
  if (cells.shape(0) != n || energies.shape(0) != n || forces.shape(0) != n ||
      virials.shape(0) != n)
    throw nb::value_error("the arrays differ in their number of structures");
  if (positions.shape(1) != atoms || forces.shape(1) != atoms)
    throw nb::value_error("positions or forces have another number of atoms than the calculator");
  if (grades && (grades->shape(0) != n || grades->shape(1) != atoms))
    throw nb::value_error("the grades have another shape than (structures, atoms)");
  // An axis of length one may have any stride.
  if (cells.stride(2) != 1 || cells.stride(1) != 3 || (n > 1 && cells.stride(0) < 9))
    throw nb::value_error("the nine numbers of a cell must follow each other");
  const forcemap::BatchView batch{n,
                                  cells.data(),
                                  static_cast<std::size_t>(cells.stride(0)),
                                  positions.data(),
                                  energies.data(),
                                  forces.data(),
                                  virials.data(),
                                  grades ? grades->data() : nullptr};
  nb::gil_scoped_release release;
  calculator.compute(batch);
}

}  // namespace

void add_batch(nb::module_& m) {
  nb::class_<BatchCalculator>(m, "BatchCalculator",
                              "Evaluates many structures of the same atoms at once.")
      .def(
          "__init__",
          [](BatchCalculator* self, std::shared_ptr<Potential> potential, Integers numbers,
             Flags pbc, double skin, int threads, double length, double energy) {
            BatchCalculator::Settings settings;
            settings.numbers.assign(numbers.data(), numbers.data() + numbers.shape(0));
            std::copy(pbc.data(), pbc.data() + 3, settings.pbc);
            settings.skin = skin;
            settings.threads = threads;
            settings.units = {length, energy};
            new (self) BatchCalculator(std::move(potential), std::move(settings));
          },
          nb::arg("potential"), nb::arg("numbers"), nb::arg("pbc"), nb::arg("skin"),
          nb::arg("threads"), nb::arg("length"), nb::arg("energy"))
      .def("compute", &compute, nb::arg("cells"), nb::arg("positions"),
           nb::arg("energies").noconvert(), nb::arg("forces").noconvert(),
           nb::arg("virials").noconvert(), nb::arg("grades").noconvert().none(),
           "Fill energies (s), forces (s, n, 3), virials (s, 3, 3), and unless it is None grades "
           "(s, n), from cells (s, 3, 3), vectors in columns, and positions (s, n, 3); the units "
           "are "
           "those of the calculator.")
      .def_prop_ro("fault", &BatchCalculator::fault, "Structure of the last error of compute.")
      .def_prop_ro("evaluations", &BatchCalculator::evaluations, "Structures evaluated so far.")
      .def_prop_ro("rebuilds", &BatchCalculator::rebuilds, "Neighbour lists built so far.")
      .def_prop_ro("slots", &BatchCalculator::slots, "Neighbour lists kept.");
}
