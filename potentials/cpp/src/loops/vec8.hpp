// Eight doubles at a time: one AVX-512 register where the file is compiled for it, two Vec4 else.
// Included only by the loop files, inside their own namespaces.
#pragma once

#include "vec4.hpp"

namespace forcemap {
namespace FORCEMAP_LOOPS {

// Sets of lanes are bit masks of an unsigned.

#if defined(__AVX512F__)

using Vec8 = __m512d;

FORCEMAP_INLINE Vec8 load8(const double* p) { return _mm512_loadu_pd(p); }
FORCEMAP_INLINE void store(double* p, Vec8 v) { _mm512_storeu_pd(p, v); }
FORCEMAP_INLINE Vec8 splat8(double s) { return _mm512_set1_pd(s); }
// p[0], p[1], p[0], p[1], ...
FORCEMAP_INLINE Vec8 pairs8(const double* p) { return _mm512_broadcast_f64x2(_mm_loadu_pd(p)); }
FORCEMAP_INLINE Vec8 fma(Vec8 a, Vec8 b, Vec8 c) { return _mm512_fmadd_pd(a, b, c); }
FORCEMAP_INLINE Vec8 fnma(Vec8 a, Vec8 b, Vec8 c) { return _mm512_fnmadd_pd(a, b, c); }
FORCEMAP_INLINE Vec8 down(Vec8 a) {
  return _mm512_roundscale_pd(a, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
}
FORCEMAP_INLINE Vec8 root(Vec8 a) { return _mm512_sqrt_pd(a); }
FORCEMAP_INLINE Vec8 smaller(Vec8 a, Vec8 b) { return _mm512_min_pd(a, b); }
FORCEMAP_INLINE Vec8 larger(Vec8 a, Vec8 b) { return _mm512_max_pd(a, b); }
FORCEMAP_INLINE unsigned less(Vec8 a, Vec8 b) { return _mm512_cmp_pd_mask(a, b, _CMP_LT_OQ); }
// Lanes where x < limit or x is not a number.
FORCEMAP_INLINE unsigned below(Vec8 x, Vec8 limit) {
  return _mm512_cmp_pd_mask(x, limit, _CMP_NGE_UQ);
}
FORCEMAP_INLINE unsigned equal(Vec8 a, Vec8 b) { return _mm512_cmp_pd_mask(a, b, _CMP_EQ_OQ); }
FORCEMAP_INLINE Vec8 keep(unsigned lanes, Vec8 a) {
  return _mm512_maskz_mov_pd(static_cast<__mmask8>(lanes), a);
}
// Stores the kept lanes one after another; may write all eight.
FORCEMAP_INLINE void store_kept(double* p, unsigned lanes, Vec8 a) {
  _mm512_storeu_pd(p, _mm512_maskz_compress_pd(static_cast<__mmask8>(lanes), a));
}
// a with its last ten bits replaced by first, first + 1, ...
FORCEMAP_INLINE Vec8 numbered(Vec8 a, long long first) {
  const __m512i number =
      _mm512_add_epi64(_mm512_set1_epi64(first), _mm512_setr_epi64(0, 1, 2, 3, 4, 5, 6, 7));
  const __m512i rest =
      _mm512_andnot_si512(_mm512_set1_epi64(kMostNumbered - 1), _mm512_castpd_si512(a));
  return _mm512_castsi512_pd(_mm512_or_si512(rest, number));
}
// The first four lanes and the last four, added.
FORCEMAP_INLINE Vec4 folded(Vec8 v) {
  return _mm256_add_pd(_mm512_castpd512_pd256(v), _mm512_extractf64x4_pd(v, 1));
}
FORCEMAP_INLINE double sum(Vec8 v) { return sum(folded(v)); }
FORCEMAP_INLINE void store_integers(int* p, Vec8 a) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvttpd_epi32(a));
}
// sqrt(a) and 1 / sqrt(a) to the last bit or two, for a normal; the instructions for either would
// keep the divider busy for longer than everything else here takes.
FORCEMAP_INLINE void roots(Vec8 a, Vec8& root, Vec8& inverse) {
  const Vec8 half = splat8(0.5);
  Vec8 y = _mm512_rsqrt14_pd(a);
  y = fma(y, fnma(half * a * y, y, half), y);
  const Vec8 r = a * y;
  root = fma(half * y, fnma(r, r, a), r);
  inverse = fma(y, fnma(root, y, splat8(1.0)), y);
}

// a, b, a, b, ...
FORCEMAP_INLINE Vec8 in_turn(double a, double b) {
  return _mm512_mask_broadcastsd_pd(splat8(a), 0xaa, _mm_set_sd(b));
}
// v[0], v[0], v[2], v[2], ... and v[1], v[1], v[3], v[3], ...
FORCEMAP_INLINE Vec8 first_of_two(Vec8 v) { return _mm512_movedup_pd(v); }
FORCEMAP_INLINE Vec8 second_of_two(Vec8 v) { return _mm512_permute_pd(v, 0xff); }

// Sums of neighbouring lanes of a and of b in turn: two vectors in one, to be added over their
// lanes later.
constexpr std::size_t kPartial = 8;
FORCEMAP_INLINE Vec8 half_sums(Vec8 a, Vec8 b) {
  return _mm512_unpacklo_pd(a, b) + _mm512_unpackhi_pd(a, b);
}
FORCEMAP_INLINE void store_partial(double* p, Vec8 a) { store(p, a); }
FORCEMAP_INLINE void add_two_partials(double* p, Vec8 a, Vec8 b) {
  store(p, load8(p) + half_sums(a, b));
}
// The sums over the lanes of four times two vectors, in turn.
FORCEMAP_INLINE Vec8 sum_partials(const double* p) {
  const auto halve = [](Vec8 x, Vec8 y) __attribute__((always_inline)) {
    return _mm512_shuffle_f64x2(x, y, 0x88) + _mm512_shuffle_f64x2(x, y, 0xdd);
  };
  return halve(halve(load8(p), load8(p + 8)), halve(load8(p + 16), load8(p + 24)));
}
// Of eight times two: those of the first vectors, those of the second.
FORCEMAP_INLINE void sum_two_partials(const double* p, Vec8& a, Vec8& b) {
  const Vec8 lo = sum_partials(p), hi = sum_partials(p + 32);
  a = _mm512_permutex2var_pd(lo, _mm512_setr_epi64(0, 2, 4, 6, 8, 10, 12, 14), hi);
  b = _mm512_permutex2var_pd(lo, _mm512_setr_epi64(1, 3, 5, 7, 9, 11, 13, 15), hi);
}
FORCEMAP_INLINE Vec8 join(const double* lo, const double* hi) {
  return _mm512_insertf64x4(_mm512_castpd256_pd512(_mm256_loadu_pd(lo)), _mm256_loadu_pd(hi), 1);
}
// From eight rows of four to four columns of eight.
FORCEMAP_INLINE void load_columns(const double* const rows[8], Vec8 columns[4]) {
  Vec8 a[4];
  for (int n = 0; n < 4; ++n) a[n] = join(rows[n], rows[n + 4]);
  const Vec8 lo0 = _mm512_unpacklo_pd(a[0], a[1]), hi0 = _mm512_unpackhi_pd(a[0], a[1]);
  const Vec8 lo1 = _mm512_unpacklo_pd(a[2], a[3]), hi1 = _mm512_unpackhi_pd(a[2], a[3]);
  const __m512i even = _mm512_setr_epi64(0, 1, 8, 9, 4, 5, 12, 13);
  const __m512i odd = _mm512_setr_epi64(2, 3, 10, 11, 6, 7, 14, 15);
  columns[0] = _mm512_permutex2var_pd(lo0, even, lo1);
  columns[1] = _mm512_permutex2var_pd(hi0, even, hi1);
  columns[2] = _mm512_permutex2var_pd(lo0, odd, lo1);
  columns[3] = _mm512_permutex2var_pd(hi0, odd, hi1);
}
// The other way round: eight rows of four at p.
FORCEMAP_INLINE void store_rows(double* p, const Vec8 columns[4]) {
  const Vec8 lo0 = _mm512_unpacklo_pd(columns[0], columns[1]);
  const Vec8 hi0 = _mm512_unpackhi_pd(columns[0], columns[1]);
  const Vec8 lo1 = _mm512_unpacklo_pd(columns[2], columns[3]);
  const Vec8 hi1 = _mm512_unpackhi_pd(columns[2], columns[3]);
  // Rows 0, 2, 4, 6 are in the 128-bit lanes of lo, the others in those of hi.
  const __m512i front = _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11);
  const __m512i back = _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15);
  const Vec8 even[2] = {_mm512_permutex2var_pd(lo0, front, lo1),
                        _mm512_permutex2var_pd(lo0, back, lo1)};
  const Vec8 odd[2] = {_mm512_permutex2var_pd(hi0, front, hi1),
                       _mm512_permutex2var_pd(hi0, back, hi1)};
  for (int n = 0; n < 2; ++n) {
    store(p + 16 * n, _mm512_shuffle_f64x2(even[n], odd[n], 0x44));
    store(p + 16 * n + 8, _mm512_shuffle_f64x2(even[n], odd[n], 0xee));
  }
}

