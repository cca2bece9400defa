// Sums in twice the working precision for Python.
#include "forcemap/exact_sums.hpp"
#include "module.hpp"

namespace {

using Sums = nb::ndarray<double, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

void add_exactly(Sums high, Sums low, Doubles value) {
  const std::size_t count = value.shape(0);
  if (high.shape(0) != count || low.shape(0) != count)
    throw nb::value_error("high, low and value do not fit together");
  nb::gil_scoped_release release;
  forcemap::add_exactly(high.data(), low.data(), value.data(), count);
}

void add_triangle_exactly(MutableMatrix high, MutableMatrix low, Matrix value, std::size_t first) {
  const std::size_t size = high.shape(0), count = value.shape(0);
  if (high.shape(1) != size || low.shape(0) != size || low.shape(1) != size || first > size ||
      count > size - first || value.shape(1) < first + count)
    throw nb::value_error("high, low and value do not fit together");
  nb::gil_scoped_release release;
  for (std::size_t k = 0; k < count; ++k) {
    const std::size_t row = first + k;
    forcemap::add_exactly(high.data() + row * size, low.data() + row * size,
                          value.data() + k * value.shape(1), row + 1);
  }
}

}  // namespace

void add_sums(nb::module_& m) {
  m.def("add_exactly", &add_exactly, nb::arg("high"), nb::arg("low"), nb::arg("value"),
        "high + low += value, in twice the working precision.");
  m.def("add_triangle_exactly", &add_triangle_exactly, nb::arg("high"), nb::arg("low"),
        nb::arg("value"), nb::arg("first"),
        "high[n, :n + 1] + low[n, :n + 1] += value[n - first, :n + 1] for the rows n >= first that "
        "value has, in twice the working precision; high and low are square.");
}
