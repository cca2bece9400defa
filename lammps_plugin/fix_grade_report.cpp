#include "fix_grade_report.h"

#include <utility>

#include "modify.h"

namespace LAMMPS_NS {

namespace {

// In capitals, as LAMMPS names styles that are not for inputs.
constexpr const char* style_name = "FORCEMAP/GRADE";

}  // namespace

void FixGradeReport::add(Modify& modify, const std::string& id, std::shared_ptr<GradeWatch> watch) {
  Fix* fix = modify.get_fix_by_id(id);
  if (!fix) {
    // Not registered as a plugin's style: LAMMPS would list it, and unload it on its own.
    (*modify.fix_map)[style_name] = [](LAMMPS* lmp, int count, char** arguments) -> Fix* {
      return new FixGradeReport(lmp, count, arguments);
    };
    fix = modify.add_fix(id + " all " + style_name, 0);
  }
  static_cast<FixGradeReport*>(fix)->watch = std::move(watch);
}

}  // namespace LAMMPS_NS