#else

struct Vec8 {
  Vec4 lo, hi;
};

FORCEMAP_INLINE Vec8 operator+(Vec8 a, Vec8 b) { return {a.lo + b.lo, a.hi + b.hi}; }
FORCEMAP_INLINE Vec8 operator-(Vec8 a, Vec8 b) { return {a.lo - b.lo, a.hi - b.hi}; }
FORCEMAP_INLINE Vec8 operator*(Vec8 a, Vec8 b) { return {a.lo * b.lo, a.hi * b.hi}; }
FORCEMAP_INLINE Vec8 operator/(Vec8 a, Vec8 b) { return {a.lo / b.lo, a.hi / b.hi}; }
FORCEMAP_INLINE Vec8 load8(const double* p) { return {load(p), load(p + 4)}; }
FORCEMAP_INLINE void store(double* p, Vec8 v) {
  store(p, v.lo);
  store(p + 4, v.hi);
}
FORCEMAP_INLINE Vec8 splat8(double s) { return {splat(s), splat(s)}; }
FORCEMAP_INLINE Vec8 pairs8(const double* p) {
  const Vec4 v = load_pair(p);
  return {v, v};
}
FORCEMAP_INLINE Vec8 fma(Vec8 a, Vec8 b, Vec8 c) {
  return {fma(a.lo, b.lo, c.lo), fma(a.hi, b.hi, c.hi)};
}
FORCEMAP_INLINE Vec8 fnma(Vec8 a, Vec8 b, Vec8 c) {
  return {fnma(a.lo, b.lo, c.lo), fnma(a.hi, b.hi, c.hi)};
}
FORCEMAP_INLINE Vec8 down(Vec8 a) { return {down(a.lo), down(a.hi)}; }
FORCEMAP_INLINE Vec8 root(Vec8 a) { return {root(a.lo), root(a.hi)}; }
FORCEMAP_INLINE Vec8 smaller(Vec8 a, Vec8 b) { return {smaller(a.lo, b.lo), smaller(a.hi, b.hi)}; }
FORCEMAP_INLINE Vec8 larger(Vec8 a, Vec8 b) { return {larger(a.lo, b.lo), larger(a.hi, b.hi)}; }
FORCEMAP_INLINE unsigned less(Vec8 a, Vec8 b) { return less(a.lo, b.lo) | less(a.hi, b.hi) << 4; }
FORCEMAP_INLINE unsigned below(Vec8 x, Vec8 limit) {
  return below(x.lo, limit.lo) | below(x.hi, limit.hi) << 4;
}
FORCEMAP_INLINE unsigned equal(Vec8 a, Vec8 b) {
  return equal(a.lo, b.lo) | equal(a.hi, b.hi) << 4;
}
FORCEMAP_INLINE Vec8 keep(unsigned lanes, Vec8 a) {
  return {keep(lanes & 15u, a.lo), keep(lanes >> 4, a.hi)};
}
FORCEMAP_INLINE void store_kept(double* p, unsigned lanes, Vec8 a) {
  store_kept(p, lanes & 15u, a.lo);
  store_kept(p + __builtin_popcount(lanes & 15u), lanes >> 4, a.hi);
}
FORCEMAP_INLINE Vec8 numbered(Vec8 a, long long first) {
  return {numbered(a.lo, first), numbered(a.hi, first + 4)};
}
FORCEMAP_INLINE Vec4 folded(Vec8 v) { return v.lo + v.hi; }
FORCEMAP_INLINE double sum(Vec8 v) { return sum(folded(v)); }
FORCEMAP_INLINE void store_integers(int* p, Vec8 a) {
  to_integers(a.lo, p);
  to_integers(a.hi, p + 4);
}
FORCEMAP_INLINE void roots(Vec8 a, Vec8& r, Vec8& inverse) {
  r = {root(a.lo), root(a.hi)};
  inverse = splat8(1.0) / r;
}

