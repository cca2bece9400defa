// Checksums of files for Python.
#include <nanobind/stl/string.h>

#include <string>
#include <string_view>

#include "forcemap/checksum.hpp"
#include "module.hpp"

using Bytes = nb::ndarray<const std::uint8_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

void add_files(nb::module_& m) {
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
