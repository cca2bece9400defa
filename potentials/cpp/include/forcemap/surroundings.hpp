#pragma once

#include <cstddef>

namespace forcemap {

/// An atom and the candidates for its neighbours.
struct Surroundings {
  const double* positions;  // (n, 3) row-major, Å
  /// (n) the caller's kind of each atom (a LAMMPS type, say); null, which is faster: all are of
  /// species 0
  const int* kinds;
  const int* kind_to_species;  // species index of each kind; -1: the atom is ignored
  int center;                  // not in the list; its kind has a species
  const int* list;
  std::size_t length;  // of the list
  int mask = ~0;       // and-ed to each entry of the list (LAMMPS' NEIGHMASK)
};

}  // namespace forcemap
