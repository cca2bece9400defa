// Four doubles at a time: AVX2 intrinsics where the file is compiled for it, compiler vectors else.
// Included only by the loop files, inside their own namespaces.
#pragma once

#include <cmath>
#include <cstddef>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace forcemap {
namespace FORCEMAP_LOOPS {

#define FORCEMAP_INLINE static inline __attribute__((always_inline))
// Compiled on its own: within a large function the compiler runs out of registers.
#define FORCEMAP_APART static __attribute__((noinline))

// Numbers that fit into the last bits of a double, see numbered() and number_of().
constexpr long long kMostNumbered = 1024;

#if defined(__AVX2__)

using Vec4 = __m256d;

FORCEMAP_INLINE Vec4 load(const double* p) { return _mm256_loadu_pd(p); }
FORCEMAP_INLINE Vec4 load(const float* p) { return _mm256_cvtps_pd(_mm_loadu_ps(p)); }
FORCEMAP_INLINE void store(double* p, Vec4 v) { _mm256_storeu_pd(p, v); }
FORCEMAP_INLINE Vec4 splat(double s) { return _mm256_set1_pd(s); }
FORCEMAP_INLINE Vec4 fma(Vec4 a, Vec4 b, Vec4 c) { return _mm256_fmadd_pd(a, b, c); }
FORCEMAP_INLINE Vec4 root(Vec4 a) { return _mm256_sqrt_pd(a); }
FORCEMAP_INLINE Vec4 down(Vec4 a) { return _mm256_floor_pd(a); }
FORCEMAP_INLINE Vec4 smaller(Vec4 a, Vec4 b) { return _mm256_min_pd(a, b); }
FORCEMAP_INLINE Vec4 larger(Vec4 a, Vec4 b) { return _mm256_max_pd(a, b); }
// a where x < limit or x is not a number, else 0
FORCEMAP_INLINE Vec4 keep_below(Vec4 x, Vec4 limit, Vec4 a) {
  return _mm256_and_pd(_mm256_cmp_pd(x, limit, _CMP_NGE_UQ), a);
}
FORCEMAP_INLINE double sum(Vec4 v) {
  __m128d lo = _mm_add_pd(_mm256_castpd256_pd128(v), _mm256_extractf128_pd(v, 1));
  return _mm_cvtsd_f64(_mm_add_sd(lo, _mm_unpackhi_pd(lo, lo)));
}
FORCEMAP_INLINE void transpose(Vec4& a, Vec4& b, Vec4& c, Vec4& d) {
  const Vec4 ab0 = _mm256_unpacklo_pd(a, b), ab1 = _mm256_unpackhi_pd(a, b);
  const Vec4 cd0 = _mm256_unpacklo_pd(c, d), cd1 = _mm256_unpackhi_pd(c, d);
  a = _mm256_permute2f128_pd(ab0, cd0, 0x20);
  b = _mm256_permute2f128_pd(ab1, cd1, 0x20);
  c = _mm256_permute2f128_pd(ab0, cd0, 0x31);
  d = _mm256_permute2f128_pd(ab1, cd1, 0x31);
}
// two parts of the sum of a's lanes and two of b's, in turn
FORCEMAP_INLINE Vec4 half_sums(Vec4 a, Vec4 b) { return _mm256_hadd_pd(a, b); }
FORCEMAP_INLINE Vec4 in_turn4(double a, double b) {
  return _mm256_blend_pd(splat(a), splat(b), 10);
}
FORCEMAP_INLINE Vec4 first_of_two(Vec4 v) { return _mm256_movedup_pd(v); }
FORCEMAP_INLINE Vec4 second_of_two(Vec4 v) { return _mm256_permute_pd(v, 15); }
// the sums that two half_sums have parts of, in turn
FORCEMAP_INLINE Vec4 add_half_sums(Vec4 s0, Vec4 s1) {
  return _mm256_permute2f128_pd(s0, s1, 0x20) + _mm256_permute2f128_pd(s0, s1, 0x31);
}
// lane n of a and b: the two sums that the n-th of four half_sums has parts of
FORCEMAP_INLINE void add_half_sums(Vec4 s0, Vec4 s1, Vec4 s2, Vec4 s3, Vec4& a, Vec4& b) {
  const Vec4 s02 = add_half_sums(s0, s2), s13 = add_half_sums(s1, s3);
  a = _mm256_unpacklo_pd(s02, s13);
  b = _mm256_unpackhi_pd(s02, s13);
}
FORCEMAP_INLINE void to_integers(Vec4 a, int out[4]) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(out), _mm256_cvttpd_epi32(a));
}
FORCEMAP_INLINE Vec4 fnma(Vec4 a, Vec4 b, Vec4 c) { return _mm256_fnmadd_pd(a, b, c); }
// 2^n of a whole |n| < 1000: its exponent, at the end of a double that counts in ones, moved to
// where it belongs.
FORCEMAP_INLINE Vec4 power_of_two(Vec4 n) {
  const __m256i bits = _mm256_castpd_si256(n + splat(4503599627370496.0 + 1023.0));
  return _mm256_castsi256_pd(_mm256_slli_epi64(bits, 52));
}
FORCEMAP_INLINE Vec4 load_pair(const double* p) {
  return _mm256_broadcast_pd(reinterpret_cast<const __m128d*>(p));
}
FORCEMAP_INLINE unsigned less(Vec4 a, Vec4 b) {
  return static_cast<unsigned>(_mm256_movemask_pd(_mm256_cmp_pd(a, b, _CMP_LT_OQ)));
}
FORCEMAP_INLINE unsigned below(Vec4 x, Vec4 limit) {
  return static_cast<unsigned>(_mm256_movemask_pd(_mm256_cmp_pd(x, limit, _CMP_NGE_UQ)));
}
FORCEMAP_INLINE unsigned equal(Vec4 a, Vec4 b) {
  return static_cast<unsigned>(_mm256_movemask_pd(_mm256_cmp_pd(a, b, _CMP_EQ_OQ)));
}
FORCEMAP_INLINE Vec4 keep(unsigned lanes, Vec4 a) {
  const __m256i bit = _mm256_setr_epi64x(1, 2, 4, 8);
  const __m256i set = _mm256_and_si256(_mm256_set1_epi64x(static_cast<long long>(lanes)), bit);
  return _mm256_and_pd(_mm256_castsi256_pd(_mm256_cmpeq_epi64(set, bit)), a);
}
// Shuffle that moves the kept lanes (bits of the row number) to the front.
alignas(32) static const int kCompress[16][8] = {
    {0, 1, 2, 3, 4, 5, 6, 7}, {0, 1, 2, 3, 4, 5, 6, 7}, {2, 3, 0, 1, 4, 5, 6, 7},
    {0, 1, 2, 3, 4, 5, 6, 7}, {4, 5, 0, 1, 2, 3, 6, 7}, {0, 1, 4, 5, 2, 3, 6, 7},
    {2, 3, 4, 5, 0, 1, 6, 7}, {0, 1, 2, 3, 4, 5, 6, 7}, {6, 7, 0, 1, 2, 3, 4, 5},
    {0, 1, 6, 7, 2, 3, 4, 5}, {2, 3, 6, 7, 0, 1, 4, 5}, {0, 1, 2, 3, 6, 7, 4, 5},
    {4, 5, 6, 7, 0, 1, 2, 3}, {0, 1, 4, 5, 6, 7, 2, 3}, {2, 3, 4, 5, 6, 7, 0, 1},
    {0, 1, 2, 3, 4, 5, 6, 7}};
