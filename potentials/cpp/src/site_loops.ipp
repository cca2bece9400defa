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
  if (!kinds) {
    for (std::size_t m = 0; m < found; ++m) site.kind[m] = 0;
    return found;
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

// `only`: the table of every neighbour; null where it depends on the neighbour's species.
FORCEMAP_INLINE Vec8 two_body(const TwoBodyView& term, const double* const* tables,
                              const double* only, const SiteView& s, std::size_t padded,
                              bool first) {
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
      const double* table = only ? only : tables[s.kind[n + k]];
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
    double slope, screened[4];
    store(screened, exponential(splat(-s.r[n]) * load(f.screening)));
    energy += 0.5 * f.evaluate(s.r[n], screened, slope);
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

constexpr std::size_t kMostPairs = 512;

// Pairs (j, k) that wait for each other, so that each of the loops below has much to do before the
// next one needs its results. A row has two neighbouring j, an even and an odd one, and k at
// neighbouring entries from a multiple of 8 on; each j has vectors of its own, of which only the
// lanes from `skip` to `count` are pairs. A last j alone is the second j, too, without pairs.
struct Pairs {
  struct Row {
    std::size_t j[2], k;   // among the sorted neighbours; k of the first lane
    std::size_t begin[2];  // of either j's vectors among the pairs here
    std::size_t skip[2];
    std::size_t count;
  };
  std::size_t rows, filled;
  std::size_t first_k, end_k;  // of all rows
  Row row[kMostPairs / 8];
  alignas(64) double fraction[kMostPairs];  // position of r_jk in its interval
  alignas(64) double inverse[kMostPairs];   // intervals over r_jk, 1/Å
  alignas(64) int cell[kMostPairs];  // first coefficient, from the first of the plane of r_ij
  // dE/dr_jk of both j, to be added over each kPartial; at the vectors of the first j
  alignas(64) double by_base[kPartial * kMostPairs];
};

// Distances, eight at a time.
FORCEMAP_APART void measure(const ThreeBodyView& term, const SiteView& s, Pairs& pairs) {
  const Vec8 scale = splat8(term.base_inverse_spacing), last = splat8(term.base_last_interval);
  for (std::size_t n = 0; n < pairs.rows; ++n) {
    const Pairs::Row row = pairs.row[n];
    const double *const tx = s.tx + row.k, *const ty = s.ty + row.k, *const tz = s.tz + row.k;
    const double* const row_start = s.row_start + row.k;
    for (int side = 0; side < 2; ++side) {
      const std::size_t j = row.j[side];
      const Vec8 xj = splat8(s.tx[j]), yj = splat8(s.ty[j]), zj = splat8(s.tz[j]);
      for (std::size_t m = 0; m < row.count; m += 8) {
        const std::size_t at = row.begin[side] + m;
        const Vec8 dx = load8(tx + m) - xj, dy = load8(ty + m) - yj, dz = load8(tz + m) - zj;
        // The floor keeps coinciding neighbours (an error elsewhere) from making 0/0 here.
        const Vec8 r2 = larger(fma(dx, dx, fma(dy, dy, dz * dz)), splat8(1e-60));
        Vec8 r, inverse;
        roots(r2, r, inverse);
        // The last interval for a NaN.
        const Vec8 u = r * scale, interval = smaller(down(u), last);
        store(pairs.fraction + at, u - interval);
        store(pairs.inverse + at, inverse * scale);
        store_integers(pairs.cell + at, fma(splat8(2.0), interval, load8(row_start + m)));
      }
    }
  }
}

// The tricubic spline, one triplet at a time. With coefficients c[a][b][c] and weights w_a(r_ij),
// w_b(r_ik), w_c(r_jk) the energy is the sum of w_a w_b w_c c[a][b][c], and its slopes have w' in
// place of one w. What is shared by many triplets is summed before it is multiplied:
//   for j, over all k:   planes[a] = sum w_b w_c c[a][b][c]  gives dE/dr_ij
//   for k, over all j:   rows[b]   = sum w_a w_c c[a][b][c]  gives the energy and dE/dr_ik
//   for the pair:        sum w_a w_b w'_c c[a][b][c] is dE/dr_jk
// and sums over the lanes (b and c) come last.
// As sum w_a = 1 and sum w'_a = 0, the differences c[1] - c[a] take the place of the other three
// c[a], which saves a quarter of the multiplications with w and all of plane 1. Two j at a time
// share the loads and stores of k's weights and sums.
struct Side {  // one j of a row
  Vec8 w0, w2, w3;
  Vec8 plane0, plane2, plane3;
  const double* table;  // of the interval of r_ij
  const double* fraction;
  const int* cell;
};

FORCEMAP_INLINE Side side_of(const ThreeBodyView& term, const double* table, const SiteView& s,
                             const Pairs& pairs, std::size_t j, std::size_t begin) {
  const double* const w = s.weights + 4 * j;
  const Vec8 zero = splat8(0.0);
  return {splat8(w[0]),
          splat8(w[2]),
          splat8(w[3]),
          zero,
          zero,
          zero,
          table + static_cast<std::ptrdiff_t>(s.interval[j]) * term.stride_first,
          pairs.fraction + begin,
          pairs.cell + begin};
}

// Weights of r_jk and their slopes, of two pairs in turn (lane 2 c + side, so that half of the work
// serves two triplets): cubic t^3 + square t^2 + linear t + constant, shared out between
// multiplications and additions, which have units of their own.
FORCEMAP_INLINE void base_weights(Vec8 t, Vec8& weights, Vec8& slopes) {
  const Vec8 ct = load8(kPowers[0]) * t, cs = ct + load8(kPowers[1]);
  const Vec8 csl = fma(cs, t, load8(kPowers[2]));
  weights = fma(csl, t, load8(kPowers[3]));
  slopes = fma(cs + ct, t, csl);
}

// One triplet: adds to planes and rows, returns sum over a and the rows of w_a w_b c[a][b][c], for
// each half of the rows a lane.
FORCEMAP_INLINE Vec8 triplet(Side& j, std::size_t m, Vec8 wc, const Vec8 wb[2],
                             std::ptrdiff_t first, std::ptrdiff_t two_rows, Vec8 rows[2]) {
  Vec8 value = splat8(0.0);
#pragma GCC unroll 2
  for (int half = 0; half < 2; ++half) {
    const double* const q = j.table + j.cell[m] + half * two_rows;
    const Vec8 c1 = load8(q + first), c0 = c1 - load8(q), c2 = c1 - load8(q + 2 * first);
    const Vec8 c3 = c1 - load8(q + 3 * first);
    const Vec8 v = fnma(j.w3, c3, fnma(j.w2, c2, fnma(j.w0, c0, c1))), wbc = wb[half] * wc;
    j.plane0 = fma(wbc, c0, j.plane0);
    j.plane2 = fma(wbc, c2, j.plane2);
    j.plane3 = fma(wbc, c3, j.plane3);
    value = half == 0 ? wb[half] * v : fma(wb[half], v, value);
    rows[half] = fma(v, wc, rows[half]);
  }
  return value;
}

// Parts of dE/dr_ij.
FORCEMAP_INLINE Vec8 radial_slope(const SiteView& s, std::size_t j, const Side& side) {
  const double* const d = s.derivatives + 4 * j;
  return fnma(splat8(d[0]), side.plane0,
              fnma(splat8(d[2]), side.plane2, fnma(splat8(d[3]), side.plane3, splat8(0.0))));
}

FORCEMAP_APART void contract(const ThreeBodyView& term, const double* table, const SiteView& s,
                             Pairs& pairs) {
  const std::ptrdiff_t first = term.stride_first, two_rows = 2 * term.stride_second;
  for (std::size_t n = 0; n < pairs.rows; ++n) {
    const Pairs::Row row = pairs.row[n];
    Side a = side_of(term, table, s, pairs, row.j[0], row.begin[0]);
    Side b = side_of(term, table, s, pairs, row.j[1], row.begin[1]);
    double* const by_base = pairs.by_base + kPartial * row.begin[0];
    const double* const weights = s.weights + 4 * row.k;
    double* const sums = s.rows + 16 * row.k;
    std::size_t m = row.skip[0];
    for (; m < row.skip[1]; ++m) {
      const Vec8 wb[2] = {pairs8(weights + 4 * m), pairs8(weights + 4 * m + 2)};
      Vec8 rows[2] = {load8(sums + 16 * m), load8(sums + 16 * m + 8)};
      Vec8 wc, dc;
      base_weights(splat8(a.fraction[m]), wc, dc);
      const Vec8 value = triplet(a, m, wc, wb, first, two_rows, rows);
      store(sums + 16 * m, rows[0]);
      store(sums + 16 * m + 8, rows[1]);
      store_partial(by_base + kPartial * m, half_sums(value, splat8(0.0)) * dc);
    }
    for (; m < row.count; ++m) {
      const Vec8 wb[2] = {pairs8(weights + 4 * m), pairs8(weights + 4 * m + 2)};
      Vec8 rows[2] = {load8(sums + 16 * m), load8(sums + 16 * m + 8)};
      Vec8 wc, dc;
      base_weights(in_turn(a.fraction[m], b.fraction[m]), wc, dc);
      const Vec8 value = triplet(a, m, first_of_two(wc), wb, first, two_rows, rows);
      const Vec8 other = triplet(b, m, second_of_two(wc), wb, first, two_rows, rows);
      store(sums + 16 * m, rows[0]);
      store(sums + 16 * m + 8, rows[1]);
      store_partial(by_base + kPartial * m, half_sums(value, other) * dc);
    }
    add_two_partials(s.radial + kPartial * (row.j[0] / 2), radial_slope(s, row.j[0], a),
                     radial_slope(s, row.j[1], b));
  }
}

// Forces along r_jk, eight at a time: those on k gather in registers while j changes.
FORCEMAP_APART void push(const SiteView& s, const Pairs& pairs) {
  const double *const tx = s.tx, *const ty = s.ty, *const tz = s.tz;
  double *const hx = s.hx, *const hy = s.hy, *const hz = s.hz;
  double *const on_x = s.on_x, *const on_y = s.on_y, *const on_z = s.on_z;
  for (std::size_t k = pairs.first_k; k < pairs.end_k; k += 8) {
    const Vec8 xk = load8(tx + k), yk = load8(ty + k), zk = load8(tz + k);
    Vec8 fx = splat8(0.0), fy = splat8(0.0), fz = splat8(0.0);
    for (std::size_t n = 0; n < pairs.rows; ++n) {
      const Pairs::Row row = pairs.row[n];
      const std::size_t m = k - row.k;
      if (m >= row.count) continue;  // also for k < row.k
      const unsigned lanes = first_lanes(row.count - m);
      Vec8 slope[2], gx[2], gy[2], gz[2];
      sum_two_partials(pairs.by_base + kPartial * (row.begin[0] + m), slope[0], slope[1]);
#pragma GCC unroll 2
      for (int side = 0; side < 2; ++side) {
        const std::size_t j = row.j[side], skip = row.skip[side];
        const Vec8 g = keep(skip > m ? lanes & ~first_lanes(skip - m) : lanes,
                            slope[side] * load8(pairs.inverse + row.begin[side] + m));
        gx[side] = g * (xk - splat8(tx[j]));
        gy[side] = g * (yk - splat8(ty[j]));
        gz[side] = g * (zk - splat8(tz[j]));
        fx = fx + gx[side];
        fy = fy + gy[side];
        fz = fz + gz[side];
      }
      const std::size_t two = kPartial * (row.j[0] / 2);
      add_two_partials(on_x + two, gx[0], gx[1]);
      add_two_partials(on_y + two, gy[0], gy[1]);
      add_two_partials(on_z + two, gz[0], gz[1]);
    }
    store(hx + k, load8(hx + k) + fx);
    store(hy + k, load8(hy + k) + fy);
    store(hz + k, load8(hz + k) + fz);
  }
}

// What is in `pairs`; leaves it empty.
FORCEMAP_INLINE void evaluate(const ThreeBodyView& term, const double* table, const SiteView& s,
                              Pairs& pairs) {
  measure(term, s, pairs);
  contract(term, table, s, pairs);
  push(s, pairs);
  pairs.rows = pairs.filled = 0;
}

// Copies entry n of the site to entry p of the sorted neighbours.
FORCEMAP_INLINE void place(const SiteView& s, std::size_t p, std::size_t n) {
  s.slot[p] = static_cast<int>(n);
  s.tx[p] = s.x[n];
  s.ty[p] = s.y[n];
  s.tz[p] = s.z[n];
  s.tr[p] = s.r[n];
}

// Entries without a neighbour up to the next multiple of 8; returns that.
FORCEMAP_INLINE std::size_t pad(const SiteView& s, std::size_t p) {
  for (; p % 8 != 0; ++p) {
    s.slot[p] = -1;
    s.tx[p] = s.ty[p] = s.tz[p] = s.tr[p] = 1.0;
  }
  return p;
}

constexpr std::size_t kMostRanked = 64;

// Neighbours within the cutoff in order of distance, where there is one species: then only cells
// with r_ij <= r_ik are read, half of the table, which is what fits into the fastest cache. Returns
// their number, or kMostRanked + 1 (nothing placed) if there are more than kMostRanked.
FORCEMAP_INLINE std::size_t place_by_distance(const SiteView& s, std::size_t padded,
                                              double cutoff) {
  if (padded > static_cast<std::size_t>(kMostNumbered)) return kMostRanked + 1;
  double keys[kMostRanked + 16];
  std::size_t count = 0;
  const Vec8 limit = splat8(cutoff);
  for (std::size_t n = 0; n < padded; n += 8) {
    const Vec8 distance = load8(s.r + n);
    const unsigned kept = below(distance, limit);
    // The limit for a NaN. No two keys are equal, so that every place is taken once.
    const Vec8 key = numbered(smaller(distance, limit), static_cast<long long>(n));
    store_kept(keys + count, kept, key);
    count += static_cast<std::size_t>(__builtin_popcount(kept));
    if (count > kMostRanked) return kMostRanked + 1;
  }
  store(keys + count, splat8(1e300));
  for (std::size_t n = 0; n < count; ++n) {
    const Vec8 mine = splat8(keys[n]);
    int rank = 0;
    for (std::size_t m = 0; m < count; m += 8)
      rank += __builtin_popcount(less(load8(keys + m), mine));
    place(s, static_cast<std::size_t>(rank), number_of(keys[n]));
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
    } else {
      real = 0;
    }
  }
  // Sort by species; a block begins at a multiple of 8.
  for (std::size_t species = 0; species < p.species && !placed; ++species) {
    block_begin[species] = filled;
    for (std::size_t n = 0; n < s.count; ++n) {
      if (static_cast<std::size_t>(s.kind[n]) != species || s.r[n] >= term.cutoff) continue;
      place(s, filled++, n);
    }
    block_end[species] = filled;
    real += filled - block_begin[species];
    filled = pad(s, filled);
  }
  if (real < 2) return 0.0;
  const std::size_t padded = pad(s, filled);

  const Vec8 zero = splat8(0.0);
  double* const sums[4] = {s.radial, s.on_x, s.on_y, s.on_z};
  for (int c = 0; c < 4; ++c)
    for (std::size_t n = 0; n < kPartial * padded / 2; n += 8) store(sums[c] + n, zero);
  for (std::size_t n = 0; n < 16 * padded; n += 8) store(s.rows + n, zero);
  const Vec8 scale = splat8(term.leg_inverse_spacing), last = splat8(term.leg_last_interval);
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

  Pairs pairs;
  pairs.rows = pairs.filled = 0;
  const double* const* tables =
      term.tables + static_cast<std::size_t>(s.species) * p.species * p.species;
  for (std::size_t first = 0; first < p.species; ++first)
    for (std::size_t second = first; second < p.species; ++second) {
      const double* table = tables[first * p.species + second];
      if (!table) continue;
      for (std::size_t j = block_begin[first]; j < block_end[first]; j += 2) {
        const bool same = first == second;
        const bool alone = j + 1 == block_end[first];
        std::size_t k = same ? j + 1 : block_begin[second];
        while (k < block_end[second]) {
          const std::size_t skip = k % 8, first_k = k - skip;
          const std::size_t room =
              (kMostPairs - pairs.filled) >> (alone ? 0 : 1) & ~static_cast<std::size_t>(7);
          if (room == 0) {
            evaluate(term, table, s, pairs);
            continue;
          }
          const std::size_t left = block_end[second] - first_k;
          const std::size_t count = left < room ? left : room;
          const std::size_t vectors = (count + 7) & ~static_cast<std::size_t>(7);
          if (pairs.rows == 0) pairs.first_k = first_k, pairs.end_k = 0;
          if (first_k < pairs.first_k) pairs.first_k = first_k;
          if (first_k + count > pairs.end_k) pairs.end_k = first_k + count;
          Pairs::Row& row = pairs.row[pairs.rows++];
          row = {{j, j}, first_k, {pairs.filled, pairs.filled}, {skip, count}, count};
          pairs.filled += vectors;
          if (!alone) {
            row.j[1] = j + 1;
            row.begin[1] = pairs.filled;
            // The pair (j, j + 1) is the first j's only.
            row.skip[1] = same && k == j + 1 ? skip + 1 : skip;
            pairs.filled += vectors;
          }
          k = first_k + count;
        }
      }
      if (pairs.rows) evaluate(term, table, s, pairs);
    }

  // Four sums, which do not wait for each other.
  Vec8 energy[4] = {zero, zero, zero, zero};
  for (std::size_t n = 0; n < padded; n += 2) {
    Vec8 slope[2];
#pragma GCC unroll 2
    for (std::size_t m = 0; m < 2; ++m) {
      const double *const w = s.weights + 4 * (n + m), *const d = s.derivatives + 4 * (n + m);
      const Vec8 front = load8(s.rows + 16 * (n + m)), back = load8(s.rows + 16 * (n + m) + 8);
      energy[m] = fma(pairs8(w), front, energy[m]);
      energy[2 + m] = fma(pairs8(w + 2), back, energy[2 + m]);
      slope[m] = fma(pairs8(d), front, pairs8(d + 2) * back);
    }
    add_two_partials(s.radial + kPartial * (n / 2), slope[0], slope[1]);
  }
  for (std::size_t n = 0; n < padded; n += 8) {
    const std::size_t first_two = kPartial * (n / 2);
    const Vec8 g = sum_partials(s.radial + first_two) / load8(s.tr + n);
    const Vec8 x = load8(s.hx + n) - sum_partials(s.on_x + first_two);
    const Vec8 y = load8(s.hy + n) - sum_partials(s.on_y + first_two);
    const Vec8 z = load8(s.hz + n) - sum_partials(s.on_z + first_two);
    store(s.hx + n, fma(g, load8(s.tx + n), x));
    store(s.hy + n, fma(g, load8(s.ty + n), y));
    store(s.hz + n, fma(g, load8(s.tz + n), z));
  }
  for (std::size_t n = 0; n < padded; ++n) {
    const int k = s.slot[n];
    if (k < 0) continue;
    s.gx[k] += s.hx[n];
    s.gy[k] += s.hy[n];
    s.gz[k] += s.hz[n];
  }
  return sum((energy[0] + energy[1]) + (energy[2] + energy[3]));
}

// ---- the site ----------------------------------------------------------------------------------

static double evaluate(const PotentialView& p, const SiteView& s) {
  if (s.count == 0) return p.e0[s.species];
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
    // Two copies of the loop: looking up the tables is a third of it.
    if (p.species == 1 && tables[0])
      pairs = pairs + two_body(view, tables, tables[0], s, padded, term == 0);
    else
      pairs = pairs + two_body(view, tables, nullptr, s, padded, term == 0);
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
