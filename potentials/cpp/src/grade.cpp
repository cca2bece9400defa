#include "forcemap/grade.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "arena.hpp"
#include "loops/site_kernels.hpp"
#include "moment_grades.hpp"
#include "workspace.hpp"

namespace forcemap {

namespace {

constexpr std::size_t kTogether = 8;  // sites, as many as the loops take

std::size_t padded(std::size_t count) { return (count + 7) / 8 * 8; }

// What the loops of the moments write to, but for a site's sums.
class MomentSpace {
 public:
  // Before anything else, and to change the moments.
  void set(const Moments& moments, std::size_t species) {
    view_.inverse_cutoff = 1.0 / moments.cutoff;
    view_.radial = moments.radial;
    view_.angular_cutoff = moments.angular_cutoff;
    view_.inverse_square = 1.0 / (moments.angular_cutoff * moments.angular_cutoff);
    view_.angular_radial = moments.angular_radial;
    view_.species = species;
    view_.angles_at = moment_radial_numbers(species, moments.radial);
    const std::size_t parts = kTogether * of_angles();
    if (parts <= parts_) return;
    parts_ = parts;
    lay_out();
  }

  // A site's sums.
  std::size_t width() const { return view_.angles_at + of_angles(); }

  void write_sums(const SiteView& site, double* to) {
    if (site.capacity > neighbors_) {
      neighbors_ = site.capacity;
      lay_out();
    }
    view_.sums = to;
    view_.angles = to + view_.angles_at;
    site_kernels().moment_sums(view_, site);
  }

  const MomentsView& view() const { return view_; }

 private:
  std::size_t of_angles() const { return view_.species * view_.angular_radial * kMomentParts; }
  void lay_out() {
    arena_.lay_out([&](const auto& each) {
      for (double** p : {&view_.x, &view_.y, &view_.z}) each(*p, neighbors_ + 16);
      each(view_.kind, neighbors_ + 16);
      each(view_.parts, parts_);
    });
  }

  Arena arena_;
  MomentsView view_{};
  std::size_t neighbors_ = 0, parts_ = 0;
};

// The sums of up to kTogether sites, and their features, of which a vector has one of each.
class SumsTogether {
 public:
  std::size_t count = 0;

  // Where the next site's sums go, `width` numbers. The others are zeros, or what there was:
  // numbers.
  double* next(std::size_t width, std::size_t features) {
    if (width > width_ || features > features_) {
      width_ = std::max(width_, width);
      features_ = std::max(features_, features);
      arena_.lay_out([&](const auto& each) {
        for (double*& row : sums_) each(row, width_);
        each(x_, kTogether * padded(features_));
      });
    }
    return sums_[count++];
  }

  // (features, kTogether)
  double* features(const MomentsView& view) {
    site_kernels().moment_features(view, sums_, x_);
    return x_;
  }

 private:
  Arena arena_;
  double* sums_[kTogether] = {};
  double* x_ = nullptr;
  std::size_t width_ = 0, features_ = 0;
};

}  // namespace

Grade::Center::Center(std::vector<double> given, const std::vector<double>& whitening)
    : features(given.size()), mean(std::move(given)) {
  const std::size_t count = features;
  mean.resize(padded(count), 0.0);
  for (std::size_t end = 8; end <= padded(count); end += 8)
    for (std::size_t column = 0; column < end; ++column)
      for (std::size_t row = end - 8; row < end; ++row)
        blocks.push_back(row < count && column <= row ? whitening[row * count + column] : 0.0);
}

void Moments::evaluate(const SiteView* const* sites, std::size_t count, std::size_t species,
                       double* const* features, Workspace& space) const {
  MomentSpace& loops = space.of<MomentSpace>();
  SumsTogether& sums = space.of<SumsTogether>();
  const std::size_t numbers = this->count(species);
  loops.set(*this, species);
  for (std::size_t begin = 0; begin < count; begin += kTogether) {
    const std::size_t end = std::min(begin + kTogether, count);
    sums.count = 0;
    for (std::size_t n = begin; n < end; ++n)
      loops.write_sums(*sites[n], sums.next(loops.width(), numbers));
    const double* const x = sums.features(loops.view());
    for (std::size_t n = begin; n < end; ++n)
      for (std::size_t a = 0; a < numbers; ++a) features[n][a] = x[kTogether * a + n - begin];
  }
}

double Grade::of(const SiteView& site, double* features) const {
  const Center& center = centers[static_cast<std::size_t>(site.species)];
  double grade = 0.0;
  if (!center.mean.empty())
    grade = std::sqrt(site_kernels().whiten(center.blocks.data(), center.mean.data(),
                                            center.mean.size(), features));
  return std::max(grade, grade_of_distances(*this, site));
}

double Grade::of_near(const SiteView& site) const {
  double grade = 0.0;
  const double* const limits = &shortest[static_cast<std::size_t>(site.species) * centers.size()];
  for (std::size_t n = 0; n < site.count; ++n) {
    const double limit = limits[static_cast<std::size_t>(site.kind[n])];
    if (site.r[n] < limit) grade = std::max(grade, limit / site.r[n]);
  }
  return grade;
}

struct MomentGrades::Impl {
  // Sites of one species of centre, which share a mean and a whitening.
  struct Waiting {
    SumsTogether sums;
    double of_distances[kTogether];
    double* to[kTogether];
  };