FORCEMAP_INLINE __m256i compress_order(unsigned lanes) {
  return _mm256_load_si256(reinterpret_cast<const __m256i*>(kCompress[lanes]));
}
FORCEMAP_INLINE Vec4 numbered(Vec4 a, long long first) {
  const __m256i number =
      _mm256_add_epi64(_mm256_set1_epi64x(first), _mm256_setr_epi64x(0, 1, 2, 3));
  const __m256i rest =
      _mm256_andnot_si256(_mm256_set1_epi64x(kMostNumbered - 1), _mm256_castpd_si256(a));
  return _mm256_castsi256_pd(_mm256_or_si256(rest, number));
}
// Stores the kept lanes one after another; may write all four.
FORCEMAP_INLINE void store_kept(double* p, unsigned lanes, Vec4 a) {
  store(p, _mm256_castps_pd(_mm256_permutevar8x32_ps(_mm256_castpd_ps(a), compress_order(lanes))));
}

#else

typedef double Vec4 __attribute__((vector_size(32)));
typedef long long Int4 __attribute__((vector_size(32)));

FORCEMAP_INLINE Vec4 load(const double* p) {
  Vec4 v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}
FORCEMAP_INLINE Vec4 load(const float* p) { return Vec4{p[0], p[1], p[2], p[3]}; }
FORCEMAP_INLINE void store(double* p, Vec4 v) { __builtin_memcpy(p, &v, sizeof v); }
FORCEMAP_INLINE Vec4 splat(double s) { return Vec4{s, s, s, s}; }
FORCEMAP_INLINE Vec4 fma(Vec4 a, Vec4 b, Vec4 c) { return a * b + c; }
FORCEMAP_INLINE Vec4 root(Vec4 a) {
  return Vec4{__builtin_sqrt(a[0]), __builtin_sqrt(a[1]), __builtin_sqrt(a[2]),
              __builtin_sqrt(a[3])};
}
FORCEMAP_INLINE Vec4 down(Vec4 a) {
  return Vec4{__builtin_floor(a[0]), __builtin_floor(a[1]), __builtin_floor(a[2]),
              __builtin_floor(a[3])};
}
// As the AVX2 instructions: the second argument where either is not a number.
FORCEMAP_INLINE Vec4 smaller(Vec4 a, Vec4 b) {
  const Int4 m = a < b;
  return (Vec4)(((Int4)a & m) | ((Int4)b & ~m));
}
FORCEMAP_INLINE Vec4 larger(Vec4 a, Vec4 b) {
  const Int4 m = a > b;
  return (Vec4)(((Int4)a & m) | ((Int4)b & ~m));
}
FORCEMAP_INLINE Vec4 keep_below(Vec4 x, Vec4 limit, Vec4 a) {
  const Int4 m = x >= limit;
  return (Vec4)((Int4)a & ~m);
}
FORCEMAP_INLINE double sum(Vec4 v) { return (v[0] + v[2]) + (v[1] + v[3]); }
FORCEMAP_INLINE void transpose(Vec4& a, Vec4& b, Vec4& c, Vec4& d) {
  const Vec4 e = {a[0], b[0], c[0], d[0]}, f = {a[1], b[1], c[1], d[1]};
  const Vec4 g = {a[2], b[2], c[2], d[2]}, h = {a[3], b[3], c[3], d[3]};
  a = e, b = f, c = g, d = h;
}
FORCEMAP_INLINE Vec4 half_sums(Vec4 a, Vec4 b) {
  return Vec4{a[0] + a[1], b[0] + b[1], a[2] + a[3], b[2] + b[3]};
}
FORCEMAP_INLINE Vec4 in_turn4(double a, double b) { return Vec4{a, b, a, b}; }
FORCEMAP_INLINE Vec4 first_of_two(Vec4 v) { return Vec4{v[0], v[0], v[2], v[2]}; }
FORCEMAP_INLINE Vec4 second_of_two(Vec4 v) { return Vec4{v[1], v[1], v[3], v[3]}; }
FORCEMAP_INLINE Vec4 add_half_sums(Vec4 s0, Vec4 s1) {
  return Vec4{s0[0] + s0[2], s0[1] + s0[3], s1[0] + s1[2], s1[1] + s1[3]};
}
FORCEMAP_INLINE void add_half_sums(Vec4 s0, Vec4 s1, Vec4 s2, Vec4 s3, Vec4& a, Vec4& b) {
  transpose(s0, s1, s2, s3);
  a = s0 + s2;
  b = s1 + s3;
}
FORCEMAP_INLINE void to_integers(Vec4 a, int out[4]) {
  for (int n = 0; n < 4; ++n) out[n] = static_cast<int>(a[n]);
}
FORCEMAP_INLINE Vec4 fnma(Vec4 a, Vec4 b, Vec4 c) { return c - a * b; }
FORCEMAP_INLINE Vec4 power_of_two(Vec4 n) {
  return (Vec4)((Int4)(n + splat(4503599627370496.0 + 1023.0)) << 52);
}
FORCEMAP_INLINE Vec4 load_pair(const double* p) { return Vec4{p[0], p[1], p[0], p[1]}; }
FORCEMAP_INLINE unsigned less(Vec4 a, Vec4 b) {
  return static_cast<unsigned>((a[0] < b[0]) | (a[1] < b[1]) << 1 | (a[2] < b[2]) << 2 |
                               (a[3] < b[3]) << 3);
}
FORCEMAP_INLINE unsigned below(Vec4 x, Vec4 limit) {
  const Int4 m = x >= limit;
  return static_cast<unsigned>((m[0] + 1) | (m[1] + 1) << 1 | (m[2] + 1) << 2 | (m[3] + 1) << 3);
}
FORCEMAP_INLINE unsigned equal(Vec4 a, Vec4 b) {
  return static_cast<unsigned>((a[0] == b[0]) | (a[1] == b[1]) << 1 | (a[2] == b[2]) << 2 |
                               (a[3] == b[3]) << 3);
}
FORCEMAP_INLINE Vec4 keep(unsigned lanes, Vec4 a) {
  const long long set = static_cast<long long>(lanes);
  return (Vec4)((Int4)a & (Int4{-(set & 1), -(set >> 1 & 1), -(set >> 2 & 1), -(set >> 3 & 1)}));
}
FORCEMAP_INLINE Vec4 numbered(Vec4 a, long long first) {
  const Int4 number = {first, first + 1, first + 2, first + 3};
  return (Vec4)(((Int4)a & ~(kMostNumbered - 1)) | number);
}
FORCEMAP_INLINE void store_kept(double* p, unsigned lanes, Vec4 a) {
  for (unsigned n = 0; n < 4; ++n) {
    *p = a[n];
    p += lanes >> n & 1u;
  }
}

