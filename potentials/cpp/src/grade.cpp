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

// The parts of the sums that p_l of two channels is made of.
struct Part {
  std::size_t at;
  double factor;
};
constexpr Part vectors[] = {{1, 1.0}, {2, 1.0}, {3, 1.0}};
// P_2(cos) = 1.5 (u . v)^2 - 0.5
constexpr Part tensors[] = {{0, -0.5}, {4, 1.5}, {5, 1.5}, {6, 1.5}, {7, 3.0}, {8, 3.0}, {9, 3.0}};

template <std::size_t N>
double* write_products(const Part (&parts)[N], const double* sums, std::size_t channels,
                       double* out) {
  for (std::size_t a = 0; a < channels; ++a) {
    double left[N];
    for (std::size_t n = 0; n < N; ++n)
      left[n] = parts[n].factor * sums[parts[n].at * channels + a];
    for (std::size_t b = a; b < channels; ++b) {
      double sum = 0.0;
      for (std::size_t n = 0; n < N; ++n) sum += left[n] * sums[parts[n].at * channels + b];
      *out++ = sum;
    }
  }
  return out;
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
  if (scratch.room < 2 * channels * kMomentParts) {
    scratch.room = 2 * channels * kMomentParts;
    scratch.arena.lay_out([&](const auto& each) { each(scratch.sums, scratch.room); });
  }
  site_kernels().moments({cutoff, radial, l_max, species}, site, scratch.sums);
  double* next = std::copy_n(scratch.sums, channels, features);
  if (l_max >= 1) next = write_products(vectors, scratch.sums, channels, next);
  if (l_max >= 2) write_products(tensors, scratch.sums, channels, next);
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
