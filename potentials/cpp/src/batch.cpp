#include "forcemap/batch.hpp"

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

constexpr std::size_t max_slots = 128;
constexpr std::size_t max_slot_atoms = 2'000'000;  // over all slots: bounds the memory of the lists
constexpr std::size_t fresh = 64;  // a list unused for that many structures is taken for another
constexpr std::size_t few = 1000;  // atoms and neighbours per thread: waking it up takes longer
constexpr std::size_t none = static_cast<std::size_t>(-1);

struct Slot {
  VerletList list;
  std::size_t used = 0;     // evaluation that used it last
  std::size_t next = none;  // slot of the structure that came after it
  std::size_t maker = 0;    // structure that it is being built for
  bool pending = false;     // adopted, not yet built
};

// A thread shares at most two structures with others: that with which its part begins, and that
// with which it ends.
struct Worker {
  explicit Worker(const Potential& potential) : scratch(potential) {}
  SiteScratch scratch;
  std::vector<double> placed;
  SiteSums whole, head, tail;
  std::size_t head_of = none, tail_of = none;
};

// Of all threads and, as far as they had come at the fork, of the parents of a child.
struct Counters {
  std::atomic<std::size_t> fault{0}, evaluations{0}, rebuilds{0}, slots{0};
};

// What an evaluation changes.
struct BatchState {
  std::shared_ptr<const Potential> potential;
  const BatchCalculator::Settings& settings;
  Counters& counters;
  double cutoff, range;
  std::size_t atoms, slot_limit;
  ThreadPool pool;
  std::vector<Worker> workers;
  std::vector<int> identity;
  std::vector<std::unique_ptr<Slot>> slots;
  std::size_t last = none;  // slot of the structure before
  std::size_t clock = 0;    // structures that came so far
  std::size_t first_of_window = 0;
  std::vector<std::size_t> different;  // structures of the batch that are not the one before
  // Of one window of these, by structure:
  std::vector<std::size_t> source;  // which one of the batch
  std::vector<double> positions;    // (different, atoms, 3), Å
  std::vector<double> cells;        // (different, 3, 3), rows, Å
  std::vector<std::size_t> slot_of;
  std::vector<std::size_t> pending;
  std::size_t fault = 0;  // structure that is being looked at, for messages

  BatchState(std::shared_ptr<const Potential> p, const BatchCalculator::Settings& s, Counters& c)
      : potential(std::move(p)), settings(s), counters(c), pool(settings.threads) {
    atoms = settings.numbers.size();
    cutoff = potential->cutoff();
    range = cutoff + settings.skin;
    counters.slots = 0;
    slot_limit =
        std::clamp<std::size_t>(max_slot_atoms / std::max<std::size_t>(atoms, 1), 1, max_slots);
    for (int n = 0; n < settings.threads; ++n) workers.emplace_back(*potential);
    for (std::size_t n = 0; n < potential->numbers().size(); ++n)
      identity.push_back(static_cast<int>(n));
  }

  StructureView view(std::size_t u) const {
    return {atoms, &positions[3 * atoms * u], settings.numbers.data(), &cells[9 * u], settings.pbc};
  }

  // Is this the structure before it once more?
  bool repeated(const BatchView& b, std::size_t s) const {
    const double* cell = b.cells + s * b.cell_stride;
    const double* q = b.positions + 3 * atoms * s;
    return std::memcmp(cell, cell - b.cell_stride, 9 * sizeof(double)) == 0 &&
           std::memcmp(q, q - 3 * atoms, 3 * atoms * sizeof(double)) == 0;
  }

  void take(const BatchView& b, std::size_t first, std::size_t end) {
    const std::size_t* all = different.data();
    source.assign(all + first, all + end);
    positions.resize(3 * atoms * source.size());
    cells.resize(9 * source.size());
    const double length = settings.units.length;
    for (std::size_t u = 0; u < source.size(); ++u) {
      fault = source[u];
      const double* h = b.cells + source[u] * b.cell_stride;
      for (std::size_t i = 0; i < 3; ++i)
        for (std::size_t j = 0; j < 3; ++j) cells[9 * u + 3 * i + j] = h[3 * j + i] / length;
      const double* from = b.positions + 3 * atoms * source[u];
      double* to = positions.data() + 3 * atoms * u;
      for (std::size_t n = 0; n < 3 * atoms; ++n) to[n] = from[n] / length;
      if (!all_finite(to, 3 * atoms))
        for (std::size_t n = 0;; ++n)
          if (!std::isfinite(to[n])) fail("position of atom ", n / 3, " is not finite");
      // Names a cell that is not finite or singular before any list is made.
      completed_cell(&cells[9 * u], settings.pbc);
    }
  }

