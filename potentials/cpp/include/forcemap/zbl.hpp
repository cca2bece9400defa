// Ziegler-Biersack-Littmark repulsion, switched off smoothly: the form of LAMMPS' pair_style zbl.
#pragma once

namespace forcemap {

/// Pair energy V(r) of two nuclei: ZBL(r) + C below `inner`, a cubic and quartic added between
/// `inner` and `outer` so that V, V' and V'' vanish at `outer`; below 0.01 Å the second-order
/// Taylor polynomial about 0.01 Å, which keeps energy and force finite and repulsive down to
/// contact. Ziegler, Biersack, Littmark, "The Stopping and Range of Ions in Matter" (1985);
/// constants as in LAMMPS, whose pair_style zbl gives the same numbers in metal units.
struct ZblFunction {
  double inner = 0.0;
  double outer = 0.0;  // 0: no core for this pair
  double prefactor = 0.0;
  double screening[4] = {};  // 1/Å
  double shift = 0.0;        // C
  double cubic = 0.0;        // A/3
  double quartic = 0.0;      // B/4
  double contact[3] = {};    // V, V', V'' at the contact distance

  ZblFunction() = default;
  /// Atomic numbers and 0 <= inner < outer in Å.
  ZblFunction(int first_number, int second_number, double inner, double outer);

  /// V(r) in eV and dV/dr in eV/Å for r >= 0.
  double evaluate(double r, double& derivative) const;
  /// The same from exp(-screening r).
  double evaluate(double r, const double screened[4], double& derivative) const;
};

}  // namespace forcemap
