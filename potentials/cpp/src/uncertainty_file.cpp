#include "uncertainty_file.hpp"

#include <algorithm>
#include <cstdint>
#include <set>
#include <string>
#include <utility>

#include "forcemap/elements.hpp"

namespace forcemap {

namespace {

constexpr std::int64_t least_draws = 3;  // a variance of them has the factor 1 / (draws - 2)
constexpr std::int64_t max_draws = 4096;

double not_negative(const JsonView& json) {
  const double value = json.number();
  if (!(value >= 0.0)) json.reject("found ", value, ", expected at least 0");
  return value;
}

Calibration read_calibration(const JsonView& json) {
  json.allow_only({"factor", "floor", "noise"});
  return {not_negative(json.at("factor")), not_negative(json.at("floor")),
          not_negative(json.at("noise"))};
}

double cutoff_of(const MappedTerms& terms) {
  double cutoff = 0.0;
  for (const auto& term : terms) cutoff = std::max(cutoff, term->cutoff());
  return cutoff;
}

// A distance in (0, the terms' cutoff].
double distance_within(const JsonView& json, double cutoff) {
  const double distance = json.number();
  if (!(distance > 0.0 && distance <= cutoff)) {
    json.reject("found ", distance, ", expected more than 0 and at most ", cutoff,
                ", the largest cutoff of the terms");
  }
  return distance;
}

// A grade's members, which are read like those of a term.
class GradeReader {
 public:
  GradeReader(FileContent& file, const JsonView& json, const MappedTerms& terms)
      : file_(file), json_(json), terms_(terms), reader_(file, json, 0) {}

  Grade read() {
    json_.allow_only({"shortest", "centers", "moments"});
    const std::size_t species = file_.numbers.size();
    grade_.centers.resize(species);
    grade_.shortest.assign(species * species, 0.0);
    if (json_.has("moments")) read_moments(json_.at("moments"));
    const JsonView shortest = json_.at("shortest");
    for (std::size_t i = 0; i < shortest.size(); ++i) read_shortest(shortest.at(i));
    if (json_.at("centers").size() > 0)
      for (const TermReader::Center& center : reader_.centers({"species", "features"}))
        read_center(center);
    return std::move(grade_);
  }

 private:
  void read_moments(const JsonView& json) {
    json.allow_only({"cutoff", "radial", "angular"});
    const double most = cutoff_of(terms_);
    Moments moments{};
    moments.cutoff = distance_within(json.at("cutoff"), most);
    moments.radial = read_radial(json);
    if (json.has("angular")) {
      const JsonView angular = json.at("angular");
      angular.allow_only({"cutoff", "radial"});
      moments.angular_cutoff = distance_within(angular.at("cutoff"), most);
      moments.angular_radial = read_radial(angular);
    }
    grade_.moments = moments;
  }

  static std::size_t read_radial(const JsonView& json) {
    return static_cast<std::size_t>(json.at("radial").integer(1, std::int64_t{max_moment_radial}));
  }

  void read_shortest(const JsonView& json) {
    json.allow_only({"species", "distance"});
    const Species pair = reader_.table(json.at("species"), 2, TermReader::Order::exchangeable);
    const double distance = distance_within(json.at("distance"), cutoff_of(terms_));
    if (!seen_.insert(pair).second) json.at("species").reject("found a pair that stands before");
    const std::size_t species = file_.numbers.size();
    grade_.shortest[pair[0] * species + pair[1]] = distance;
    grade_.shortest[pair[1] * species + pair[0]] = distance;
    grade_.longest_shortest = std::max(grade_.longest_shortest, distance);
  }

  void read_center(const TermReader::Center& center) {
    const JsonView json = center.json.at("features");
    const auto count =
        static_cast<std::size_t>(json.integer(1, std::int64_t{Grade::most_features}));
    const std::size_t expected = features(center.species);
    const std::string symbol = element_symbol(file_.numbers[center.species]);
    if (count != expected) {
      json.reject("found ", count, ", expected ", expected, ", the features that ",
                  grade_.moments ? "the moments" : "the terms", " have of ", symbol);
    }
    std::vector<double> mean = file_.take("grade." + symbol + ".mean", {count});
    const std::string name = "grade." + symbol + ".whitening";
    const std::vector<double> whitening = file_.take(name, {count, count});
    for (std::size_t a = 0; a < count; ++a)
      for (std::size_t b = a + 1; b < count; ++b)
        if (whitening[a * count + b] != 0.0)
          fail(file_.name, ": tensor ", quoted(name), ": found ", whitening[a * count + b], " at (",
               a, ", ", b, "), expected a lower triangular matrix");
    grade_.centers[center.species] = {std::move(mean), whitening};
  }

  std::size_t features(std::size_t species) const {
    if (grade_.moments) return grade_.moments->count(file_.numbers.size());
    std::size_t count = 0;
    for (const auto& term : terms_) count += term->features(species);
    return count;
  }

  FileContent& file_;
  JsonView json_;
  const MappedTerms& terms_;
  TermReader reader_;
  Grade grade_;
  std::set<Species> seen_;
};

}  // namespace

Uncertainty read_uncertainty(const JsonView& json) {
  json.allow_only({"energy", "force", "stress"});
  return {read_calibration(json.at("energy")), read_calibration(json.at("force")),
          read_calibration(json.at("stress"))};
}

Draws read_draws(FileContent& file, const JsonView& json, const MappedTerms& terms) {
  json.allow_only({"count", "terms"});
  Draws draws;
  draws.count = static_cast<std::size_t>(json.at("count").integer(least_draws, max_draws));
  draws.e0 = file.take("draws.e0", {draws.count, file.numbers.size()});
  const double cutoff = cutoff_of(terms);
  const JsonView entries = json.at("terms");
  for (std::size_t index = 0; index < entries.size(); ++index) {
    const JsonView entry = entries.at(index);
    draws.terms.push_back(read_drawn_term(file, entry, index, draws.count));
    if (draws.terms.back()->cutoff() > cutoff) {
      entry.at("cutoff").reject("found ", draws.terms.back()->cutoff(), ", expected at most ",
                                cutoff, ", the largest cutoff of the terms");
    }
  }
  return draws;
}

Grade read_grade(FileContent& file, const JsonView& json, const MappedTerms& terms) {
  return GradeReader(file, json, terms).read();
}

}  // namespace forcemap
