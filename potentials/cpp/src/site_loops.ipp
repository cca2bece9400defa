// The loops over one atom's neighbours, compiled once per instruction set by site_*.cpp, which set
// FORCEMAP_LOOPS (a namespace) and FORCEMAP_LOOPS_NAME. Nothing here may instantiate library
// templates: the linker would be free to use the copy with the wrong machine flags everywhere.

#include "forcemap/zbl.hpp"
#include "site_kernels.hpp"
#include "vec4.hpp"
// after the types that it uses
#include "embedding_loops.ipp"

namespace forcemap {
namespace FORCEMAP_LOOPS {

// ---- neighbours within the cutoff --------------------------------------------------------------

#if defined(__AVX2__)
// Shuffle that moves the kept lanes (bits of the row number) to the front.
alignas(32) static const int kCompress[16][8] = {
    {0, 1, 2, 3, 4, 5, 6, 7}, {0, 1, 2, 3, 4, 5, 6, 7}, {2, 3, 0, 1, 4, 5, 6, 7},
    {0, 1, 2, 3, 4, 5, 6, 7}, {4, 5, 0, 1, 2, 3, 6, 7}, {0, 1, 4, 5, 2, 3, 6, 7},
    {2, 3, 4, 5, 0, 1, 6, 7}, {0, 1, 2, 3, 4, 5, 6, 7}, {6, 7, 0, 1, 2, 3, 4, 5},
    {0, 1, 6, 7, 2, 3, 4, 5}, {2, 3, 6, 7, 0, 1, 4, 5}, {0, 1, 2, 3, 6, 7, 4, 5},
    {4, 5, 6, 7, 0, 1, 2, 3}, {0, 1, 4, 5, 6, 7, 2, 3}, {2, 3, 4, 5, 6, 7, 0, 1},
    {0, 1, 2, 3, 4, 5, 6, 7}};
#endif

static std::size_t gather(const double* positions, const int* kinds, const int* kind_to_species,
                          int i, const int* list, std::size_t list_length, int mask, double cutoff,
                          const SiteView& site) {
  const double* center = positions + 3 * static_cast<std::ptrdiff_t>(i);
  const double xi = center[0], yi = center[1], zi = center[2];
  const double cutoff2 = cutoff * cutoff;
  std::size_t found = 0, n = 0;
#if defined(__AVX2__)
  const Vec4 cx = splat(xi), cy = splat(yi), cz = splat(zi), limit = splat(cutoff2);
  const __m128i entry_mask = _mm_set1_epi32(mask);
  for (; n + 4 <= list_length; n += 4) {
    const __m128i entries =
        _mm_and_si128(_mm_loadu_si128(reinterpret_cast<const __m128i*>(list + n)), entry_mask);
    const double* a = positions + 3 * static_cast<std::ptrdiff_t>(_mm_extract_epi32(entries, 0));
    const double* b = positions + 3 * static_cast<std::ptrdiff_t>(_mm_extract_epi32(entries, 1));
    const double* c = positions + 3 * static_cast<std::ptrdiff_t>(_mm_extract_epi32(entries, 2));
    const double* d = positions + 3 * static_cast<std::ptrdiff_t>(_mm_extract_epi32(entries, 3));
    const Vec4 ac =
        _mm256_insertf128_pd(_mm256_castpd128_pd256(_mm_loadu_pd(a)), _mm_loadu_pd(c), 1);
    const Vec4 bd =
        _mm256_insertf128_pd(_mm256_castpd128_pd256(_mm_loadu_pd(b)), _mm_loadu_pd(d), 1);
    const __m128d zab = _mm_loadh_pd(_mm_load_sd(a + 2), b + 2);
    const __m128d zcd = _mm_loadh_pd(_mm_load_sd(c + 2), d + 2);
    const Vec4 dx = _mm256_unpacklo_pd(ac, bd) - cx;
    const Vec4 dy = _mm256_unpackhi_pd(ac, bd) - cy;
    const Vec4 dz = _mm256_insertf128_pd(_mm256_castpd128_pd256(zab), zcd, 1) - cz;
    const Vec4 r2 = fma(dx, dx, fma(dy, dy, dz * dz));
    // Not "less": a NaN stays a neighbour and shows in the energy.
    const int kept = _mm256_movemask_pd(_mm256_cmp_pd(r2, limit, _CMP_NGE_UQ));
    if (kept == 0) continue;
    const __m256i order = _mm256_load_si256(reinterpret_cast<const __m256i*>(kCompress[kept]));
    const auto pack = [&](Vec4 v) __attribute__((always_inline)) {
      return _mm256_castps_pd(_mm256_permutevar8x32_ps(_mm256_castpd_ps(v), order));
    };
    store(site.x + found, pack(dx));
    store(site.y + found, pack(dy));
    store(site.z + found, pack(dz));
    const __m256i wide = _mm256_permutevar8x32_epi32(_mm256_cvtepu32_epi64(entries), order);
    const __m256i narrow =
        _mm256_permutevar8x32_epi32(wide, _mm256_setr_epi32(0, 2, 4, 6, 0, 2, 4, 6));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(site.index + found),
                     _mm256_castsi256_si128(narrow));
    found += static_cast<std::size_t>(__builtin_popcount(static_cast<unsigned>(kept)));
  }
#endif
  for (; n < list_length; ++n) {
    const int j = list[n] & mask;
    const double* p = positions + 3 * static_cast<std::ptrdiff_t>(j);
    const double dx = p[0] - xi, dy = p[1] - yi, dz = p[2] - zi;
    if (dx * dx + dy * dy + dz * dz >= cutoff2) continue;
    site.x[found] = dx;
    site.y[found] = dy;
    site.z[found] = dz;
    site.index[found] = j;
    ++found;
  }
  std::size_t count = 0;
  for (std::size_t m = 0; m < found; ++m) {
    const int j = site.index[m];
    const int species = kind_to_species[kinds[j]];
    site.kind[m] = species;
    if (species >= 0 && count == m) {
      ++count;
      continue;
    }
    if (species < 0) continue;
    site.x[count] = site.x[m];
    site.y[count] = site.y[m];
    site.z[count] = site.z[m];
    site.index[count] = j;
    site.kind[count] = species;
    ++count;
  }
  return count;
}

// ---- distances and pair terms ------------------------------------------------------------------

// Lengths of all neighbour vectors. Returns false where two atoms coincide.
FORCEMAP_INLINE bool lengths(const SiteView& s, std::size_t padded) {
  Vec4 smallest = splat(1.0);
  for (std::size_t n = 0; n < padded; n += 4) {
    const Vec4 x = load(s.x + n), y = load(s.y + n), z = load(s.z + n);
    const Vec4 r2 = fma(x, x, fma(y, y, z * z));
    const Vec4 r = root(r2);
    smallest = smaller(r2, smallest);
    store(s.r + n, r);
    store(s.inverse_r + n, splat(1.0) / r);
  }
  double lane[4];
  store(lane, smallest);
  double least = lane[0];
  for (int n = 1; n < 4; ++n) least = lane[n] < least ? lane[n] : least;
  if (least > 1e-40) return true;
  // The squares have left the range of doubles: once more, with scaling.
  for (std::size_t n = 0; n < s.count; ++n) {
    const double ax = __builtin_fabs(s.x[n]), ay = __builtin_fabs(s.y[n]);
    const double az = __builtin_fabs(s.z[n]);
    const double big = ax > ay ? (ax > az ? ax : az) : (ay > az ? ay : az);
    if (big == 0.0) return false;
    if (big > 1e-18) continue;
    // Nearer than any potential can tell: the direction with a distance of 1e-18 Å.
    const double fx = s.x[n] / big, fy = s.y[n] / big, fz = s.z[n] / big;
    const double scale = 1e-18 / __builtin_sqrt(fx * fx + fy * fy + fz * fz);
    s.x[n] = fx * scale;
    s.y[n] = fy * scale;
    s.z[n] = fz * scale;
    s.r[n] = 1e-18;
    s.inverse_r[n] = 1e18;
  }
  return true;
}

FORCEMAP_INLINE Vec4 two_body(const TwoBodyView& term, const double* const* tables,
                              const SiteView& s, std::size_t padded, bool first) {
  Vec4 energy = splat(0.0);
  const Vec4 scale = splat(term.inverse_spacing), last = splat(term.last_interval);
  const Vec4 cutoff = splat(term.cutoff);
  for (std::size_t n = 0; n < padded; n += 4) {
    const Vec4 r = load(s.r + n);
    int m[4];
    const Vec4 t = locate(r * scale, last, m);
    Vec4 b[4], d[4], c[4];
    basis(t, b, d);
    for (int k = 0; k < 4; ++k) {
      const double* table = tables[s.kind[n + static_cast<std::size_t>(k)]];
      c[k] = table ? load(table + m[k]) : splat(0.0);
    }
    transpose(c[0], c[1], c[2], c[3]);
    const Vec4 value = fma(b[0], c[0], fma(b[1], c[1], fma(b[2], c[2], b[3] * c[3])));
    const Vec4 slope = fma(d[0], c[0], fma(d[1], c[1], fma(d[2], c[2], d[3] * c[3])));
    energy = energy + keep_below(r, cutoff, value);
    const Vec4 g = keep_below(r, cutoff, slope * scale * load(s.inverse_r + n));
    const Vec4 gx = g * load(s.x + n), gy = g * load(s.y + n), gz = g * load(s.z + n);
    store(s.gx + n, first ? gx : load(s.gx + n) + gx);
    store(s.gy + n, first ? gy : load(s.gy + n) + gy);
    store(s.gz + n, first ? gz : load(s.gz + n) + gz);
  }
  return energy;
}

// Half of each pair's core energy belongs to this centre.
static double core(const PotentialView& p, const SiteView& s) {
  double energy = 0.0;
  const ZblFunction* functions = p.zbl.functions + static_cast<std::size_t>(s.species) * p.species;
  for (std::size_t n = 0; n < s.count; ++n) {
    const ZblFunction& f = functions[s.kind[n]];
    if (!(s.r[n] < f.outer)) continue;
    double slope;
    energy += 0.5 * f.evaluate(s.r[n], slope);
    const double g = 0.5 * slope * s.inverse_r[n];
    s.gx[n] += g * s.x[n];
    s.gy[n] += g * s.y[n];
    s.gz[n] += g * s.z[n];
  }
  return energy;
}

// ---- three-body terms --------------------------------------------------------------------------

// Value and slopes of the tricubic spline for one (j, k): the contraction over r_ij, then r_ik.
// What is left runs over the four coefficients along r_jk. With AVX-512 two rows along r_ik are
// taken at once and the halves are added at the very end.
#if defined(__AVX512F__)

using Wide = __m512d;
constexpr std::size_t kWeights = 16;  // doubles per neighbour: every weight four times

FORCEMAP_INLINE Wide wide_zero() { return _mm512_setzero_pd(); }
FORCEMAP_INLINE Wide widen(double s) { return _mm512_set1_pd(s); }
FORCEMAP_INLINE Wide widen(Vec4 v) { return _mm512_broadcast_f64x4(v); }
FORCEMAP_INLINE Wide fma(Wide a, Wide b, Wide c) { return _mm512_fmadd_pd(a, b, c); }
FORCEMAP_INLINE Vec4 fold(Wide v) {
  return _mm256_add_pd(_mm512_castpd512_pd256(v), _mm512_extractf64x4_pd(v, 1));
}
FORCEMAP_INLINE void store_weights(double* p, Vec4 v) {
  double w[4];
  store(w, v);
  for (int a = 0; a < 4; ++a) store(p + 4 * a, splat(w[a]));
}

struct Row {
  Wide value, by_first, by_second;
};

// Strides in bytes.
FORCEMAP_INLINE Row contract(const double* cell, std::ptrdiff_t stride_first,
                             std::ptrdiff_t stride_second, const Wide w[4], const Wide dw[4],
                             const double* w2, const double* dw2) {
  Row row;
#pragma GCC unroll 2
  for (int half = 0; half < 2; ++half) {
    const char* p = reinterpret_cast<const char*>(cell) + 2 * half * stride_second;
    Wide c[4];
#pragma GCC unroll 4
    for (int a = 0; a < 4; ++a) {
      const char* q = p + a * stride_first;
      c[a] = _mm512_insertf64x4(
          _mm512_castpd256_pd512(_mm256_loadu_pd(reinterpret_cast<const double*>(q))),
          _mm256_loadu_pd(reinterpret_cast<const double*>(q + stride_second)), 1);
    }
    const Wide v = fma(w[3], c[3], fma(w[2], c[2], fma(w[1], c[1], w[0] * c[0])));
    const Wide d = fma(dw[3], c[3], fma(dw[2], c[2], fma(dw[1], c[1], dw[0] * c[0])));
    const Wide wb = _mm512_loadu_pd(w2 + 8 * half), db = _mm512_loadu_pd(dw2 + 8 * half);
    row.value = half == 0 ? wb * v : fma(wb, v, row.value);
    row.by_second = half == 0 ? db * v : fma(db, v, row.by_second);
    row.by_first = half == 0 ? wb * d : fma(wb, d, row.by_first);
  }
  return row;
}

#else

using Wide = Vec4;
constexpr std::size_t kWeights = 4;

FORCEMAP_INLINE Wide wide_zero() { return splat(0.0); }
FORCEMAP_INLINE Wide widen(double s) { return splat(s); }
FORCEMAP_INLINE Wide widen(Vec4 v) { return v; }
FORCEMAP_INLINE Vec4 fold(Wide v) { return v; }
FORCEMAP_INLINE void store_weights(double* p, Vec4 v) { store(p, v); }

struct Row {
  Wide value, by_first, by_second;
};

// Strides in bytes.
FORCEMAP_INLINE Row contract(const double* cell, std::ptrdiff_t stride_first,
                             std::ptrdiff_t stride_second, const Wide w[4], const Wide dw[4],
                             const double* w2, const double* dw2) {
  Row row;
#pragma GCC unroll 4
  for (int b = 0; b < 4; ++b) {
    const char* p = reinterpret_cast<const char*>(cell) + b * stride_second;
    Wide c[4];
#pragma GCC unroll 4
    for (int a = 0; a < 4; ++a) c[a] = load(reinterpret_cast<const double*>(p + a * stride_first));
    const Wide v = fma(w[3], c[3], fma(w[2], c[2], fma(w[1], c[1], w[0] * c[0])));
    const Wide d = fma(dw[3], c[3], fma(dw[2], c[2], fma(dw[1], c[1], dw[0] * c[0])));
    const Wide wb = splat(w2[b]), db = splat(dw2[b]);
    row.value = b == 0 ? wb * v : fma(wb, v, row.value);
    row.by_second = b == 0 ? db * v : fma(db, v, row.by_second);
    row.by_first = b == 0 ? wb * d : fma(wb, d, row.by_first);
  }
  return row;
}

#endif

// All triplets (j, k) with j at entry `j` and k at entries [begin, end) of the sorted neighbours.
FORCEMAP_INLINE Vec4 triplets_of(const ThreeBodyView& term, const double* table, const SiteView& s,
                                 std::size_t j, std::size_t begin, std::size_t end) {
  // Local copies: vector stores may alias anything, and would have the compiler load these again.
  const double *const tx = s.tx, *const ty = s.ty, *const tz = s.tz;
  const double *const weights = s.weights, *const derivatives = s.derivatives;
  double *const radial = s.radial, *const hx = s.hx, *const hy = s.hy, *const hz = s.hz;
  const long long* const offset = s.offset;
  const std::ptrdiff_t stride_second = term.stride_second;
  const double* wj = weights + kWeights * j;
  const double* dj = derivatives + kWeights * j;
  constexpr std::size_t step = kWeights / 4;
  const Wide w[4] = {widen(wj[0]), widen(wj[step]), widen(wj[2 * step]), widen(wj[3 * step])};
  const Wide dw[4] = {widen(dj[0]), widen(dj[step]), widen(dj[2 * step]), widen(dj[3 * step])};
  const std::ptrdiff_t first = 8 * term.stride_first, second = 8 * term.stride_second;
  const double* plane = table + offset[j] * term.stride_first;
  const Vec4 xj = splat(tx[j]), yj = splat(ty[j]), zj = splat(tz[j]);
  const Vec4 scale = splat(term.base_inverse_spacing), last = splat(term.base_last_interval);
  Wide energy = wide_zero(), by_j = wide_zero();
  Vec4 fx = splat(0.0), fy = splat(0.0), fz = splat(0.0);
  for (std::size_t k = begin; k < end; k += 4) {
    const Vec4 dx = load(tx + k) - xj, dy = load(ty + k) - yj, dz = load(tz + k) - zj;
    // The floor keeps coinciding neighbours (an error elsewhere) from making 0/0 here.
    const Vec4 r2 = larger(fma(dx, dx, fma(dy, dy, dz * dz)), splat(1e-60));
    const Vec4 r = root(r2);
    const Vec4 slope_scale = scale / r;  // early: a division takes its time
    int m[4];
    const Vec4 t = locate(r * scale, last, m);
    Vec4 b[4], d[4];
    basis(t, b, d);
    transpose(b[0], b[1], b[2], b[3]);
    transpose(d[0], d[1], d[2], d[3]);
    Vec4 by_k[4], by_r[4];
    const auto lane = [&](std::size_t n) __attribute__((always_inline)) {
      const std::size_t kn = k + n;
      const double* cell = plane + offset[kn] * stride_second + m[n];
      const Row row = contract(cell, first, second, w, dw, weights + kWeights * kn,
                               derivatives + kWeights * kn);
      const Wide bn = widen(b[n]);
      energy = fma(row.value, bn, energy);
      by_j = fma(row.by_first, bn, by_j);
      by_k[n] = fold(row.by_second * bn);
      by_r[n] = fold(row.value * widen(d[n]));
    };
    // Entries past the end are weightless; the contraction is what costs, so it is left out there.
    const std::size_t lanes = end - k;
    lane(0);
    by_k[1] = by_k[2] = by_k[3] = by_r[1] = by_r[2] = by_r[3] = splat(0.0);
    if (lanes > 1) {
      lane(1);
      if (lanes > 2) {
        lane(2);
        if (lanes > 3) lane(3);
      }
    }
    store(radial + k, load(radial + k) + sums(by_k[0], by_k[1], by_k[2], by_k[3]));
    const Vec4 g = sums(by_r[0], by_r[1], by_r[2], by_r[3]) * slope_scale;
    const Vec4 gx = g * dx, gy = g * dy, gz = g * dz;
    store(hx + k, load(hx + k) + gx);
    store(hy + k, load(hy + k) + gy);
    store(hz + k, load(hz + k) + gz);
    fx = fx + gx;
    fy = fy + gy;
    fz = fz + gz;
  }
  radial[j] += sum(fold(by_j));
  hx[j] -= sum(fx);
  hy[j] -= sum(fy);
  hz[j] -= sum(fz);
  return fold(energy);
}

// Copies entry n of the site to entry p of the sorted neighbours, or makes p weightless.
FORCEMAP_INLINE void place(const SiteView& s, std::size_t p, std::ptrdiff_t n) {
  s.slot[p] = static_cast<int>(n);
  s.tx[p] = n >= 0 ? s.x[n] : 1.0;
  s.ty[p] = n >= 0 ? s.y[n] : 1.0;
  s.tz[p] = n >= 0 ? s.z[n] : 1.0;
  s.tr[p] = n >= 0 ? s.r[n] : 1.0;
}

#if defined(__AVX2__)
constexpr std::size_t kMostRanked = 64;

// Neighbours within the cutoff in order of distance, where there is one species: then only cells
// with r_ij <= r_ik are read, half of the table, which is what fits into the fastest cache. Returns
// their number, or kMostRanked + 1 (nothing placed) if there are more than kMostRanked.
FORCEMAP_INLINE std::size_t place_by_distance(const SiteView& s, double cutoff) {
  double r[kMostRanked + 8];
  int slot[kMostRanked + 8];
  std::size_t n3 = 0;
  const Vec4 limit = splat(cutoff);
  __m128i index = _mm_setr_epi32(0, 1, 2, 3);
  const std::size_t padded = (s.count + 3) & ~static_cast<std::size_t>(3);
  for (std::size_t n = 0; n < padded; n += 4) {
    const Vec4 distance = load(s.r + n);
    const int kept = _mm256_movemask_pd(_mm256_cmp_pd(distance, limit, _CMP_NGE_UQ));
    const __m256i order = _mm256_load_si256(reinterpret_cast<const __m256i*>(kCompress[kept]));
    store(r + n3, _mm256_castps_pd(_mm256_permutevar8x32_ps(_mm256_castpd_ps(distance), order)));
    const __m256i wide = _mm256_permutevar8x32_epi32(_mm256_cvtepu32_epi64(index), order);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(slot + n3),
                     _mm256_castsi256_si128(_mm256_permutevar8x32_epi32(
                         wide, _mm256_setr_epi32(0, 2, 4, 6, 0, 2, 4, 6))));
    index = _mm_add_epi32(index, _mm_set1_epi32(4));
    n3 += static_cast<std::size_t>(__builtin_popcount(static_cast<unsigned>(kept)));
    if (n3 > kMostRanked) return kMostRanked + 1;
  }
  for (std::size_t n = n3; n < n3 + 4; ++n) r[n] = 1e300;
  for (std::size_t n = 0; n < n3; ++n) {
    const Vec4 mine = splat(r[n]);
    unsigned long long below = 0, equal = 0;
    for (std::size_t m = 0; m < n3; m += 4) {
      const Vec4 other = load(r + m);
      below |= static_cast<unsigned long long>(
                   _mm256_movemask_pd(_mm256_cmp_pd(other, mine, _CMP_LT_OQ)))
               << m;
      equal |= static_cast<unsigned long long>(
                   _mm256_movemask_pd(_mm256_cmp_pd(other, mine, _CMP_NEQ_UQ)) ^ 15)
               << m;
    }
    // Of equal distances the earlier comes first. A NaN equals nothing: the first place, which
    // several may share, is as good as any, the energy is a NaN through the pair terms already.
    const unsigned long long rank = below | (equal & ((1ull << n) - 1));
    place(s, static_cast<std::size_t>(__builtin_popcountll(rank)), slot[n]);
  }
  return n3;
}
#endif

