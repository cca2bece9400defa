// The loops over one atom's neighbours, compiled once per instruction set by site_*.cpp, which set
// FORCEMAP_LOOPS (a namespace) and FORCEMAP_LOOPS_NAME. Nothing here may instantiate library
// templates: the linker would be free to use the copy with the wrong machine flags everywhere.

#include "forcemap/zbl.hpp"
#include "site_kernels.hpp"
#include "vec8.hpp"
// after the types that it uses
#include "embedding_loops.ipp"

namespace forcemap {
namespace FORCEMAP_LOOPS {

// ---- neighbours within the cutoff --------------------------------------------------------------

static std::size_t gather(const double* positions, const int* kinds, const int* kind_to_species,
                          int i, const int* list, std::size_t list_length, int mask, double cutoff,
                          const SiteView& site) {
  const double* center = positions + 3 * static_cast<std::ptrdiff_t>(i);
  const double xi = center[0], yi = center[1], zi = center[2];
  const double cutoff2 = cutoff * cutoff;
  std::size_t found = 0, n = 0;
#if defined(__AVX512F__)
  const Vec8 cx = splat8(xi), cy = splat8(yi), cz = splat8(zi), limit = splat8(cutoff2);
  const __m512i front = _mm512_setr_epi64(0, 1, 8, 9, 4, 5, 12, 13);
  const __m512i back = _mm512_setr_epi64(2, 3, 10, 11, 6, 7, 14, 15);
  const __m256i entry_mask = _mm256_set1_epi32(mask);
  for (; n < list_length; n += 8) {
    const unsigned lanes = first_lanes(list_length - n);
    const __m256i entries = _mm256_and_si256(
        _mm256_maskz_loadu_epi32(static_cast<__mmask8>(lanes), list + n), entry_mask);
    int rest[8];
    const int* entry = list + n;
    if (lanes != 255u) {  // 0, an atom like any other, past the end of the list
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(rest), entries);
      entry = rest;
    }
    // x, y, z of atoms m and m + 4; masked, as there may be nothing behind the last atom.
    const auto load_two = [&](int m) __attribute__((always_inline)) {
      const double* p = positions + 3 * static_cast<std::ptrdiff_t>(entry[m] & mask);
      const double* q = positions + 3 * static_cast<std::ptrdiff_t>(entry[m + 4] & mask);
      return _mm512_insertf64x4(_mm512_castpd256_pd512(_mm256_maskz_loadu_pd(7, p)),
                                _mm256_maskz_loadu_pd(7, q), 1);
    };
    const Vec8 a = load_two(0), b = load_two(1), c = load_two(2), d = load_two(3);
    const Vec8 ab = _mm512_unpacklo_pd(a, b), cd = _mm512_unpacklo_pd(c, d);
    const Vec8 dx = _mm512_permutex2var_pd(ab, front, cd) - cx;
    const Vec8 dz = _mm512_permutex2var_pd(ab, back, cd) - cz;
    const Vec8 dy =
        _mm512_permutex2var_pd(_mm512_unpackhi_pd(a, b), front, _mm512_unpackhi_pd(c, d)) - cy;
    const Vec8 r2 = fma(dx, dx, fma(dy, dy, dz * dz));
    // Not "less": a NaN stays a neighbour and shows in the energy.
    const unsigned kept = _mm512_cmp_pd_mask(r2, limit, _CMP_NGE_UQ) & lanes;
    store_kept(site.x + found, kept, dx);
    store_kept(site.y + found, kept, dy);
    store_kept(site.z + found, kept, dz);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(site.index + found),
                        _mm256_maskz_compress_epi32(static_cast<__mmask8>(kept), entries));
    found += static_cast<std::size_t>(__builtin_popcount(kept));
  }
#elif defined(__AVX2__)
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
    const unsigned kept =
        static_cast<unsigned>(_mm256_movemask_pd(_mm256_cmp_pd(r2, limit, _CMP_NGE_UQ)));
    if (kept == 0) continue;
    const __m256i order = compress_order(kept);
    store_kept(site.x + found, kept, dx);
    store_kept(site.y + found, kept, dy);
    store_kept(site.z + found, kept, dz);
    const __m256i wide = _mm256_permutevar8x32_epi32(_mm256_cvtepu32_epi64(entries), order);
    const __m256i narrow =
        _mm256_permutevar8x32_epi32(wide, _mm256_setr_epi32(0, 2, 4, 6, 0, 2, 4, 6));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(site.index + found),
                     _mm256_castsi256_si128(narrow));
    found += static_cast<std::size_t>(__builtin_popcount(kept));
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

