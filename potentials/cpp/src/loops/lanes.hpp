// Vectors for loops whose lanes are an atom's numbers: as many doubles as the machine has, or eight
// floats. Included only by the loop files, inside their own namespaces.
#pragma once

#include "vec8.hpp"

namespace forcemap {
namespace FORCEMAP_LOOPS {

#if defined(__AVX512F__)
using Lanes = __m512d;
constexpr std::size_t kLanes = 8;
FORCEMAP_INLINE Lanes take(const double* p) { return _mm512_loadu_pd(p); }
FORCEMAP_INLINE void put(double* p, Lanes v) { _mm512_storeu_pd(p, v); }
FORCEMAP_INLINE Lanes all(double s) { return _mm512_set1_pd(s); }
FORCEMAP_INLINE Lanes mad(Lanes a, Lanes b, Lanes c) { return _mm512_fmadd_pd(a, b, c); }
FORCEMAP_INLINE Vec4 halves(Lanes v) {
  return _mm256_add_pd(_mm512_castpd512_pd256(v), _mm512_extractf64x4_pd(v, 1));
}
FORCEMAP_INLINE double total(Lanes v) { return sum(halves(v)); }
#else
using Lanes = Vec4;
constexpr std::size_t kLanes = 4;
FORCEMAP_INLINE Lanes take(const double* p) { return load(p); }
FORCEMAP_INLINE void put(double* p, Lanes v) { store(p, v); }
FORCEMAP_INLINE Lanes all(double s) { return splat(s); }
FORCEMAP_INLINE Lanes mad(Lanes a, Lanes b, Lanes c) { return fma(a, b, c); }
FORCEMAP_INLINE Vec4 halves(Lanes v) { return v; }
FORCEMAP_INLINE double total(Lanes v) { return sum(v); }
#endif

// Eight floats on every machine. Sums over their lanes are doubles.
constexpr std::size_t kSingles = 8;

#if defined(__AVX2__)
using Singles = __m256;
FORCEMAP_INLINE Singles take(const float* p) { return _mm256_loadu_ps(p); }
FORCEMAP_INLINE void put(float* p, Singles v) { _mm256_storeu_ps(p, v); }
FORCEMAP_INLINE Singles all(float s) { return _mm256_set1_ps(s); }
FORCEMAP_INLINE Singles mad(Singles a, Singles b, Singles c) { return _mm256_fmadd_ps(a, b, c); }
FORCEMAP_INLINE Vec4 first_half(Singles v) { return _mm256_cvtps_pd(_mm256_castps256_ps128(v)); }
FORCEMAP_INLINE Vec4 last_half(Singles v) { return _mm256_cvtps_pd(_mm256_extractf128_ps(v, 1)); }
FORCEMAP_INLINE void store(float* p, Vec4 v) { _mm_storeu_ps(p, _mm256_cvtpd_ps(v)); }
FORCEMAP_INLINE Singles keep(unsigned lanes, Singles a) {
  const __m256i bit = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
  const __m256i set = _mm256_and_si256(_mm256_set1_epi32(static_cast<int>(lanes)), bit);
  return _mm256_and_ps(_mm256_castsi256_ps(_mm256_cmpeq_epi32(set, bit)), a);
}
#else
typedef float Singles __attribute__((vector_size(32)));
FORCEMAP_INLINE Singles take(const float* p) {
  Singles v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}
FORCEMAP_INLINE void put(float* p, Singles v) { __builtin_memcpy(p, &v, sizeof v); }
FORCEMAP_INLINE Singles all(float s) { return Singles{s, s, s, s, s, s, s, s}; }
FORCEMAP_INLINE Singles mad(Singles a, Singles b, Singles c) { return a * b + c; }
FORCEMAP_INLINE Vec4 first_half(Singles v) { return Vec4{v[0], v[1], v[2], v[3]}; }
FORCEMAP_INLINE Vec4 last_half(Singles v) { return Vec4{v[4], v[5], v[6], v[7]}; }
FORCEMAP_INLINE void store(float* p, Vec4 v) {
  for (int n = 0; n < 4; ++n) p[n] = static_cast<float>(v[n]);
}
FORCEMAP_INLINE Singles keep(unsigned lanes, Singles a) {
  for (int n = 0; n < 8; ++n)
    if (!(lanes >> n & 1u)) a[n] = 0.0F;
  return a;
}
#endif

// What several products share, in a register: compilers like to read it from memory for each.
template <typename Vector>
FORCEMAP_INLINE Vector held(Vector v) {
#if defined(__AVX512F__)
  __asm__("" : "+v"(v));
#elif defined(__AVX2__)
  __asm__("" : "+x"(v));
#endif
  return v;
}

FORCEMAP_INLINE Vec4 halves(Singles v) { return first_half(v) + last_half(v); }
FORCEMAP_INLINE double total(Singles v) { return sum(halves(v)); }
FORCEMAP_INLINE void store(float* p, Vec8 v) {
#if defined(__AVX512F__)
  _mm256_storeu_ps(p, _mm512_cvtpd_ps(v));
#else
  store(p, v.lo);
  store(p + 4, v.hi);
#endif
}
// Adds eight floats to eight doubles.
FORCEMAP_INLINE void add(double* to, Singles v) {
  store(to, load(to) + first_half(v));
  store(to + 4, load(to + 4) + last_half(v));
}

// The totals of four, in turn.
template <typename Vector>
FORCEMAP_INLINE Vec4 totals(Vector a, Vector b, Vector c, Vector d) {
  return add_half_sums(half_sums(halves(a), halves(b)), half_sums(halves(c), halves(d)));
}

// As many rows as there are lanes, `stride` apart: their first four columns.
FORCEMAP_INLINE void take_columns(const double* first, std::size_t stride, Lanes columns[4]) {
#if defined(__AVX512F__)
  const double* rows[8];
  for (std::size_t n = 0; n < 8; ++n) rows[n] = first + n * stride;
  load_columns(rows, columns);
#else
  for (std::size_t n = 0; n < 4; ++n) columns[n] = load(first + n * stride);
  transpose(columns[0], columns[1], columns[2], columns[3]);
#endif
}

FORCEMAP_INLINE void take_columns(const float* first, std::size_t stride, Singles columns[4]) {
#if defined(__AVX2__)
  Singles rows[4];  // of each half one
  for (std::size_t n = 0; n < 4; ++n)
    rows[n] = _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(first + n * stride)),
                                   _mm_loadu_ps(first + (n + 4) * stride), 1);
  const Singles lo01 = _mm256_unpacklo_ps(rows[0], rows[1]);
  const Singles lo23 = _mm256_unpacklo_ps(rows[2], rows[3]);
  const Singles hi01 = _mm256_unpackhi_ps(rows[0], rows[1]);
  const Singles hi23 = _mm256_unpackhi_ps(rows[2], rows[3]);
  columns[0] = _mm256_shuffle_ps(lo01, lo23, 0x44);
  columns[1] = _mm256_shuffle_ps(lo01, lo23, 0xee);
  columns[2] = _mm256_shuffle_ps(hi01, hi23, 0x44);
  columns[3] = _mm256_shuffle_ps(hi01, hi23, 0xee);
#else
  for (std::size_t k = 0; k < 4; ++k)
    for (std::size_t n = 0; n < 8; ++n) columns[k][n] = first[n * stride + k];
#endif
}

// The vectors of numbers of one type.
template <typename Number>
struct LanesFor;
template <>
struct LanesFor<double> {
  using Vector = Lanes;
  static constexpr std::size_t count = kLanes;
};
template <>
struct LanesFor<float> {
  using Vector = Singles;
  static constexpr std::size_t count = kSingles;
};
template <typename Number>
using LanesOf = typename LanesFor<Number>::Vector;
template <typename Number>
constexpr std::size_t kLanesOf = LanesFor<Number>::count;

}  // namespace FORCEMAP_LOOPS
}  // namespace forcemap
