// The repulsive core for Python.
#include "forcemap/zbl.hpp"

#include "module.hpp"

namespace {

nb::ndarray<nb::numpy, double> zbl(int first, int second, double inner, double outer, Doubles r) {
  const forcemap::ZblFunction f(first, second, inner, outer);
  auto out = new_array(r.shape(0), 2);
  for (std::size_t n = 0; n < r.shape(0); ++n)
    out.data()[2 * n] = f.evaluate(r.data()[n], out.data()[2 * n + 1]);
  return out;
}

}  // namespace

void add_zbl(nb::module_& m) {
  m.def("zbl", &zbl, nb::arg("first"), nb::arg("second"), nb::arg("inner"), nb::arg("outer"),
        nb::arg("r"),
        "Switched ZBL pair energy and derivative at distances r, (n, 2), eV and eV/Å.");
}
