#include "spectrum_rows.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "clones.hpp"

namespace forcemap {

namespace {

constexpr std::size_t lanes = 8;

// Sums of one direction: gradient of one neighbour's coefficients, (harmonics, n) each, from its
// radial functions and slopes, (l, n).
struct OneDirection {
  const double *harmonic, *tangent;  // a stride apart for each harmonic
  std::size_t stride;
  double unit, inverse_r;
};

FORCEMAP_CLONES void coefficient_gradient(const OneDirection& of, const double* value,
                                          const double* slope, std::size_t l_max, std::size_t n,
                                          double* __restrict out) {
  for (std::size_t l = 0; l <= l_max; ++l, value += n, slope += n)
    for (std::size_t m = 0; m < 2 * l + 1; ++m, out += n) {
      const std::size_t lm = l * l + m;
      const double by_value = of.tangent[lm * of.stride] * of.inverse_r;
      const double by_slope = of.harmonic[lm * of.stride] * of.unit;
      for (std::size_t k = 0; k < n; ++k) out[k] = by_value * value[k] + by_slope * slope[k];
    }
}

FORCEMAP_CLONES void add_scaled_to(double a, const double* __restrict x, double* __restrict y,
                                   std::size_t count) {
  for (std::size_t s = 0; s < count; ++s) y[s] += a * x[s];
}

// A species' functions into its share of a channel: rows of `n` numbers to rows `stride` apart.
FORCEMAP_CLONES void add_channel(const double* __restrict functions, std::size_t n,
                                 const double* weights, std::size_t harmonics, std::size_t stride,
                                 double* __restrict channels) {
  for (std::size_t lm = 0; lm < harmonics; ++lm) {
    const double weight = weights[lm];
    for (std::size_t k = 0; k < n; ++k) channels[lm * stride + k] += weight * functions[lm * n + k];
  }
}

// GCC's own vectors: the compiler keeps sums of plain numbers in memory here.
typedef double Eight __attribute__((vector_size(64), aligned(8), may_alias));

inline __attribute__((always_inline)) Eight eight(const double* from) {
  return *reinterpret_cast<const Eight*>(from);
}

// Derivatives of packed spectra from those of their coefficients c, rows of `width` numbers and
// lanes zeros: for each l and a, b >= a the sum over m of x_a c_b + c_a x_b, of three x that follow
// one another. Whole vectors are written; what passes the end of a run is where the next one
// begins.
FORCEMAP_CLONES void packed_derivatives(const double* x, const double* c, std::size_t l_max,
                                        std::size_t width, double* out, std::size_t out_stride) {
  constexpr double inverse_root2 = 0.70710678118654752440;
  const std::size_t stride = width + lanes, next = (l_max + 1) * (l_max + 1) * stride;
  for (std::size_t l = 0; l <= l_max; ++l) {
    const std::size_t rows = 2 * l + 1;
    for (std::size_t a = 0; a < width; ++a) {
      for (std::size_t b = a; b < width; b += lanes) {
        Eight sum0{}, sum1{}, sum2{};
        const double *xa = x + a, *xb = x + b, *ca = c + a, *cb = c + b;
        for (std::size_t m = 0; m < rows; ++m) {
          const Eight there = eight(cb);
          const double here = *ca;
          sum0 += there * xa[0] + here * eight(xb);
          sum1 += there * xa[next] + here * eight(xb + next);
          sum2 += there * xa[2 * next] + here * eight(xb + 2 * next);
          xa += stride;
          xb += stride;
          ca += stride;
          cb += stride;
        }
        double* const to = out + (b - a);
        *reinterpret_cast<Eight*>(to) = sum0;
        *reinterpret_cast<Eight*>(to + out_stride) = sum1;
        *reinterpret_cast<Eight*>(to + 2 * out_stride) = sum2;
      }
      for (std::size_t n = 0; n < 3; ++n) out[n * out_stride] *= inverse_root2;
      out += width - a;
    }
    x += rows * stride;
    c += rows * stride;
  }
}

// The derivative of p / |p| from that of p; `p` is normalised.
FORCEMAP_CLONES void normalised(const double* p, double inverse_norm, std::size_t count,
                                const double* row, double* __restrict out) {
  Eight parts{};
  const std::size_t whole = count / lanes * lanes;
  for (std::size_t n = 0; n < whole; n += lanes) parts += eight(p + n) * eight(row + n);
  double along = 0.0;
  for (std::size_t k = 0; k < lanes; ++k) along += parts[k];
  for (std::size_t n = whole; n < count; ++n) along += p[n] * row[n];
  for (std::size_t n = 0; n < count; ++n) out[n] = (row[n] - along * p[n]) * inverse_norm;
}

}  // namespace

SpectrumRows::SpectrumRows(const SoapView& view) : SpectrumRows(view, view.dimension, true) {}

SpectrumRows::SpectrumRows(const SoapView& view, std::size_t dimension, bool are_products)
    : view_(view),
      dimension_(dimension),
      harmonics_((view.l_max + 1) * (view.l_max + 1)),
      one_(harmonics_ * view.n_max),
      width_(view.channels * view.n_max),
      stride_(width_ + lanes),
      scale_(harmonics_),
      gradient_(3 * one_),
      moved_(3 * one_),
      center_(3 * one_),
      strain_(6 * one_),
      coefficients_(harmonics_ * stride_),
      owner_(3 * harmonics_ * stride_),
      whole_(3 * harmonics_ * stride_),
      straining_(6 * harmonics_ * stride_) {
  for (std::size_t l = 0; l <= view.l_max; ++l)
    for (std::size_t m = 0; m < 2 * l + 1; ++m)
      scale_[l * l + m] = are_products ? std::sqrt(2.0 / static_cast<double>(2 * l + 1)) : 1.0;
}

void SpectrumRows::sort_by_owner(const SoapWork& work, const Environments::Range& near,
                                 const std::vector<std::size_t>& place) {
  const auto place_of = [&](std::size_t k) {
    return place[static_cast<std::size_t>(near[static_cast<std::size_t>(work.slot[k])].owner)];
  };
  order_.resize(work.count);
  std::iota(order_.begin(), order_.end(), std::size_t{0});
  owner_place_.resize(work.count);
  for (std::size_t k = 0; k < work.count; ++k) owner_place_[k] = place_of(k);
  for (std::size_t s = 0; s < view_.species; ++s)
    std::stable_sort(
        order_.begin() + static_cast<std::ptrdiff_t>(work.begin[s]),
        order_.begin() + static_cast<std::ptrdiff_t>(work.begin[s + 1]),
        [&](std::size_t j, std::size_t k) { return owner_place_[j] < owner_place_[k]; });
}

void SpectrumRows::add_neighbor(const SoapWork& work, const Environments::Neighbor& neighbor,
                                std::size_t k) {
  const std::size_t row = view_.row;
  const double unit[3] = {work.ux[k], work.uy[k], work.uz[k]};
  const double* const tangents[3] = {work.yx, work.yy, work.yz};
  for (std::size_t d = 0; d < 3; ++d)
    coefficient_gradient({work.y + k, tangents[d] + k, work.padded, unit[d], work.inverse_r[k]},
                         work.value + k * row, work.slope + k * row, view_.l_max, view_.n_max,
                         &gradient_[d * one_]);
  const double* const x = gradient_.data();
  const double *y = x + one_, *z = y + one_;
  add_scaled_to(1.0, x, moved_.data(), 3 * one_);
  add_scaled_to(neighbor.x, x, &strain_[0], one_);
  add_scaled_to(neighbor.y, y, &strain_[one_], one_);
  add_scaled_to(neighbor.z, z, &strain_[2 * one_], one_);
  add_scaled_to(neighbor.y, z, &strain_[3 * one_], one_);
  add_scaled_to(neighbor.x, z, &strain_[4 * one_], one_);
  add_scaled_to(neighbor.x, y, &strain_[5 * one_], one_);
}

void SpectrumRows::mix(const double* sums, std::size_t species, double sign,
                       double* channels) const {
  std::vector<double> weights(harmonics_);
  for (std::size_t channel = 0; channel < view_.channels; ++channel) {
    const double weight = sign * view_.weights[channel * view_.species + species];
    if (weight == 0.0) continue;
    for (std::size_t lm = 0; lm < harmonics_; ++lm) weights[lm] = weight * scale_[lm];
    add_channel(sums, view_.n_max, weights.data(), harmonics_, stride_,
                channels + channel * view_.n_max);
  }
}

void SpectrumRows::begin(const SoapWork& work) {
  for (std::size_t lm = 0; lm < harmonics_; ++lm)
    for (std::size_t channel = 0; channel < view_.channels; ++channel)
      std::copy_n(work.c + lm * view_.width + channel * view_.n_padded, view_.n_max,
                  &coefficients_[lm * stride_ + channel * view_.n_max]);
}

void SpectrumRows::finish(const SoapWork& work, const double* channels, std::size_t stride_of,
                          std::size_t count, double* rows) {
  const double inverse_norm = work.norm > 0.0 ? 1.0 / work.norm : 0.0;
  const std::size_t stride = view_.dimension + lanes;
  std::vector<double> unscaled(3 * stride);
  for (std::size_t n = 0; n < count; ++n, rows += view_.dimension) {
    if (n % 3 == 0)
      packed_derivatives(channels + n * harmonics_ * stride_of, coefficients_.data(), view_.l_max,
                         width_, unscaled.data(), stride);
    normalised(work.p, inverse_norm, view_.dimension, &unscaled[n % 3 * stride], rows);
  }
}

void SpectrumRows::write(const SoapWork& work, const Environments::Range& near,
                         const std::vector<std::size_t>& place, std::size_t involved,
                         double* rows) {
  const std::size_t three = 3 * dimension_;
  sort_by_owner(work, near, place);
  begin(work);
  std::fill(whole_.begin(), whole_.end(), 0.0);
  std::fill(straining_.begin(), straining_.end(), 0.0);
  for (std::size_t s = 0; s < view_.species; ++s) {
    if (work.begin[s] == work.begin[s + 1]) continue;
    std::fill(center_.begin(), center_.end(), 0.0);
    std::fill(strain_.begin(), strain_.end(), 0.0);
    for (std::size_t k = work.begin[s]; k < work.begin[s + 1];) {
      const std::size_t owner = owner_place_[order_[k]];
      std::fill(moved_.begin(), moved_.end(), 0.0);
      for (; k < work.begin[s + 1] && owner_place_[order_[k]] == owner; ++k)
        add_neighbor(work, near[static_cast<std::size_t>(work.slot[order_[k]])], order_[k]);
      // A periodic image of the centre itself feels no force of its own.
      if (owner == 0) continue;
      std::fill(owner_.begin(), owner_.end(), 0.0);
      for (std::size_t d = 0; d < 3; ++d)
        mix(&moved_[d * one_], s, -1.0, &owner_[d * harmonics_ * stride_]);
      finish(work, owner_.data(), stride_, 3, rows + owner * three);
      add_scaled_to(1.0, moved_.data(), center_.data(), 3 * one_);
    }
    for (std::size_t d = 0; d < 3; ++d)
      mix(&center_[d * one_], s, 1.0, &whole_[d * harmonics_ * stride_]);
    for (std::size_t v = 0; v < 6; ++v)
      mix(&strain_[v * one_], s, 1.0, &straining_[v * harmonics_ * stride_]);
  }
  finish(work, whole_.data(), stride_, 3, rows);
  finish(work, straining_.data(), stride_, 6, rows + involved * three);
}

}  // namespace forcemap
