// Energy, forces and virial of a whole structure: neighbour list with a skin, images, threads.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "forcemap/potential.hpp"

namespace forcemap {

/// A structure as the caller holds it.
struct StructureView {
  std::size_t count;        // atoms
  const double* positions;  // (count, 3), Å
  const int* numbers;       // (count) atomic numbers
  const double* cell;       // (3, 3) rows are lattice vectors, Å; read along periodic directions
  const bool* pbc;          // (3)
};

/// What the caller wants filled; null: not wanted.
struct ResultView {
  double energy = 0.0;         // eV
  double virial[9] = {};       // -dE/d(strain), row-major, symmetric, eV
  double* energies = nullptr;  // (count) site energies, eV
  double* forces = nullptr;    // (count, 3), eV/Å
  double* grades = nullptr;    // (count) extrapolation grades
};

/// What the caller wants filled with the differences of a potential's draws.
struct DrawsView {
  double* energies;  // (draws), eV
  double* forces;    // (draws, count, 3), eV/Å
  double* virials;   // (draws, 9), eV
};

/// Features of sites (grade.hpp).
struct FeaturesView {
  const Moments* moments;  // null: those of the terms
  std::size_t stride;      // at least the features of every species
  double* features;        // (count, stride); zeros beyond those of the atom's species
};

/// Evaluates one structure after another; keeps its neighbour list while no atom has moved by more
/// than half the skin and the cell, numbers and periodicity are the same. It has threads of its
/// own; calls from several threads wait for each other, so for speed each of them wants its own. A
/// forked child may go on with what its parent has made; it builds its lists anew.
class Calculator {
 public:
  /// `skin` in Å (>= 0), `threads` >= 1.
  Calculator(std::shared_ptr<const Potential> potential, double skin, int threads);
  ~Calculator();
  Calculator(Calculator&&) noexcept;

  /// Throws Error for unknown elements, non-finite positions or cell, a singular cell along
  /// periodic directions, coinciding atoms; the message names the atom.
  void compute(const StructureView& structure, ResultView& result);

  /// The draws' differences. Throws Error as `compute`, and for a potential without draws.
  void compute_draws(const StructureView& structure, const DrawsView& draws);

  /// The sites' features. Throws Error as `compute`.
  void compute_features(const StructureView& structure, const FeaturesView& features);

  const Potential& potential() const;
  std::size_t rebuilds() const;  // neighbour lists built so far

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace forcemap
