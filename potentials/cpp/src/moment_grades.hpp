// Grades by moments, of many sites.
#pragma once

#include <cstddef>
#include <memory>

#include "forcemap/grade.hpp"
#include "loops/site_kernels.hpp"

namespace forcemap {

/// The largest s / r of a prepared site, 0 without a neighbour that is too near.
inline double grade_of_distances(const Grade& grade, const SiteView& site) {
  const double longest = grade.longest_shortest;
  return site.least_square < longest * longest ? grade.of_near(site) : 0.0;
}

/// Sites of a grade with moments whose grades are still to be computed: eight at a time, which
/// costs little more than one. Memory of one thread, for one grade.
class MomentGrades {
 public:
  MomentGrades();
  ~MomentGrades();

  /// Prepares a site, whose padding is at the distance `beyond`, for the terms, and takes its
  /// moments; its grade comes to `to` in a later call, or in `finish`. False where two atoms
  /// coincide.
  bool prepare(const Grade& grade, SiteView& site, double beyond, double* to) {
    if (!is_few_) return prepare_any(grade, site, beyond, to);
    if (few_.count == kTogether) finish_few();
    const std::size_t n = few_.count;
    if (!few_.prepare(site, beyond, few_.view.cutoff, few_.sums[n])) return false;
    few_.of_distances[n] = grade_of_distances(grade, site);
    few_.to[n] = to;
    few_.count = n + 1;
    return true;
  }
  /// Makes the grade at `to` NaN.
  void spoil(double* to);
  void finish(const Grade& grade);
  /// Forgets the sites.
  void clear();

 private:
  static constexpr std::size_t kTogether = 8;  // sites, as many as the loops take

  // Sites with so few moments that anything but their sums would count.
  struct Few {
    FewMomentsView view;
    PrepareFewFunction prepare;
    std::size_t count;
    double sums[kTogether][4];
    double of_distances[kTogether];
    double* to[kTogether];
  };
  struct Impl;

  void learn(const Grade& grade);
  void learn_few(const Grade& grade);
  bool prepare_any(const Grade& grade, SiteView& site, double beyond, double* to);
  void finish_few();

  bool is_few_ = false;
  Few few_{};
  std::unique_ptr<Impl> impl_;  // the others'; null before the first site
};

}  // namespace forcemap
