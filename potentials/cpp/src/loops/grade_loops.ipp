// Mahalanobis distances, and moments of the neighbours' density. Included by site_loops.ipp.

#include "grade_kernels.hpp"

namespace forcemap {
namespace FORCEMAP_LOOPS {

static double whiten(const double* blocks, std::size_t count, const double* x) {
  Vec8 squares = splat8(0.0);
  for (std::size_t end = 8; end <= count; end += 8) {
    // Two sums, which do not wait for each other.
    Vec8 even = splat8(0.0), odd = even;
    for (std::size_t n = 0; n < end; n += 2, blocks += 16) {
      even = fma(load8(blocks), splat8(x[n]), even);
      odd = fma(load8(blocks + 8), splat8(x[n + 1]), odd);
    }
    const Vec8 y = even + odd;
    squares = fma(y, y, squares);
  }
  return sum(squares);
}

// Eight neighbours: the weights of the harmonics by L, the largest l.
template <int L>
struct MomentLanes {
  static constexpr int parts = L == 0 ? 1 : L == 1 ? 4 : 10;
  Vec8 t, value, part[parts];
};

// False where none of the neighbours from `n` on is within the cutoff.
template <int L>
FORCEMAP_INLINE bool moment_lanes(const MomentsView& v, const SiteView& s, std::size_t n,
                                  MomentLanes<L>& lanes) {
  const Vec8 r = load8(s.r + n), cutoff = splat8(v.cutoff);
  const unsigned near = below(r, cutoff);
  if (near == 0) return false;
  const Vec8 x = r * splat8(1.0 / v.cutoff), fade = splat8(1.0) - x;
  lanes.t = fma(splat8(2.0), x, splat8(-1.0));
  lanes.value = keep(near, fade * fade);
  lanes.part[0] = splat8(1.0);
  if constexpr (L >= 1) {
    const Vec8 inverse = load8(s.inverse_r + n);
    lanes.part[1] = load8(s.x + n) * inverse;
    lanes.part[2] = load8(s.y + n) * inverse;
    lanes.part[3] = load8(s.z + n) * inverse;
  }
  if constexpr (L >= 2) {
    const Vec8 ux = lanes.part[1], uy = lanes.part[2], uz = lanes.part[3];
    lanes.part[4] = ux * ux;
    lanes.part[5] = uy * uy;
    lanes.part[6] = uz * uz;
    lanes.part[7] = uy * uz;
    lanes.part[8] = ux * uz;
    lanes.part[9] = ux * uy;
  }
  return true;
}

// The value of the radial function that follows `value`, before it `previous`.
FORCEMAP_INLINE Vec8 next_chebyshev(bool first, Vec8 t, Vec8 value, Vec8 previous) {
  return first ? t * value : (t + t) * value - previous;
}

// One species: vectors of sums, added up at the end.
template <int L>
FORCEMAP_INLINE void moments_of_one(const MomentsView& v, const SiteView& s, double* sums) {
  constexpr std::size_t parts = MomentLanes<L>::parts;
  const std::size_t radial = v.radial, count = radial * parts;
  Vec8 total[16 * parts + 8];  // (parts, radial)
  for (std::size_t i = 0; i < (count + 7) / 8 * 8; ++i) total[i] = splat8(0.0);
  for (std::size_t n = 0; n < s.padded; n += 8) {
    MomentLanes<L> lanes;
    if (!moment_lanes(v, s, n, lanes)) continue;
    Vec8 value = lanes.value, previous = value;
    for (std::size_t m = 0; m < radial; ++m) {
      total[m] = total[m] + value;
#pragma GCC unroll 9
      for (std::size_t c = 1; c < parts; ++c)
        total[c * radial + m] = fma(value, lanes.part[c], total[c * radial + m]);
      const Vec8 following = next_chebyshev(m == 0, lanes.t, value, previous);
      previous = value;
      value = following;
    }
  }
  // Eight sums at a time.
  double partial[4 * kPartial];
  for (std::size_t n = 0; n < count; n += 8) {
    for (std::size_t k = 0; k < 4; ++k)
      store_partial(partial + kPartial * k, half_sums(total[n + 2 * k], total[n + 2 * k + 1]));
    store(sums + n, sum_partials(partial));
  }
}

// Parts of up to four harmonics, a row for each of eight neighbours.
template <int L>
FORCEMAP_INLINE void store_parts(const MomentLanes<L>& lanes, int first, double* rows) {
  Vec8 columns[4];
  for (int c = 0; c < 4; ++c)
    columns[c] = first + c < MomentLanes<L>::parts ? lanes.part[first + c] : splat8(0.0);
  store_rows(rows, columns);
}

// Several species: the lanes of a vector are the harmonics.
template <int L>
FORCEMAP_INLINE void moments_of_some(const MomentsView& v, const SiteView& s, double* sums) {
  constexpr int parts = MomentLanes<L>::parts, fours = (parts + 3) / 4;
  const std::size_t channels = v.species * v.radial;
  for (std::size_t n = 0; n < channels * 4 * fours; n += 4) store(sums + n, splat(0.0));
  for (std::size_t n = 0; n < s.padded; n += 8) {
    MomentLanes<L> lanes;
    if (!moment_lanes(v, s, n, lanes)) continue;
    double rows[fours][32], values[16][8];
    for (int four = 0; four < fours; ++four) store_parts(lanes, 4 * four, rows[four]);
    Vec8 value = lanes.value, previous = value;
    for (std::size_t m = 0; m < v.radial; ++m) {
      store(values[m], value);
      const Vec8 following = next_chebyshev(m == 0, lanes.t, value, previous);
      previous = value;
      value = following;
    }
    const std::size_t rest = s.count - n, real = rest < 8 ? rest : 8;
    for (std::size_t k = 0; k < real; ++k) {
      double* to = sums + static_cast<std::size_t>(s.kind[n + k]) * v.radial * 4 * fours;
      for (std::size_t m = 0; m < v.radial; ++m)
        for (int four = 0; four < fours; ++four, to += 4)
          store(to, fma(splat(values[m][k]), load(rows[four] + 4 * k), load(to)));
    }
  }
}

// (channels, width) as (parts, channels), within `sums`, by way of the room behind them.
FORCEMAP_INLINE void by_parts(std::size_t channels, std::size_t width, std::size_t parts,
                              double* sums) {
  double* const spare = sums + channels * kMomentParts;
  for (std::size_t n = 0; n < channels * width; ++n) spare[n] = sums[n];
  for (std::size_t c = 0; c < parts; ++c)
    for (std::size_t a = 0; a < channels; ++a) sums[c * channels + a] = spare[a * width + c];
}

template <int L>
FORCEMAP_INLINE void moments_up_to(const MomentsView& v, const SiteView& s, double* sums) {
  constexpr std::size_t parts = MomentLanes<L>::parts;
  if (v.species == 1) {
    moments_of_one<L>(v, s, sums);
  } else {
    moments_of_some<L>(v, s, sums);
    by_parts(v.species * v.radial, (parts + 3) / 4 * 4, parts, sums);
  }
}

static void moments(const MomentsView& v, const SiteView& s, double* sums) {
  if (v.l_max == 0)
    moments_up_to<0>(v, s, sums);
  else if (v.l_max == 1)
    moments_up_to<1>(v, s, sums);
  else
    moments_up_to<2>(v, s, sums);
}

}  // namespace FORCEMAP_LOOPS
}  // namespace forcemap
