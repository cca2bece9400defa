// Batches of structures: nothing is allocated at a step, whatever the number of threads.
#include <atomic>
#include <cstdlib>
#include <new>
#include <random>
#include <string>
#include <vector>

#include "check.hpp"
#include "forcemap/batch.hpp"
#include "forcemap/calculator.hpp"
#include "pair_potential.hpp"

namespace {
std::atomic<long> allocations{0};
}

void* operator new(std::size_t size) {
  ++allocations;
  if (void* memory = std::malloc(size ? size : 1)) return memory;
  throw std::bad_alloc();
}
void* operator new(std::size_t size, std::align_val_t alignment) {
  ++allocations;
  const std::size_t step = static_cast<std::size_t>(alignment);
  if (void* memory = std::aligned_alloc(step, (size + step - 1) / step * step)) return memory;
  throw std::bad_alloc();
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }

namespace {

constexpr std::size_t atoms = 64, beads = 5;

// A cubic lattice with `beads` structures around it.
struct Beads {
  std::vector<double> cells, positions, energies, forces, virials;
  std::mt19937 random{7};

  Beads()
      : cells(9 * beads),
        positions(3 * atoms * beads),
        energies(beads),
        forces(3 * atoms * beads),
        virials(9 * beads) {
    for (std::size_t s = 0; s < beads; ++s) {
      for (std::size_t d = 0; d < 3; ++d) cells[9 * s + 4 * d] = 10.0;
      for (std::size_t i = 0; i < atoms; ++i)
        for (std::size_t d = 0; d < 3; ++d)
          positions[3 * (atoms * s + i) + d] = 2.5 * static_cast<double>((d == 0   ? i / 16
                                                                          : d == 1 ? i / 4 % 4
                                                                                   : i % 4));
    }
    move(0.2);
  }
  void move(double by) {
    std::normal_distribution<double> normal(0.0, by);
    for (double& x : positions) x += normal(random);
  }
  forcemap::BatchView view() {
    return {beads,         cells.data(),  9, positions.data(), energies.data(),
            forces.data(), virials.data()};
  }
};

forcemap::BatchCalculator calculator(int threads) {
  forcemap::BatchCalculator::Settings settings;
  settings.numbers.assign(atoms, 14);
  settings.threads = threads;
  return forcemap::BatchCalculator(pair_potential(), settings);
}

}  // namespace

TEST(nothing_is_allocated_at_a_step) {
  for (const int threads : {1, 2, 3}) {
    forcemap::BatchCalculator batch = calculator(threads);
    Beads structures;
    batch.compute(structures.view());
    const std::size_t rebuilds = batch.rebuilds();
    CHECK(rebuilds > 1);
    // Threads meet sites of their largest number of neighbours within some steps.
    for (int n = 0; n < 10; ++n) {
      structures.move(1e-3);
      batch.compute(structures.view());
    }
    const long before = allocations;
    for (int n = 0; n < 50; ++n) {
      structures.move(1e-3);
      batch.compute(structures.view());
    }
    CHECK(allocations == before);
    CHECK(batch.rebuilds() == rebuilds);
  }
}

TEST(a_structure_at_a_time_needs_no_memory_either) {
  forcemap::Calculator one(pair_potential(), 0.5, 2);
  Beads structures;
  const std::vector<int> numbers(atoms, 14);
  const bool pbc[3] = {true, true, true};
  std::vector<double> forces(3 * atoms);
  forcemap::ResultView result;
  result.forces = forces.data();
  const forcemap::StructureView view{atoms, structures.positions.data(), numbers.data(),
                                     structures.cells.data(), pbc};
  one.compute(view, result);
  const long before = allocations;
  for (int n = 0; n < 20; ++n) {
    structures.move(1e-3);
    one.compute(view, result);
  }
  CHECK(allocations == before);
}

TEST(threads_agree) {
  Beads structures;
  calculator(1).compute(structures.view());
  const std::vector<double> energies = structures.energies, forces = structures.forces;
  for (const int threads : {2, 4, 7}) {
    calculator(threads).compute(structures.view());
    for (std::size_t n = 0; n < beads; ++n)
      CHECK(std::abs(structures.energies[n] - energies[n]) < 1e-10);
    for (std::size_t n = 0; n < forces.size(); ++n)
      CHECK(std::abs(structures.forces[n] - forces[n]) < 1e-10);
  }
}

int main() { return check::run_all(); }