  bool holds(std::size_t slot, const StructureView& s) const {
    return slots[slot]->list.holds(s, cutoff, range);
  }

  // A slot whose list holds for the structure, or will once it is built.
  std::size_t slot_for(const StructureView& s, std::size_t maker) {
    // Beads mostly come in the order of the last time.
    const std::size_t likely = last == none ? none : slots[last]->next;
    if (likely != none && holds(likely, s)) return likely;
    for (std::size_t n = 0; n < slots.size(); ++n)
      if (n != likely && holds(n, s)) return n;
    std::size_t oldest = none;
    for (std::size_t n = 0; n < slots.size(); ++n)
      if (slots[n]->used < first_of_window &&
          (oldest == none || slots[n]->used < slots[oldest]->used))
        oldest = n;
    std::size_t chosen = oldest;
    // A new one where none may be taken: no more than `slot_limit` structures come at once.
    if (oldest == none || (slots.size() < slot_limit && clock - slots[oldest]->used <= fresh)) {
      chosen = slots.size();
      slots.push_back(std::make_unique<Slot>());
      counters.slots = slots.size();
    }
    Slot& slot = *slots[chosen];
    slot.list.adopt(s);
    slot.maker = maker;
    slot.pending = true;
    pending.push_back(chosen);
    return chosen;
  }

  void choose_lists() {
    slot_of.clear();
    pending.clear();
    first_of_window = clock + 1;
    for (std::size_t u = 0; u < source.size(); ++u) {
      ++clock;
      fault = source[u];
      const std::size_t chosen = slot_for(view(u), source[u]);
      slots[chosen]->used = clock;
      if (last != none) slots[last]->next = chosen;
      last = chosen;
      slot_of.push_back(chosen);
    }
  }

  void build_lists() {
    if (pending.empty()) return;
    std::atomic<std::size_t> next{0};
    auto build = [&](int) {
      for (std::size_t n = next++; n < pending.size(); n = next++) {
        Slot& slot = *slots[pending[n]];
        try {
          slot.list.build(*potential, range);
          slot.pending = false;
        } catch (const Error& error) {
          throw StructureError(error.what(), slot.maker);
        }
      }
    };
    pool.run(std::ref(build));
    counters.rebuilds += pending.size();
  }

  void forget_unbuilt() {
    for (const std::size_t n : pending)
      if (slots[n]->pending) {
        slots[n]->list.forget();
        slots[n]->pending = false;
      }
  }

  // The sites of `part` / `parts` of all structures, taken as one row of atoms.
  void work(const BatchView& b, Worker& w, std::size_t part, std::size_t parts) {
    const std::size_t total = source.size() * atoms;
    std::size_t at = total / parts * part + std::min(part, total % parts);
    const std::size_t end = at + total / parts + (part < total % parts ? 1 : 0);
    while (at < end) {
      const std::size_t u = at / atoms, from = at - u * atoms;
      const std::size_t to = std::min(atoms, from + end - at);
      const bool complete = from == 0 && to == atoms;
      SiteSums& sums = complete ? w.whole : from > 0 ? w.head : w.tail;
      if (!complete) (from > 0 ? w.head_of : w.tail_of) = u;
      const StructureView s = view(u);
      const VerletList& list = slots[slot_of[u]]->list;
      list.neighbors().place(s.positions, s.cell, w.placed);
      sums.clear(atoms);
      sum_sites(*potential, {list, w.placed.data(), identity.data(), from, to}, w.scratch, sums,
                {nullptr, b.grades ? b.grades + atoms * source[u] : nullptr});
      if (complete) write(b, u, sums);
      at += to - from;
    }
  }

  // Answers in the caller's units. A structure whose energy is not a number is found afterwards, by
  // its energy.
  void write(const BatchView& b, std::size_t u, const SiteSums& sums) const {
    const std::size_t s = source[u];
    const double energy = settings.units.energy, force = energy / settings.units.length;
    b.energies[s] = finite(sums) ? sums.energy * energy : std::nan("");
    double* f = b.forces + 3 * atoms * s;
    for (std::size_t n = 0; n < 3 * atoms; ++n) f[n] = sums.forces[n] * force;
    double* w = b.virials + 9 * s;
    virial_of(sums, w);
    for (std::size_t n = 0; n < 9; ++n) w[n] *= energy;
  }

  // Structures that several threads have parts of; parts of one follow each other.
  void join(const BatchView& b) {
    SiteSums* open = nullptr;
    std::size_t open_of = none;
    for (Worker& w : workers) {
      if (w.head_of != none) open->add(w.head);  // a head follows the tail of a thread before
      if (w.tail_of != none) {
        if (open_of != none) write(b, open_of, *open);
        open = &w.tail;
        open_of = w.tail_of;
      }
    }
    if (open_of != none) write(b, open_of, *open);
  }

