#include "forcemap/grade.hpp"

#include <algorithm>
#include <cmath>

#include "arena.hpp"
#include "loops/site_kernels.hpp"
#include "workspace.hpp"

namespace forcemap {

namespace {

// |whitening (features - mean)|
double distance(const Grade::Center& center, const double* features) {
  const std::size_t count = center.mean.size();
  double squares = 0.0;
  for (std::size_t row = 0; row < count; ++row) {
    const double* const w = &center.whitening[row * count];
    double sum = 0.0;
    for (std::size_t n = 0; n <= row; ++n) sum += w[n] * (features[n] - center.mean[n]);
    squares += sum * sum;
  }
  return std::sqrt(squares);
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