static std::size_t near(const Candidates& candidates, std::size_t from, std::size_t to,
                        const double* center, double range2, int self, int* out) {
  const Vec8 x = splat8(center[0]), y = splat8(center[1]), z = splat8(center[2]);
  const Vec8 limit = splat8(range2);
  int* next = out;
  for (std::size_t n = from; n < to; n += 8) {
    const Vec8 dx = load8(candidates.x + n) - x, dy = load8(candidates.y + n) - y;
    const Vec8 dz = load8(candidates.z + n) - z;
    const int* entry = candidates.entry + n;
    unsigned kept = less(fma(dx, dx, fma(dy, dy, dz * dz)), limit) & first_lanes(to - n);
#if defined(__AVX512F__)
    const __m256i entries = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(entry));
    kept &= _mm256_cmpneq_epi32_mask(entries, _mm256_set1_epi32(self));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(next),
                        _mm256_maskz_compress_epi32(static_cast<__mmask8>(kept), entries));
    next += __builtin_popcount(kept);
#else
    for (; kept != 0; kept &= kept - 1) {
      *next = entry[__builtin_ctz(kept)];
      next += *next != self;
    }
#endif
  }
  return static_cast<std::size_t>(next - out);
}

// ---- distances and pair terms ------------------------------------------------------------------

