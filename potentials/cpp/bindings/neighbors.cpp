// The neighbour list for Python.
#include "forcemap/neighbors.hpp"

#include "module.hpp"

namespace {

nb::ndarray<nb::numpy, double> neighbor_list(Rows3 positions, Cell cell, Flags pbc, double range) {
  const forcemap::NeighborList list = forcemap::find_neighbors(positions.shape(0), positions.data(),
                                                               cell.data(), pbc.data(), range);
  auto out = new_array(list.neighbors.size(), 5);
  double* p = out.data();
  for (std::size_t i = 0; i < list.atoms; ++i)
    for (std::size_t n = list.first[i]; n < list.first[i + 1]; ++n, p += 5) {
      const std::size_t e = static_cast<std::size_t>(list.neighbors[n]);
      p[0] = static_cast<double>(i);
      p[1] = list.owner[e];
      for (std::size_t d = 0; d < 3; ++d) p[2 + d] = list.shift[e][d] - list.shift[i][d];
    }
  return out;
}

}  // namespace

void add_neighbors(nb::module_& m) {
  m.def("neighbor_list", &neighbor_list, nb::arg("positions"), nb::arg("cell"), nb::arg("pbc"),
        nb::arg("range"), "All pairs as rows (i, j, S1, S2, S3): r_ij = r_j - r_i + S . cell.");
}
