// What the raw deviations of a potential's draws become.
#pragma once

namespace forcemap {

/// Of one kind of label, with a raw variance v: (standard deviation)^2 = floor^2 + factor^2 v, and
/// noise^2 more for the difference to a label. In eV/Å for forces, eV/Å^3 for stresses, and for
/// energies in eV per square root of the number of atoms: their floor^2 and noise^2 count for each.
struct Calibration {
  double factor = 1.0;
  double floor = 0.0;
  double noise = 0.0;
};

struct Uncertainty {
  Calibration energy, force, stress;
};

}  // namespace forcemap
