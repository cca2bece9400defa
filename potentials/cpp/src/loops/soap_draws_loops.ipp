// SOAP for many sets of weights at once: the density is the same for all of them. Included by
// site_loops.ipp, after soap_loops.ipp, whose parts it uses.

#include "forcemap/draw_sums.hpp"

namespace forcemap {
namespace FORCEMAP_LOOPS {

static void soap_products(const double* vectors, std::size_t count, std::size_t size,
                          const double* p, double* out) {
  for (std::size_t k = 0; k < count; k += 4) {
    const double* const row = vectors + k * size;
    Lanes y[4];
    for (int b = 0; b < 4; ++b) y[b] = all(0.0);
    for (std::size_t n = 0; n < size; n += kLanes) {
      const Lanes x = take(p + n);
#pragma GCC unroll 4
      for (std::size_t b = 0; b < 4; ++b) y[b] = mad(take(row + b * size + n), x, y[b]);
    }
    for (int b = 0; b < 4; ++b) out[k + static_cast<std::size_t>(b)] = total(y[b]);
  }
}

static void soap_sums(const SoapSums& s) {
  for (std::size_t n = 0; n < s.size; n += kLanes)
    for (std::size_t k = 0; k < s.count; k += kDrawsAtOnce) {
      const double* const factors = s.coefficients + k * s.vectors_count;
      Lanes sums_of[kDrawsAtOnce];
      for (std::size_t m = 0; m < kDrawsAtOnce; ++m) sums_of[m] = all(0.0);
      for (std::size_t a = 0; a < s.vectors_count; ++a) {
        const Lanes x = take(s.vectors + a * s.size + n);
#pragma GCC unroll 8
        for (std::size_t m = 0; m < kDrawsAtOnce; ++m)
          sums_of[m] = mad(x, all(factors[m * s.vectors_count + a]), sums_of[m]);
      }
      for (std::size_t m = 0; m < kDrawsAtOnce; ++m) put(s.out + (k + m) * s.size + n, sums_of[m]);
    }
}

// Radial functions with the neighbours side by side.
static void transpose_radial(const SoapView& v, const SoapWork& w, const SoapDrawsWork& draws) {
  const std::size_t row = (v.l_max + 1) * v.n_padded;
  for (std::size_t j = 0; j < w.padded; ++j)
    for (std::size_t n = 0; n < row; ++n) {
      draws.value[n * w.padded + j] = w.value[j * row + n];
      draws.slope[n * w.padded + j] = w.slope[j * row + n];
    }
}

// As many draws as there are registers for two sums of each.
constexpr std::size_t kPulled = kLanes == 8 ? 8 : 4;

// dE/dr of as many neighbours as there are lanes, for kPulled draws.
struct DrawnPull {
  Lanes r[kPulled], x[kPulled], y[kPulled], z[kPulled];
};

// Neighbours from `at` on. Rows of dE/dc of their species, `stride` apart; those of the next draw
// `next` further. With the sums of dE/dc over the radial functions' values and slopes, the
// harmonics come in once for each m.
FORCEMAP_INLINE void pull_draws(const SoapView& v, const SoapWork& w, const SoapDrawsWork& draws,
                                const SoapRows<const double>& adjoint, std::size_t next,
                                std::size_t at, DrawnPull& pull) {
  const std::size_t padded = w.padded;
  for (std::size_t k = 0; k < kPulled; ++k)
    pull.r[k] = pull.x[k] = pull.y[k] = pull.z[k] = all(0.0);
  for (std::size_t l = 0; l <= v.l_max; ++l) {
    const double* const value = draws.value + l * v.n_padded * padded + at;
    const double* const slope = draws.slope + l * v.n_padded * padded + at;
    for (std::size_t lm = l * l; lm < (l + 1) * (l + 1); ++lm) {
      const double* const a = adjoint.first + lm * adjoint.stride;
      Lanes by_value[kPulled], by_slope[kPulled];
      for (std::size_t k = 0; k < kPulled; ++k) by_value[k] = by_slope[k] = all(0.0);
      for (std::size_t n = 0; n < v.n_max; ++n) {
        const Lanes f = take(value + n * padded), d = take(slope + n * padded);
#pragma GCC unroll 8
        for (std::size_t k = 0; k < kPulled; ++k) {
          const Lanes c = all(a[k * next + n]);
          by_value[k] = mad(c, f, by_value[k]);
          by_slope[k] = mad(c, d, by_slope[k]);
        }
      }
      const Lanes y = take(w.y + lm * padded + at), yx = take(w.yx + lm * padded + at);
      const Lanes yy = take(w.yy + lm * padded + at), yz = take(w.yz + lm * padded + at);
#pragma GCC unroll 8
      for (std::size_t k = 0; k < kPulled; ++k) {
        pull.r[k] = mad(by_slope[k], y, pull.r[k]);
        pull.x[k] = mad(by_value[k], yx, pull.x[k]);
        pull.y[k] = mad(by_value[k], yy, pull.y[k]);
        pull.z[k] = mad(by_value[k], yz, pull.z[k]);
      }
    }
  }
}

// Neighbours [from, to), which are among the lanes from `at` on.
struct PulledLanes {
  std::size_t at, from, to;
};

// Draws [first, first + count).
FORCEMAP_INLINE void add_draws(const SoapWork& w, const DrawnPull& pull, const PulledLanes& lanes,
                               std::size_t first, std::size_t count, const DrawSums& sums) {
  const std::size_t at = lanes.at;
  const Lanes ux = take(w.ux + at), uy = take(w.uy + at), uz = take(w.uz + at);
  const Lanes inverse = take(w.inverse_r + at);
  for (std::size_t k = 0; k < count; ++k) {
    double parts[3][kLanes];
    put(parts[0], mad(pull.r[k], ux, inverse * pull.x[k]));
    put(parts[1], mad(pull.r[k], uy, inverse * pull.y[k]));
    put(parts[2], mad(pull.r[k], uz, inverse * pull.z[k]));
    for (std::size_t j = lanes.from; j < lanes.to; ++j) {
      double* const out =
          sums.gradients + 3 * static_cast<std::size_t>(w.slot[j]) * sums.width + first + k;
      for (std::size_t d = 0; d < 3; ++d) out[d * sums.width] += parts[d][j - at];
    }
  }
}

static void soap_draw_forces(const SoapView& v, const SoapWork& w, const SoapDrawsWork& draws,
                             const DrawSums& sums) {
  if (w.count == 0) return;
  const std::size_t rows = (v.l_max + 1) * (v.l_max + 1), size = rows * v.width;
  for (std::size_t k = 0; k < draws.padded_draws; ++k) {
    double* const g = draws.g + k * v.padded_dimension;
    Lanes along = all(0.0);
    for (std::size_t n = 0; n < v.padded_dimension; n += kLanes)
      along = mad(take(g + n), take(w.p + n), along);
    denormalise(v, w, total(along), g);
    soap_adjoint(v, w, g, draws.adjoint + k * size);
  }
  transpose_radial(v, w, draws);
  for (std::size_t species = 0; species < v.species; ++species) {
    const std::size_t begin = w.begin[species], end = w.begin[species + 1];
    if (begin == end) continue;
    SoapRows<const double> adjoint{draws.adjoint + species * v.n_padded, v.width};
    std::size_t next = size;
    if (!v.plain_species) {
      next = rows * v.n_padded;
      adjoint = {draws.one, v.n_padded};
      for (std::size_t k = 0; k < draws.padded_draws; ++k)
        soap_adjoint_of(v, species, draws.adjoint + k * size, draws.one + k * next);
    }
    for (std::size_t j = begin; j < end; j += kLanes) {
      // Lanes of another species, or without a neighbour, are computed and not used.
      const std::size_t at = j + kLanes <= w.padded ? j : w.padded - kLanes;
      const PulledLanes lanes{at, j, j + kLanes < end ? j + kLanes : end};
      for (std::size_t k = 0; k < draws.draws; k += kPulled) {
        DrawnPull pull;
        pull_draws(v, w, draws, {adjoint.first + k * next, adjoint.stride}, next, at, pull);
        const std::size_t left = draws.draws - k;
        add_draws(w, pull, lanes, k, left < kPulled ? left : kPulled, sums);
      }
    }
  }
}

}  // namespace FORCEMAP_LOOPS
}  // namespace forcemap
