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

// Neighbours up to whole vectors of floats.
FORCEMAP_INLINE std::size_t in_singles(const SoapWork& w) {
  return (w.count + kSingles - 1) / kSingles * kSingles;
}

// What the forces need of the density with the neighbours side by side, in single precision. What
// there is beyond the last neighbour is a number, and not used.
static void turn_for_draws(const SoapView& v, const SoapWork& w, const SoapDrawsWork& draws) {
  const std::size_t row = (v.l_max + 1) * v.n_padded, rows = (v.l_max + 1) * (v.l_max + 1);
  const std::size_t padded = in_singles(w);
  const double* const harmonics[4] = {w.y, w.yx, w.yy, w.yz};
  const double* const unit[4] = {w.ux, w.uy, w.uz, w.inverse_r};
  for (std::size_t j = 0; j < w.count; ++j)
    for (std::size_t n = 0; n < row; ++n) {
      draws.value[n * padded + j] = static_cast<float>(w.value[j * row + n]);
      draws.slope[n * padded + j] = static_cast<float>(w.slope[j * row + n]);
    }
  for (std::size_t d = 0; d < 4; ++d) {
    for (std::size_t lm = 0; lm < rows; ++lm)
      for (std::size_t j = 0; j < w.count; ++j)
        draws.harmonics[(d * rows + lm) * padded + j] =
            static_cast<float>(harmonics[d][lm * w.padded + j]);
    for (std::size_t j = 0; j < w.count; ++j)
      draws.unit[d * padded + j] = static_cast<float>(unit[d][j]);
  }
}

// As many draws as there are registers for two sums of each.
constexpr std::size_t kPulled = kLanes == 8 ? 8 : 4;

// dE/dr of as many neighbours as there are lanes, for kPulled draws.
struct DrawnPull {
  Singles r[kPulled], x[kPulled], y[kPulled], z[kPulled];
};

// Neighbours from `at` on. Rows of dE/dc of their species for the first draw; those of the next
// draw `next` further. With the sums of dE/dc over the radial functions' values and slopes, the
// harmonics come in once for each m.
FORCEMAP_INLINE void pull_draws(const SoapView& v, const SoapWork& w, const SoapDrawsWork& draws,
                                const float* adjoint, std::size_t next, std::size_t at,
                                DrawnPull& pull) {
  const std::size_t padded = in_singles(w), rows = (v.l_max + 1) * (v.l_max + 1);
  for (std::size_t k = 0; k < kPulled; ++k)
    pull.r[k] = pull.x[k] = pull.y[k] = pull.z[k] = all(0.0F);
  for (std::size_t l = 0; l <= v.l_max; ++l) {
    const float* const value = draws.value + l * v.n_padded * padded + at;
    const float* const slope = draws.slope + l * v.n_padded * padded + at;
    for (std::size_t lm = l * l; lm < (l + 1) * (l + 1); ++lm) {
      const float* const a = adjoint + lm * v.n_padded;
      Singles by_value[kPulled], by_slope[kPulled];
      for (std::size_t k = 0; k < kPulled; ++k) by_value[k] = by_slope[k] = all(0.0F);
      for (std::size_t n = 0; n < v.n_max; ++n) {
        const Singles f = take(value + n * padded), d = take(slope + n * padded);
#pragma GCC unroll 8
        for (std::size_t k = 0; k < kPulled; ++k) {
          const Singles c = all(a[k * next + n]);
          by_value[k] = mad(c, f, by_value[k]);
          by_slope[k] = mad(c, d, by_slope[k]);
        }
      }
      const float* const harmonic = draws.harmonics + lm * padded + at;
      const Singles y = take(harmonic), yx = take(harmonic + rows * padded);
      const Singles yy = take(harmonic + 2 * rows * padded);
      const Singles yz = take(harmonic + 3 * rows * padded);
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
FORCEMAP_INLINE void add_draws(const SoapWork& w, const SoapDrawsWork& draws, const DrawnPull& pull,
                               const PulledLanes& lanes, std::size_t first, std::size_t count,
                               const DrawSums& sums) {
  const std::size_t at = lanes.at, padded = in_singles(w);
  const float* const unit = draws.unit + at;
  const Singles ux = take(unit), uy = take(unit + padded), uz = take(unit + 2 * padded);
  const Singles inverse = take(unit + 3 * padded);
  for (std::size_t k = 0; k < count; ++k) {
    float parts[3][kSingles];
    put(parts[0], mad(pull.r[k], ux, inverse * pull.x[k]));
    put(parts[1], mad(pull.r[k], uy, inverse * pull.y[k]));
    put(parts[2], mad(pull.r[k], uz, inverse * pull.z[k]));
    for (std::size_t j = lanes.from; j < lanes.to; ++j) {
      double* const out =
          sums.gradients + 3 * static_cast<std::size_t>(w.slot[j]) * sums.width + first + k;
      for (std::size_t d = 0; d < 3; ++d)
        out[d * sums.width] += static_cast<double>(parts[d][j - at]);
    }
  }
}

// dE/dc of one species in single precision, for all draws.
FORCEMAP_INLINE void adjoints_of(const SoapView& v, std::size_t species,
                                 const SoapDrawsWork& draws) {
  const std::size_t rows = (v.l_max + 1) * (v.l_max + 1), size = rows * v.width;
  const std::size_t next = rows * v.n_padded;
  for (std::size_t k = 0; k < draws.padded_draws; ++k) {
    const double* from = draws.adjoint + k * size + species * v.n_padded;
    std::size_t stride = v.width;
    if (!v.plain_species) {
      soap_adjoint_of(v, species, draws.adjoint + k * size, draws.one + k * next);
      from = draws.one + k * next;
      stride = v.n_padded;
    }
    float* const to = draws.single + k * next;
    for (std::size_t lm = 0; lm < rows; ++lm)
      for (std::size_t n = 0; n < v.n_padded; n += 4)
        store(to + lm * v.n_padded + n, load(from + lm * stride + n));
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
  turn_for_draws(v, w, draws);
  const std::size_t next = rows * v.n_padded, padded = in_singles(w);
  for (std::size_t species = 0; species < v.species; ++species) {
    const std::size_t begin = w.begin[species], end = w.begin[species + 1];
    if (begin == end) continue;
    adjoints_of(v, species, draws);
    for (std::size_t j = begin; j < end; j += kSingles) {
      // Lanes of another species, or without a neighbour, are computed and not used.
      const std::size_t at = j + kSingles <= padded ? j : padded - kSingles;
      const PulledLanes lanes{at, j, j + kSingles < end ? j + kSingles : end};
      for (std::size_t k = 0; k < draws.draws; k += kPulled) {
        DrawnPull pull;
        pull_draws(v, w, draws, draws.single + k * next, next, at, pull);
        const std::size_t left = draws.draws - k;
        add_draws(w, draws, pull, lanes, k, left < kPulled ? left : kPulled, sums);
      }
    }
  }
}

}  // namespace FORCEMAP_LOOPS
}  // namespace forcemap