#endif

// The number in the last bits of a lane of numbered().
FORCEMAP_INLINE std::size_t number_of(double a) {
  long long bits;
  __builtin_memcpy(&bits, &a, sizeof bits);
  return static_cast<std::size_t>(bits & (kMostNumbered - 1));
}

// exp(x) for x <= 0, to 2e-16 of the result; 1e-300 where that would be smaller. exp(x) = 2^n
// exp(f) with a whole n and |f| <= ln(2) / 2, where the Taylor polynomial ends below the last bit.
FORCEMAP_INLINE Vec4 exponential(Vec4 x) {
  static const double kTaylor[12] = {1.0 / 39916800, 1.0 / 3628800, 1.0 / 362880, 1.0 / 40320,
                                     1.0 / 5040,     1.0 / 720,     1.0 / 120,    1.0 / 24,
                                     1.0 / 6,        0.5,           1.0,          1.0};
  x = larger(x, splat(-690.0));
  const Vec4 n = down(fma(x, splat(1.4426950408889634), splat(0.5)));
  // ln(2) in two parts, the first so short that its product with n is exact
  const Vec4 f =
      fnma(n, splat(1.90821492927058770002e-10), fnma(n, splat(6.93147180369123816490e-01), x));
  Vec4 p = fma(f, splat(1.0 / 6227020800.0), splat(1.0 / 479001600.0));
  for (int k = 0; k < 12; ++k) p = fma(p, f, splat(kTaylor[k]));
  return p * power_of_two(n);
}

