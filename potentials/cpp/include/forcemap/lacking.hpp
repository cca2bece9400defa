// What to say of a potential that lacks something it could have, and what to do; for all programs.
#pragma once

#include <string>

namespace forcemap {

/// `name`: of the potential's file.
inline std::string without_draws(const std::string& name) {
  return name +
         " has no draws, which deviations come from: map its model again with some (forcemap map "
         "model.forcemap --draws 16 -o " +
         name + "); no new fit is needed";
}

inline std::string without_grade(const std::string& name) {
  return name +
         " has no extrapolation grade: map its model again where its training files are as they "
         "were "
         "(forcemap map model.forcemap -o " +
         name + "), or fit again";
}

}  // namespace forcemap
