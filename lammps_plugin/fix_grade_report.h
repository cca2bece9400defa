// An internal fix, through which the pair style learns of the end of a run.
#pragma once

#include <memory>

#include "fix.h"
#include "grade_watch.h"

namespace LAMMPS_NS {

class Modify;

/// Reports the grades a watch has seen after each run; does nothing else.
class FixGradeReport : public Fix {
 public:
  /// Adds one with this ID, unless there is one; it reports of `watch` from now on.
  static void add(Modify& modify, const std::string& id, std::shared_ptr<GradeWatch> watch);

  int setmask() override { return FixConst::POST_RUN; }
  void post_run() override {
    if (watch) watch->report();
  }

 private:
  std::shared_ptr<GradeWatch> watch;

  using Fix::Fix;
};

}  // namespace LAMMPS_NS