static double three_body(const ThreeBodyView& term, const PotentialView& p, const SiteView& s,
                         std::size_t* block_begin, std::size_t* block_end) {
  std::size_t filled = 0, real = 0;
  bool placed = false;
#if defined(__AVX2__)
  if (p.species == 1) {
    real = place_by_distance(s, term.cutoff);
    placed = real <= kMostRanked;
    if (placed) {
      block_begin[0] = 0;
      block_end[0] = filled = real;
      for (int pad = 0; pad < 3; ++pad) place(s, filled++, -1);
    } else {
      real = 0;
    }
  }
#endif
  // Sort by species; a block ends with three weightless entries, so that a vector may run past it.
  for (std::size_t species = 0; species < p.species && !placed; ++species) {
    block_begin[species] = filled;
    for (std::size_t n = 0; n < s.count; ++n) {
      if (static_cast<std::size_t>(s.kind[n]) != species || s.r[n] >= term.cutoff) continue;
      place(s, filled++, static_cast<std::ptrdiff_t>(n));
    }
    block_end[species] = filled;
    real += filled - block_begin[species];
    if (filled != block_begin[species])
      for (int pad = 0; pad < 3; ++pad) place(s, filled++, -1);
  }
  if (real < 2) return 0.0;
  const std::size_t padded = (filled + 3) & ~static_cast<std::size_t>(3);
  while (filled < padded) place(s, filled++, -1);

  const Vec4 scale = splat(term.leg_inverse_spacing), last = splat(term.leg_last_interval);
  const Vec4 zero = splat(0.0);
  for (std::size_t n = 0; n < padded; n += 4) {
    int m[4];
    const Vec4 t = locate(load(s.tr + n) * scale, last, m);
    Vec4 b[4], d[4];
    basis(t, b, d);
    transpose(b[0], b[1], b[2], b[3]);
    transpose(d[0], d[1], d[2], d[3]);
    for (int k = 0; k < 4; ++k) {
      const std::size_t nk = n + static_cast<std::size_t>(k);
      const bool weightless = s.slot[nk] < 0;
      store_weights(s.weights + kWeights * nk, weightless ? zero : b[k]);
      store_weights(s.derivatives + kWeights * nk, weightless ? zero : d[k] * scale);
      s.offset[nk] = m[k];
    }
    store(s.radial + n, zero);
    store(s.hx + n, zero);
    store(s.hy + n, zero);
    store(s.hz + n, zero);
  }

  Vec4 energy = zero;
  const double* const* tables =
      term.tables + static_cast<std::size_t>(s.species) * p.species * p.species;
  for (std::size_t first = 0; first < p.species; ++first)
    for (std::size_t second = first; second < p.species; ++second) {
      const double* table = tables[first * p.species + second];
      if (!table) continue;
      for (std::size_t j = block_begin[first]; j < block_end[first]; ++j) {
        const std::size_t begin = first == second ? j + 1 : block_begin[second];
        if (begin >= block_end[second]) continue;
        energy = energy + triplets_of(term, table, s, j, begin, block_end[second]);
      }
    }

  for (std::size_t n = 0; n < filled; ++n) {
    const int k = s.slot[n];
    if (k < 0) continue;
    const double g = s.radial[n] * s.inverse_r[k];
    s.gx[k] += s.hx[n] + g * s.tx[n];
    s.gy[k] += s.hy[n] + g * s.ty[n];
    s.gz[k] += s.hz[n] + g * s.tz[n];
  }
  return sum(energy);
}

