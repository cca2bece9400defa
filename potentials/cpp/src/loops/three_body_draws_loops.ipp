// 3-body terms for many sets of weights at once: the lanes of a vector are draws. A deviation need
// not be known to more than a few digits, so that all but the distances is in single precision, as
// the tables are. Included by site_loops.ipp, after three_body_loops.ipp, whose parts it uses.

#include "forcemap/draw_sums.hpp"
#include "lanes.hpp"

namespace forcemap {
namespace FORCEMAP_LOOPS {

static_assert(kSingles == kDrawnSideBySide);

// Four numbers of each of eight neighbours, (8, 4).
FORCEMAP_INLINE void store_single_rows(float* to, const Vec8 columns[4]) {
  double rows[32];
  store_rows(rows, columns);
  for (int k = 0; k < 8; ++k) store(to + 4 * k, load(rows + 4 * k));
}

// Of eight neighbours the products w_b(r_ik) w_c(r_jk), (8, 4, 4).
FORCEMAP_INLINE void store_products(const double* weights, const Vec8 wc[4], float* to) {
  const double* rows[8];
  for (int k = 0; k < 8; ++k) rows[k] = weights + 4 * k;
  Vec8 wb[4];
  load_columns(rows, wb);
  for (int b = 0; b < 4; ++b) {
    Vec8 both[4];
    double by_neighbor[32];
    for (int c = 0; c < 4; ++c) both[c] = wb[b] * wc[c];
    store_rows(by_neighbor, both);
    for (int k = 0; k < 8; ++k) store(to + 16 * k + 4 * b, load(by_neighbor + 4 * k));
  }
}

// Weights of r_jk, and where its coefficients begin in a row, of all k from `from` on.
FORCEMAP_INLINE void measure_draws(const ThreeBodyView& term, const ThreeBodyWork& s,
                                   const ThreeBodyDrawsWork& w, std::size_t j, std::size_t from,
                                   std::size_t end) {
  const Vec8 scale = splat8(term.base_inverse_spacing), last = splat8(term.base_last_interval);
  const Vec8 xj = splat8(s.tx[j]), yj = splat8(s.ty[j]), zj = splat8(s.tz[j]);
  const Vec8 along = splat8(static_cast<double>(kSingles));
  for (std::size_t k = from / 8 * 8; k < end; k += 8) {
    const Vec8 dx = load8(s.tx + k) - xj, dy = load8(s.ty + k) - yj, dz = load8(s.tz + k) - zj;
    // The floor keeps coinciding neighbours (an error elsewhere) from making 0/0 here.
    const Vec8 r2 = larger(fma(dx, dx, fma(dy, dy, dz * dz)), splat8(1e-60));
    Vec8 r, inverse, b[4], d[4];
    roots(r2, r, inverse);
    const Vec8 u = r * scale, interval = smaller(down(u), last);
    basis(u - interval, b, d);
    const Vec8 slope = inverse * scale;
    for (int c = 0; c < 4; ++c) d[c] = d[c] * slope;
    store_single_rows(w.base + 4 * k, b);
    store_single_rows(w.base_slopes + 4 * k, d);
    store_products(s.weights + 4 * k, b, w.products + 16 * k);
    store(w.dx + k, dx);
    store(w.dy + k, dy);
    store(w.dz + k, dz);
    store_integers(w.cell + k, along * interval);
  }
}

// A table, from the cell of r_ij on.
struct DrawnTable {
  const float* numbers;
  const int* rows;  // RowPlaces
  std::size_t legs;
};

// What is summed over all k of one j.
struct DrawnSide {
  Singles plane[4];  // sums of w_b w_c c[a][b][c]; [1] is the energy, see radial_of
  Singles x, y, z;   // dE/d(r_j) through r_jk
};

// One triplet. The names are those of the loop of one energy: c[a][b][c] with weights w_a(r_ij),
// w_b(r_ik), w_c(r_jk).
FORCEMAP_INLINE void triplet_of_draws(const ThreeBodyWork& s, const ThreeBodyDrawsWork& w,
                                      const DrawnTable& table, const float* wa, std::size_t k,
                                      DrawnSide& side) {
  const float *const wb = w.legs + 4 * k, *const wc = w.base + 4 * k;
  const float* const products = w.products + 16 * k;
  const float* const cells = table.numbers + w.cell[k];
  const int* const places = table.rows + s.interval[k];
  float* const rows = w.rows + 4 * kSingles * k;
  Singles v[4];
  for (int c = 0; c < 4; ++c) v[c] = all(0.0F);
#pragma GCC unroll 4
  for (int b = 0; b < 4; ++b) {
    const float *const q0 = cells + places[b], *const q1 = cells + (places + table.legs)[b];
    const float* const q2 = cells + (places + 2 * table.legs)[b];
    const float* const q3 = cells + (places + 3 * table.legs)[b];
    const Singles weight = all(wb[b]);
    Singles row = take(rows + static_cast<std::size_t>(b) * kSingles);
#pragma GCC unroll 4
    for (std::size_t c = 0; c < 4; ++c) {
      const Singles c0 = take(q0 + c * kSingles), c1 = take(q1 + c * kSingles);
      const Singles c2 = take(q2 + c * kSingles), c3 = take(q3 + c * kSingles);
      const Singles u =
          mad(all(wa[0]), c0, mad(all(wa[1]), c1, mad(all(wa[2]), c2, all(wa[3]) * c3)));
      const Singles base = all(wc[c]), both = all(products[4 * b + static_cast<int>(c)]);
      side.plane[0] = mad(both, c0, side.plane[0]);
      side.plane[2] = mad(both, c2, side.plane[2]);
      side.plane[3] = mad(both, c3, side.plane[3]);
      row = mad(base, u, row);
      v[c] = mad(weight, u, v[c]);
    }
    put(rows + static_cast<std::size_t>(b) * kSingles, row);
  }
  Singles energy = all(wc[0]) * v[0];
#pragma GCC unroll 3
  for (int c = 1; c < 4; ++c) energy = mad(all(wc[c]), v[c], energy);
  side.plane[1] = side.plane[1] + energy;
  const float* const dc = w.base_slopes + 4 * k;
  const Singles slope =
      mad(all(dc[0]), v[0], mad(all(dc[1]), v[1], mad(all(dc[2]), v[2], all(dc[3]) * v[3])));
  const Singles gx = slope * all(w.dx[k]), gy = slope * all(w.dy[k]), gz = slope * all(w.dz[k]);
  float* const h = w.h + 3 * kSingles * k;
  put(h, take(h) + gx);
  put(h + kSingles, take(h + kSingles) + gy);
  put(h + 2 * kSingles, take(h + 2 * kSingles) + gz);
  side.x = side.x - gx;
  side.y = side.y - gy;
  side.z = side.z - gz;
}

// dE/d(r_ij), the sum of w'_a plane[a]. As the energy is that of w_a plane[a], plane 1 need not be
// summed over the triplets: its weight is never below 1/6.
FORCEMAP_INLINE Singles radial_of(const DrawnSide& side, const double* w, const double* d) {
  const double ratio = d[1] / w[1];
  Singles sum = all(static_cast<float>(ratio)) * side.plane[1];
  for (int a = 0; a < 4; ++a)
    if (a != 1) sum = mad(all(static_cast<float>(d[a] - ratio * w[a])), side.plane[a], sum);
  return sum;
}

// All triplets with the neighbour j and those [from, end).
FORCEMAP_INLINE void triplets_of_draws(const ThreeBodyWork& s, const ThreeBodyDrawsWork& w,
                                       const DrawnTable& table, std::size_t j, std::size_t from,
                                       std::size_t end) {
  const Singles zero = all(0.0F);
  DrawnSide side{{zero, zero, zero, zero}, zero, zero, zero};
  const DrawnTable plane = {
      table.numbers, table.rows + static_cast<std::size_t>(s.interval[j]) * table.legs, table.legs};
  for (std::size_t k = from; k < end; ++k) triplet_of_draws(s, w, plane, w.legs + 4 * j, k, side);
  float* const radial = w.radial + kSingles * j;
  put(radial, take(radial) + radial_of(side, s.weights + 4 * j, s.derivatives + 4 * j));
  float* const h = w.h + 3 * kSingles * j;
  put(h, take(h) + side.x);
  put(h + kSingles, take(h + kSingles) + side.y);
  put(h + 2 * kSingles, take(h + 2 * kSingles) + side.z);
}

// The sums of the `n`-th vector of draws.
FORCEMAP_INLINE ThreeBodyDrawsWork part_of(const ThreeBodyDrawsWork& w, std::size_t n,
                                           std::size_t padded) {
  ThreeBodyDrawsWork part = w;
  part.rows += n * 4 * kSingles * padded;
  part.h += n * 3 * kSingles * padded;
  part.radial += n * kSingles * padded;
  return part;
}

// Adds the energies and derivatives of a vector of draws, the first of which is `first`.
FORCEMAP_INLINE void finish_draws(const ThreeBodyWork& s, const ThreeBodyDrawsWork& w,
                                  std::size_t padded, std::size_t first, const DrawSums& sums) {
  const auto weight = [](double number) __attribute__((always_inline)) {
    return all(static_cast<float>(number));
  };
  Singles energy = all(0.0F);
  for (std::size_t n = 0; n < padded; ++n) {
    if (s.slot[n] < 0) continue;
    const float* const rows = w.rows + 4 * kSingles * n;
    Singles slope = take(w.radial + kSingles * n);
    for (std::size_t b = 0; b < 4; ++b) {
      energy = mad(weight(s.weights[4 * n + b]), take(rows + b * kSingles), energy);
      slope = mad(weight(s.derivatives[4 * n + b]), take(rows + b * kSingles), slope);
    }
    slope = slope * weight(1.0 / s.tr[n]);
    const float* const h = w.h + 3 * kSingles * n;
    const double to[3] = {s.tx[n], s.ty[n], s.tz[n]};
    double* out = sums.gradients + 3 * static_cast<std::size_t>(s.slot[n]) * sums.width + first;
    for (std::size_t d = 0; d < 3; ++d, out += sums.width)
      add(out, mad(slope, weight(to[d]), take(h + d * kSingles)));
  }
  add(sums.energies + first, energy);
}

// The triplets of all species for `count` vectors of draws from the draw `first` on, so that each
// distance is measured once for all of them.
FORCEMAP_INLINE void sum_draws(const ThreeBodyDrawsView& v, int center, const Sorted& sorted,
                               const ThreeBodyWork& work, const ThreeBodyDrawsWork& w,
                               std::size_t first, std::size_t count) {
  const std::size_t species = v.term.species, combinations = species * species;
  const std::size_t next = species * combinations;  // tables of a vector of draws
  const float* const* const tables =
      v.tables + first / kSingles * next + static_cast<std::size_t>(center) * combinations;
  for (std::size_t a = 0; a < species; ++a)
    for (std::size_t b = a; b < species; ++b) {
      const float* const* const pair = tables + a * species + b;
      if (!*pair) continue;
      const int* const places = a == b ? v.rows.of_same : v.rows.of_different;
      for (std::size_t j = sorted.begin[a]; j < sorted.end[a]; ++j) {
        const std::size_t from = a == b ? j + 1 : sorted.begin[b];
        if (from >= sorted.end[b]) continue;
        measure_draws(v.term, work, w, j, from, sorted.end[b]);
        for (std::size_t n = 0; n < count; ++n)
          triplets_of_draws(work, part_of(w, n, sorted.padded),
                            {pair[n * next], places, v.rows.legs}, j, from, sorted.end[b]);
      }
    }
}

static void three_body_draws(const ThreeBodyDrawsView& v, const SiteView& s,
                             const ThreeBodyWork& work, const ThreeBodyDrawsWork& w,
                             const DrawSums& sums) {
  Sorted sorted;
  if (!sort_neighbors(v.term, s, work, sorted)) return;
  prepare_legs(v.term, work, sorted.padded);
  const std::size_t padded = sorted.padded, vectors = (v.draws + kSingles - 1) / kSingles;
  for (std::size_t n = 0; n < 4 * padded; n += 4) store(w.legs + n, load(work.weights + n));
  for (std::size_t first = 0; first < vectors; first += kDrawnTogether / kSingles) {
    const std::size_t most = kDrawnTogether / kSingles, left = vectors - first;
    const std::size_t count = left < most ? left : most;
    for (std::size_t n = 0; n < count * 4 * kSingles * padded; n += kSingles)
      put(w.rows + n, all(0.0F));
    for (std::size_t n = 0; n < count * 3 * kSingles * padded; n += kSingles)
      put(w.h + n, all(0.0F));
    for (std::size_t n = 0; n < count * kSingles * padded; n += kSingles)
      put(w.radial + n, all(0.0F));
    sum_draws(v, s.species, sorted, work, w, first * kSingles, count);
    for (std::size_t n = 0; n < count; ++n)
      finish_draws(work, part_of(w, n, padded), padded, (first + n) * kSingles, sums);
  }
}

}  // namespace FORCEMAP_LOOPS
}  // namespace forcemap
