// Mahalanobis distances, and moments of the neighbours' density. Included by site_loops.ipp.

#include "grade_kernels.hpp"

namespace forcemap {
namespace FORCEMAP_LOOPS {

static double whiten(const double* blocks, const double* mean, std::size_t count, double* x) {
  Vec8 squares = splat8(0.0);
  for (std::size_t end = 8; end <= count; end += 8) {
    // Four sums, which do not wait for each other.
    Vec8 y[4] = {splat8(0.0), splat8(0.0), splat8(0.0), splat8(0.0)};
    std::size_t n = 0;
    for (; n < end - 8; n += 4, blocks += 32)
#pragma GCC unroll 4
      for (std::size_t k = 0; k < 4; ++k) y[k] = fma(load8(blocks + 8 * k), splat8(x[n + k]), y[k]);
    // One by one, as they were written: a vector of them would wait for all.
#pragma GCC unroll 8
    for (std::size_t k = 0; k < 8; ++k, ++n, blocks += 8) {
      const double centered = x[n] - mean[n];
      x[n] = centered;
      y[k % 4] = fma(load8(blocks), splat8(centered), y[k % 4]);
    }
    const Vec8 row = (y[0] + y[1]) + (y[2] + y[3]);
    squares = fma(row, row, squares);
  }
  return sum(squares);
}

// Of eight sites: their features are the lanes. Four rows of the whitening at a time, whose sums do
// not wait for each other.
static void whiten_eight(const double* blocks, const double* mean, std::size_t count, double* x,
                         double* lengths) {
  for (std::size_t n = 0; n < count; ++n) store(x + 8 * n, load8(x + 8 * n) - splat8(mean[n]));
  Vec8 total = splat8(0.0);
  for (std::size_t first = 0; first < count; first += 4) {
    const double* row = blocks + first % 8;
    Vec8 y[4] = {splat8(0.0), splat8(0.0), splat8(0.0), splat8(0.0)};
    for (std::size_t n = 0; n < first + 4; ++n, row += 8) {
      const Vec8 value = load8(x + 8 * n);
#pragma GCC unroll 4
      for (std::size_t m = 0; m < 4; ++m) y[m] = fma(splat8(row[m]), value, y[m]);
    }
#pragma GCC unroll 4
    for (std::size_t m = 0; m < 4; ++m) total = fma(y[m], y[m], total);
    if (first % 8 == 4) blocks += 8 * (first + 4);
  }
  store(lengths, root(total));
}

// The value of the radial function that follows `value`, before it `previous`; f_0 before any.
FORCEMAP_INLINE Vec8 next_chebyshev(bool first, Vec8 t, Vec8 value, Vec8 previous) {
  return first ? t * value : (t + t) * value - previous;
}

// (1 - x)^2 T_n(2 x - 1), zero for x > 1, of n < N and x = scale u.
template <std::size_t N>
FORCEMAP_INLINE void radial_functions(Vec8 u, double scale, Vec8* value) {
  const Vec8 fade = larger(fnma(splat8(scale), u, splat8(1.0)), splat8(0.0));
  const Vec8 t = fma(splat8(2.0 * scale), u, splat8(-1.0));
  value[0] = fade * fade;
#pragma GCC unroll 16
  for (std::size_t n = 1; n < N; ++n)
    value[n] = next_chebyshev(n == 1, t, value[n - 1], n > 1 ? value[n - 2] : value[0]);
}

// Up to four functions are summed as powers of what fades, (1 - x)^2 to (1 - x)^5, from which
// `write_radial` makes them: each costs little more than its sum. Of more functions too many digits
// would cancel.
constexpr std::size_t kFadingPowers = 4;

template <std::size_t N>
FORCEMAP_INLINE void add_radial(Vec8 r, double scale, Vec8* total) {
  if constexpr (N == kFadingPowers) {
    const Vec8 fade = larger(fnma(splat8(scale), r, splat8(1.0)), splat8(0.0));
    const Vec8 square = fade * fade, cube = square * fade;
    total[0] = total[0] + square;
    total[1] = fma(square, fade, total[1]);
    total[2] = fma(square, square, total[2]);
    total[3] = fma(square, cube, total[3]);
  } else {
    Vec8 value[N];
    radial_functions<N>(r, scale, value);
#pragma GCC unroll 16
    for (std::size_t m = 0; m < N; ++m) total[m] = total[m] + value[m];
  }
}

// What `add_radial` adds for each neighbour.
template <std::size_t N>
FORCEMAP_INLINE void radial_parts(Vec8 r, double scale, Vec8* value) {
  if constexpr (N == kFadingPowers) {
    for (std::size_t m = 0; m < N; ++m) value[m] = splat8(0.0);
    add_radial<N>(r, scale, value);
  } else {
    radial_functions<N>(r, scale, value);
  }
}

// The sums over the lanes of eight vectors.
FORCEMAP_INLINE Vec8 sums_of_eight(const Vec8* v) {
  double partial[4 * kPartial];
  for (std::size_t k = 0; k < 4; ++k)
    store_partial(partial + kPartial * k, half_sums(v[2 * k], v[2 * k + 1]));
  return sum_partials(partial);
}

// Copies the neighbours within the angular cutoff; of one species without their kinds.
template <bool kinds>
struct Packer {
  const MomentsView& v;
  Vec8 cutoff;
  std::size_t packed = 0;

