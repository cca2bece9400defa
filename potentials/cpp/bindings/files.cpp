// Checksums of files and lines of atoms for Python.
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>

#include <algorithm>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "forcemap/atom_lines.hpp"
#include "forcemap/checksum.hpp"
#include "module.hpp"

using Bytes = nb::ndarray<const std::uint8_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

namespace {

using Numbers = nb::ndarray<nb::numpy, std::int64_t>;
using Reals = nb::ndarray<nb::numpy, double>;

std::optional<std::pair<Numbers, Reals>> parse_atom_lines(nb::str text, std::size_t rows,
                                                          const std::string& columns) {
  Py_ssize_t size = 0;
  const char* bytes = PyUnicode_AsUTF8AndSize(text.ptr(), &size);
  if (bytes == nullptr) {
    PyErr_Clear();  // half of a surrogate pair: no text that could be read
    return std::nullopt;
  }
  const auto found =
      forcemap::parse_atom_lines({bytes, static_cast<std::size_t>(size)}, rows, columns);
  if (!found) return std::nullopt;
  const auto width = static_cast<std::size_t>(std::count(columns.begin(), columns.end(), 'R'));
  Reals reals = new_array(rows, width);
  std::copy(found->reals.begin(), found->reals.end(), reals.data());
  const std::size_t count = found->numbers.size();
  auto* numbers = new std::int64_t[count + 1];
  std::copy(found->numbers.begin(), found->numbers.end(), numbers);
  nb::capsule owner(numbers, [](void* p) noexcept { delete[] static_cast<std::int64_t*>(p); });
  return std::pair(Numbers(numbers, 1, &count, owner), reals);
}

}  // namespace

void add_files(nb::module_& m) {
  m.def("parse_atom_lines", &parse_atom_lines, nb::arg("text"), nb::arg("rows"), nb::arg("columns"),
        "Atomic numbers (rows,) and real numbers (rows, reals) of the lines of an extended XYZ "
        "frame. "
        "Each character of `columns` is a column: E an element's symbol, R a real number, - "
        "anything. "
        "None where the lines are not regular.");
  m.def(
      "crc64",
      [](Bytes bytes, std::uint64_t before) {
        const std::string_view view(reinterpret_cast<const char*>(bytes.data()), bytes.shape(0));
        nb::gil_scoped_release release;
        return forcemap::crc64(view, before);
      },
      nb::arg("bytes"), nb::arg("before") = 0,
      "CRC-64/XZ of an array of bytes, going on from that of what precedes them.");
  m.def(
      "check_checksum",
      [](nb::bytes container, const std::string& name) {
        const std::string_view view(container.c_str(), container.size());
        nb::gil_scoped_release release;
        return forcemap::check_checksum(view, name);
      },
      nb::arg("container"), nb::arg("name"),
      "Whether a container holds a checksum; ForcemapError if that is not its own.");
}
