// One calculator in several threads: every caller gets the answer to its own structure. Also built
// with the thread sanitizer (FORCEMAP_TSAN).
#include <atomic>
#include <cstdlib>
#include <limits>
#include <string>
#include <thread>
#include <vector>

#include "check.hpp"
#include "forcemap/potential.hpp"
#include "shared_calculators.hpp"

namespace {

constexpr unsigned callers = 4;

// call(caller) in as many threads at once.
template <typename Call>
void at_once(const Call& call) {
  std::vector<std::thread> threads;
  for (unsigned n = 0; n < callers; ++n) threads.emplace_back([&call, n] { call(n); });
  for (std::thread& thread : threads) thread.join();
}

}  // namespace

TEST(the_loops_that_are_taken_are_those_built_with_sanitizers) {
  if (!std::getenv("FORCEMAP_SIMD"))
    CHECK(std::string(forcemap::Potential::instruction_set()) == FORCEMAP_TESTED_LOOPS);
}

TEST(threads_that_share_a_calculator_get_the_answers_to_their_structures) {
  const std::vector<Cube> expected = answered_cubes(6);
  for (const int threads : {1, 3}) {
    forcemap::Calculator shared(pair_potential(), 0.5, threads);
    std::atomic<int> wrong{0};
    at_once([&](unsigned caller) {
      for (unsigned k = 0; k < 12; ++k) {
        const Cube& reference = expected[(k + caller) % expected.size()];
        Cube cube = reference;
        cube.result.energy = 0.0;
        cube.forces.assign(cube.forces.size(), 0.0);
        cube.evaluate(shared);
        if (!cube.same_as(reference)) ++wrong;
        if (shared.rebuilds() == 0) ++wrong;
      }
    });
    CHECK(wrong == 0);
  }
}

TEST(threads_that_share_a_batch_calculator_get_the_answers_to_their_batches) {
  std::vector<Batch> expected;
  for (unsigned n = 0; n < callers; ++n) {
    expected.emplace_back(1 + n, 10 * n);
    forcemap::BatchCalculator own = batch_calculator(1);
    expected.back().evaluate(own);
  }
  for (const int threads : {1, 3}) {
    forcemap::BatchCalculator shared = batch_calculator(threads);
    std::atomic<int> wrong{0};
    at_once([&](unsigned caller) {
      for (unsigned k = 0; k < 6; ++k) {
        Batch batch(1 + caller, 10 * caller);
        batch.evaluate(shared);
        if (!batch.same_as(expected[caller])) ++wrong;
        if (shared.slots() == 0) ++wrong;
      }
    });
    CHECK(wrong == 0);
    std::size_t structures = 0;
    for (const Batch& batch : expected) structures += 6 * batch.energies.size();
    CHECK(shared.evaluations() == structures);
  }
}

TEST(an_error_is_that_of_the_caller_whose_structure_is_at_fault) {
  forcemap::BatchCalculator shared = batch_calculator(2);
  std::atomic<int> wrong{0};
  at_once([&](unsigned caller) {
    for (unsigned k = 0; k < 10; ++k) {
      Batch batch(callers, caller);
      batch.positions[3 * Batch::atoms * caller + 5] = std::numeric_limits<double>::infinity();
      try {
        batch.evaluate(shared);
        ++wrong;
      } catch (const forcemap::StructureError& error) {
        if (error.structure != caller) ++wrong;
      }
    }
  });
  CHECK(wrong == 0);
}

int main() { return check::run_all(); }
