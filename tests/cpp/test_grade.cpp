// Grades that wait for others: what is forgotten, what is not a number, and where an atom has
// moved.
#include <cmath>
#include <limits>
#include <memory>
#include <vector>

#include "check.hpp"
#include "pair_potential.hpp"

using forcemap::Grade;
using forcemap::GradeQueue;
using forcemap::Moments;
using forcemap::Potential;
using forcemap::Site;

namespace {

constexpr double no_number = std::numeric_limits<double>::quiet_NaN();

// pair_potential's, graded by three sums over the neighbours.
Potential graded() {
  std::vector<double> table(13);
  for (std::size_t n = 0; n < 10; ++n) table[n] = 1.0 / static_cast<double>(n + 1) - 0.1;
  const std::string bytes = potential_bytes::PairFile("4.0", table).bytes();
  forcemap::PotentialData data = forcemap::parse_potential(bytes.data(), bytes.size(), "file");
  Grade grade;
  grade.centers = {{{0.4, 0.1, -0.2}, {2.0, 0.0, 0.0, 0.3, 1.5, 0.0, -0.4, 0.2, 3.0}}};
  grade.shortest = {1.8};
  grade.longest_shortest = 1.8;
  grade.moments = Moments{4.0, 3};
  data.grade = std::move(grade);
  return Potential(std::move(data));
}

// A centre with three neighbours, the last of which is at `x` on the x axis.
struct Neighborhood {
  std::vector<double> positions;
  std::vector<int> list = {1, 2, 3};

  explicit Neighborhood(double x)
      : positions{0.0, 0.0, 0.0, 0.0, 2.3, 0.0, 0.0, 0.0, 2.7, x, 0, 0} {}

  void gather(const Potential& potential, Site& site) const {
    potential.gather({positions.data(), nullptr, nullptr, 0, list.data(), list.size(), 0xffff},
                     site);
  }
};

// Evaluates the neighbourhood; its grade comes to `grade` at once or later.
void add(const Potential& potential, double x, double* grade, GradeQueue& queue) {
  Site site;
  double energy = 0.0;
  Neighborhood(x).gather(potential, site);
  potential.evaluate(&site, 1, &energy, &grade, queue);
}

double grade_of(const Potential& potential, double x) {
  GradeQueue queue;
  double grade = -1.0;
  add(potential, x, &grade, queue);
  potential.finish_grades(queue);
  return grade;
}

}  // namespace

TEST(grades_of_many_sites_are_those_of_each) {
  const Potential potential = graded();
  GradeQueue queue;
  std::vector<double> grades(150, -1.0);  // two full groups that wait, and a part of one
  for (std::size_t n = 0; n < grades.size(); ++n)
    add(potential, 1.7 + 0.014 * static_cast<double>(n), &grades[n], queue);
  potential.finish_grades(queue);
  for (std::size_t n = 0; n < grades.size(); ++n) {
    const double alone = grade_of(potential, 1.7 + 0.014 * static_cast<double>(n));
    CHECK(std::abs(grades[n] - alone) <= 1e-14 * alone);
    CHECK(alone > 0.0);
  }
}

TEST(what_an_error_has_left_behind_is_forgotten) {
  const Potential potential = graded();
  GradeQueue queue;
  // The caller has stopped and its memory is gone: the sanitizer sees who writes there.
  auto lost = std::make_unique<std::vector<double>>(3, -1.0);
  for (double& grade : *lost) add(potential, 2.5, &grade, queue);
  queue.clear();
  lost.reset();
  double grade = -1.0;
  add(potential, 3.1, &grade, queue);
  potential.finish_grades(queue);
  CHECK(grade == grade_of(potential, 3.1));
  // None waits after the end.
  grade = -1.0;
  potential.finish_grades(queue);
  CHECK(grade == -1.0);
}

TEST(a_queue_is_cleared_whether_any_waits_or_not) {
  const Potential potential = graded();
  GradeQueue queue;
  queue.clear();
  double grade = -1.0;
  add(potential, 2.4, &grade, queue);
  potential.finish_grades(queue);
  queue.clear();
  CHECK(grade == grade_of(potential, 2.4));
}

TEST(a_site_without_an_energy_has_no_grade_and_spoils_no_other) {
  const Potential potential = graded();
  for (const double bad :
       {no_number, 0.0}) {  // a position that is no number; two atoms in one place
    GradeQueue queue;
    double grades[3] = {-1.0, -1.0, -1.0};
    add(potential, 2.6, &grades[0], queue);
    add(potential, bad, &grades[1], queue);
    add(potential, 2.9, &grades[2], queue);
    potential.finish_grades(queue);
    CHECK(grades[0] == grade_of(potential, 2.6));
    CHECK(std::isnan(grades[1]));
    CHECK(grades[2] == grade_of(potential, 2.9));
  }
}

TEST(a_neighbour_below_the_shortest_distance_grades_its_site) {
  CHECK(grade_of(graded(), 0.01) >= 1.8 / 0.01 * (1.0 - 1e-12));
}

int main() { return check::run_all(); }