// Lengths of all neighbour vectors, and the least of their squares. Returns false where two atoms
// coincide.
FORCEMAP_INLINE bool lengths(const SiteView& s, std::size_t padded, double& least) {
  Vec8 smallest = splat8(1e300);
  for (std::size_t n = 0; n < padded; n += 8) {
    const Vec8 x = load8(s.x + n), y = load8(s.y + n), z = load8(s.z + n);
    const Vec8 r2 = fma(x, x, fma(y, y, z * z));
    Vec8 r, inverse;
    roots(r2, r, inverse);
    smallest = smaller(r2, smallest);
    store(s.r + n, r);
    store(s.inverse_r + n, inverse);
  }
  double lane[8];
  store(lane, smallest);
  least = lane[0];
  for (int n = 1; n < 8; ++n) least = lane[n] < least ? lane[n] : least;
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

FORCEMAP_INLINE Vec8 two_body(const TwoBodyView& term, const double* const* tables,
                              const SiteView& s, std::size_t padded, bool first) {
  static const double kNoTable[4] = {};
  Vec8 energy = splat8(0.0);
  const Vec8 scale = splat8(term.inverse_spacing), last = splat8(term.last_interval);
  const Vec8 cutoff = splat8(term.cutoff);
  for (std::size_t n = 0; n < padded; n += 8) {
    const Vec8 r = load8(s.r + n), u = r * scale, m = interval_of(u, last);
    int interval[8];
    store_integers(interval, m);
    Vec8 b[4], d[4], c[4];
    basis(u - m, b, d);
    const double* rows[8];
    for (std::size_t k = 0; k < 8; ++k) {
      const double* table = tables[s.kind[n + k]];
      rows[k] = table ? table + interval[k] : kNoTable;
    }
    load_columns(rows, c);
    const Vec8 value = fma(b[0], c[0], fma(b[1], c[1], fma(b[2], c[2], b[3] * c[3])));
    const Vec8 slope = fma(d[0], c[0], fma(d[1], c[1], fma(d[2], c[2], d[3] * c[3])));
    const unsigned near = below(r, cutoff);
    energy = energy + keep(near, value);
    const Vec8 g = keep(near, slope * scale * load8(s.inverse_r + n));
    const Vec8 gx = g * load8(s.x + n), gy = g * load8(s.y + n), gz = g * load8(s.z + n);
    store(s.gx + n, first ? gx : load8(s.gx + n) + gx);
    store(s.gy + n, first ? gy : load8(s.gy + n) + gy);
    store(s.gz + n, first ? gz : load8(s.gz + n) + gz);
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

// The cubic B-splines as polynomials, powers 3, 2, 1 and 0 of t; each twice: lane 2 c + b belongs
// to coefficient c along r_jk and to row b of a pair of rows along r_ik.
alignas(64) static const double kPowers[4][8] = {
    {-1.0 / 6.0, -1.0 / 6.0, 0.5, 0.5, -0.5, -0.5, 1.0 / 6.0, 1.0 / 6.0},
    {0.5, 0.5, -1.0, -1.0, 0.5, 0.5, 0.0, 0.0},
    {-0.5, -0.5, 0.0, 0.0, 0.5, 0.5, 0.0, 0.0},
    {1.0 / 6.0, 1.0 / 6.0, 2.0 / 3.0, 2.0 / 3.0, 1.0 / 6.0, 1.0 / 6.0, 0.0, 0.0}};

// Compiled on its own: within a large function the compiler runs out of registers.
#define FORCEMAP_APART static __attribute__((noinline))

constexpr std::size_t kMostPairs = 256;

// Pairs (j, k) that wait for each other, so that each of the loops below has much to do before the
// next one needs its results. Per row one j and k at neighbouring entries; rows begin at multiples
// of 8, and what is past their end does not count.
struct Pairs {
  struct Row {
    std::size_t begin, count;  // among the pairs here
    std::size_t j, k;          // among the sorted neighbours
  };
  std::size_t rows, filled;
  Row row[kMostPairs / 8];
  alignas(64) double fraction[kMostPairs];  // position of r_jk in its interval
  alignas(64) double inverse[kMostPairs];   // intervals over r_jk, 1/Å
  alignas(64) int cell[kMostPairs];  // first coefficient, from the first of the plane of r_ij
  alignas(64) double by_base[kPartial * kMostPairs];  // dE/dr_jk, to be added over each kPartial
};

// Distances, eight at a time.
FORCEMAP_APART void measure(const ThreeBodyView& term, const SiteView& s, Pairs& pairs) {
  const Vec8 scale = splat8(term.base_inverse_spacing), last = splat8(term.base_last_interval);
  const double *const tx = s.tx, *const ty = s.ty, *const tz = s.tz, *const row_start = s.row_start;
  for (std::size_t n = 0; n < pairs.rows; ++n) {
    const Pairs::Row row = pairs.row[n];
    const Vec8 xj = splat8(tx[row.j]), yj = splat8(ty[row.j]), zj = splat8(tz[row.j]);
    for (std::size_t m = 0; m < row.count; m += 8) {
      const std::size_t k = row.k + m;
      const Vec8 dx = load8(tx + k) - xj, dy = load8(ty + k) - yj, dz = load8(tz + k) - zj;
      // The floor keeps coinciding neighbours (an error elsewhere) from making 0/0 here.
      const Vec8 r2 = larger(fma(dx, dx, fma(dy, dy, dz * dz)), splat8(1e-60));
      Vec8 r, inverse;
      roots(r2, r, inverse);
      // The last interval for a NaN.
      const Vec8 u = r * scale, interval = smaller(down(u), last);
      store(pairs.fraction + row.begin + m, u - interval);
      store(pairs.inverse + row.begin + m, inverse * scale);
      store_integers(pairs.cell + row.begin + m, fma(splat8(2.0), interval, load8(row_start + k)));
    }
  }
}

// The tricubic spline, one triplet at a time. With coefficients c[a][b][c] and weights w_a(r_ij),
// w_b(r_ik), w_c(r_jk) the energy is the sum of w_a w_b w_c c[a][b][c], and its slopes have w' in
// place of one w. What is shared by many triplets is summed before it is multiplied:
//   for j, over all k:   planes[a] = sum w_b w_c c[a][b][c]  gives the energy and dE/dr_ij
//   for k, over all j:   rows[b]   = sum w_a w_c c[a][b][c]  gives dE/dr_ik
//   for the pair:        sum w_a w_b w'_c c[a][b][c] is dE/dr_jk
// and sums over the lanes (b and c) come last.
FORCEMAP_APART Vec8 contract(const ThreeBodyView& term, const double* table, const SiteView& s,
                             Pairs& pairs) {
  // Local copies: vector stores may alias anything, and would have the compiler load these again.
  const double *const weights = s.weights, *const derivatives = s.derivatives;
  double *const rows = s.rows, *const radial = s.radial;
  const std::ptrdiff_t first = term.stride_first, two_rows = 2 * term.stride_second;
  const Vec8 cubic = load8(kPowers[0]), square = load8(kPowers[1]);
  const Vec8 linear = load8(kPowers[2]), constant = load8(kPowers[3]);
  Vec8 energy = splat8(0.0);
  for (std::size_t n = 0; n < pairs.rows; ++n) {
    const Pairs::Row row = pairs.row[n];
    const double* const wj = weights + 4 * row.j;
    const double* const dj = derivatives + 4 * row.j;
    const Vec8 w[4] = {splat8(wj[0]), splat8(wj[1]), splat8(wj[2]), splat8(wj[3])};
    const double* const plane = table + static_cast<std::ptrdiff_t>(s.interval[row.j]) * first;
    const double* const fraction = pairs.fraction + row.begin;
    const int* const cell = pairs.cell + row.begin;
    double* const by_base = pairs.by_base + kPartial * row.begin;
    const double* const wk = weights + 4 * row.k;
    double* const rows_k = rows + 16 * row.k;
    Vec8 planes[4] = {splat8(0.0), splat8(0.0), splat8(0.0), splat8(0.0)};
    for (std::size_t m = 0; m < row.count; ++m) {
      const double* const p = plane + cell[m];
      // Weights of r_jk and their slopes: cubic t^3 + square t^2 + linear t + constant, shared out
      // between multiplications and additions, which have units of their own.
      const Vec8 t = splat8(fraction[m]);
      const Vec8 ct = cubic * t, cs = ct + square, csl = fma(cs, t, linear);
      const Vec8 wc = fma(csl, t, constant), dc = fma(cs + ct, t, csl);
      Vec8 value = splat8(0.0);
#pragma GCC unroll 2
      for (int half = 0; half < 2; ++half) {
        const double* q = p + half * two_rows;
        const Vec8 c[4] = {load8(q), load8(q + first), load8(q + 2 * first), load8(q + 3 * first)};
        const Vec8 v = fma(w[3], c[3], fma(w[2], c[2], fma(w[1], c[1], w[0] * c[0])));
        const Vec8 wb = pairs8(wk + 4 * m + 2 * half), wbc = wb * wc;
#pragma GCC unroll 4
        for (int a = 0; a < 4; ++a) planes[a] = fma(wbc, c[a], planes[a]);
        value = half == 0 ? wb * v : fma(wb, v, value);
        double* const sum = rows_k + 16 * m + 8 * half;
        store(sum, fma(v, wc, load8(sum)));
      }
      store_partial(by_base + kPartial * m, value * dc);
    }
    Vec8 by_j = splat8(0.0);
#pragma GCC unroll 4
    for (int a = 0; a < 4; ++a) {
      energy = fma(w[a], planes[a], energy);
      by_j = fma(splat8(dj[a]), planes[a], by_j);
    }
    add_partial(radial + kPartial * row.j, by_j);
  }
  return energy;
}

// Forces along r_jk, eight at a time.
FORCEMAP_APART void push(const SiteView& s, const Pairs& pairs) {
  const double *const tx = s.tx, *const ty = s.ty, *const tz = s.tz;
  double *const hx = s.hx, *const hy = s.hy, *const hz = s.hz;
  for (std::size_t n = 0; n < pairs.rows; ++n) {
    const Pairs::Row row = pairs.row[n];
    const Vec8 xj = splat8(tx[row.j]), yj = splat8(ty[row.j]), zj = splat8(tz[row.j]);
    Vec8 fx = splat8(0.0), fy = splat8(0.0), fz = splat8(0.0);
    for (std::size_t m = 0; m < row.count; m += 8) {
      const std::size_t k = row.k + m;
      const Vec8 slope = sum_partials(pairs.by_base + kPartial * (row.begin + m));
      const Vec8 g = keep(first_lanes(row.count - m), slope * load8(pairs.inverse + row.begin + m));
      const Vec8 gx = g * (load8(tx + k) - xj), gy = g * (load8(ty + k) - yj);
      const Vec8 gz = g * (load8(tz + k) - zj);
      store(hx + k, load8(hx + k) + gx);
      store(hy + k, load8(hy + k) + gy);
      store(hz + k, load8(hz + k) + gz);
      fx = fx + gx;
      fy = fy + gy;
      fz = fz + gz;
    }
    hx[row.j] -= sum(fx);
    hy[row.j] -= sum(fy);
    hz[row.j] -= sum(fz);
  }
}

// What is in `pairs`; leaves it empty.
FORCEMAP_INLINE Vec8 evaluate(const ThreeBodyView& term, const double* table, const SiteView& s,
                              Pairs& pairs) {
  measure(term, s, pairs);
  const Vec8 energy = contract(term, table, s, pairs);
  push(s, pairs);
  pairs.rows = pairs.filled = 0;
  return energy;
}

// Copies entry n of the site to entry p of the sorted neighbours, or makes p weightless.
FORCEMAP_INLINE void place(const SiteView& s, std::size_t p, std::ptrdiff_t n) {
  s.slot[p] = static_cast<int>(n);
  s.tx[p] = n >= 0 ? s.x[n] : 1.0;
  s.ty[p] = n >= 0 ? s.y[n] : 1.0;
  s.tz[p] = n >= 0 ? s.z[n] : 1.0;
  s.tr[p] = n >= 0 ? s.r[n] : 1.0;
}

constexpr std::size_t kMostRanked = 64;

// Neighbours within the cutoff in order of distance, where there is one species: then only cells
// with r_ij <= r_ik are read, half of the table, which is what fits into the fastest cache. Returns
// their number, or kMostRanked + 1 (nothing placed) if there are more than kMostRanked.
FORCEMAP_INLINE std::size_t place_by_distance(const SiteView& s, std::size_t padded,
                                              double cutoff) {
  double r[kMostRanked + 16], slot[kMostRanked + 16];
  std::size_t count = 0;
  static const double kLanes[8] = {0, 1, 2, 3, 4, 5, 6, 7};
  const Vec8 limit = splat8(cutoff);
  Vec8 index = load8(kLanes);
  for (std::size_t n = 0; n < padded; n += 8) {
    const Vec8 distance = load8(s.r + n);
    const unsigned kept = below(distance, limit);
    store_kept(r + count, kept, distance);
    store_kept(slot + count, kept, index);
    index = index + splat8(8.0);
    count += static_cast<std::size_t>(__builtin_popcount(kept));
    if (count > kMostRanked) return kMostRanked + 1;
  }
  store(r + count, splat8(1e300));
  for (std::size_t n = 0; n < count; ++n) {
    const Vec8 mine = splat8(r[n]);
    unsigned long long nearer = 0, same = 0;
    for (std::size_t m = 0; m < count; m += 8) {
      const Vec8 other = load8(r + m);
      nearer |= static_cast<unsigned long long>(less(other, mine)) << m;
      same |= static_cast<unsigned long long>(equal(other, mine)) << m;
    }
    // Of equal distances the earlier comes first. A NaN equals nothing: the first place, which
    // several may share, is as good as any, the energy is a NaN through the pair terms already.
    const unsigned long long rank = nearer | (same & ((1ull << n) - 1));
    place(s, static_cast<std::size_t>(__builtin_popcountll(rank)),
          static_cast<std::ptrdiff_t>(slot[n]));
  }
  return count;
}

static double three_body(const ThreeBodyView& term, const PotentialView& p, const SiteView& s,
                         std::size_t count_padded, std::size_t* block_begin,
                         std::size_t* block_end) {
  std::size_t filled = 0, real = 0;
  bool placed = false;
  if (p.species == 1) {
    real = place_by_distance(s, count_padded, term.cutoff);
    placed = real <= kMostRanked;
    if (placed) {
      block_begin[0] = 0;
      block_end[0] = filled = real;
      for (int pad = 0; pad < 7; ++pad) place(s, filled++, -1);
    } else {
      real = 0;
    }
  }
  // Sort by species; seven entries end a block, so that a vector may run past it.
  for (std::size_t species = 0; species < p.species && !placed; ++species) {
    block_begin[species] = filled;
    for (std::size_t n = 0; n < s.count; ++n) {
      if (static_cast<std::size_t>(s.kind[n]) != species || s.r[n] >= term.cutoff) continue;
      place(s, filled++, static_cast<std::ptrdiff_t>(n));
    }
    block_end[species] = filled;
    real += filled - block_begin[species];
    if (filled != block_begin[species])
      for (int pad = 0; pad < 7; ++pad) place(s, filled++, -1);
  }
  if (real < 2) return 0.0;
  const std::size_t padded = (filled + 7) & ~static_cast<std::size_t>(7);
  while (filled < padded) place(s, filled++, -1);

  const Vec8 scale = splat8(term.leg_inverse_spacing), last = splat8(term.leg_last_interval);
  const Vec8 zero = splat8(0.0);
  for (std::size_t n = 0; n < padded; n += 8) {
    const Vec8 u = load8(s.tr + n) * scale, m = interval_of(u, last);
    Vec8 b[4], d[4];
    basis(u - m, b, d);
    for (int a = 0; a < 4; ++a) d[a] = d[a] * scale;
    store_rows(s.weights + 4 * n, b);
    store_rows(s.derivatives + 4 * n, d);
    store_integers(s.interval + n, m);
    store(s.row_start + n, m * splat8(static_cast<double>(term.stride_second)));
    store(s.hx + n, zero);
    store(s.hy + n, zero);
    store(s.hz + n, zero);
  }
  for (std::size_t n = 0; n < kPartial * padded; n += 8) store(s.radial + n, zero);
  for (std::size_t n = 0; n < 16 * padded; n += 8) store(s.rows + n, zero);

  Vec8 energy = zero;
  Pairs pairs;
  pairs.rows = pairs.filled = 0;
  const double* const* tables =
      term.tables + static_cast<std::size_t>(s.species) * p.species * p.species;
  for (std::size_t first = 0; first < p.species; ++first)
    for (std::size_t second = first; second < p.species; ++second) {
      const double* table = tables[first * p.species + second];
      if (!table) continue;
      for (std::size_t j = block_begin[first]; j < block_end[first]; ++j) {
        std::size_t k = first == second ? j + 1 : block_begin[second];
        while (k < block_end[second]) {
          const std::size_t room = kMostPairs - pairs.filled, left = block_end[second] - k;
          const std::size_t count = left < room ? left : room;
          pairs.row[pairs.rows++] = {pairs.filled, count, j, k};
          pairs.filled += (count + 7) & ~static_cast<std::size_t>(7);
          k += count;
          if (pairs.filled == kMostPairs) energy = energy + evaluate(term, table, s, pairs);
        }
      }
      if (pairs.rows) energy = energy + evaluate(term, table, s, pairs);
    }

  for (std::size_t n = 0; n < filled; ++n) {
    const double *const d = s.derivatives + 4 * n, *const rows = s.rows + 16 * n;
    add_partial(s.radial + kPartial * n,
                fma(pairs8(d), load8(rows), pairs8(d + 2) * load8(rows + 8)));
  }
  for (std::size_t n = 0; n < padded; n += 8) {
    const Vec8 g = sum_partials(s.radial + kPartial * n) / load8(s.tr + n);
    store(s.hx + n, fma(g, load8(s.tx + n), load8(s.hx + n)));
    store(s.hy + n, fma(g, load8(s.ty + n), load8(s.hy + n)));
    store(s.hz + n, fma(g, load8(s.tz + n), load8(s.hz + n)));
  }
  for (std::size_t n = 0; n < filled; ++n) {
    const int k = s.slot[n];
    if (k < 0) continue;
    s.gx[k] += s.hx[n];
    s.gy[k] += s.hy[n];
    s.gz[k] += s.hz[n];
  }
  return sum(energy);
}

// ---- the site ----------------------------------------------------------------------------------

static double evaluate(const PotentialView& p, const SiteView& s) {
  const std::size_t padded = (s.count + 7) & ~static_cast<std::size_t>(7);
  for (std::size_t n = s.count; n < padded; ++n) {
    s.x[n] = 2.0 * p.cutoff;  // beyond every term
    s.y[n] = s.z[n] = 0.0;
    s.kind[n] = 0;
  }
  double energy = p.e0[s.species], least;
  if (!lengths(s, padded, least)) return __builtin_nan("");
  if (p.two_body_count == 0)
    for (std::size_t n = 0; n < padded; ++n) s.gx[n] = s.gy[n] = s.gz[n] = 0.0;
  Vec8 pairs = splat8(0.0);
  for (std::size_t term = 0; term < p.two_body_count; ++term) {
    const TwoBodyView& view = p.two_body[term];
    const double* const* tables = view.tables + static_cast<std::size_t>(s.species) * p.species;
    pairs = pairs + two_body(view, tables, s, padded, term == 0);
  }
  energy += sum(pairs);
  if (least < p.zbl.largest_outer * p.zbl.largest_outer) energy += core(p, s);
  for (std::size_t term = 0; term < p.embedding_count; ++term)
    energy += embedding(p.embedding[term], p.species, s, padded);
  std::size_t blocks[2 * 118];
  for (std::size_t term = 0; term < p.three_body_count; ++term)
    energy += three_body(p.three_body[term], p, s, padded, blocks, blocks + p.species);
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
      FORCEMAP_LOOPS::near,
      {FORCEMAP_LOOPS::kLanes, FORCEMAP_LOOPS::soap_density, FORCEMAP_LOOPS::soap_energies,
       FORCEMAP_LOOPS::soap_forces, FORCEMAP_LOOPS::soap_gradient}};
  return kernels;
}

}  // namespace forcemap