// ---- the site ----------------------------------------------------------------------------------

static double evaluate(const PotentialView& p, const SiteView& s) {
  const std::size_t padded = (s.count + 3) & ~static_cast<std::size_t>(3);
  for (std::size_t n = s.count; n < padded; ++n) {
    s.x[n] = 2.0 * p.cutoff;  // beyond every term
    s.y[n] = s.z[n] = 0.0;
    s.kind[n] = 0;
  }
  double energy = p.e0[s.species];
  if (!lengths(s, padded)) return __builtin_nan("");
  if (p.two_body_count == 0)
    for (std::size_t n = 0; n < padded; ++n) s.gx[n] = s.gy[n] = s.gz[n] = 0.0;
  Vec4 pairs = splat(0.0);
  for (std::size_t term = 0; term < p.two_body_count; ++term) {
    const TwoBodyView& view = p.two_body[term];
    const double* const* tables = view.tables + static_cast<std::size_t>(s.species) * p.species;
    pairs = pairs + two_body(view, tables, s, padded, term == 0);
  }
  energy += sum(pairs);
  if (p.zbl.largest_outer > 0.0) energy += core(p, s);
  for (std::size_t term = 0; term < p.embedding_count; ++term)
    energy += embedding(p.embedding[term], p.species, s, padded);
  std::size_t blocks[2 * 118];
  for (std::size_t term = 0; term < p.three_body_count; ++term)
    energy += three_body(p.three_body[term], p, s, blocks, blocks + p.species);
  return energy;
}

}  // namespace FORCEMAP_LOOPS
}  // namespace forcemap

#include "soap_loops.ipp"

namespace forcemap {

const SiteKernels& FORCEMAP_LOOPS_GETTER() {
  static const SiteKernels kernels = {
      FORCEMAP_LOOPS_NAME,
      FORCEMAP_LOOPS::gather,
      FORCEMAP_LOOPS::evaluate,
      {FORCEMAP_LOOPS::kLanes, FORCEMAP_LOOPS::soap_density, FORCEMAP_LOOPS::soap_energies,
       FORCEMAP_LOOPS::soap_forces, FORCEMAP_LOOPS::soap_gradient}};
  return kernels;
}

}  // namespace forcemap
