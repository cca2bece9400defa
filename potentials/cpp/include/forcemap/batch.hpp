// Energies, forces and virials of many structures of the same atoms at once: the beads of a path.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "forcemap/fail.hpp"
#include "forcemap/potential.hpp"

namespace forcemap {

/// A structure of a batch that cannot be evaluated.
class StructureError : public Error {
 public:
  StructureError(const std::string& text, std::size_t which) : Error(text), structure(which) {}
  const std::size_t structure;
};

/// Structures as the caller holds them, in the caller's units, and where the answers go.
struct BatchView {
  std::size_t structures;
  const double* cells;       // structure s: 9 numbers at cells + s * cell_stride
  std::size_t cell_stride;   // (3, 3) lattice vectors in the columns
  const double* positions;   // (structures, atoms, 3)
  double* energies;          // (structures)
  double* forces;            // (structures, atoms, 3)
  double* virials;           // (structures, 3, 3), -dE/d(strain)
  double* grades = nullptr;  // (structures, atoms) extrapolation grades; null: not wanted
};

/// The caller's units.
struct BatchUnits {
  double length = 1.0;  // of them in one Å
  double energy = 1.0;  // of them in one eV
};

/// Evaluates batches of structures that differ in positions and cells only.
///
/// Neighbour lists have a skin and are kept in slots, about one of each bead whose atoms lie apart
/// from those of the others; whether a list holds for a structure is verified by displacements at
/// every call, so that the order of the structures does not matter. Threads share the atoms of all
/// structures evenly. Equal structures that follow each other are evaluated once. Once lists and
/// sizes are settled nothing is allocated. Calls from several threads, and forked children, are as
/// with Calculator.
class BatchCalculator {
 public:
  struct Settings {
    std::vector<int> numbers;  // atomic numbers
    bool pbc[3] = {true, true, true};
    double skin = 0.5;  // Å, >= 0
    int threads = 1;    // >= 1
    BatchUnits units;
  };

  /// Throws Error for settings outside of their ranges and for elements that the potential lacks.
  BatchCalculator(std::shared_ptr<const Potential> potential, Settings settings);
  ~BatchCalculator();
  BatchCalculator(BatchCalculator&&) noexcept;

  std::size_t atoms() const;

  /// Throws Error as Calculator::compute does, a StructureError that says which structure it is
  /// about; the answers of the others may or may not have been written. Throws Error for grades of
  /// a potential that has none.
  void compute(const BatchView& batch);

  std::size_t fault() const;        // structure of the last Error of `compute`, of any thread
  std::size_t evaluations() const;  // structures evaluated so far, repetitions left out
  std::size_t rebuilds() const;     // neighbour lists built so far
  std::size_t slots() const;        // neighbour lists kept

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace forcemap