  __attribute__((always_inline)) inline explicit Packer(const MomentsView& view)
      : v(view), cutoff(splat8(view.angular_cutoff)) {}

  __attribute__((always_inline)) inline void add(const SiteView& s, std::size_t n, Vec8 r) {
    const unsigned near = below(r, cutoff);
    store_kept(v.x + packed, near, load8(s.x + n));
    store_kept(v.y + packed, near, load8(s.y + n));
    store_kept(v.z + packed, near, load8(s.z + n));
    if constexpr (kinds) {
      int* kind = v.kind + packed;
      for (unsigned rest = near; rest != 0; rest &= rest - 1)
        *kind++ = s.kind[n + static_cast<std::size_t>(__builtin_ctz(rest))];
    }
    packed += static_cast<std::size_t>(__builtin_popcount(near));
  }

  // Entries without a neighbour, beyond the cutoff, up to a multiple of 8.
  __attribute__((always_inline)) inline void pad() {
    store(v.x + packed, cutoff + cutoff);
    store(v.y + packed, splat8(0.0));
    store(v.z + packed, splat8(0.0));
  }
};

// Sums over a site's neighbours, none of which is beyond the cutoff, of powers of what fades,
// cutoff - r: in this form, with additions apart from products, the loop that prepares a site
// hardly gets longer.
class FadingSums {
 public:
  __attribute__((always_inline)) inline explicit FadingSums(double cutoff)
      : cutoff_(splat8(cutoff)) {
#pragma GCC unroll 4
    for (std::size_t k = 0; k < kFadingPowers; ++k) total_[k] = splat8(0.0);
  }
  __attribute__((always_inline)) inline void add(Vec8 r) {
    const Vec8 fade = cutoff_ - r, square = fade * fade, cube = square * fade;
    total_[0] = total_[0] + square;
    total_[1] = total_[1] + cube;
    total_[2] = total_[2] + square * square;
    total_[3] = total_[3] + square * cube;
  }
  __attribute__((always_inline)) inline void write(double* to) const {
    store(to, add_half_sums(folded(half_sums(total_[0], total_[1])),
                            folded(half_sums(total_[2], total_[3]))));
  }

