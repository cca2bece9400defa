// The Python module forcemap.potentials._core.
#include "module.hpp"

#include <exception>

#include "forcemap/batch.hpp"
#include "forcemap/fail.hpp"

namespace {

nb::object error_type() {
  return nb::module_::import_("forcemap.potentials.errors").attr("ForcemapError");
}

}  // namespace

NB_MODULE(_core, m) {
  // What lives when the interpreter ends is no leak worth a line on a user's terminal.
  nb::set_leak_warnings(false);
  m.doc() = "C++ core of forcemap: potentials, whole-structure evaluation, kernels.";
  // The core's own errors become the package's exception, defined in Python.
  nb::register_exception_translator([](const std::exception_ptr& p, void*) {
    try {
      std::rethrow_exception(p);
    } catch (const forcemap::StructureError& e) {
      const nb::object type = error_type(), error = type(e.what());
      error.attr("structure") = e.structure;
      PyErr_SetObject(type.ptr(), error.ptr());
    } catch (const forcemap::Error& e) {
      PyErr_SetString(error_type().ptr(), e.what());
    }
  });
  add_potential(m);
  add_batch(m);
  add_files(m);
  add_leaving(m);
  add_neighbors(m);
  add_kernels(m);
  add_environments(m);
  add_rows(m);
  add_soap(m);
  add_sums(m);
  add_triplets(m);
  add_zbl(m);
}