  void repeat(const BatchView& b) const {
    for (std::size_t s = 0, u = 0; s < b.structures; ++s) {
      if (u < different.size() && different[u] == s) {
        ++u;
        continue;
      }
      b.energies[s] = b.energies[s - 1];
      std::copy_n(b.forces + 3 * atoms * (s - 1), 3 * atoms, b.forces + 3 * atoms * s);
      std::copy_n(b.virials + 9 * (s - 1), 9, b.virials + 9 * s);
      if (b.grades) std::copy_n(b.grades + atoms * (s - 1), atoms, b.grades + atoms * s);
    }
  }

  void compute_window(const BatchView& b) {
    try {
      choose_lists();
      build_lists();
    } catch (...) {
      forget_unbuilt();
      throw;
    }
    for (Worker& w : workers) w.head_of = w.tail_of = none;
    std::size_t size = source.size() * atoms;
    for (const std::size_t slot : slot_of) size += slots[slot]->list.neighbors().neighbors.size();
    if (size < few * workers.size()) {
      work(b, workers[0], 0, 1);
    } else {
      // By reference, as a function object of this size would be allocated.
      auto task = [&](int thread) {
        const std::size_t t = static_cast<std::size_t>(thread);
        work(b, workers[t], t, workers.size());
      };
      pool.run(std::ref(task));
    }
    join(b);
    for (std::size_t u = 0; u < source.size(); ++u)
      if (!std::isfinite(b.energies[source[u]])) {
        fault = source[u];
        const StructureView s = view(u);
        const NeighborList& list = slots[slot_of[u]]->list.neighbors();
        list.place(s.positions, s.cell, workers[0].placed);
        explain_fault(s, list, workers[0].placed.data());
      }
  }

  void compute(const BatchView& b) {
    try {
      compute_all(b);
    } catch (const StructureError& error) {
      counters.fault = error.structure;
      throw;
    } catch (const Error& error) {
      counters.fault = fault;
      throw StructureError(error.what(), fault);
    }
  }

  void compute_all(const BatchView& b) {
    if (b.grades && !potential->has_grade()) fail("this potential has no extrapolation grade");
    different.clear();
    for (std::size_t s = 0; s < b.structures; ++s)
      if (s == 0 || !repeated(b, s)) different.push_back(s);
    // No more structures at once than there may be lists.
    for (std::size_t first = 0; first < different.size(); first += slot_limit) {
      take(b, first, std::min(first + slot_limit, different.size()));
      compute_window(b);
    }
    repeat(b);
    counters.evaluations += different.size();
  }
};

void check(const BatchCalculator::Settings& settings, const Potential& potential) {
  const double skin = settings.skin;
  if (!(skin >= 0.0) || !std::isfinite(skin)) fail("skin must be >= 0 Å, found ", skin);
  if (settings.threads < 1) fail("threads must be at least 1, found ", settings.threads);
  for (const double unit : {settings.units.length, settings.units.energy})
    if (!(unit > 0.0) || !std::isfinite(unit)) fail("a unit must be > 0, found ", unit);
  for (std::size_t i = 0; i < settings.numbers.size(); ++i)
    if (potential.species_of(settings.numbers[i]) < 0)
      fail("atom ", i, " has atomic number ", settings.numbers[i],
           ", which is not an element of this potential");
}

}  // namespace

struct BatchCalculator::Impl {
  const Settings settings;
  Counters counters;
  Exclusive<BatchState> state;

  Impl(const std::shared_ptr<const Potential>& potential, Settings s)
      : settings(std::move(s)), state([this, potential] {
          check(settings, *potential);
          return std::make_unique<BatchState>(potential, settings, counters);
        }) {}
};

BatchCalculator::BatchCalculator(std::shared_ptr<const Potential> potential, Settings settings)
    : impl_(new Impl(potential, std::move(settings))) {}
BatchCalculator::~BatchCalculator() = default;
BatchCalculator::BatchCalculator(BatchCalculator&&) noexcept = default;

std::size_t BatchCalculator::atoms() const { return impl_->settings.numbers.size(); }
void BatchCalculator::compute(const BatchView& batch) {
  impl_->state.use([&](BatchState& state) { state.compute(batch); });
}
std::size_t BatchCalculator::fault() const { return impl_->counters.fault; }
std::size_t BatchCalculator::evaluations() const { return impl_->counters.evaluations; }
std::size_t BatchCalculator::rebuilds() const { return impl_->counters.rebuilds; }
std::size_t BatchCalculator::slots() const { return impl_->counters.slots; }

}  // namespace forcemap