 private:
  Vec8 cutoff_, total_[kFadingPowers];
};

static void few_grades(const FewMomentsView& view, const double (*sums)[4], std::size_t count,
                       double* const* to) {
  const FewMomentsView v = view;  // which no store can change
  for (std::size_t first = 0; first < count; first += 8, sums += 8, to += 8) {
    const double* rows[8];
    for (int n = 0; n < 8; ++n) rows[n] = sums[n];
    Vec8 powers[4], squares = splat8(0.0);
    load_columns(rows, powers);
#pragma GCC unroll 4
    for (std::size_t row = 0; row < 4; ++row) {
      Vec8 y = splat8(-v.shift[row]);
#pragma GCC unroll 4
      for (std::size_t k = 0; k <= row; ++k) y = fma(powers[k], splat8(v.columns[k][row]), y);
      squares = fma(y, y, squares);
    }
    double grades[8];
    store(grades, root(squares));
    const std::size_t rest = count - first, some = rest < 8 ? rest : 8;
    for (std::size_t n = 0; n < some; ++n) *to[n] = grades[n];
  }
}

// One species: sums of N functions at v.sums. Returns how many neighbours are packed.
template <std::size_t N, bool angles>
FORCEMAP_APART std::size_t radial_of_one(const MomentsView& moments, const SiteView& view) {
  constexpr std::size_t whole = (N + 7) / 8 * 8;
  const MomentsView v = moments;  // which no store can change
  const SiteView s = view;
  Packer<false> packer(v);
  Vec8 total[whole];
#pragma GCC unroll 16
  for (std::size_t m = 0; m < whole; ++m) total[m] = splat8(0.0);
  for (std::size_t n = 0; n < s.padded; n += 8) {
    const Vec8 r = load8(s.r + n);
    add_radial<N>(r, v.inverse_cutoff, total);
    if constexpr (angles) packer.add(s, n, r);
  }
  if constexpr (N == kFadingPowers) {
    // Lanes are summed for eight sites together.
#pragma GCC unroll 4
    for (std::size_t m = 0; m < N; ++m) store(v.sums + 8 * m, total[m]);
  } else {
#pragma GCC unroll 2
    for (std::size_t m = 0; m < whole; m += 8) store(v.sums + m, sums_of_eight(total + m));
  }
  if constexpr (angles) packer.pad();
  return packer.packed;
}

// Several: the same by species, (species, N).
template <std::size_t N, bool angles>
FORCEMAP_INLINE std::size_t radial_of_some(const MomentsView& v, const SiteView& s) {
  static_assert(N % 4 == 0);
  Packer<true> packer(v);
  for (std::size_t n = 0; n < v.species * N; n += 4) store(v.sums + n, splat(0.0));
  for (std::size_t n = 0; n < s.padded; n += 8) {
    const Vec8 r = load8(s.r + n);
    Vec8 value[N];
    double rows[N / 4][32];
    radial_parts<N>(r, v.inverse_cutoff, value);
    for (std::size_t four = 0; four < N / 4; ++four) store_rows(rows[four], value + 4 * four);
    const std::size_t rest = s.count - n, real = rest < 8 ? rest : 8;
    for (std::size_t k = 0; k < real; ++k) {
      double* const to = v.sums + static_cast<std::size_t>(s.kind[n + k]) * N;
      for (std::size_t four = 0; four < N / 4; ++four)
        store(to + 4 * four, load(to + 4 * four) + load(rows[four] + 4 * k));
    }
    if constexpr (angles) packer.add(s, n, r);
  }
  if constexpr (angles) packer.pad();
  return packer.packed;
}

// As `kMomentParts`, without g; returns the square of the distance.
FORCEMAP_INLINE Vec8 harmonics(const MomentsView& v, std::size_t n, Vec8* part) {
  const Vec8 x = load8(v.x + n), y = load8(v.y + n), z = load8(v.z + n);
  const Vec8 xx = x * x, yy = y * y, zz = z * z, flat = xx + yy;
  part[0] = x;
  part[1] = y;
  part[2] = z;
  part[3] = x * y;
  part[4] = y * z;
  part[5] = x * z;
  part[6] = xx - yy;
  part[7] = fma(splat8(-0.5), flat, zz);
  return flat + zz;
}

// One species, N functions: sums (N, kMomentParts) at v.angles.
template <std::size_t N>
FORCEMAP_APART void angles_of_one(const MomentsView& v, std::size_t packed) {
  Vec8 total[N * kMomentParts];
#pragma GCC unroll 16
  for (std::size_t m = 0; m < N * kMomentParts; ++m) total[m] = splat8(0.0);
  for (std::size_t n = 0; n < packed; n += 8) {
    Vec8 part[kMomentParts], value[N];
    radial_functions<N>(harmonics(v, n, part), v.inverse_square, value);
#pragma GCC unroll 2
    for (std::size_t m = 0; m < N; ++m)
#pragma GCC unroll 8
      for (std::size_t c = 0; c < kMomentParts; ++c)
        total[m * kMomentParts + c] = fma(value[m], part[c], total[m * kMomentParts + c]);
  }
#pragma GCC unroll 2
  for (std::size_t m = 0; m < N; ++m)
    store(v.angles + kMomentParts * m, sums_of_eight(total + kMomentParts * m));
}

// Any number of species and functions: the lanes of a vector are the harmonics.
FORCEMAP_INLINE void angles_of_some(const MomentsView& v, std::size_t packed) {
  const std::size_t width = v.angular_radial * kMomentParts;
  for (std::size_t n = 0; n < v.species * width; n += 8) store(v.angles + n, splat8(0.0));
  for (std::size_t n = 0; n < packed; n += 8) {
    Vec8 part[kMomentParts];
    double first[32], second[32], values[16][8];
    const Vec8 u = splat8(v.inverse_square) * harmonics(v, n, part),
               t = fma(splat8(2.0), u, splat8(-1.0));
    store_rows(first, part);
    store_rows(second, part + 4);
    Vec8 value, previous = splat8(0.0);
    radial_functions<1>(u, 1.0, &value);
    for (std::size_t m = 0; m < v.angular_radial; ++m) {
      store(values[m], value);
      const Vec8 following = next_chebyshev(m == 0, t, value, previous);
      previous = value;
      value = following;
    }
    const std::size_t rest = packed - n, real = rest < 8 ? rest : 8;
    for (std::size_t k = 0; k < real; ++k) {
      const std::size_t kind = v.species > 1 ? static_cast<std::size_t>(v.kind[n + k]) : 0;
      double* to = v.angles + kind * width;
      for (std::size_t m = 0; m < v.angular_radial; ++m, to += kMomentParts) {
        const Vec4 weight = splat(values[m][k]);
        store(to, fma(weight, load(first + 4 * k), load(to)));
        store(to + 4, fma(weight, load(second + 4 * k), load(to + 4)));
      }
    }
  }
}

template <std::size_t N, bool angles>
FORCEMAP_INLINE void sums_of(const MomentsView& v, const SiteView& s) {
  std::size_t packed = 0;
  if (v.species == 1)
    packed = radial_of_one<N, angles>(v, s);
  else
    packed = radial_of_some<N, angles>(v, s);
  if constexpr (angles) {
    if (v.species == 1 && v.angular_radial == 1)
      angles_of_one<1>(v, packed);
    else if (v.species == 1 && v.angular_radial == 2)
      angles_of_one<2>(v, packed);
    else
      angles_of_some(v, packed);
  }
}

// Surplus functions cost less than a loop for each number of them.
template <bool angles>
FORCEMAP_INLINE void sums_with(const MomentsView& v, const SiteView& s) {
  const std::size_t room = moment_radial_room(v.radial);
  if (room == 4)
    sums_of<4, angles>(v, s);
  else if (room == 8)
    sums_of<8, angles>(v, s);
  else
    sums_of<16, angles>(v, s);
}

static void moment_sums(const MomentsView& v, const SiteView& s) {
  if (v.angular_radial == 0)
    sums_with<false>(v, s);
  else
    sums_with<true>(v, s);
}

// Four numbers of each of eight sites, as many vectors, the first `count` of which go to `to`.
FORCEMAP_INLINE void columns_of(const double* const sites[8], std::size_t at, std::size_t count,
                                double* to) {
  const double* rows[8];
  for (int n = 0; n < 8; ++n) rows[n] = sites[n] + at;
  Vec8 columns[4];
  load_columns(rows, columns);
  for (std::size_t n = 0; n < count; ++n) store(to + 8 * n, columns[n]);
}

// p_1,ab and then p_2,ab of channels a <= b, from the sums at v.parts.
FORCEMAP_INLINE void write_products(const MomentsView& v, std::size_t channels, double* out) {
  const double square = v.inverse_square, fourth = square * square;
  // P_2 as a sum over the real spherical harmonics
  const double factors[kMomentParts] = {square,       square,       square,        3.0 * fourth,
                                        3.0 * fourth, 3.0 * fourth, 0.75 * fourth, fourth};
  constexpr std::size_t row = 8 * kMomentParts;
  double* second = out + 8 * (channels * (channels + 1) / 2);
  for (std::size_t a = 0; a < channels; ++a) {
    Vec8 p[kMomentParts];
#pragma GCC unroll 8
    for (std::size_t c = 0; c < kMomentParts; ++c)
      p[c] = splat8(factors[c]) * load8(v.parts + row * a + 8 * c);
    for (std::size_t b = a; b < channels; ++b, out += 8, second += 8) {
      const double* const q = v.parts + row * b;
      store(out, fma(p[0], load8(q), fma(p[1], load8(q + 8), p[2] * load8(q + 16))));
      const Vec8 mixed = fma(p[3], load8(q + 24), fma(p[4], load8(q + 32), p[5] * load8(q + 40)));
      store(second, mixed + fma(p[6], load8(q + 48), p[7] * load8(q + 56)));
    }
  }
}

// (1 - x)^2 T_n(2 x - 1), n < count, from the powers.
FORCEMAP_INLINE void from_powers(std::size_t count, double* values) {
  const Vec8 f0 = load8(values), f1 = load8(values + 8), f2 = load8(values + 16);
  const Vec8 two = splat8(2.0), eight = splat8(8.0);
  if (count > 1) store(values + 8, fnma(two, f1, f0));
  if (count > 2) store(values + 16, fma(eight, f2 - f1, f0));
  if (count > 3)
    store(values + 24, fma(splat8(-18.0), f1,
                           fma(splat8(48.0), f2, fma(splat8(-32.0), load8(values + 24), f0))));
}

static void moment_features(const MomentsView& v, const double* const sums[8], double* features) {
  const std::size_t room = moment_radial_room(v.radial);
  if (v.species == 1 && room == kFadingPowers) {
    for (std::size_t n = 0; n < v.radial; ++n) {
      Vec8 lanes[8];
#pragma GCC unroll 8
      for (std::size_t site = 0; site < 8; ++site) lanes[site] = load8(sums[site] + 8 * n);
      store(features + 8 * n, sums_of_eight(lanes));
    }
    from_powers(v.radial, features);
    features += 8 * v.radial;
    if (v.angular_radial == 0) return;
  } else {
    for (std::size_t a = 0; a < v.species; ++a)
      for (std::size_t n = 0; n < v.radial; n += 4) {
        const std::size_t left = v.radial - n, some = left < 4 ? left : 4;
        columns_of(sums, a * room + n, some, features);
        if (room == kFadingPowers) from_powers(some, features);
        features += 8 * some;
      }
  }
  const std::size_t channels = v.species * v.angular_radial, begin = v.angles_at;
  for (std::size_t n = 0; n < channels * kMomentParts; n += 4)
    columns_of(sums, begin + n, 4, v.parts + 8 * n);
  write_products(v, channels, features);
}

}  // namespace FORCEMAP_LOOPS
}  // namespace forcemap
