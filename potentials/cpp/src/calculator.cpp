#include "forcemap/calculator.hpp"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <functional>
#include <utility>

#include "exclusive.hpp"
#include "forcemap/fail.hpp"
#include "thread_pool.hpp"
#include "verlet.hpp"

namespace forcemap {

namespace {

// What an evaluation changes.
struct CalculatorState {
  std::shared_ptr<const Potential> potential;
  double skin;
  std::atomic<std::size_t>& rebuilds;
  ThreadPool pool;
  std::vector<SiteScratch> sites;  // one of each thread
  std::vector<SiteSums> sums;
  VerletList list;
  std::vector<double> placed;  // all entries, (entries, 3)
  std::vector<int> identity;   // kinds are species already

  CalculatorState(std::shared_ptr<const Potential> p, double s, int threads,
                  std::atomic<std::size_t>& counter)
      : potential(std::move(p)), skin(s), rebuilds(counter), pool(threads) {
    sums.resize(static_cast<std::size_t>(threads));
    for (int n = 0; n < threads; ++n) sites.emplace_back(*potential);
    for (std::size_t n = 0; n < potential->numbers().size(); ++n)
      identity.push_back(static_cast<int>(n));
  }

  void compute(const StructureView& s, ResultView& result) {
    const double range = potential->cutoff() + skin;
    if (!list.holds(s, potential->cutoff(), range)) {
      list.adopt(s);
      list.build(*potential, range);
      ++rebuilds;
    }
    list.neighbors().place(s.positions, s.cell, placed);
    const std::size_t parts = sums.size();
    auto task = [&](int thread) {
      const std::size_t t = static_cast<std::size_t>(thread);
      sums[t].clear(s.count);
      const SiteRange range{list, placed.data(), identity.data(), s.count * t / parts,
                            s.count * (t + 1) / parts};
      sum_sites(*potential, range, sites[t], sums[t], result.energies);
    };
    pool.run(std::ref(task));
    for (std::size_t t = 1; t < parts; ++t) sums[0].add(sums[t]);
    if (!finite(sums[0])) explain_fault(s, list.neighbors(), placed.data());
    result.energy = sums[0].energy;
    virial_of(sums[0], result.virial);
    if (result.forces)
      std::memcpy(result.forces, sums[0].forces.data(), 3 * s.count * sizeof(double));
  }
};

}  // namespace

struct Calculator::Impl {
  std::atomic<std::size_t> rebuilds{0};
  Exclusive<CalculatorState> state;

  Impl(const std::shared_ptr<const Potential>& potential, double skin, int threads)
      : state([this, potential, skin, threads] {
          if (!(skin >= 0.0) || !std::isfinite(skin)) fail("skin must be >= 0 Å, found ", skin);
          if (threads < 1) fail("threads must be at least 1, found ", threads);
          return std::make_unique<CalculatorState>(potential, skin, threads, rebuilds);
        }) {}
};

Calculator::Calculator(std::shared_ptr<const Potential> potential, double skin, int threads)
    : impl_(new Impl(potential, skin, threads)) {}
Calculator::~Calculator() = default;
Calculator::Calculator(Calculator&&) noexcept = default;

void Calculator::compute(const StructureView& structure, ResultView& result) {
  impl_->state.use([&](CalculatorState& state) { state.compute(structure, result); });
}

std::size_t Calculator::rebuilds() const { return impl_->rebuilds; }

}  // namespace forcemap
