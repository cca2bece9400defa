// What looks wrong about a simulation that is about to run, in words for a warning.
#pragma once

#include <string>
#include <vector>

namespace LAMMPS_NS {

class Modify;

/// An atom type as pair_coeff has it.
struct TypedElement {
  int type;
  int number;   // atomic number
  double mass;  // in the simulation, g/mol; 0: not set by type
  double e0;    // energy of the isolated atom in LAMMPS' unit
};

/// Types whose mass is not that of their element, which hints at another order of the elements than
/// that of the types; empty if there is none. Known isotopes pass.
std::string doubts_about_masses(const std::vector<TypedElement>& types);

/// Fixes that insert and delete atoms, or change their element, by the energy that it takes, which
/// includes e0; empty if there is none or e0 does not matter to it.
std::string doubts_about_reservoirs(const Modify& modify, const std::vector<TypedElement>& types);

}  // namespace LAMMPS_NS
