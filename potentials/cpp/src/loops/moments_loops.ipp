// Moments of the neighbours' density. Included by site_loops.ipp.

#include "moments_kernels.hpp"

namespace forcemap {
namespace FORCEMAP_LOOPS {

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
  constexpr int parts = MomentLanes<L>::parts;
  Vec8 total[16][parts];
  for (std::size_t m = 0; m < v.radial; ++m)
    for (int c = 0; c < parts; ++c) total[m][c] = splat8(0.0);
  for (std::size_t n = 0; n < s.padded; n += 8) {
    MomentLanes<L> lanes;
    if (!moment_lanes(v, s, n, lanes)) continue;
    Vec8 value = lanes.value, previous = value;
    for (std::size_t m = 0; m < v.radial; ++m) {
      total[m][0] = total[m][0] + value;
#pragma GCC unroll 9
      for (int c = 1; c < parts; ++c) total[m][c] = fma(value, lanes.part[c], total[m][c]);
      const Vec8 following = next_chebyshev(m == 0, lanes.t, value, previous);
      previous = value;
      value = following;
    }
  }
  for (std::size_t m = 0; m < v.radial; ++m)
    for (int c = 0; c < parts; ++c)
      sums[m * kMomentParts + static_cast<std::size_t>(c)] = sum(total[m][c]);
}

// Several species: each lane goes to its own.
template <int L>
FORCEMAP_INLINE void moments_of_some(const MomentsView& v, const SiteView& s, double* sums) {
  constexpr int parts = MomentLanes<L>::parts;
  for (std::size_t n = 0; n < v.species * v.radial * kMomentParts; ++n) sums[n] = 0.0;
  for (std::size_t n = 0; n < s.padded; n += 8) {
    MomentLanes<L> lanes;
    if (!moment_lanes(v, s, n, lanes)) continue;
    const std::size_t rest = s.count - n, real = rest < 8 ? rest : 8;
    Vec8 value = lanes.value, previous = value;
    for (std::size_t m = 0; m < v.radial; ++m) {
      for (int c = 0; c < parts; ++c) {
        double lane[8];
        store(lane, c == 0 ? value : value * lanes.part[c]);
        for (std::size_t k = 0; k < real; ++k)
          sums[(static_cast<std::size_t>(s.kind[n + k]) * v.radial + m) * kMomentParts +
               static_cast<std::size_t>(c)] += lane[k];
      }
      const Vec8 following = next_chebyshev(m == 0, lanes.t, value, previous);
      previous = value;
      value = following;
    }
  }
}

template <int L>
FORCEMAP_INLINE void moments_up_to(const MomentsView& v, const SiteView& s, double* sums) {
  if (v.species == 1)
    moments_of_one<L>(v, s, sums);
  else
    moments_of_some<L>(v, s, sums);
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
