// The Python module forcemap.potentials._core.
#include "module.hpp"

#include <exception>

#include "forcemap/fail.hpp"

NB_MODULE(_core, m) {
  // What lives when the interpreter ends is no leak worth a line on a user's terminal.
  nb::set_leak_warnings(false);
  m.doc() = "C++ core of forcemap: potentials, whole-structure evaluation, kernels.";
  // The core's own errors become the package's exception, defined in Python.
  nb::register_exception_translator([](const std::exception_ptr& p, void*) {
    try {
      std::rethrow_exception(p);
    } catch (const forcemap::Error& e) {
      const nb::object type =
          nb::module_::import_("forcemap.potentials.errors").attr("ForcemapError");
      PyErr_SetString(type.ptr(), e.what());
    }
  });
  add_potential(m);
  add_batch(m);
  add_neighbors(m);
  add_kernels(m);
  add_environments(m);
  add_rows(m);
  add_soap(m);
  add_triplets(m);
  add_zbl(m);
}
