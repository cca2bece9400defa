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

// |whitening (features - mean)|
double distance(const Grade::Center& center, const double* features) {
  double x[Grade::most_features];
  const std::size_t count = center.mean.size();
  for (std::size_t n = 0; n < count; ++n) x[n] = features[n] - center.mean[n];
  for (std::size_t n = count; n < padded(count); ++n) x[n] = 0.0;
  return std::sqrt(site_kernels().whiten(center.blocks.data(), padded(count), x));
}

// The sums over neighbours that the moments of a site are made of.
struct Scratch {
  Arena arena;
  double* sums = nullptr;
  std::size_t room = 0;
};

// Components of the moments in the sums: x, y, z; xx, yy, zz, yz, xz, xy.
double product(const double* a, const double* b, std::size_t l) {
  if (l == 1) return a[1] * b[1] + a[2] * b[2] + a[3] * b[3];
  const double diagonal = a[4] * b[4] + a[5] * b[5] + a[6] * b[6];
  const double rest = a[7] * b[7] + a[8] * b[8] + a[9] * b[9];
  return 1.5 * (diagonal + 2.0 * rest) - 0.5 * a[0] * b[0];
}

}  // namespace

Grade::Center::Center(std::vector<double> given, const std::vector<double>& whitening)
    : mean(std::move(given)) {
  const std::size_t count = mean.size();
  for (std::size_t end = 8; end <= padded(count); end += 8)
    for (std::size_t column = 0; column < end; ++column)
      for (std::size_t row = end - 8; row < end; ++row)
        blocks.push_back(row < count && column <= row ? whitening[row * count + column] : 0.0);
}

void Moments::evaluate(const SiteView& site, std::size_t species, double* features,
                       Workspace& space) const {
  Scratch& scratch = space.of<Scratch>();
  const std::size_t channels = species * radial;
  if (scratch.room < channels * kMomentParts) {
    scratch.room = channels * kMomentParts;
    scratch.arena.lay_out([&](const auto& each) { each(scratch.sums, scratch.room); });
  }
  site_kernels().moments({cutoff, radial, l_max, species}, site, scratch.sums);
  const auto of = [&](std::size_t channel) { return scratch.sums + channel * kMomentParts; };
  double* next = features;
  for (std::size_t a = 0; a < channels; ++a) *next++ = of(a)[0];
  for (std::size_t l = 1; l <= l_max; ++l)
    for (std::size_t a = 0; a < channels; ++a)
      for (std::size_t b = a; b < channels; ++b) *next++ = product(of(a), of(b), l);
}

double Grade::of(const SiteView& site, const double* features) const {
  const std::size_t species = centers.size();
  const auto own = static_cast<std::size_t>(site.species);
  double grade = centers[own].mean.empty() ? 0.0 : distance(centers[own], features);
  if (!(site.least_square < longest_shortest * longest_shortest)) return grade;
  const double* const limits = &shortest[own * species];
  for (std::size_t n = 0; n < site.count; ++n) {
    const double limit = limits[static_cast<std::size_t>(site.kind[n])];
    if (site.r[n] < limit) grade = std::max(grade, limit / site.r[n]);
  }
  return grade;
}

}  // namespace forcemap
