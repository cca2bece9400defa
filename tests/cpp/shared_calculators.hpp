// Structures of different sizes and what serial calculators say of them, for calculators that are
// shared by threads and inherited by forked children.
#pragma once

#include <cmath>
#include <memory>
#include <random>
#include <vector>

#include "forcemap/batch.hpp"
#include "forcemap/calculator.hpp"
#include "pair_potential.hpp"

/// `side`³ atoms in a cubic cell, and room for an answer.
struct Cube {
  std::size_t atoms;
  std::vector<double> positions, cell, energies, forces;
  std::vector<int> numbers;
  forcemap::ResultView result;

  Cube(std::size_t side, unsigned seed)
      : atoms(side * side * side),
        positions(3 * atoms),
        cell(9),
        energies(atoms),
        forces(3 * atoms),
        numbers(atoms, 14) {
    std::mt19937 random(seed);
    std::normal_distribution<double> normal(0.0, 0.1);
    for (std::size_t d = 0; d < 3; ++d) cell[4 * d] = 2.5 * static_cast<double>(side);
    for (std::size_t i = 0; i < atoms; ++i) {
      const std::size_t at[3] = {i / (side * side), i / side % side, i % side};
      for (std::size_t d = 0; d < 3; ++d)
        positions[3 * i + d] = 2.5 * static_cast<double>(at[d]) + normal(random);
    }
  }

  void evaluate(forcemap::Calculator& calculator) {
    static constexpr bool pbc[3] = {true, true, true};
    result.energies = energies.data();
    result.forces = forces.data();
    calculator.compute({atoms, positions.data(), numbers.data(), cell.data(), pbc}, result);
  }

  /// To rounding: the order of a neighbour list depends on what it was made for.
  bool same_as(const Cube& other) const {
    bool same = atoms == other.atoms && std::abs(result.energy - other.result.energy) < 1e-9;
    for (std::size_t n = 0; same && n < forces.size(); ++n)
      same = std::abs(forces[n] - other.forces[n]) < 1e-9;
    for (std::size_t n = 0; same && n < 9; ++n)
      same = std::abs(result.virial[n] - other.result.virial[n]) < 1e-9;
    return same;
  }
};

/// `n` cubes with the answers of a calculator of their own; neighbours in the row differ in size.
inline std::vector<Cube> answered_cubes(unsigned n) {
  std::vector<Cube> cubes;
  for (unsigned k = 0; k < n; ++k) {
    cubes.emplace_back(3 + k % 3, k);
    forcemap::Calculator own(pair_potential(), 0.5, 1);
    cubes.back().evaluate(own);
  }
  return cubes;
}

/// `n` structures of 64 atoms in one batch.
struct Batch {
  static constexpr std::size_t atoms = 64;
  std::vector<double> positions, cells, energies, forces, virials;

  Batch(std::size_t n, unsigned seed) : energies(n), forces(3 * atoms * n), virials(9 * n) {
    for (std::size_t s = 0; s < n; ++s) {
      const Cube cube(4, seed + static_cast<unsigned>(s));
      positions.insert(positions.end(), cube.positions.begin(), cube.positions.end());
      cells.insert(cells.end(), cube.cell.begin(), cube.cell.end());
    }
  }
  void evaluate(forcemap::BatchCalculator& calculator) {
    calculator.compute({energies.size(), cells.data(), 9, positions.data(), energies.data(),
                        forces.data(), virials.data()});
  }
  bool same_as(const Batch& other) const {
    bool same = energies.size() == other.energies.size();
    for (std::size_t n = 0; same && n < energies.size(); ++n)
      same = std::abs(energies[n] - other.energies[n]) < 1e-9;
    for (std::size_t n = 0; same && n < forces.size(); ++n)
      same = std::abs(forces[n] - other.forces[n]) < 1e-9;
    return same;
  }
};

inline forcemap::BatchCalculator batch_calculator(int threads) {
  forcemap::BatchCalculator::Settings settings;
  settings.numbers.assign(Batch::atoms, 14);
  settings.threads = threads;
  return forcemap::BatchCalculator(pair_potential(), settings);
}
