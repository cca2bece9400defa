// Grades by moments, of many sites.
#pragma once

#include <cstddef>
#include <memory>
#include <utility>
#include <vector>

#include "forcemap/grade.hpp"
#include "loops/site_kernels.hpp"

namespace forcemap {

/// The largest s / r of a prepared site, 0 without a neighbour that is too near.
inline double grade_of_distances(const Grade& grade, const SiteView& site) {
  const double longest = grade.longest_shortest;
  return site.least_square < longest * longest ? grade.of_near(site) : 0.0;
}

/// Sites of a grade with moments whose grades are still to be computed, several at a time, which
/// costs little more than one. Memory of one thread, for one grade.
class MomentGrades {
 public:
  MomentGrades();
  ~MomentGrades();

  /// Prepares a site of a potential with this cutoff for the terms, and takes its moments; its
  /// grade comes to `to` in a later call, or in `finish`. False where two atoms coincide.
  bool prepare(const Grade& grade, SiteView& site, double cutoff, double* to) {
    if (!is_few_) return prepare_any(grade, site, cutoff, to);
    if (few_.count == kFewTogether) finish_few();
    const std::size_t n = few_.count;
    if (!few_.prepare(site, few_.view.cutoff, few_.sums[n])) return false;
    if (site.least_square < few_.near_square) keep_near(grade, site, to);
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
  static constexpr std::size_t kFewTogether = 64;  // sites, a multiple of 8

  // Sites with so few moments that anything but their sums would count.
  struct Few {
    FewMomentsView view;
    PrepareFewFunction prepare;
    double near_square;  // distances whose squares are below it may be too short
    std::size_t count;
    double sums[kFewTogether][4];
    double* to[kFewTogether];
  };
  struct Impl;

  void learn(const Grade& grade, double cutoff);
  void learn_few(const Grade& grade);
  void keep_near(const Grade& grade, const SiteView& site, double* to);
  bool prepare_any(const Grade& grade, SiteView& site, double cutoff, double* to);
  void finish_few();

  bool is_few_ = false;
  Few few_{};
  // What grades are at least, and NaN for those that are spoilt; rare, and done last.
  std::vector<std::pair<double*, double>> at_least_;
  std::unique_ptr<Impl> impl_;  // the others'; null before the first site
};

}  // namespace forcemap