  MomentSpace loops;
  std::vector<std::unique_ptr<Waiting>> waiting;  // by species, null before the first site

  explicit Impl(const Grade& grade) : waiting(grade.centers.size()) {
    loops.set(*grade.moments, grade.centers.size());
  }

  void finish(const Grade& grade, std::size_t species) {
    Waiting& sites = *waiting[species];
    const Grade::Center& center = grade.centers[species];
    double lengths[kTogether];
    double* const x = sites.sums.features(loops.view());
    site_kernels().whiten_eight(center.blocks.data(), center.mean.data(), center.features, x,
                                lengths);
    for (std::size_t n = 0; n < sites.sums.count; ++n)
      *sites.to[n] = std::max(sites.of_distances[n], lengths[n]);
    sites.sums.count = 0;
  }
};

MomentGrades::MomentGrades() = default;
MomentGrades::~MomentGrades() = default;

void MomentGrades::learn(const Grade& grade, double cutoff) {
  const Moments& moments = *grade.moments;
  // The loops of few moments take every neighbour for one within their cutoff.
  is_few_ = grade.centers.size() == 1 && !grade.centers[0].mean.empty() && moments.radial <= 4 &&
            moments.angular_radial == 0 && moments.cutoff >= cutoff;
  if (is_few_) learn_few(grade);
  impl_ = std::make_unique<Impl>(grade);
}

void MomentGrades::learn_few(const Grade& grade) {
  // Of the functions f_n, n < 4, by the powers of 1 - x.
  constexpr double functions[4][4] = {{1.0, 0.0, 0.0, 0.0},
                                      {1.0, -2.0, 0.0, 0.0},
                                      {1.0, -8.0, 8.0, 0.0},
                                      {1.0, -18.0, 48.0, -32.0}};
  const Moments& moments = *grade.moments;
  const Grade::Center& center = grade.centers[0];
  FewMomentsView& few = few_.view;
  few.cutoff = moments.cutoff;
  for (std::size_t n = 0; n < moments.radial; ++n)
    for (std::size_t row = n; row < moments.radial; ++row) {
      const double white = center.blocks[8 * n + row];
      few.shift[row] += white * center.mean[n];
      double power = 1.0 / (moments.cutoff * moments.cutoff);
      for (std::size_t k = 0; k <= n; ++k, power /= moments.cutoff)
        few.columns[k][row] += white * functions[n][k] * power;
    }
  few_.prepare = site_kernels().prepare_few;
  few_.near_square = grade.longest_shortest * grade.longest_shortest;
}

void MomentGrades::keep_near(const Grade& grade, const SiteView& site, double* to) {
  at_least_.emplace_back(to, grade.of_near(site));
}

bool MomentGrades::prepare_any(const Grade& grade, SiteView& site, double cutoff, double* to) {
  if (!impl_) {
    learn(grade, cutoff);
    return prepare(grade, site, cutoff, to);
  }
  const auto own = static_cast<std::size_t>(site.species);
  if (!site_kernels().prepare(site, 2.0 * cutoff)) return false;
  if (grade.centers[own].mean.empty()) {
    *to = grade_of_distances(grade, site);
    return true;
  }
  if (!impl_->waiting[own]) impl_->waiting[own] = std::make_unique<Impl::Waiting>();
  Impl::Waiting& sites = *impl_->waiting[own];
  if (sites.sums.count == kTogether) impl_->finish(grade, own);
  sites.to[sites.sums.count] = to;
  sites.of_distances[sites.sums.count] = grade_of_distances(grade, site);
  impl_->loops.write_sums(site, sites.sums.next(impl_->loops.width(), grade.centers[own].features));
  return true;
}

void MomentGrades::finish_few() {
  site_kernels().few_grades(few_.view, few_.sums, few_.count, few_.to);
  few_.count = 0;
}

void MomentGrades::spoil(double* to) {
  at_least_.emplace_back(to, std::numeric_limits<double>::quiet_NaN());
}

void MomentGrades::clear() {
  few_.count = 0;
  at_least_.clear();
  if (!impl_) return;
  for (const auto& sites : impl_->waiting)
    if (sites) sites->sums.count = 0;
}

void MomentGrades::finish(const Grade& grade) {
  if (few_.count > 0) finish_few();
  if (impl_)
    for (std::size_t species = 0; species < impl_->waiting.size(); ++species)
      if (impl_->waiting[species] && impl_->waiting[species]->sums.count > 0)
        impl_->finish(grade, species);
  for (const auto& [to, least] : at_least_)
    if (!(least <= *to)) *to = std::isnan(*to) ? *to : least;
  at_least_.clear();
}

}  // namespace forcemap
