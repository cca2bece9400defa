// Keeps an eye on extrapolation grades while LAMMPS runs, so that none above 1 passes unnoticed.
#pragma once

#include <string>
#include <vector>

#include "lmptype.h"
#include "pointers.h"

namespace LAMMPS_NS {

/// Counts grades above 1 and reports them: in a warning when there is a first one, and in one line
/// at the end of a run. All ranks call all functions but `see` together.
///
/// Monte Carlo moves and line searches evaluate several configurations in one step: the last one,
/// which the run goes on with, counts.
class GradeWatch : protected Pointers {
 public:
  /// `name` of the potential, for messages.
  GradeWatch(LAMMPS* lmp, std::string name);
  /// Says what no end of a run has said; alone, since after an error no rank waits for another.
  ~GradeWatch() override;

  /// Whether to look at this step: at the first of a run, and then at least every `every` steps; 0:
  /// never. Nobody else need have asked for grades.
  bool is_due(int every) const;

  /// Look at the atoms of this step.
  void begin();
  /// The first `count` atoms of this rank.
  void see(const double* grades, int count);
  /// Say what there was since the last report; nothing if nobody looked.
  void report();

 private:
  // The grades of a step on one rank, or on all.
  struct Look {
    bigint step = -1;
    bigint above = 0;  // atoms
    double largest = 0.0;
    tagint atom = 0;
  };

  std::string name;
  const bool speaks;  // on the first rank
  const bool alone;   // there is no other
  bigint atoms = 0;   // of all ranks, when it looked last
  Look current;
  std::vector<Look> passed;  // steps with grades above 1 on this rank that the others do not know
  Look largest;              // of this rank
  bigint steps = 0;          // looked at
  bigint last_meeting = 0;   // step
  int looks = 0;             // since then
  bool warned = false;

  // Of all ranks; only those that `meet` has learnt of.
  Look known;  // the largest grade above 1
  bigint steps_above = 0;
  bigint most_above = 0;  // atoms, in one step

  void end();
  void meet();
  void count(const std::vector<Look>& looks);
  void say(const Look& most, const char* remark) const;
  void report_alone();
  static void report_all_alone();
  std::vector<Look> of_all_ranks(std::vector<Look> own) const;
  std::string at(const Look& look) const;
};

}  // namespace LAMMPS_NS
