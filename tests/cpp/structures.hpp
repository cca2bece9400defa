// Small structures, and differences of what is computed from them.
#pragma once

#include <cmath>
#include <cstddef>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "check.hpp"
#include "forcemap/environments.hpp"
#include "forcemap/frame_rows.hpp"

namespace structures {

using Values = std::vector<double>;

struct Structure {
  std::string name;
  Values positions;
  std::vector<int> numbers;
  Values cell;
  bool pbc[3];

  std::size_t atoms() const { return numbers.size(); }
  forcemap::Environments environments(double cutoff) const {
    return {atoms(), positions.data(), numbers.data(), cell.data(), pbc, cutoff};
  }
  /// With strain `by` in direction v of xx yy zz yz xz xy: x -> x + by e_i x_j.
  Structure strained(std::size_t v, double by) const {
    constexpr std::size_t from[] = {0, 1, 2, 2, 2, 1}, to[] = {0, 1, 2, 1, 0, 0};
    Structure result = *this;
    for (Values* all : {&result.positions, &result.cell})
      for (std::size_t n = 0; n < all->size(); n += 3)
        (*all)[n + to[v]] += by * (*all)[n + from[v]];
    return result;
  }
};

inline Values random_values(std::size_t count, double low, double high, unsigned seed) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<double> uniform(low, high);
  Values values(count);
  for (double& value : values) value = uniform(random);
  return values;
}

/// A dimer; a small crystal of two species, smaller than the cutoffs, in a skew cell; a slab.
inline std::vector<Structure> all() {
  const Values sites = {0.1, 0.0, 0.2, 1.9, 0.2, 0.1, 0.3, 2.1, 0.0, 0.2, 0.1, 2.3};
  return {{"dimer", {0, 0, 0, 1.3, 0.9, -0.7}, {1, 8}, Values(9, 0.0), {false, false, false}},
          {"crystal",
           sites,
           {1, 8, 8, 1},
           {3.6, 0, 0, 0.4, 3.9, 0, -0.3, 0.5, 4.1},
           {true, true, true}},
          {"slab", sites, {8, 1, 1, 8}, {3.7, 0.2, 0, 0, 4.0, 0, 0, 0, 0}, {true, true, false}}};
}

/// Rows, (FrameRows::count(), columns), of energies by `columns` functions, by central differences.
template <typename Energies>
Values difference_rows(const Structure& structure, double h, const Energies& energies) {
  const forcemap::FrameRows layout{structure.atoms()};
  const Values at = energies(structure);
  const std::size_t columns = at.size();
  Values rows(layout.count() * columns);
  const auto write = [&](std::size_t row, const Values& plus, const Values& minus, double factor) {
    for (std::size_t c = 0; c < columns; ++c)
      rows[row * columns + c] = factor * (plus[c] - minus[c]) / (2.0 * h);
  };
  for (std::size_t c = 0; c < columns; ++c) rows[layout.energy() * columns + c] = at[c];
  for (std::size_t n = 0; n < 3 * structure.atoms(); ++n) {
    Structure plus = structure, minus = structure;
    plus.positions[n] += h;
    minus.positions[n] -= h;
    write(layout.force(n / 3, n % 3), energies(plus), energies(minus), -1.0);
  }
  for (std::size_t v = 0; v < 6; ++v)
    write(layout.strain(v), energies(structure.strained(v, h)), energies(structure.strained(v, -h)),
          1.0);
  return rows;
}

inline double largest_difference(const Values& a, const Values& b) {
  double largest = a.size() == b.size() ? 0.0 : INFINITY;
  for (std::size_t n = 0; n < a.size() && n < b.size(); ++n)
    // Not max: a NaN stays.
    if (!(std::abs(a[n] - b[n]) <= largest)) largest = std::abs(a[n] - b[n]);
  return largest;
}

inline double largest(const Values& a) { return largest_difference(a, Values(a.size(), 0.0)); }

/// Analytic `rows` are the derivatives of `energies`: the error of central differences is small and
/// falls with the square of the step, that is to a quarter for half the step.
template <typename Energies>
void check_derivatives(const Structure& structure, const Values& rows, const Energies& energies) {
  const double scale = 1.0 + largest(rows);
  const double coarse = largest_difference(rows, difference_rows(structure, 2e-3, energies));
  const double fine = largest_difference(rows, difference_rows(structure, 1e-3, energies));
  if (!(coarse < 1e-3 * scale && fine < 0.3 * coarse + 1e-9 * scale))
    check::report(structure.name.c_str(), 0,
                  "rows differ from differences by " + std::to_string(coarse) + " and " +
                      std::to_string(fine) + " of " + std::to_string(scale));
}

inline bool close(const Values& a, const Values& b, double tolerance = 1e-12) {
  return largest_difference(a, b) <= tolerance * (1.0 + largest(b));
}

/// Values at x of `count` cubic splines over [0, range], coefficients (intervals + 3, count), from
/// the truncated powers of B-splines: B(u) = sum_k (-1)^k (4 over k) (u - k)_+^3 / 6.
inline Values spline(const Values& coefficients, std::size_t count, double range, double x) {
  const std::size_t rows = coefficients.size() / count;
  const double u = x / range * static_cast<double>(rows - 3);
  Values sums(count, 0.0);
  for (std::size_t m = 0; m < rows; ++m) {
    const double t = u - static_cast<double>(m) + 3.0, binomial[] = {1, -4, 6, -4, 1};
    double weight = 0.0;
    if (t > 0.0 && t < 4.0)
      for (int k = 0; k < 5 && t > k; ++k) weight += binomial[k] * std::pow(t - k, 3) / 6.0;
    for (std::size_t c = 0; c < count; ++c) sums[c] += weight * coefficients[m * count + c];
  }
  return sums;
}

}  // namespace structures