// Interval and position within it of u = r / h on a uniform grid. Anything, also a NaN, gives an
// interval of the table: max and min return their second argument when the first is not a number.
FORCEMAP_INLINE Vec4 locate(Vec4 u, Vec4 last_interval, int interval[4]) {
  const Vec4 m = smaller(larger(down(u), splat(0.0)), last_interval);
  to_integers(m, interval);
  return u - m;
}

// The four cubic B-splines that live on an interval, and their derivatives by t.
FORCEMAP_INLINE void basis(Vec4 t, Vec4 b[4], Vec4 d[4]) {
  const Vec4 sixth = splat(1.0 / 6.0), half = splat(0.5), s = splat(1.0) - t;
  const Vec4 t2 = t * t, s2 = s * s;
  b[0] = sixth * s2 * s;
  b[3] = sixth * t2 * t;
  b[1] = fma(t2, fma(half, t, splat(-1.0)), splat(2.0 / 3.0));
  b[2] = fma(s2, fma(half, s, splat(-1.0)), splat(2.0 / 3.0));
  d[0] = -half * s2;
  d[3] = half * t2;
  d[1] = t * fma(splat(1.5), t, splat(-2.0));
  d[2] = -s * fma(splat(1.5), s, splat(-2.0));
}

}  // namespace FORCEMAP_LOOPS
}  // namespace forcemap
