#include "grade_watch.h"

#include <algorithm>
#include <cstdlib>
#include <map>
#include <set>
#include <utility>

#include "atom.h"
#include "comm.h"
#include "error.h"
#include "update.h"
#include "utils.h"

namespace LAMMPS_NS {

namespace {

// So many steps, or looks, are at most between two meetings of the ranks: seldom enough to cost
// nothing, often enough for a warning.
constexpr int meeting_every = 100;

// Those that are alive: an error ends the program lmp without the destruction of anything.
std::set<GradeWatch*>& all_watches() {
  static auto* const all = new std::set<GradeWatch*>;
  return *all;
}

}  // namespace

GradeWatch::GradeWatch(LAMMPS* lmp, std::string name)
    : Pointers(lmp), name(std::move(name)), speaks(comm->me == 0), alone(comm->nprocs == 1) {
  static const int registered = std::atexit(&GradeWatch::report_all_alone);
  (void)registered;
  all_watches().insert(this);
}

GradeWatch::~GradeWatch() {
  all_watches().erase(this);
  report_alone();
}

void GradeWatch::report_all_alone() {
  for (GradeWatch* const watch : all_watches()) watch->report_alone();
}

// A step that was looked at is due again: a later configuration may take the place of a trial.
bool GradeWatch::is_due(int every) const {
  if (every == 0) return false;
  const bigint passed_steps = update->ntimestep - current.step;
  return steps == 0 || update->setupflag || passed_steps <= 0 || passed_steps >= every;
}

void GradeWatch::begin() {
  const bigint step = update->ntimestep;
  if (steps == 0) last_meeting = step;
  if (steps == 0 || step != current.step) {
    end();
    steps++;
    looks++;
    if (looks >= meeting_every || step - last_meeting >= meeting_every) meet();
  }
  current = Look();
  current.step = step;
  atoms = atom->natoms;
}

// Most atoms are passed with one comparison.
void GradeWatch::see(const double* grades, int count) {
  double ordinary = std::min(current.largest, 1.0);
  for (int i = 0; i < count; i++) {
    if (!(grades[i] > ordinary)) continue;
    if (grades[i] > 1.0) current.above++;
    if (!(grades[i] > current.largest)) continue;
    current.largest = grades[i];
    current.atom = atom->tag_enable ? atom->tag[i] : 0;  // none has an ID
    ordinary = std::min(current.largest, 1.0);
  }
}

// The step that was looked at last is over.
void GradeWatch::end() {
  if (current.above > 0) passed.push_back(current);
  if (current.largest > largest.largest) largest = current;
  current.above = 0;
  current.largest = 0.0;
}

void GradeWatch::meet() {
  last_meeting = update->ntimestep;
  looks = 0;
  count(of_all_ranks(std::exchange(passed, {})));
}

// The warning, when there is a first one, is due with all ranks' looks.
void GradeWatch::count(const std::vector<Look>& looks) {
  std::map<bigint, Look> by_step;
  for (const Look& look : looks) {
    Look& sum = by_step.emplace(look.step, Look()).first->second;
    sum.above += look.above;
    if (look.largest > sum.largest) {
      sum.step = look.step;
      sum.largest = look.largest;
      sum.atom = look.atom;
    }
  }
  for (const auto& [step, look] : by_step) {
    steps_above++;
    most_above = std::max(most_above, look.above);
    if (look.largest > known.largest) known = look;
  }
  if (by_step.empty() || warned) return;
  warned = true;
  const Look first = (*by_step.begin()).second;
  if (speaks)
    error->warning(
        FLERR,
        "pair_style forcemap: {}: extrapolation grade {}: such a neighborhood is rare in "
        "the training data, or not there at all (1 is the 99 % quantile of their atoms). "
        "Others are counted, and reported at the end of the run",
        name, at(first));
}

void GradeWatch::report() {
  if (steps == 0) return;
  end();
  meet();
  const std::vector<Look> all = of_all_ranks({largest});
  const Look& most = *std::max_element(
      all.begin(), all.end(),
      [](const Look& one, const Look& other) { return one.largest < other.largest; });
  say(most, "");
  steps = steps_above = most_above = 0;
  largest = current = known = Look();
}

// Of a run that an error has ended: what the ranks knew of each other at their last meeting, and
// what the first one has seen since.
void GradeWatch::report_alone() {
  if (steps == 0) return;
  end();
  warned = true;  // this line says it
  count(std::exchange(passed, {}));
  say(known.largest > largest.largest ? known : largest,
      alone ? " (the run ended early)"
            : " (the run ended early; of its last steps, what the first rank has seen)");
  steps = 0;
}

void GradeWatch::say(const Look& most, const char* remark) const {
  if (!speaks) return;
  const char* const plural = steps == 1 ? "" : "s";
  const std::string counted =
      steps_above == 0
          ? fmt::format("no extrapolation grade above 1 at {} step{} looked at", steps, plural)
          : fmt::format(
                "extrapolation grade above 1 at {} of {} step{} looked at, of up to {} of "
                "{} atoms at once",
                steps_above, steps, plural, most_above, atoms);
  utils::logmesg(lmp, "forcemap: {}: {}; largest {}{}\n", name, counted, at(most), remark);
}

// "1.83 (atom 17, step 300)"
std::string GradeWatch::at(const Look& look) const {
  if (look.step < 0) return "0";
  if (look.atom == 0) return fmt::format("{:.4g} (step {})", look.largest, look.step);
  return fmt::format("{:.4g} (atom {}, step {})", look.largest, look.atom, look.step);
}

// Through LAMMPS' own communication, since the plugin also runs where it cannot call MPI itself.
// Without anything to share on any rank that is one reduction.
std::vector<GradeWatch::Look> GradeWatch::of_all_ranks(std::vector<Look> own) const {
  std::vector<Look> all;
  const auto take = [](int count, char* bytes, void* to) {
    const Look* looks = reinterpret_cast<const Look*>(bytes);
    static_cast<std::vector<Look>*>(to)->insert(static_cast<std::vector<Look>*>(to)->end(), looks,
                                                looks + count);
  };
  comm->ring(static_cast<int>(own.size()), sizeof(Look), own.data(), 1, take, nullptr, &all);
  return all;
}

}  // namespace LAMMPS_NS