FORCEMAP_INLINE Vec8 in_turn(double a, double b) {
  const Vec4 v = in_turn4(a, b);
  return {v, v};
}
FORCEMAP_INLINE Vec8 first_of_two(Vec8 v) { return {first_of_two(v.lo), first_of_two(v.hi)}; }
FORCEMAP_INLINE Vec8 second_of_two(Vec8 v) { return {second_of_two(v.lo), second_of_two(v.hi)}; }

constexpr std::size_t kPartial = 4;
FORCEMAP_INLINE Vec8 half_sums(Vec8 a, Vec8 b) {
  return {half_sums(a.lo, b.lo), half_sums(a.hi, b.hi)};
}
FORCEMAP_INLINE void store_partial(double* p, Vec8 a) { store(p, a.lo + a.hi); }
FORCEMAP_INLINE void add_two_partials(double* p, Vec8 a, Vec8 b) {
  store(p, load(p) + half_sums(a.lo + a.hi, b.lo + b.hi));
}
FORCEMAP_INLINE Vec8 sum_partials(const double* p) {
  return {add_half_sums(load(p), load(p + 4)), add_half_sums(load(p + 8), load(p + 12))};
}
FORCEMAP_INLINE void sum_two_partials(const double* p, Vec8& a, Vec8& b) {
  add_half_sums(load(p), load(p + 4), load(p + 8), load(p + 12), a.lo, b.lo);
  add_half_sums(load(p + 16), load(p + 20), load(p + 24), load(p + 28), a.hi, b.hi);
}
FORCEMAP_INLINE void load_columns(const double* const rows[8], Vec8 columns[4]) {
  Vec4 lo[4], hi[4];
  for (int n = 0; n < 4; ++n) lo[n] = load(rows[n]), hi[n] = load(rows[n + 4]);
  transpose(lo[0], lo[1], lo[2], lo[3]);
  transpose(hi[0], hi[1], hi[2], hi[3]);
  for (int n = 0; n < 4; ++n) columns[n] = {lo[n], hi[n]};
}
FORCEMAP_INLINE void store_rows(double* p, const Vec8 columns[4]) {
  Vec4 lo[4], hi[4];
  for (int n = 0; n < 4; ++n) lo[n] = columns[n].lo, hi[n] = columns[n].hi;
  transpose(lo[0], lo[1], lo[2], lo[3]);
  transpose(hi[0], hi[1], hi[2], hi[3]);
  for (int n = 0; n < 4; ++n) store(p + 4 * n, lo[n]), store(p + 16 + 4 * n, hi[n]);
}

