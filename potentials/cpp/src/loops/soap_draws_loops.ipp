// SOAP for many sets of weights at once: the density is the same for all of them. A deviation need
// not be known to more than a few digits: the density and what follows from it for the energies is
// in doubles, forms and forces are in single precision, with draws in the lanes. Included by
// site_loops.ipp, after soap_loops.ipp, whose parts it uses.

#include "forcemap/draw_sums.hpp"

namespace forcemap {
namespace FORCEMAP_LOOPS {

static_assert(kDrawsAtOnce == kSingles && kSoapPanel == 2 * kSingles);

static void soap_products(const double* vectors, std::size_t count, std::size_t size,
                          const double* p, double* out) {
  for (std::size_t k = 0; k < count; k += 4) {
    const double* const row = vectors + k * size;
    Lanes y[4];
    for (int b = 0; b < 4; ++b) y[b] = all(0.0);
    for (std::size_t n = 0; n < size; n += kLanes) {
      const Lanes x = take(p + n);
#pragma GCC unroll 4
      for (std::size_t b = 0; b < 4; ++b) y[b] = mad(take(row + b * size + n), x, y[b]);
    }
    for (int b = 0; b < 4; ++b) out[k + static_cast<std::size_t>(b)] = total(y[b]);
  }
}

static void soap_sums(const SoapSums& s) {
  for (std::size_t n = 0; n < s.size; n += kLanes)
    for (std::size_t k = 0; k < s.count; k += kDrawsAtOnce) {
      const double* const factors = s.coefficients + k * s.vectors_count;
      Lanes sums_of[kDrawsAtOnce];
      for (std::size_t m = 0; m < kDrawsAtOnce; ++m) sums_of[m] = all(0.0);
      for (std::size_t a = 0; a < s.vectors_count; ++a) {
        const Lanes x = take(s.vectors + a * s.size + n);
#pragma GCC unroll 8
        for (std::size_t m = 0; m < kDrawsAtOnce; ++m)
          sums_of[m] = mad(x, all(factors[m * s.vectors_count + a]), sums_of[m]);
      }
      for (std::size_t m = 0; m < kDrawsAtOnce; ++m) put(s.out + (k + m) * s.size + n, sums_of[m]);
    }
}

// ---- forms
// ---------------------------------------------------------------------------------------

// Rows of floats that are `stride` apart, one for each site.
template <typename Number>
struct SiteRows {
  Number* first;
  std::size_t stride;
};

// out[s] = sum_n x[s][n] panel[n] for S sites and a panel, of whose rows there are `size`.
template <std::size_t S>
FORCEMAP_INLINE void times_panel(const float* panel, std::size_t size, SiteRows<const float> x,
                                 SiteRows<float> out) {
  Singles low[S], high[S];
  for (std::size_t s = 0; s < S; ++s) low[s] = high[s] = all(0.0F);
  for (std::size_t n = 0; n < size; ++n, panel += kSoapPanel) {
    // Forms of all draws do not stay in the second-level cache.
    __builtin_prefetch(panel + 24 * kSoapPanel);
    const Singles a = take(panel), b = take(panel + kSingles);
#pragma GCC unroll 8
    for (std::size_t s = 0; s < S; ++s) {
      const Singles factor = all(x.first[s * x.stride + n]);
      low[s] = mad(a, factor, low[s]);
      high[s] = mad(b, factor, high[s]);
    }
  }
  for (std::size_t s = 0; s < S; ++s) {
    put(out.first + s * out.stride, low[s]);
    put(out.first + s * out.stride + kSingles, high[s]);
  }
}

// As many sites as there are registers for two sums of each.
constexpr std::size_t kSitesTogether = kLanes == 8 ? 8 : 4;
static_assert(kFormSites % kSitesTogether == 0);

// The same for `width` columns of panels and any number of sites; there is room for kFormSites.
FORCEMAP_INLINE void times_panels(const float* panels, std::size_t size, std::size_t width,
                                  std::size_t sites, SiteRows<const float> x, SiteRows<float> out) {
  for (std::size_t w = 0; w < width; w += kSoapPanel, panels += size * kSoapPanel)
    for (std::size_t s = 0; s < sites; s += kSitesTogether) {
      const SiteRows<const float> from{x.first + s * x.stride, x.stride};
      const SiteRows<float> to{out.first + s * out.stride + w, out.stride};
      if (sites - s == 1)
        times_panel<1>(panels, size, from, to);
      else
        times_panel<kSitesTogether>(panels, size, from, to);
    }
}

FORCEMAP_INLINE double product_of(const float* a, const float* b, std::size_t size) {
  Singles sum_of[2] = {all(0.0F), all(0.0F)};
  for (std::size_t n = 0; n < size; n += kSoapPanel)
    for (std::size_t k = 0; k < 2; ++k)
      sum_of[k] = mad(take(a + n + k * kSingles), take(b + n + k * kSingles), sum_of[k]);
  return total(sum_of[0]) + total(sum_of[1]);
}

// slope = 2 (slope + along line + across spectrum)
FORCEMAP_INLINE void add_lines(const SoapFormsView& v, std::size_t draw, double along,
                               double across, float* slope) {
  const Singles two = all(2.0F);
  const Singles by_line = spread<float>(along), by_spectrum = spread<float>(across);
  const float* const line = v.lines + draw * v.size;
  for (std::size_t n = 0; n < v.size; n += kSingles)
    put(slope + n, two * mad(by_line, take(line + n),
                             mad(by_spectrum, take(v.spectrum + n), take(slope + n))));
}

static void soap_forms(const SoapFormsView& v, const SoapFormsWork& w) {
  const float* y = w.apart;
  if (v.down) {
    times_panels(v.down, v.size, v.rank, w.sites, {w.apart, v.size}, {w.y, v.rank});
    y = w.y;
  }
  const std::size_t of_site = w.padded_draws * v.size;
  for (std::size_t k = 0; k < v.draws; ++k) {
    float* const slopes = w.slopes + k * v.size;
    const float* const form = v.forms + k * v.rank * v.rank;
    const SiteRows<float> image =
        v.down ? SiteRows<float>{w.image, v.rank} : SiteRows<float>{slopes, of_site};
    times_panels(form, v.rank, v.rank, w.sites, {y, v.rank}, image);
    for (std::size_t s = 0; s < w.sites; ++s)
      w.energies[s * w.padded_draws + k] +=
          product_of(y + s * v.rank, image.first + s * image.stride, v.rank);
    if (v.down) times_panels(v.up, v.rank, v.size, w.sites, {w.image, v.rank}, {slopes, of_site});
    for (std::size_t s = 0; s < w.sites; ++s)
      add_lines(v, k, w.along[s], w.across[s * w.padded_draws + k], slopes + s * of_site);
  }
}

// ---- what is kept of a site
// -----------------------------------------------------------------------

// Four neighbours, of which `some` are there, from `j` on.
FORCEMAP_INLINE void keep_four(const SoapView& v, const SoapWork& w, std::size_t j,
                               std::size_t some, std::size_t block, const SoapKept& to) {
  const std::size_t row = v.row, rows = (v.l_max + 1) * (v.l_max + 1);
  // One that is not there repeats the last one; its answer is not used.
  std::size_t at[4];
  for (std::size_t k = 0; k < 4; ++k) at[k] = j + (k < some ? k : some - 1);
  float* radial = to.radial + block * row * 8;
  for (std::size_t n = 0; n < row; n += 4, radial += 32)
    for (std::size_t part = 0; part < 2; ++part) {
      const double* const from = (part == 0 ? w.value : w.slope) + n;
      Vec4 a = load(from + at[0] * row), b = load(from + at[1] * row);
      Vec4 c = load(from + at[2] * row), d = load(from + at[3] * row);
      transpose(a, b, c, d);
      store(radial + 4 * part, a);
      store(radial + 4 * part + 8, b);
      store(radial + 4 * part + 16, c);
      store(radial + 4 * part + 24, d);
    }
  const double* const harmonics[4] = {w.y, w.yx, w.yy, w.yz};
  const double* const unit[4] = {w.ux, w.uy, w.uz, w.inverse_r};
  const auto four = [&](const double* from) {
    return some == 4 ? load(from + j) : Vec4{from[at[0]], from[at[1]], from[at[2]], from[at[3]]};
  };
  float* out = to.harmonics + block * rows * 16;
  for (std::size_t lm = 0; lm < rows; ++lm, out += 16)
    for (std::size_t d = 0; d < 4; ++d) store(out + 4 * d, four(harmonics[d] + lm * w.padded));
  for (std::size_t d = 0; d < 4; ++d) store(to.unit + 16 * block + 4 * d, four(unit[d]));
}

static void soap_keep(const SoapView& v, const SoapDrawsView& d, const SoapWork& w,
                      const SoapKept& to) {
  const std::size_t rows = (v.l_max + 1) * (v.l_max + 1), width = d.width;
  *to.inverse_norm = w.norm > 0.0 ? 1.0 / w.norm : 0.0;
  for (std::size_t n = 0; n < d.size; ++n)
    to.p[n] = n < d.dimension ? static_cast<float>(w.p[n]) : 0.0F;
  for (std::size_t lm = 0; lm < rows; ++lm)
    for (std::size_t channel = 0; channel < v.channels; ++channel)
      for (std::size_t n = 0; n < v.n_max; ++n)
        to.c[lm * width + channel * v.n_max + n] =
            static_cast<float>(w.c[lm * v.width + channel * v.n_padded + n]);
  std::size_t block = 0;
  for (std::size_t species = 0; species < v.species; ++species)
    for (std::size_t j = to.begin[species] = w.begin[species]; j < w.begin[species + 1];
         j += 4, ++block) {
      const std::size_t left = w.begin[species + 1] - j;
      keep_four(v, w, j, left < 4 ? left : 4, block, to);
    }
  to.begin[v.species] = w.count;
  for (std::size_t j = 0; j < w.count; ++j) to.slot[j] = w.slot[j];
}

// ---- forces of draws
// -----------------------------------------------------------------------------

// Calls work<V>(k) for the draws from k on, as many as there are in V vectors, until all are done.
constexpr std::size_t kMostVectors = kLanes == 8 ? 2 : 1;
#define FORCEMAP_OF_DRAWS(padded_draws, k, call)             \
  for (std::size_t k = 0; k < (padded_draws);) {             \
    if ((padded_draws) - k >= kMostVectors * kDrawsAtOnce) { \
      call(kMostVectors);                                    \
      k += kMostVectors * kDrawsAtOnce;                      \
    } else {                                                 \
      call(1);                                               \
      k += kDrawsAtOnce;                                     \
    }                                                        \
  }

// dE/dp of all draws, p normalised, side by side and as that of p before it is normalised, times
// what a number of p is made with.
FORCEMAP_INLINE void turn_slopes(const SoapDrawsView& d, const SoapKept& kept,
                                 const SoapDrawsWork& w) {
  const std::size_t draws = d.padded_draws;
  for (std::size_t k = 0; k < draws; k += kSingles) {
    const float* const from = w.slopes + k * d.size;
    Singles along = all(0.0F);
    for (std::size_t n = 0; n < d.size; n += 4) {
      Singles column[4];
      take_columns(from + n, d.size, column);
#pragma GCC unroll 4
      for (std::size_t c = 0; c < 4; ++c) {
        put(w.turned + (n + c) * draws + k, column[c]);
        along = mad(column[c], all(kept.p[n + c]), along);
      }
    }
    const float inverse = static_cast<float>(*kept.inverse_norm);
    for (std::size_t n = 0; n < d.dimension; ++n) {
      float* const h = w.turned + n * draws + k;
      put(h, (take(h) - along * all(kept.p[n])) * all(inverse * d.scale[n]));
    }
  }
}

// dE/dc of M harmonics and one channel for V vectors of draws: sum_b h[pair of b] c[b].
template <std::size_t M, std::size_t V>
FORCEMAP_INLINE void drawn_channel(const SoapDrawsView& d, const float* h, const int* pairs,
                                   const float* c, float* out) {
  Singles sums_of[M][V];
  for (std::size_t m = 0; m < M; ++m)
    for (std::size_t v = 0; v < V; ++v) sums_of[m][v] = all(0.0F);
  for (std::size_t b = 0; b < d.width; ++b) {
    const float* const row = h + static_cast<std::size_t>(pairs[b]) * d.padded_draws;
    Singles x[V];
    for (std::size_t v = 0; v < V; ++v) x[v] = take(row + v * kSingles);
#pragma GCC unroll 8
    for (std::size_t m = 0; m < M; ++m) {
      const Singles factor = all(c[m * d.width + b]);
#pragma GCC unroll 2
      for (std::size_t v = 0; v < V; ++v) sums_of[m][v] = mad(x[v], factor, sums_of[m][v]);
    }
  }
  for (std::size_t m = 0; m < M; ++m)
    for (std::size_t v = 0; v < V; ++v)
      put(out + m * d.width * d.padded_draws + v * kSingles, sums_of[m][v]);
}

template <std::size_t V>
FORCEMAP_INLINE void drawn_adjoint(const SoapView& v, const SoapDrawsView& d, const SoapKept& kept,
                                   const SoapDrawsWork& w, std::size_t k) {
  const std::size_t of_order = d.width * (d.width + 1) / 2;
  for (std::size_t l = 0; l <= v.l_max; ++l) {
    const float* const h = w.turned + l * of_order * d.padded_draws + k;
    for (std::size_t a = 0; a < d.width; ++a) {
      const int* const pairs = d.pairs + a * d.width;
      const float* const c = kept.c + l * l * d.width;
      float* const out = w.adjoint + (l * l * d.width + a) * d.padded_draws + k;
#define FORCEMAP_CALL(M) \
  drawn_channel<M, V>(d, h, pairs, c + first * d.width, out + first * d.width * d.padded_draws)
      FORCEMAP_IN_BLOCKS(2 * l + 1, first, FORCEMAP_CALL)
#undef FORCEMAP_CALL
    }
  }
}

// Rows of dE/dc of one species' neighbours: that of (lm, n) at (lm stride + n) padded_draws.
struct DrawnRowsOf {
  const float* first;
  std::size_t stride;
};

// Where channels mix the species' densities.
FORCEMAP_INLINE DrawnRowsOf drawn_rows(const SoapView& v, const SoapDrawsView& d,
                                       const SoapDrawsWork& w, std::size_t species) {
  const std::size_t draws = d.padded_draws, rows = (v.l_max + 1) * (v.l_max + 1);
  if (v.plain_species) return {w.adjoint + species * v.n_max * draws, d.width};
  for (std::size_t n = 0; n < rows * v.n_max * draws; n += kSingles) put(w.one + n, all(0.0F));
  for (std::size_t channel = 0; channel < v.channels; ++channel) {
    const double weight = v.weights[channel * v.species + species];
    if (weight == 0.0) continue;
    for (std::size_t lm = 0; lm < rows; ++lm) {
      const float* const from = w.adjoint + (lm * d.width + channel * v.n_max) * draws;
      float* const to = w.one + lm * v.n_max * draws;
      for (std::size_t n = 0; n < v.n_max * draws; n += kSingles)
        put(to + n, mad(spread<float>(weight), take(from + n), take(to + n)));
    }
  }
  return {w.one, v.n_max};
}

// dE/dr of four neighbours for V vectors of draws: along r, and x, y and z of what is across.
template <std::size_t V>
struct DrawnPull {
  Singles part[4][4][V];
};

// Sums of a harmonic's dE/dc over the values and slopes of the radial functions of four neighbours.
template <std::size_t V>
struct DrawnHarmonic {
  Singles by[8][V];
};

template <std::size_t V>
FORCEMAP_INLINE void sum_harmonic(const SoapView& v, std::size_t draws, const float* adjoint,
                                  const float* radial, DrawnHarmonic<V>& to) {
  Singles sums_of[8][V];
  for (std::size_t e = 0; e < 8; ++e)
    for (std::size_t u = 0; u < V; ++u) sums_of[e][u] = all(0.0F);
  for (std::size_t n = 0; n < v.n_max; ++n, adjoint += draws, radial += 8) {
    Singles c[V];
    for (std::size_t u = 0; u < V; ++u) c[u] = take(adjoint + u * kSingles);
#pragma GCC unroll 8
    for (std::size_t e = 0; e < 8; ++e) {
      const Singles x = all(radial[e]);
#pragma GCC unroll 2
      for (std::size_t u = 0; u < V; ++u) sums_of[e][u] = mad(c[u], x, sums_of[e][u]);
    }
  }
  for (std::size_t e = 0; e < 8; ++e)
    for (std::size_t u = 0; u < V; ++u) to.by[e][u] = sums_of[e][u];
}

template <std::size_t V>
FORCEMAP_INLINE void pull_harmonics(const DrawnHarmonic<V>* sums_of, std::size_t count,
                                    const float* harmonics, std::size_t neighbor,
                                    Singles part[4][V]) {
  Singles r[V], x[V], y[V], z[V];
  for (std::size_t u = 0; u < V; ++u) {
    r[u] = part[0][u];
    x[u] = part[1][u];
    y[u] = part[2][u];
    z[u] = part[3][u];
  }
  for (std::size_t m = 0; m < count; ++m, harmonics += 16) {
    const Singles h = all(harmonics[neighbor]), hx = all(harmonics[4 + neighbor]);
    const Singles hy = all(harmonics[8 + neighbor]), hz = all(harmonics[12 + neighbor]);
#pragma GCC unroll 2
    for (std::size_t u = 0; u < V; ++u) {
      const Singles value = sums_of[m].by[neighbor][u];
      r[u] = mad(sums_of[m].by[4 + neighbor][u], h, r[u]);
      x[u] = mad(value, hx, x[u]);
      y[u] = mad(value, hy, y[u]);
      z[u] = mad(value, hz, z[u]);
    }
  }
  for (std::size_t u = 0; u < V; ++u) {
    part[0][u] = r[u];
    part[1][u] = x[u];
    part[2][u] = y[u];
    part[3][u] = z[u];
  }
}

// Neighbours [j, j + some), a block.
struct FourNeighbors {
  std::size_t block, j, some;
};

template <std::size_t V>
FORCEMAP_INLINE void pull_four(const SoapView& v, const SoapDrawsView& d, const SoapKept& kept,
                               const DrawnRowsOf& adjoint, const FourNeighbors& of, std::size_t k,
                               const DrawSums& sums) {
  const std::size_t row = v.row, rows = (v.l_max + 1) * (v.l_max + 1);
  const float* const radial = kept.radial + of.block * row * 8;
  const float* const harmonics = kept.harmonics + of.block * rows * 16;
  DrawnPull<V> pull;
  for (auto& neighbor : pull.part)
    for (auto& part : neighbor)
      for (Singles& vector : part) vector = all(0.0F);
  DrawnHarmonic<V> sums_of[2 * kMostL + 1];
  for (std::size_t l = 0; l <= v.l_max; ++l) {
    for (std::size_t m = 0; m < 2 * l + 1; ++m)
      sum_harmonic<V>(v, d.padded_draws,
                      adjoint.first + (l * l + m) * adjoint.stride * d.padded_draws + k,
                      radial + l * v.n_max * 8, sums_of[m]);
    for (std::size_t n = 0; n < of.some; ++n)
      pull_harmonics<V>(sums_of, 2 * l + 1, harmonics + l * l * 16, n, pull.part[n]);
  }
  const float* const unit = kept.unit + 16 * of.block;
  for (std::size_t n = 0; n < of.some; ++n) {
    const Singles inverse = all(unit[12 + n]);
    double* const out =
        sums.gradients + 3 * static_cast<std::size_t>(kept.slot[of.j + n]) * sums.width + k;
    for (std::size_t u = 0; u < V; ++u)
      for (std::size_t c = 0; c < 3; ++c)
        add(out + c * sums.width + u * kSingles,
            mad(pull.part[n][0][u], all(unit[4 * c + n]), inverse * pull.part[n][1 + c][u]));
  }
}

static void soap_draw_forces(const SoapView& v, const SoapDrawsView& d, const SoapKept& kept,
                             const SoapDrawsWork& w, const DrawSums& sums) {
  if (kept.begin[v.species] == 0) return;
  turn_slopes(d, kept, w);
#define FORCEMAP_CALL(V) drawn_adjoint<V>(v, d, kept, w, k)
  FORCEMAP_OF_DRAWS(d.padded_draws, k, FORCEMAP_CALL)
#undef FORCEMAP_CALL
  std::size_t block = 0;
  for (std::size_t species = 0; species < v.species; ++species) {
    const std::size_t begin = kept.begin[species], end = kept.begin[species + 1];
    if (begin == end) continue;
    const DrawnRowsOf adjoint = drawn_rows(v, d, w, species);
    for (std::size_t j = begin; j < end; j += 4, ++block) {
      const FourNeighbors of{block, j, end - j < 4 ? end - j : 4};
#define FORCEMAP_CALL(V) pull_four<V>(v, d, kept, adjoint, of, k, sums)
      FORCEMAP_OF_DRAWS(d.padded_draws, k, FORCEMAP_CALL)
#undef FORCEMAP_CALL
    }
  }
}

}  // namespace FORCEMAP_LOOPS
}  // namespace forcemap
