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

void add_triangle_exactly(MutableMatrix high, MutableMatrix low, Matrix value, std::size_t first,
                          Places places) {
  const std::size_t size = high.shape(0), count = value.shape(0), known = places.shape(0);
  const std::int64_t* const place = places.data();
  bool fits = high.shape(1) == size && low.shape(0) == size && low.shape(1) == size &&
              first <= known && count <= known - first && value.shape(1) >= first + count;
  for (std::size_t n = 0; n < known; ++n)
    fits = fits && place[n] >= 0 && static_cast<std::size_t>(place[n]) < size &&
           (n == 0 || place[n - 1] < place[n]);
  if (!fits) throw nb::value_error("high, low, value and places do not fit together");
  nb::gil_scoped_release release;
  std::vector<std::size_t> ends;  // of the runs of places without a gap
  for (std::size_t n = 1; n < known; ++n)
    if (place[n] != place[n - 1] + 1) ends.push_back(n);
  for (std::size_t k = 0; k < count; ++k) {
    const std::size_t row = static_cast<std::size_t>(place[first + k]) * size;
    const double* const from = value.data() + k * value.shape(1);
    std::size_t begin = 0;
    const auto add = [&](std::size_t end) {
      const std::size_t at = row + static_cast<std::size_t>(place[begin]);
      forcemap::add_exactly(high.data() + at, low.data() + at, from + begin, end - begin);
      begin = end;
    };
    for (const std::size_t end : ends)
      if (end <= first + k) add(end);
    add(first + k + 1);
  }
}

}  // namespace

void add_sums(nb::module_& m) {
  m.def("add_exactly", &add_exactly, nb::arg("high"), nb::arg("low"), nb::arg("value"),
        "high + low += value, in twice the working precision.");
  m.def("add_triangle_exactly", &add_triangle_exactly, nb::arg("high"), nb::arg("low"),
        nb::arg("value"), nb::arg("first"), nb::arg("places"),
        "Add value (rows, columns) to the square sums high + low, in twice the working precision: "
        "value[n, k] at [places[first + n], places[k]], k <= first + n; places (int64) increase.");
}