#endif

// The set of the first n lanes; all if n > 8.
FORCEMAP_INLINE unsigned first_lanes(std::size_t n) { return n < 8 ? (1u << n) - 1u : 255u; }

// Interval (a whole number) and position within it of u = r / h on a uniform grid. Anything, also a
// NaN, gives an interval of the table: max and min return their second argument when the first is
// not a number.
FORCEMAP_INLINE Vec8 interval_of(Vec8 u, Vec8 last_interval) {
  return smaller(larger(down(u), splat8(0.0)), last_interval);
}

// The four cubic B-splines that live on an interval, and their derivatives by t.
FORCEMAP_INLINE void basis(Vec8 t, Vec8 b[4], Vec8 d[4]) {
  const Vec8 sixth = splat8(1.0 / 6.0), half = splat8(0.5), s = splat8(1.0) - t;
  const Vec8 t2 = t * t, s2 = s * s;
  b[0] = sixth * s2 * s;
  b[3] = sixth * t2 * t;
  b[1] = fma(t2, fma(half, t, splat8(-1.0)), splat8(2.0 / 3.0));
  b[2] = fma(s2, fma(half, s, splat8(-1.0)), splat8(2.0 / 3.0));
  d[0] = splat8(-0.5) * s2;
  d[3] = half * t2;
  d[1] = t * fma(splat8(1.5), t, splat8(-2.0));
  d[2] = s * fma(splat8(-1.5), s, splat8(2.0));
}

}  // namespace FORCEMAP_LOOPS
}  // namespace forcemap
