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
  std::vector<DrawnSums> drawn;  // by thread
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

  // Make the list hold `s`, and place its entries.
  void follow(const StructureView& s) {
    const double range = potential->cutoff() + skin;
    if (!list.holds(s, potential->cutoff(), range)) {
      list.adopt(s);
      list.build(*potential, range);
      ++rebuilds;
    }
    list.neighbors().place(s.positions, s.cell, placed);
  }

  // Calls task(thread, its range of the sites).
  template <typename Task>
  void share(const StructureView& s, const Task& task) {
    const std::size_t parts = sums.size();
    auto part = [&](int thread) {
      const std::size_t t = static_cast<std::size_t>(thread);
      task(t, SiteRange{list, placed.data(), identity.data(), s.count * t / parts,
                        s.count * (t + 1) / parts});
    };
    pool.run(std::ref(part));
  }

  void compute(const StructureView& s, ResultView& result) {
    if (result.grades && !potential->has_grade()) fail("this potential has no extrapolation grade");
    follow(s);
    share(s, [&](std::size_t t, const SiteRange& range) {
      sums[t].clear(s.count);
      sum_sites(*potential, range, sites[t], sums[t], {result.energies, result.grades});
    });
    for (std::size_t t = 1; t < sums.size(); ++t) sums[0].add(sums[t]);
    if (!finite(sums[0])) explain_fault(s, list.neighbors(), placed.data());
    result.energy = sums[0].energy;
    virial_of(sums[0], result.virial);
    if (result.forces)
      std::memcpy(result.forces, sums[0].forces.data(), 3 * s.count * sizeof(double));
  }

  void compute_draws(const StructureView& s, const DrawsView& out) {
    const std::size_t draws = potential->draws();
    if (draws == 0) fail("this potential has no draws");
    follow(s);
    drawn.resize(sums.size());
    share(s, [&](std::size_t t, const SiteRange& range) {
      drawn[t].clear(s.count, potential->draws_width());
      sum_draws(*potential, range, sites[t], drawn[t]);
    });
    for (std::size_t t = 1; t < drawn.size(); ++t) drawn[0].add(drawn[t]);
    for (std::size_t k = 0; k < draws; ++k) {
      const SiteSums sum = drawn[0].of_draw(k);
      if (!finite(sum)) explain_fault(s, list.neighbors(), placed.data());
      out.energies[k] = sum.energy;
      std::copy(sum.forces.begin(), sum.forces.end(), out.forces + 3 * s.count * k);
      virial_of(sum, out.virials + 9 * k);
    }
    drawn.clear();  // (threads, draws, atoms): too much to keep
  }

  void compute_features(const StructureView& s, const FeaturesView& out) {
    for (std::size_t n = 0; n < potential->numbers().size(); ++n)
      if (potential->feature_count(n, out.moments) > out.stride)
        fail("expected room for ", potential->feature_count(n, out.moments), " features, found ",
             out.stride);
    follow(s);
    share(s, [&](std::size_t t, const SiteRange& range) {
      each_gathered(*potential, range, sites[t], [&](std::size_t begin, std::size_t count) {
        potential->features(sites[t].sites.data(), count, out.moments,
                            out.features + begin * out.stride, out.stride);
      });
    });
    if (!all_finite(out.features, s.count * out.stride))
      explain_fault(s, list.neighbors(), placed.data());
  }
};

}  // namespace

struct Calculator::Impl {
  std::shared_ptr<const Potential> potential;
  std::atomic<std::size_t> rebuilds{0};
  Exclusive<CalculatorState> state;

  Impl(const std::shared_ptr<const Potential>& potential, double skin, int threads)
      : potential(potential), state([this, potential, skin, threads] {
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

void Calculator::compute_draws(const StructureView& structure, const DrawsView& draws) {
  impl_->state.use([&](CalculatorState& state) { state.compute_draws(structure, draws); });
}

void Calculator::compute_features(const StructureView& structure, const FeaturesView& features) {
  impl_->state.use([&](CalculatorState& state) { state.compute_features(structure, features); });
}

const Potential& Calculator::potential() const { return *impl_->potential; }

std::size_t Calculator::rebuilds() const { return impl_->rebuilds; }

}  // namespace forcemap
