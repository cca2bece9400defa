#include "forcemap/grade.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

#include "arena.hpp"
#include "loops/site_kernels.hpp"
#include "workspace.hpp"

namespace forcemap {

namespace {

std::size_t padded(std::size_t count) { return (count + 7) / 8 * 8; }

// What the loops of the moments write to.
struct Scratch {
  Arena arena;
  MomentsView view{};
  std::size_t neighbors = 0, radial = 0, angles = 0;  // room for

  void reserve(std::size_t count, const Moments& moments, std::size_t species) {
    const std::size_t of_angles = species * moments.angular_radial * kMomentParts;
    const std::size_t of_radial = species * max_moment_radial;
    if (count <= neighbors && of_radial <= radial && of_angles <= angles) return;
    neighbors = std::max(neighbors, count);
    radial = std::max(radial, of_radial);
    angles = std::max(angles, of_angles);
    arena.lay_out([&](const auto& each) {
      for (double** p : {&view.x, &view.y, &view.z}) each(*p, neighbors + 16);
      each(view.kind, neighbors + 16);
      each(view.sums, radial);
      each(view.angles, angles);
    });
  }
};

}  // namespace

Grade::Center::Center(std::vector<double> given, const std::vector<double>& whitening)
    : mean(std::move(given)) {
  const std::size_t count = mean.size();
  mean.resize(padded(count), 0.0);
  for (std::size_t end = 8; end <= padded(count); end += 8)
    for (std::size_t column = 0; column < end; ++column)
      for (std::size_t row = end - 8; row < end; ++row)
        blocks.push_back(row < count && column <= row ? whitening[row * count + column] : 0.0);
}

void Moments::evaluate(const SiteView& site, std::size_t species, double* features,
                       Workspace& space) const {
  Scratch& scratch = space.of<Scratch>();
  scratch.reserve(site.capacity, *this, species);
  MomentsView view = scratch.view;
  view.cutoff = cutoff;
  view.radial = radial;
  view.angular_cutoff = angular_cutoff;
  view.angular_radial = angular_radial;
  view.species = species;
  site_kernels().moments(view, site, features);
}

double Grade::of(const SiteView& site, double* features) const {
  const std::size_t species = centers.size();
  const auto own = static_cast<std::size_t>(site.species);
  const Center& center = centers[own];
  double grade = 0.0;
  if (!center.mean.empty())
    grade = std::sqrt(site_kernels().whiten(center.blocks.data(), center.mean.data(),
                                            center.mean.size(), features));
  if (!(site.least_square < longest_shortest * longest_shortest)) return grade;
  const double* const limits = &shortest[own * species];
  for (std::size_t n = 0; n < site.count; ++n) {
    const double limit = limits[static_cast<std::size_t>(site.kind[n])];
    if (site.r[n] < limit) grade = std::max(grade, limit / site.r[n]);
  }
  return grade;
}

}  // namespace forcemap
