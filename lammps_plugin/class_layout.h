// Whether the class Pair of the running LAMMPS is the one of the headers this was compiled with.
#pragma once

namespace LAMMPS_NS {

class LAMMPS;

/// What differs, for a message; null where nothing does.
///
/// The number of a version does not settle it: the updates of a stable release share the number,
/// and those of 22 Jul 2025 moved members and removed virtual functions of Pair. A plugin of one
/// update loads into another, and then reads its neighbours' memory.
const char* pair_difference(LAMMPS* lmp);

}  // namespace LAMMPS_NS
