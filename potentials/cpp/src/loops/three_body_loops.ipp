// The loops of 3-body terms. Included by site_loops.ipp.

#include "three_body_kernels.hpp"

namespace forcemap {
namespace FORCEMAP_LOOPS {

// The cubic B-splines as polynomials, powers 3, 2, 1 and 0 of t; each twice: lane 2 c + b belongs
// to coefficient c along r_jk and to row b of a pair of rows along r_ik.
alignas(64) static const double kPowers[4][8] = {
    {-1.0 / 6.0, -1.0 / 6.0, 0.5, 0.5, -0.5, -0.5, 1.0 / 6.0, 1.0 / 6.0},
    {0.5, 0.5, -1.0, -1.0, 0.5, 0.5, 0.0, 0.0},
    {-0.5, -0.5, 0.0, 0.0, 0.5, 0.5, 0.0, 0.0},
    {1.0 / 6.0, 1.0 / 6.0, 2.0 / 3.0, 2.0 / 3.0, 1.0 / 6.0, 1.0 / 6.0, 0.0, 0.0}};

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
FORCEMAP_APART void measure(const ThreeBodyView& term, const ThreeBodyWork& s, Pairs& pairs) {
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

FORCEMAP_INLINE Side side_of(const ThreeBodyView& term, const double* table, const ThreeBodyWork& s,
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
FORCEMAP_INLINE Vec8 radial_slope(const ThreeBodyWork& s, std::size_t j, const Side& side) {
  const double* const d = s.derivatives + 4 * j;
  return fnma(splat8(d[0]), side.plane0,
              fnma(splat8(d[2]), side.plane2, fnma(splat8(d[3]), side.plane3, splat8(0.0))));
}

FORCEMAP_APART void contract(const ThreeBodyView& term, const double* table, const ThreeBodyWork& s,
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
FORCEMAP_APART void push(const ThreeBodyWork& s, const Pairs& pairs) {
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
FORCEMAP_INLINE void evaluate(const ThreeBodyView& term, const double* table,
                              const ThreeBodyWork& s, Pairs& pairs) {
  measure(term, s, pairs);
  contract(term, table, s, pairs);
  push(s, pairs);
  pairs.rows = pairs.filled = 0;
}

// Copies entry n of the site to entry p of the sorted neighbours.
FORCEMAP_INLINE void place(const SiteView& s, const ThreeBodyWork& work, std::size_t p,
                           std::size_t n) {
  work.slot[p] = static_cast<int>(n);
  work.tx[p] = s.x[n];
  work.ty[p] = s.y[n];
  work.tz[p] = s.z[n];
  work.tr[p] = s.r[n];
}

// Entries without a neighbour up to the next multiple of 8; returns that.
FORCEMAP_INLINE std::size_t pad(const ThreeBodyWork& s, std::size_t p) {
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
FORCEMAP_INLINE std::size_t place_by_distance(const SiteView& s, const ThreeBodyWork& work,
                                              double cutoff) {
  if (s.padded > static_cast<std::size_t>(kMostNumbered)) return kMostRanked + 1;
  double keys[kMostRanked + 16];
  std::size_t count = 0;
  const Vec8 limit = splat8(cutoff);
  for (std::size_t n = 0; n < s.padded; n += 8) {
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
    place(s, work, static_cast<std::size_t>(rank), number_of(keys[n]));
  }
  return count;
}

// Sorted neighbours: the block of each species begins at a multiple of 8.
struct Sorted {
  std::size_t begin[kMostSpecies], end[kMostSpecies];
  std::size_t padded;  // entries of all blocks
};

// Returns false where there is no pair of neighbours.
FORCEMAP_INLINE bool sort_neighbors(const ThreeBodyView& term, const SiteView& s,
                                    const ThreeBodyWork& work, Sorted& sorted) {
  std::size_t filled = 0, real = 0;
  bool placed = false;
  if (term.species == 1) {
    real = place_by_distance(s, work, term.cutoff);
    placed = real <= kMostRanked;
    if (placed) {
      sorted.begin[0] = 0;
      sorted.end[0] = filled = real;
    } else {
      real = 0;
    }
  }
  for (std::size_t species = 0; species < term.species && !placed; ++species) {
    sorted.begin[species] = filled;
    for (std::size_t n = 0; n < s.count; ++n) {
      if (static_cast<std::size_t>(s.kind[n]) != species || s.r[n] >= term.cutoff) continue;
      place(s, work, filled++, n);
    }
    sorted.end[species] = filled;
    real += filled - sorted.begin[species];
    filled = pad(work, filled);
  }
  if (real < 2) return false;
  sorted.padded = pad(work, filled);
  return true;
}

// Weights of the legs; sums of zero.
FORCEMAP_INLINE void prepare_legs(const ThreeBodyView& term, const ThreeBodyWork& work,
                                  std::size_t padded) {
  const Vec8 zero = splat8(0.0);
  double* const sums[4] = {work.radial, work.on_x, work.on_y, work.on_z};
  for (int c = 0; c < 4; ++c)
    for (std::size_t n = 0; n < kPartial * padded / 2; n += 8) store(sums[c] + n, zero);
  for (std::size_t n = 0; n < 16 * padded; n += 8) store(work.rows + n, zero);
  const Vec8 scale = splat8(term.leg_inverse_spacing), last = splat8(term.leg_last_interval);
  for (std::size_t n = 0; n < padded; n += 8) {
    const Vec8 u = load8(work.tr + n) * scale, m = interval_of(u, last);
    Vec8 b[4], d[4];
    basis(u - m, b, d);
    for (int a = 0; a < 4; ++a) d[a] = d[a] * scale;
    store_rows(work.weights + 4 * n, b);
    store_rows(work.derivatives + 4 * n, d);
    store_integers(work.interval + n, m);
    store(work.row_start + n, m * splat8(static_cast<double>(term.stride_second)));
    store(work.hx + n, zero);
    store(work.hy + n, zero);
    store(work.hz + n, zero);
  }
}

// The pairs of j, or of j and j + 1 if not `alone`, with those from k on for which there is room
// before `end`. Returns the k that comes next.
FORCEMAP_INLINE std::size_t add_row(Pairs& pairs, std::size_t j, std::size_t k, std::size_t end,
                                    std::size_t room, bool alone, bool same) {
  const std::size_t skip = k % 8, first_k = k - skip;
  const std::size_t left = end - first_k;
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
  return first_k + count;
}

FORCEMAP_INLINE void sum_triplets(const ThreeBodyView& term, int center, const Sorted& sorted,
                                  const ThreeBodyWork& work) {
  Pairs pairs;
  pairs.rows = pairs.filled = 0;
  const double* const* tables =
      term.tables + static_cast<std::size_t>(center) * term.species * term.species;
  for (std::size_t first = 0; first < term.species; ++first)
    for (std::size_t second = first; second < term.species; ++second) {
      const double* table = tables[first * term.species + second];
      if (!table) continue;
      const bool same = first == second;
      for (std::size_t j = sorted.begin[first]; j < sorted.end[first]; j += 2) {
        const bool alone = j + 1 == sorted.end[first];
        std::size_t k = same ? j + 1 : sorted.begin[second];
        while (k < sorted.end[second]) {
          const std::size_t room =
              (kMostPairs - pairs.filled) >> (alone ? 0 : 1) & ~static_cast<std::size_t>(7);
          if (room == 0)
            evaluate(term, table, work, pairs);
          else
            k = add_row(pairs, j, k, sorted.end[second], room, alone, same);
        }
      }
      if (pairs.rows) evaluate(term, table, work, pairs);
    }
}

// The energy and, to the neighbours' gradients, dE/dr from what was summed over the triplets.
FORCEMAP_INLINE double finish(const SiteView& s, const ThreeBodyWork& work, std::size_t padded) {
  const Vec8 zero = splat8(0.0);
  // Four sums, which do not wait for each other.
  Vec8 energy[4] = {zero, zero, zero, zero};
  for (std::size_t n = 0; n < padded; n += 2) {
    Vec8 slope[2];
#pragma GCC unroll 2
    for (std::size_t m = 0; m < 2; ++m) {
      const double *const w = work.weights + 4 * (n + m), *const d = work.derivatives + 4 * (n + m);
      const Vec8 front = load8(work.rows + 16 * (n + m)),
                 back = load8(work.rows + 16 * (n + m) + 8);
      energy[m] = fma(pairs8(w), front, energy[m]);
      energy[2 + m] = fma(pairs8(w + 2), back, energy[2 + m]);
      slope[m] = fma(pairs8(d), front, pairs8(d + 2) * back);
    }
    add_two_partials(work.radial + kPartial * (n / 2), slope[0], slope[1]);
  }
  for (std::size_t n = 0; n < padded; n += 8) {
    const std::size_t first_two = kPartial * (n / 2);
    const Vec8 g = sum_partials(work.radial + first_two) / load8(work.tr + n);
    const Vec8 x = load8(work.hx + n) - sum_partials(work.on_x + first_two);
    const Vec8 y = load8(work.hy + n) - sum_partials(work.on_y + first_two);
    const Vec8 z = load8(work.hz + n) - sum_partials(work.on_z + first_two);
    store(work.hx + n, fma(g, load8(work.tx + n), x));
    store(work.hy + n, fma(g, load8(work.ty + n), y));
    store(work.hz + n, fma(g, load8(work.tz + n), z));
  }
  for (std::size_t n = 0; n < padded; ++n) {
    const int k = work.slot[n];
    if (k < 0) continue;
    s.gx[k] += work.hx[n];
    s.gy[k] += work.hy[n];
    s.gz[k] += work.hz[n];
  }
  return sum((energy[0] + energy[1]) + (energy[2] + energy[3]));
}

static double three_body(const ThreeBodyView& term, const SiteView& s, const ThreeBodyWork& work) {
  Sorted sorted;
  if (!sort_neighbors(term, s, work, sorted)) return 0.0;
  prepare_legs(term, work, sorted.padded);
  sum_triplets(term, s.species, sorted, work);
  return finish(s, work, sorted.padded);
}

}  // namespace FORCEMAP_LOOPS
}  // namespace forcemap
