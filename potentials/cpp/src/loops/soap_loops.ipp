// SOAP: density coefficients, power spectrum, energy and forces in reverse mode. Compiled once per
// instruction set like site_loops.ipp, which includes it.
//
// c[lm][a] = sum_j w_a R_nl(r_j) Y_lm(r_j),  p[l][a <= b] = (2 l + 1)^-1/2 sum_m c[lm][a] c[lm][b]
// (Bartok, Kondor, Csanyi, DOI 10.1103/PhysRevB.87.184115), off-diagonal a < b once and times
// sqrt(2), p normalised. From dE/dp follow dE/dc and then the forces; no derivative of p is formed.
//
// Loops are written for doubles and for floats (Number). In single precision positions, distances
// and where a distance is within an interval of the splines stay doubles, and so do the norm of p,
// the products of p with the vectors, powers and energies once a vector of lanes is summed;
// neighbours with strong forces are pulled in doubles.

#include "lanes.hpp"
#include "soap_kernels.hpp"

namespace forcemap {
namespace FORCEMAP_LOOPS {

template <typename Number>
FORCEMAP_INLINE LanesOf<Number> spread(double s) {
  return all(static_cast<Number>(s));
}

constexpr std::size_t kMostL = 20;  // as max_soap_l in soap.hpp

constexpr int kMostRows = 6;  // of coefficients of the splines that count at a distance

// ---- neighbours
// ----------------------------------------------------------------------------------

// Those within the cutoff, by species unless these have tables of their own; what is left of the
// last vector is weightless.
template <typename Number>
static void soap_neighbors(const SoapViewOf<Number>& v, const SiteView& s, SoapWorkOf<Number>& w) {
  constexpr std::size_t lanes = kLanesOf<Number>;
  std::size_t found = 0;
  // Without branches, which no processor could foresee.
  for (std::size_t species = 0; species < v.species; ++species) {
    w.begin[species] = found;
    for (std::size_t n = 0; n < s.count; ++n) {
      w.slot[found] = static_cast<int>(n);
      const bool any = v.radial_stride != 0;
      const bool own = any | (static_cast<std::size_t>(s.kind[n]) == species);
      found += static_cast<std::size_t>(own & (s.r[n] < v.cutoff));
    }
  }
  w.begin[v.species] = w.count = found;
  for (std::size_t k = 0; k < found; ++k) {
    const std::size_t n = static_cast<std::size_t>(w.slot[k]);
    const double scale = s.inverse_r[n];
    w.ux[k] = static_cast<Number>(s.x[n] * scale);
    w.uy[k] = static_cast<Number>(s.y[n] * scale);
    w.uz[k] = static_cast<Number>(s.z[n] * scale);
    w.r[k] = s.r[n];
    w.inverse_r[k] = static_cast<Number>(scale);
  }
  w.padded = (found + lanes - 1) / lanes * lanes;
  for (std::size_t n = found; n < w.padded; ++n) {
    w.ux[n] = w.uy[n] = 0;
    w.uz[n] = w.inverse_r[n] = 1;
  }
  for (std::size_t n = found; n % 8 != 0; ++n) w.r[n] = 1.0;
}

// The B-splines of a degree that live on an interval, and their derivatives by t, by the recursion
// of Cox and de Boor on uniform knots.
template <int degree>
FORCEMAP_INLINE void uniform_basis(Vec8 t, Vec8* b, Vec8* d) {
  b[0] = splat8(1.0);
  for (int k = 1; k <= degree; ++k) {
    Vec8 before = splat8(0.0);  // b[j - 1] of the degree below
    for (int j = 0; j <= k; ++j) {
      const Vec8 here = j < k ? b[j] : splat8(0.0);
      if (k == degree) d[j] = before - here;
      b[j] = ((splat8(static_cast<double>(k - j)) + t) * before +
              (splat8(static_cast<double>(1 + j)) - t) * here) /
             splat8(static_cast<double>(k));
      before = here;
    }
  }
}

// Eight neighbours on the splines: the first row of the tables of each, and the factors of all its
// rows in values and slopes. In doubles the rows are the splines' coefficients. In single precision
// they are one coefficient in the middle and the steps from each to the next: a sum of coefficients
// would lose what cancels in a slope, whose factors add up to nothing.
template <typename Number>
struct OnSplines {
  const Number* first[8];
  Number value[kMostRows][8], slope[kMostRows][8];
};

template <typename Number>
constexpr bool kSingle = sizeof(Number) < sizeof(double);

// The coefficient in the middle of `count`.
constexpr int middle_of(int count) { return count / 2 - 1; }

// Factors of the middle coefficient and of the steps, in turn, from those of the coefficients.
FORCEMAP_INLINE void factors_of_steps(int count, Vec8* b) {
  const int middle = middle_of(count);
  Vec8 steps[kMostRows], sum = splat8(0.0);
  for (int k = 0; k < middle; ++k) {
    sum = sum + b[k];
    steps[k] = splat8(0.0) - sum;
  }
  Vec8 rest = splat8(0.0);
  for (int k = count - 1; k > middle; --k) {
    rest = rest + b[k];
    steps[k - 1] = rest;
  }
  b[0] = sum + b[middle] + rest;
  for (int k = 1; k < count; ++k) b[k] = steps[k - 1];
}

// The cosine that ends the radial functions: factors of values and slopes from those of the
// splines.
template <typename Number>
static void end_by_cosine(const SoapViewOf<Number>& v, const double* r, int count, Vec8* b,
                          Vec8* d) {
  double value[kMostRows][8], slope[kMostRows][8];
  for (int k = 0; k < count; ++k) {
    store(value[k], b[k]);
    store(slope[k], d[k]);
  }
  for (int n = 0; n < 8; ++n) {
    if (!(r[n] > v.cosine_begin)) continue;
    const double phase = (r[n] - v.cosine_begin) * v.cosine_rate;
    const double f = 0.5 * (1.0 + __builtin_cos(phase));
    const double df = -0.5 * v.cosine_rate * __builtin_sin(phase);
    for (int k = 0; k < count; ++k) {
      slope[k][n] = f * slope[k][n] + df * value[k][n];
      value[k][n] *= f;
    }
  }
  for (int k = 0; k < count; ++k) {
    b[k] = load8(value[k]);
    d[k] = load8(slope[k]);
  }
}

// Neighbours from `j` on.
template <typename Number>
FORCEMAP_INLINE void on_splines(const SoapViewOf<Number>& v, const SiteView& s,
                                const SoapWorkOf<Number>& w, std::size_t j, OnSplines<Number>& to) {
  const Vec8 h = splat8(v.inverse_spacing), u = load8(w.r + j) * h;
  const Vec8 m = interval_of(u, splat8(v.last_interval)), t = u - m;
  int interval[8];
  store_integers(interval, m);
  for (std::size_t k = 0; k < 8 && j + k < w.count; ++k) {
    to.first[k] = v.radial + static_cast<std::size_t>(interval[k]) * v.table_row;
    if (v.radial_stride != 0)
      to.first[k] += v.radial_stride * static_cast<std::size_t>(s.kind[w.slot[j + k]]);
  }
  Vec8 b[kMostRows], d[kMostRows];
  const int count = v.degree + 1;
  if (v.degree == 5)
    uniform_basis<5>(t, b, d);
  else
    basis(t, b, d);
  for (int k = 0; k < count; ++k) d[k] = d[k] * h;
  if (v.cosine_begin < v.cutoff) end_by_cosine(v, w.r + j, count, b, d);
  if (kSingle<Number>) {
    factors_of_steps(count, b);
    factors_of_steps(count, d);
  }
  for (int k = 0; k < count; ++k) {
    store(to.value[k], b[k]);
    store(to.slope[k], d[k]);
  }
}

// Radial functions and slopes of neighbour `k` of the eight, rows of them: sums of `count` rows of
// the tables. Where no cosine ends them, the factors of a coefficient among steps are 1 and 0.
template <int count, bool ended, typename Number>
FORCEMAP_INLINE void sum_rows(const OnSplines<Number>& of, std::size_t k, std::size_t row,
                              Number* value, Number* slope) {
  constexpr bool plain = kSingle<Number> && !ended;
  LanesOf<Number> by_value[count], by_slope[count];
  const Number* rows[count];
  for (int n = 0; n < count; ++n) {
    by_value[n] = all(of.value[n][k]);
    by_slope[n] = all(of.slope[n][k]);
    const int at = !kSingle<Number> ? n : n == 0 ? 2 * middle_of(count) : 2 * n - 1;
    rows[n] = of.first[k] + static_cast<std::size_t>(at) * row;
  }
  for (std::size_t n = 0; n < row; n += kLanesOf<Number>) {
    LanesOf<Number> f = plain ? take(rows[0] + n) : spread<Number>(0.0), g = spread<Number>(0.0);
#pragma GCC unroll 6
    for (int c = plain ? 1 : 0; c < count; ++c) {
      const LanesOf<Number> e = held(take(rows[c] + n));
      f = mad(by_value[c], e, f);
      g = mad(by_slope[c], e, g);
    }
    put(value + n, f);
    put(slope + n, g);
  }
}

// Of as many neighbours as there are lanes, rows of `row` numbers each, to a row for each number.
template <typename Number>
FORCEMAP_INLINE void turn_rows(const Number* rows, std::size_t row, std::size_t padded,
                               Number* to) {
  for (std::size_t n = 0; n < row; n += 4) {
    LanesOf<Number> columns[4];
    take_columns(rows + n, row, columns);
    for (std::size_t k = 0; k < 4; ++k) put(to + (n + k) * padded, columns[k]);
  }
}

// Radial functions and slopes of all neighbours. Complete ones are rows of each neighbour; without
// the slopes' rows there are those of each function, which forces are made from.
template <bool complete, typename Number>
static void soap_radial(const SoapViewOf<Number>& v, const SiteView& s, SoapWorkOf<Number>& w) {
  constexpr std::size_t lanes = kLanesOf<Number>;
  OnSplines<Number> eight;
  for (std::size_t j = 0; j < w.padded; j += lanes) {
    if (j % 8 == 0) on_splines(v, s, w, j, eight);
    Number* value = w.value + j * v.row;
    Number* slope = complete ? w.slope + j * v.row : w.slope;
    Number *const values = value, *const slopes = slope;
    for (std::size_t k = j; k < j + lanes; ++k, value += v.row, slope += v.row) {
      if (k < w.count) {
        if (v.degree == 5)
          sum_rows<6, true>(eight, k % 8, v.row, value, slope);
        else if (v.cosine_begin < v.cutoff)
          sum_rows<4, true>(eight, k % 8, v.row, value, slope);
        else
          sum_rows<4, false>(eight, k % 8, v.row, value, slope);
        continue;
      }
      for (std::size_t n = 0; n < v.row; n += lanes) {
        put(value + n, spread<Number>(0.0));
        put(slope + n, spread<Number>(0.0));
      }
    }
    if constexpr (!complete) {
      turn_rows(values, v.row, w.padded, w.turned_value + j);
      turn_rows(slopes, v.row, w.padded, w.turned_slope + j);
    }
  }
}

constexpr std::size_t kMostLegendre = (kMostL + 1) * (kMostL + 2) / 2;

FORCEMAP_INLINE std::size_t legendre_at(std::size_t l, std::size_t m) {
  return l * (l + 1) / 2 + m;
}

// The parts of solid harmonics that depend on z and m >= 0, and those of x and y, at unit vectors.
template <typename Number>
FORCEMAP_INLINE void solid_parts(const SoapViewOf<Number>& v, const LanesOf<Number> unit[3],
                                 LanesOf<Number>* q, LanesOf<Number>* cosine,
                                 LanesOf<Number>* sine) {
  const LanesOf<Number> x = unit[0], y = unit[1], z = unit[2];
  cosine[0] = spread<Number>(1.0);
  sine[0] = spread<Number>(0.0);
  for (std::size_t m = 0; m < v.l_max; ++m) {
    cosine[m + 1] = x * cosine[m] - y * sine[m];
    sine[m + 1] = x * sine[m] + y * cosine[m];
  }
  double diagonal = 1.0;
  for (std::size_t m = 0; m <= v.l_max; ++m) {
    LanesOf<Number> before = spread<Number>(diagonal);
    std::size_t at = legendre_at(m, m);
    q[at] = before;
    diagonal *= static_cast<double>(2 * m + 1);
    if (m == v.l_max) break;
    at += m + 1;
    LanesOf<Number> here = spread<Number>(diagonal) * z;
    q[at] = here;
    for (std::size_t l = m + 2; l <= v.l_max; ++l) {
      at += l;
      const Number* const numbers = v.harmonic + kHarmonicNumbers * at;
      const LanesOf<Number> next = all(numbers[2]) * z * here - all(numbers[3]) * before;
      before = here;
      here = next;
      q[at] = next;
    }
  }
}

// Real spherical harmonics of unit vectors by the recursions of solid harmonics (Bigi, Fraux,
// Browning, Ceriotti, J. Chem. Phys. 159, 064802 (2023)), without the Condon-Shortley sign. m runs
// from -l (sines) to l (cosines).
template <typename Number>
static void soap_harmonics(const SoapViewOf<Number>& v, SoapWorkOf<Number>& w) {
  using Vector = LanesOf<Number>;
  const std::size_t stride = w.padded;
  Vector q[kMostLegendre], cosine[kMostL + 1], sine[kMostL + 1];
  for (std::size_t j = 0; j < w.padded; j += kLanesOf<Number>) {
    const Vector unit[3] = {take(w.ux + j), take(w.uy + j), take(w.uz + j)};
    solid_parts(v, unit, q, cosine, sine);
    for (std::size_t l = 0; l <= v.l_max; ++l)
      for (std::size_t m = 0; m <= l; ++m) {
        const Vector ql =
            all(v.harmonic[kHarmonicNumbers * legendre_at(l, m)]) * q[legendre_at(l, m)];
        Number* const y = w.y + (l * l + l) * stride + j;
        if (m > 0) put(y - m * stride, ql * sine[m]);
        put(y + m * stride, ql * cosine[m]);
      }
  }
}

// Their derivatives along the sphere.
static void soap_tangents(const SoapView& v, SoapWork& w) {
  const std::size_t stride = w.padded;
  Lanes q[kMostLegendre], cosine[kMostL + 1], sine[kMostL + 1];
  const Lanes zero = all(0.0);
  for (std::size_t j = 0; j < w.padded; j += kLanes) {
    const Lanes unit[3] = {take(w.ux + j), take(w.uy + j), take(w.uz + j)};
    const Lanes x = unit[0], y = unit[1], z = unit[2];
    solid_parts(v, unit, q, cosine, sine);
    for (std::size_t l = 0; l <= v.l_max; ++l) {
      const Lanes el = all(static_cast<double>(l));
      const auto write = [&](std::size_t lm, Lanes dx, Lanes dy, Lanes dz) {
        // The part along r of the solid harmonic's gradient is l Y.
        const Lanes radial = el * take(w.y + lm * stride + j);
        put(w.yx + lm * stride + j, dx - radial * x);
        put(w.yy + lm * stride + j, dy - radial * y);
        put(w.yz + lm * stride + j, dz - radial * z);
      };
      for (std::size_t m = 0; m <= l; ++m) {
        const double* const numbers = v.harmonic + kHarmonicNumbers * legendre_at(l, m);
        const Lanes f = all(numbers[0]);
        // dQ_l^m/dx = -x Q_(l-1)^(m+1), dQ_l^m/dz = (l + m) Q_(l-1)^m
        const Lanes up = m + 2 <= l ? f * q[legendre_at(l - 1, m + 1)] : zero;
        const Lanes along = m + 1 <= l ? all(numbers[1]) * q[legendre_at(l - 1, m)] : zero;
        const Lanes mq = all(static_cast<double>(m)) * f * q[legendre_at(l, m)];
        const Lanes c1 = m > 0 ? cosine[m - 1] : zero, s1 = m > 0 ? sine[m - 1] : zero;
        write(l * l + l + m, mq * c1 - x * up * cosine[m], zero - mq * s1 - y * up * cosine[m],
              along * cosine[m]);
        if (m > 0)
          write(l * l + l - m, mq * s1 - x * up * sine[m], mq * c1 - y * up * sine[m],
                along * sine[m]);
      }
    }
  }
}

// ---- coefficients
// --------------------------------------------------------------------------------

// Rows of an array that are `stride` apart.
template <typename Entry>
struct SoapRows {
  Entry* first;
  std::size_t stride;
};

// M rows of coefficients from neighbours [begin, end): row m of `out` is the sum of radial
// functions, the first `kept` of a vector, times harmonic m.
template <int M, typename Number>
FORCEMAP_INLINE void expand_rows(const SoapRows<const Number>& radial, std::size_t kept,
                                 const SoapRows<const Number>& harmonics, std::size_t begin,
                                 std::size_t end, const SoapRows<Number>& out) {
  LanesOf<Number> sums_of[M];
  for (int m = 0; m < M; ++m) sums_of[m] = spread<Number>(0.0);
  for (std::size_t j = begin; j < end; ++j) {
    const LanesOf<Number> r = take(radial.first + j * radial.stride);
#pragma GCC unroll 8
    for (int m = 0; m < M; ++m)
      sums_of[m] = mad(r, all(harmonics.first[static_cast<std::size_t>(m) * harmonics.stride + j]),
                       sums_of[m]);
  }
  const unsigned lanes = first_lanes(kept);
  for (int m = 0; m < M; ++m)
    put(out.first + static_cast<std::size_t>(m) * out.stride, keep(lanes, sums_of[m]));
}

// M rows of channels times a matrix: out[m][q] = sum_a rows[m][a] matrix[a][q], one vector of
// columns q.
template <int M, typename Number>
FORCEMAP_INLINE void multiply_rows(const SoapViewOf<Number>& v, const Number* rows,
                                   const Number* matrix, Number* out) {
  LanesOf<Number> sums_of[M];
  for (int m = 0; m < M; ++m) sums_of[m] = spread<Number>(0.0);
  for (std::size_t first = 0; first < v.width; first += v.n_padded)
    for (std::size_t a = first; a < first + v.n_max; ++a) {
      const LanesOf<Number> of_row = take(matrix + a * v.width);
#pragma GCC unroll 8
      for (int m = 0; m < M; ++m)
        sums_of[m] = mad(of_row, all(rows[static_cast<std::size_t>(m) * v.width + a]), sums_of[m]);
    }
  for (int m = 0; m < M; ++m) put(out + static_cast<std::size_t>(m) * v.width, sums_of[m]);
}

// Calls block<M>(first) for blocks of up to 8, as equal as can be, that cover [0, count).
#define FORCEMAP_IN_BLOCKS(count, first, call)                                    \
  for (std::size_t first = 0, blocks = ((count) + 7) / 8; blocks > 0; --blocks) { \
    const std::size_t some = ((count) - first + blocks - 1) / blocks;             \
    switch (some) {                                                               \
      case 1:                                                                     \
        call(1);                                                                  \
        break;                                                                    \
      case 2:                                                                     \
        call(2);                                                                  \
        break;                                                                    \
      case 3:                                                                     \
        call(3);                                                                  \
        break;                                                                    \
      case 4:                                                                     \
        call(4);                                                                  \
        break;                                                                    \
      case 5:                                                                     \
        call(5);                                                                  \
        break;                                                                    \
      case 6:                                                                     \
        call(6);                                                                  \
        break;                                                                    \
      case 7:                                                                     \
        call(7);                                                                  \
        break;                                                                    \
      default:                                                                    \
        call(8);                                                                  \
        break;                                                                    \
    }                                                                             \
    first += some;                                                                \
  }

// Density coefficients of the neighbours of one species, rows of n_padded at `out`.
template <typename Number>
static void soap_expand(const SoapViewOf<Number>& v, const SoapWorkOf<Number>& w,
                        std::size_t species, Number* out, std::size_t out_stride) {
  const std::size_t begin = w.begin[species], end = w.begin[species + 1];
  const std::size_t stride = w.padded;
  for (std::size_t l = 0; l <= v.l_max; ++l)
    for (std::size_t n = 0; n < v.n_padded; n += kLanesOf<Number>) {
      const Number* radial = w.value + l * v.n_max + n;
#define FORCEMAP_CALL(M)                                                                         \
  expand_rows<M, Number>({radial, v.row}, v.n_max - n, {w.y + (l * l + first) * stride, stride}, \
                         begin, end, {out + (l * l + first) * out_stride + n, out_stride})
      FORCEMAP_IN_BLOCKS(2 * l + 1, first, FORCEMAP_CALL)
#undef FORCEMAP_CALL
    }
}

template <typename Number>
static void soap_coefficients(const SoapViewOf<Number>& v, const SiteView& s,
                              SoapWorkOf<Number>& w) {
  const std::size_t rows = (v.l_max + 1) * (v.l_max + 1);
  if (v.plain_species) {
    for (std::size_t species = 0; species < v.species; ++species)
      soap_expand(v, w, species, w.c + species * v.n_padded, v.width);
  } else {
    for (std::size_t n = 0; n < rows * v.width; n += kLanesOf<Number>)
      put(w.c + n, spread<Number>(0.0));
    for (std::size_t species = 0; species < v.species; ++species) {
      if (w.begin[species] == w.begin[species + 1]) continue;
      soap_expand(v, w, species, w.one, v.n_padded);
      for (std::size_t channel = 0; channel < v.channels; ++channel) {
        const double weight = v.weights[channel * v.species + species];
        if (weight == 0.0) continue;
        for (std::size_t lm = 0; lm < rows; ++lm)
          for (std::size_t n = 0; n < v.n_padded; n += kLanesOf<Number>) {
            Number* c = w.c + lm * v.width + channel * v.n_padded + n;
            put(c, mad(spread<Number>(weight), take(w.one + lm * v.n_padded + n), take(c)));
          }
      }
    }
  }
  // The centre itself.
  const std::size_t center = static_cast<std::size_t>(s.species);
  const Number* const self = v.self + v.self_stride * center;
  for (std::size_t channel = 0; channel < v.channels; ++channel) {
    const double weight = v.self_stride != 0 ? 1.0 : v.weights[channel * v.species + center];
    for (std::size_t n = 0; n < v.n_max; ++n)
      w.c[channel * v.n_padded + n] += static_cast<Number>(weight) * self[n];
  }
}

// ---- power spectrum
// ------------------------------------------------------------------------------

// square[a][b] = sum_m c[lm][a] c[lm][b] for the b of a's vector and later ones.
template <typename Number>
static void soap_square(const SoapViewOf<Number>& v, std::size_t l, const Number* c,
                        Number* square) {
  const std::size_t width = v.width, rows = 2 * l + 1;
  const Number* begin = c + l * l * width;
  for (std::size_t a = 0; a < width; a += 4) {
    if (a % v.n_padded >= v.n_max) continue;
    for (std::size_t b = a / kLanesOf<Number> * kLanesOf<Number>; b < width;
         b += kLanesOf<Number>) {
      LanesOf<Number> s0 = spread<Number>(0.0), s1 = s0, s2 = s0, s3 = s0;
      for (std::size_t m = 0; m < rows; ++m) {
        const Number* row = begin + m * width;
        const LanesOf<Number> r = take(row + b);
        s0 = mad(r, all(row[a]), s0);
        s1 = mad(r, all(row[a + 1]), s1);
        s2 = mad(r, all(row[a + 2]), s2);
        s3 = mad(r, all(row[a + 3]), s3);
      }
      put(square + a * width + b, s0);
      put(square + (a + 1) * width + b, s1);
      put(square + (a + 2) * width + b, s2);
      put(square + (a + 3) * width + b, s3);
    }
  }
}

// Calls each(a, b, length) for the stored runs of one l, in the order of the packed spectrum: row a
// with columns b .. b + length - 1, the first of which is the diagonal where a == b.
template <typename Number, typename Each>
FORCEMAP_INLINE void packed_rows(const SoapViewOf<Number>& v, const Each& each) {
  for (std::size_t alpha = 0; alpha < v.channels; ++alpha)
    for (std::size_t n = 0; n < v.n_max; ++n) {
      const std::size_t a = alpha * v.n_padded + n;
      each(a, a, v.n_max - n);
      for (std::size_t beta = alpha + 1; beta < v.channels; ++beta)
        each(a, beta * v.n_padded, v.n_max);
    }
}

constexpr double kRoot2 = 1.4142135623730950488;

// The length of p, which in doubles is divided by it. In single precision p stays as it is, so that
// it has no more rounding and the length is that of the very numbers: what is along p cancels
// further on, and would not with a length that is a little off.
template <typename Number>
FORCEMAP_INLINE void normalise(const SoapViewOf<Number>& v, SoapWorkOf<Number>& w) {
  constexpr std::size_t lanes = kLanesOf<Number>;
  if constexpr (kSingle<Number>) {
    LanesOf<Number> squares[4];
    for (auto& part : squares) part = spread<Number>(0.0);
    std::size_t n = 0;
    for (; n + 4 * lanes <= v.padded_dimension; n += 4 * lanes)
#pragma GCC unroll 4
      for (std::size_t k = 0; k < 4; ++k)
        squares[k] = mad(take(w.p + n + k * lanes), take(w.p + n + k * lanes), squares[k]);
    for (; n < v.padded_dimension; n += lanes)
      squares[3] = mad(take(w.p + n), take(w.p + n), squares[3]);
    w.norm = __builtin_sqrt(sum(totals(squares[0], squares[1], squares[2], squares[3])));
    w.unit = w.norm > 0.0 ? 1.0 / w.norm : 0.0;
  } else {
    LanesOf<Number> squares = spread<Number>(0.0);
    for (std::size_t n = 0; n < v.padded_dimension; n += lanes)
      squares = mad(take(w.p + n), take(w.p + n), squares);
    w.norm = __builtin_sqrt(total(squares));
    w.unit = 1.0;
    const LanesOf<Number> inverse = spread<Number>(w.norm > 0.0 ? 1.0 / w.norm : 0.0);
    for (std::size_t n = 0; n < v.padded_dimension; n += lanes)
      put(w.p + n, take(w.p + n) * inverse);
  }
}

template <bool complete, typename Number>
FORCEMAP_INLINE void density_of(const SoapViewOf<Number>& v, const SiteView& s,
                                SoapWorkOf<Number>& w) {
  soap_neighbors(v, s, w);
  soap_radial<complete>(v, s, w);
  soap_harmonics(v, w);
  soap_coefficients(v, s, w);
  // Runs are written in their order by whole vectors: what a vector writes past the end of a run is
  // where the next one begins, or behind the spectrum.
  Number* p = w.p;
  for (std::size_t l = 0; l <= v.l_max; ++l) {
    soap_square(v, l, w.c, w.square);
    const double scale = 1.0 / __builtin_sqrt(static_cast<double>(2 * l + 1));
    packed_rows(v, [&](std::size_t a, std::size_t b, std::size_t length) {
      const Number* row = w.square + a * v.width + b;
      const LanesOf<Number> factor = spread<Number>(kRoot2 * scale);
      for (std::size_t n = 0; n < length; n += kLanesOf<Number>) put(p + n, factor * take(row + n));
      if (a == b) p[0] = static_cast<Number>(scale) * row[0];
      p += length;
    });
  }
  for (; p < w.p + v.padded_dimension; ++p) *p = 0;
  normalise(v, w);
}

static void soap_density(const SoapView& v, const SiteView& s, SoapWork& w) {
  density_of<true>(v, s, w);
  soap_tangents(v, w);
}

template <typename Number>
static void spectrum_density(const SoapViewOf<Number>& v, const SiteView& s,
                             SoapWorkOf<Number>& w) {
  density_of<false>(v, s, w);
}

// ---- energy
// --------------------------------------------------------------------------------------

// As many vectors as there are registers for, and four sites, at a time: each number that is read
// serves several products.
constexpr std::size_t kVectors = kLanes == 8 ? 4 : 2;  // AVX-512 has 32 registers

// Their products with the sites by fours: those of one site with four vectors, or of two sites with
// two vectors each.
constexpr std::size_t kSitesOfFour = 4 / kVectors;
constexpr std::size_t kFours = 4 / kSitesOfFour;

template <typename Number>
struct FourSites {
  const Number* p[4];
  Number* g[4];
  double* projections[4];
  Vec4 unit[kFours];    // SoapWorkOf::unit of their sites
  Vec4 energy[kFours];  // parts of the sites' energies
  Vec4 along[kFours];   // parts of the sums of dE/d(scale of p)
};

// Numbers of two sites for their two vectors each.
FORCEMAP_INLINE Vec4 pairs_of(double a, double b) {
  const double numbers[4] = {a, a, b, b};
  return load(numbers);
}

// The sum of a site's parts.
FORCEMAP_INLINE double part_of(const Vec4* fours, std::size_t site) {
  double parts[4];
  store(parts, fours[site / kSitesOfFour]);
  if (kSitesOfFour == 1) return (parts[0] + parts[1]) + (parts[2] + parts[3]);
  return parts[site % 2 * 2] + parts[site % 2 * 2 + 1];
}

// x^(zeta - 1) of four.
FORCEMAP_INLINE Vec4 powers_below(const SoapPower& of, Vec4 x) {
  Vec4 power = splat(1.0);
  if (of.whole > 0) {
    for (int z = 1; z < of.whole; ++z) power = power * x;
    return power;
  }
  double each[4];
  store(each, x);
  for (double& one : each) one = power_below(of, one);
  return load(each);
}

// Products of vectors with the spectra, `step` numbers at a time, between which their sums are
// doubles.
template <typename Number>
FORCEMAP_INLINE void products_of(const Number* vectors, std::size_t size, std::size_t step,
                                 const FourSites<Number>& sites, Vec4* products) {
  for (std::size_t four = 0; four < kFours; ++four) products[four] = splat(0.0);
  for (std::size_t from = 0; from < size; from += step) {
    const std::size_t to = from + step < size ? from + step : size;
    LanesOf<Number> y[kVectors][4];
    for (std::size_t k = 0; k < kVectors; ++k)
      for (int b = 0; b < 4; ++b) y[k][b] = spread<Number>(0.0);
    for (std::size_t n = from; n < to; n += kLanesOf<Number>) {
      LanesOf<Number> a[kVectors];
#pragma GCC unroll 4
      for (std::size_t k = 0; k < kVectors; ++k) a[k] = take(vectors + k * size + n);
#pragma GCC unroll 4
      for (int b = 0; b < 4; ++b) {
        const LanesOf<Number> x = held(take(sites.p[b] + n));
#pragma GCC unroll 4
        for (std::size_t k = 0; k < kVectors; ++k) y[k][b] = mad(a[k], x, y[k][b]);
      }
    }
    for (std::size_t four = 0; four < kFours; ++four) {
      const std::size_t b = four * kSitesOfFour, last = b + kSitesOfFour - 1;
      products[four] =
          products[four] + totals(y[0][b], y[1][b], y[kVectors - 2][last], y[kVectors - 1][last]);
    }
  }
}

// In single precision the products with the first vectors, in which most of the energy is, are
// summed in doubles after so many numbers.
constexpr std::size_t kPrecise = 4, kPreciseStep = 64;

template <typename Number>
FORCEMAP_INLINE void some_vectors(const SoapViewOf<Number>& v,
                                  const SoapCenterViewOf<Number>& center, std::size_t first,
                                  FourSites<Number>& sites) {
  const std::size_t size = v.padded_dimension;
  const Number* const vectors = center.vectors + first * size;
  const double* const factors = center.factors + first;
  const bool kept = first < kMostProjections;
  const bool precise = kSingle<Number> && first < kPrecise;
  LanesOf<Number> w[4][kVectors];  // dE/d(product)
  Vec4 sums_of[kFours];
  products_of(vectors, size, precise ? kPreciseStep : size, sites, sums_of);
  const Vec4 f = kSitesOfFour == 1 ? load(factors) : load_pair(factors);
  for (std::size_t four = 0; four < kFours; ++four) {
    const std::size_t b = four * kSitesOfFour;
    const Vec4 x = sums_of[four] * sites.unit[four];
    const Vec4 power = f * powers_below(center.power, x), slope = splat(center.power.zeta) * power;
    sites.energy[four] = fma(power, x, sites.energy[four]);
    sites.along[four] = fma(slope, x, sites.along[four]);
    double slopes[4], products[4];
    store(slopes, slope);
    store(products, x);
#pragma GCC unroll 4
    for (std::size_t n = 0; n < 4; ++n) {
      w[b + n / kVectors][n % kVectors] = spread<Number>(slopes[n]);
      if (kept) sites.projections[b + n / kVectors][first + n % kVectors] = products[n];
    }
  }
  for (std::size_t n = 0; n < size; n += kLanesOf<Number>) {
    LanesOf<Number> a[kVectors];
#pragma GCC unroll 4
    for (std::size_t k = 0; k < kVectors; ++k) a[k] = take(vectors + k * size + n);
#pragma GCC unroll 4
    for (int b = 0; b < 4; ++b) {
      LanesOf<Number> sum = take(sites.g[b] + n);
#pragma GCC unroll 4
      for (std::size_t k = 0; k < kVectors; ++k) sum = mad(w[b][k], a[k], sum);
      put(sites.g[b] + n, sum);
    }
  }
}

// Back through the normalisation of p: g becomes dE/d(p before it), where `along` is that of p
// normalised times g. In single precision the factor of p is kept in two parts: what it is off by
// would be a force.
template <typename Number>
FORCEMAP_INLINE void denormalise(const SoapViewOf<Number>& v, const SoapWorkOf<Number>& w,
                                 double along, Number* g) {
  const LanesOf<Number> inverse = spread<Number>(w.norm > 0.0 ? 1.0 / w.norm : 0.0);
  const double of_p = along * w.unit;
  const Number rounded = static_cast<Number>(of_p);
  if constexpr (kSingle<Number>) {
    const LanesOf<Number> less = all(-rounded);
    const LanesOf<Number> rest = spread<Number>(static_cast<double>(rounded) - of_p);
    for (std::size_t n = 0; n < v.padded_dimension; n += kLanesOf<Number>) {
      const LanesOf<Number> p = take(w.p + n);
      put(g + n, mad(rest, p, mad(less, p, take(g + n))) * inverse);
    }
  } else {
    const LanesOf<Number> part = all(rounded);
    for (std::size_t n = 0; n < v.padded_dimension; n += kLanesOf<Number>)
      put(g + n, (take(g + n) - part * take(w.p + n)) * inverse);
  }
}

// Four sites at a time. With more sites blocks of vectors stay in the second-level cache, so that
// each vector is read once for all of them from where it lies. The last vectors, whose factors are
// the smallest, come first: sums of slopes are then rounded least.
template <typename Number>
static void soap_energies(const SoapViewOf<Number>& v, const SoapCenterViewOf<Number>& center,
                          SoapWorkOf<Number>* const* works, std::size_t count,
                          double* const* energies) {
  constexpr std::size_t in_cache = 131072 / sizeof(Number);
  const std::size_t size = v.padded_dimension;
  FourSites<Number> groups[kSoapSites / 4]{};
  const std::size_t fours = (count + 3) / 4;
  double units[kSoapSites];
  for (std::size_t n = 0; n < 4 * fours; ++n) {
    FourSites<Number>& sites = groups[n / 4];
    // Missing sites repeat the last one; their answer goes to a spare array.
    SoapWorkOf<Number>& w = *works[n < count ? n : count - 1];
    const std::size_t b = n % 4;
    units[n] = w.unit;
    sites.p[b] = w.p;
    sites.g[b] = n < count ? w.g : works[0]->spare;
    sites.projections[b] = w.projections;
    for (std::size_t k = 0; k < size; k += kLanesOf<Number>)
      put(sites.g[b] + k, spread<Number>(0.0));
  }
  for (std::size_t n = 0; n < 4 * fours; n += kSitesOfFour)
    groups[n / 4].unit[n % 4 / kSitesOfFour] =
        kSitesOfFour == 1 ? splat(units[n]) : pairs_of(units[n], units[n + 1]);
  const std::size_t some = in_cache / size / kVectors * kVectors;
  const std::size_t block = fours == 1 ? center.count : some < kVectors ? kVectors : some;
  for (std::size_t last = center.count, first; last > 0; last = first) {
    first = last > block ? last - block : 0;
    for (std::size_t n = 0; n < fours; ++n)
      for (std::size_t k = last; k > first; k -= kVectors)
        some_vectors(v, center, k - kVectors, groups[n]);
  }
  for (std::size_t n = 0; n < count; ++n) {
    const FourSites<Number>& sites = groups[n / 4];
    *energies[n] += part_of(sites.energy, n % 4) - center.constant;
    denormalise(v, *works[n], part_of(sites.along, n % 4), works[n]->g);
  }
}

// ---- forces
// --------------------------------------------------------------------------------------

// A matrix (width, width) plus itself turned over, of which nothing is below the diagonal.
template <typename Number>
FORCEMAP_INLINE void add_turned(Number* matrix, std::size_t width) {
  constexpr std::size_t lanes = kLanesOf<Number>;
  for (std::size_t a = 0; a < width; a += lanes)
    for (std::size_t b = a; b < width; b += lanes) {
      LanesOf<Number> columns[lanes];
#pragma GCC unroll 2
      for (std::size_t k = 0; k < lanes; k += 4)
        take_columns(matrix + a * width + b + k, width, columns + k);
#pragma GCC unroll 8
      for (std::size_t k = 0; k < lanes; ++k) {
        Number* const to = matrix + (b + k) * width + a;
        put(to, a == b ? take(to) + columns[k] : columns[k]);
      }
    }
}

// dE/dc from dE/dp: for each l a symmetric matrix times the coefficients.
template <typename Number>
static void soap_adjoint(const SoapViewOf<Number>& v, const SoapWorkOf<Number>& w, const Number* g,
                         Number* adjoint) {
  const std::size_t width = v.width;
  for (std::size_t l = 0; l <= v.l_max; ++l) {
    const double scale = 1.0 / __builtin_sqrt(static_cast<double>(2 * l + 1));
    for (std::size_t n = 0; n < width * width; n += kLanesOf<Number>)
      put(w.square + n, spread<Number>(0.0));
    // Whole vectors, with zeros behind the end of a run.
    packed_rows(v, [&](std::size_t a, std::size_t b, std::size_t length) {
      Number* row = w.square + a * width + b;
      const LanesOf<Number> factor = spread<Number>(kRoot2 * scale);
      for (std::size_t n = 0; n < length; n += kLanesOf<Number>)
        put(row + n, keep(first_lanes(length - n), factor * take(g + n)));
      if (a == b) row[0] = static_cast<Number>(scale) * g[0];
      g += length;
    });
    add_turned(w.square, width);
    const Number* c = w.c + l * l * width;
    for (std::size_t q = 0; q < width; q += kLanesOf<Number>) {
      Number* out = adjoint + l * l * width + q;
#define FORCEMAP_CALL(M) multiply_rows<M>(v, c + first * width, w.square + q, out + first * width)
      FORCEMAP_IN_BLOCKS(2 * l + 1, first, FORCEMAP_CALL)
#undef FORCEMAP_CALL
    }
  }
}

// dE/dc of the channels as that of one species' neighbours: rows of n_padded at `out`.
template <typename Number>
static void soap_adjoint_of(const SoapViewOf<Number>& v, std::size_t species, const Number* adjoint,
                            Number* out) {
  const std::size_t rows = (v.l_max + 1) * (v.l_max + 1);
  for (std::size_t n = 0; n < rows * v.n_padded; n += kLanesOf<Number>)
    put(out + n, spread<Number>(0.0));
  for (std::size_t channel = 0; channel < v.channels; ++channel) {
    const double weight = v.weights[channel * v.species + species];
    if (weight == 0.0) continue;
    for (std::size_t lm = 0; lm < rows; ++lm)
      for (std::size_t n = 0; n < v.n_padded; n += kLanesOf<Number>) {
        Number* one = out + lm * v.n_padded + n;
        put(one, mad(spread<Number>(weight),
                     take(adjoint + lm * v.width + channel * v.n_padded + n), take(one)));
      }
  }
}

// Harmonics whose sums over the radial functions fit into the registers, two for each.
constexpr std::size_t kPulledAtOnce = 6;

// Of neighbours in the lanes the sums of dE/dc over the radial functions and over their slopes, for
// M harmonics of one l, whose rows of dE/dc begin at adjoint.first.
template <int M, typename Number>
FORCEMAP_INLINE void sums_over_radial(const SoapViewOf<Number>& v, const Number* value,
                                      const Number* slope, std::size_t padded,
                                      const SoapRows<const Number>& adjoint,
                                      LanesOf<Number>* by_value, LanesOf<Number>* by_slope) {
  LanesOf<Number> f[M], g[M];
  for (int m = 0; m < M; ++m) f[m] = g[m] = spread<Number>(0.0);
  for (std::size_t n = 0; n < v.n_max; ++n) {
    const LanesOf<Number> values = take(value + n * padded), slopes = take(slope + n * padded);
#pragma GCC unroll 6
    for (int m = 0; m < M; ++m) {
      const LanesOf<Number> c =
          all(adjoint.first[static_cast<std::size_t>(m) * adjoint.stride + n]);
      f[m] = mad(c, values, f[m]);
      g[m] = mad(c, slopes, g[m]);
    }
  }
  for (int m = 0; m < M; ++m) {
    by_value[m] = f[m];
    by_slope[m] = g[m];
  }
}

// The same for all harmonics, of the neighbours from `at` on.
template <typename Number>
FORCEMAP_INLINE void sums_of_harmonics(const SoapViewOf<Number>& v, const SoapWorkOf<Number>& w,
                                       const SoapRows<const Number>& adjoint, std::size_t at,
                                       LanesOf<Number>* by_value, LanesOf<Number>* by_slope) {
  for (std::size_t l = 0; l <= v.l_max; ++l) {
    const Number* const value = w.turned_value + l * v.n_max * w.padded + at;
    const Number* const slope = w.turned_slope + l * v.n_max * w.padded + at;
    const std::size_t count = 2 * l + 1, blocks = (count + kPulledAtOnce - 1) / kPulledAtOnce;
    std::size_t lm = l * l, left = count;
    for (std::size_t block = 0; block < blocks; ++block) {
      const std::size_t some = (left + blocks - block - 1) / (blocks - block);
      const SoapRows<const Number> rows = {adjoint.first + lm * adjoint.stride, adjoint.stride};
      switch (some) {
        case 1:
          sums_over_radial<1>(v, value, slope, w.padded, rows, by_value + lm, by_slope + lm);
          break;
        case 2:
          sums_over_radial<2>(v, value, slope, w.padded, rows, by_value + lm, by_slope + lm);
          break;
        case 3:
          sums_over_radial<3>(v, value, slope, w.padded, rows, by_value + lm, by_slope + lm);
          break;
        case 4:
          sums_over_radial<4>(v, value, slope, w.padded, rows, by_value + lm, by_slope + lm);
          break;
        case 5:
          sums_over_radial<5>(v, value, slope, w.padded, rows, by_value + lm, by_slope + lm);
          break;
        default:
          sums_over_radial<6>(v, value, slope, w.padded, rows, by_value + lm, by_slope + lm);
          break;
      }
      lm += some;
      left -= some;
    }
  }
}

// Of one m and one sign of it: sums over l of Q_l^m, of its derivatives by x and y (over -x or -y)
// and by z, times the sums over the radial functions, and of Q_l^m times those over the slopes.
template <typename Number>
struct OrderSums {
  LanesOf<Number> q, across, along, slope;
};

// Cosines, and sines too where m > 0.
template <bool sines, typename Number>
FORCEMAP_INLINE void sums_of_order(const SoapViewOf<Number>& v, std::size_t m,
                                   const LanesOf<Number>* q, const LanesOf<Number>* by_value,
                                   const LanesOf<Number>* by_slope, OrderSums<Number> sums[2]) {
  using Vector = LanesOf<Number>;
  std::size_t at = legendre_at(m, m), lm = m * m + m;
  const Vector first = all(v.harmonic[kHarmonicNumbers * at]) * q[at], zero = spread<Number>(0.0);
  sums[0] = {first * by_value[lm + m], zero, zero, first * by_slope[lm + m]};
  if constexpr (sines) sums[1] = {first * by_value[lm - m], zero, zero, first * by_slope[lm - m]};
  for (std::size_t l = m + 1; l <= v.l_max; ++l) {
    const std::size_t before = at;
    at += l;
    lm += 2 * l;
    // dQ_l^m/dx = -x Q_(l-1)^(m+1), dQ_l^m/dz = (l + m) Q_(l-1)^m
    const Number* const numbers = v.harmonic + kHarmonicNumbers * at;
    const Vector norm = all(numbers[0]), value = norm * q[at], along = all(numbers[1]) * q[before];
    const Vector across = l > m + 1 ? norm * q[before + 1] : zero;
#pragma GCC unroll 2
    for (int k = 0; k < (sines ? 2 : 1); ++k) {
      const std::size_t n = k == 0 ? lm + m : lm - m;
      const Vector by = by_value[n];
      sums[k].q = mad(value, by, sums[k].q);
      sums[k].across = mad(across, by, sums[k].across);
      sums[k].along = mad(along, by, sums[k].along);
      sums[k].slope = mad(value, by_slope[n], sums[k].slope);
    }
  }
}

// dE/dr of neighbours in the lanes.
template <typename Number>
struct SoapPull {
  LanesOf<Number> x, y, z;
};

// Back through soap_harmonics: the gradients of the solid harmonics, of which what is along r is
// taken out at the end, and the harmonics times the slopes, along r. Derivatives of harmonics are
// not kept: summed over l first, they are cheaper than memory.
template <typename Number>
FORCEMAP_INLINE SoapPull<Number> pull_back(const SoapViewOf<Number>& v, const SoapWorkOf<Number>& w,
                                           std::size_t at, const LanesOf<Number>* by_value,
                                           const LanesOf<Number>* by_slope) {
  using Vector = LanesOf<Number>;
  const Vector unit[3] = {take(w.ux + at), take(w.uy + at), take(w.uz + at)};
  const Vector x = unit[0], y = unit[1], z = unit[2], zero = spread<Number>(0.0);
  Vector q[kMostLegendre], cosine[kMostL + 1], sine[kMostL + 1];
  solid_parts(v, unit, q, cosine, sine);
  OrderSums<Number> sums[2];
  sums_of_order<false>(v, 0, q, by_value, by_slope, sums);
  Vector gx = zero, gy = zero, gz = sums[0].along, across = sums[0].across, along = sums[0].slope;
  for (std::size_t m = 1; m <= v.l_max; ++m) {
    sums_of_order<true>(v, m, q, by_value, by_slope, sums);
    const Vector em = spread<Number>(static_cast<double>(m)), c = cosine[m], s = sine[m];
    across = mad(c, sums[0].across, mad(s, sums[1].across, across));
    gz = mad(c, sums[0].along, mad(s, sums[1].along, gz));
    along = mad(c, sums[0].slope, mad(s, sums[1].slope, along));
    gx = mad(em, cosine[m - 1] * sums[0].q + sine[m - 1] * sums[1].q, gx);
    gy = mad(em, cosine[m - 1] * sums[1].q - sine[m - 1] * sums[0].q, gy);
  }
  gx = gx - x * across;
  gy = gy - y * across;
  const Vector inverse = take(w.inverse_r + at);
  const Vector radial = along - inverse * mad(gx, x, mad(gy, y, gz * z));
  return {mad(radial, x, inverse * gx), mad(radial, y, inverse * gy), mad(radial, z, inverse * gz)};
}

// eV/Å: forces that single precision would round too much.
constexpr float kStrong = 4.0F;

template <typename Number>
FORCEMAP_INLINE void pull_species(const SoapViewOf<Number>& v, const SiteView& s,
                                  const SoapWorkOf<Number>& w,
                                  const SoapRows<const Number>& adjoint, std::size_t begin,
                                  std::size_t end);

// The forces on up to kAgain neighbours, of which w.slot has `slots`, in doubles.
static void pull_again(const SoapViewOf<float>& v, const SiteView& s, const SoapWorkOf<float>& w,
                       const SoapRows<const float>& adjoint, int* slots, std::size_t count) {
  const SoapView& exact = *v.exact;
  const std::size_t rows = (v.l_max + 1) * (v.l_max + 1), table = kAgain * v.row;
  SoapWork one{};
  one.value = w.again;
  one.slope = one.value + table;
  one.turned_value = one.slope + table;
  one.turned_slope = one.turned_value + table;
  one.r = one.turned_slope + table;
  one.ux = one.r + kAgain;
  one.uy = one.ux + kAgain;
  one.uz = one.uy + kAgain;
  one.inverse_r = one.uz + kAgain;
  one.slot = slots;
  one.count = count;
  one.padded = (count + kLanes - 1) / kLanes * kLanes;
  for (std::size_t k = 0; k < kAgain; ++k) {
    // Behind the last they repeat it.
    const std::size_t n = static_cast<std::size_t>(slots[k < count ? k : count - 1]);
    one.r[k] = s.r[n];
    one.inverse_r[k] = s.inverse_r[n];
    one.ux[k] = s.x[n] * s.inverse_r[n];
    one.uy[k] = s.y[n] * s.inverse_r[n];
    one.uz[k] = s.z[n] * s.inverse_r[n];
  }
  soap_radial<false>(exact, s, one);
  double* const slopes = one.inverse_r + kAgain;
  for (std::size_t lm = 0; lm < rows; ++lm)
    for (std::size_t n = 0; n < v.n_max; ++n)
      slopes[lm * v.n_max + n] = static_cast<double>(adjoint.first[lm * adjoint.stride + n]);
  pull_species(exact, s, one, SoapRows<const double>{slopes, v.n_max}, 0, count);
}

// Forces on the neighbours [begin, end) of one species from dE/dc of that species. In single
// precision those of strong forces are taken again in doubles: rounding grows with a force, and few
// neighbours have a large one.
template <typename Number>
FORCEMAP_INLINE void pull_species(const SoapViewOf<Number>& v, const SiteView& s,
                                  const SoapWorkOf<Number>& w,
                                  const SoapRows<const Number>& adjoint, std::size_t begin,
                                  std::size_t end) {
  constexpr std::size_t lanes = kLanesOf<Number>;
  LanesOf<Number> by_value[(kMostL + 1) * (kMostL + 1)], by_slope[(kMostL + 1) * (kMostL + 1)];
  int strong[kAgain];
  std::size_t count = 0;
  for (std::size_t j = begin; j < end; j += lanes) {
    // Lanes of another species, or without a neighbour, are computed and not used.
    const std::size_t at = j + lanes <= w.padded ? j : w.padded - lanes;
    sums_of_harmonics(v, w, adjoint, at, by_value, by_slope);
    const SoapPull<Number> pull = pull_back(v, w, at, by_value, by_slope);
    Number x[lanes], y[lanes], z[lanes];
    put(x, pull.x);
    put(y, pull.y);
    put(z, pull.z);
    Number force2[lanes];
    if constexpr (kSingle<Number>)
      put(force2, mad(pull.x, pull.x, mad(pull.y, pull.y, pull.z * pull.z)));
    for (std::size_t k = j; k < end && k < j + lanes; ++k) {
      const std::size_t n = static_cast<std::size_t>(w.slot[k]);
      if constexpr (kSingle<Number>) {
        if (force2[k - at] > kStrong * kStrong) {
          strong[count++] = w.slot[k];
          if (count == kAgain) {
            pull_again(v, s, w, adjoint, strong, count);
            count = 0;
          }
          continue;
        }
      }
      s.gx[n] += static_cast<double>(x[k - at]);
      s.gy[n] += static_cast<double>(y[k - at]);
      s.gz[n] += static_cast<double>(z[k - at]);
    }
  }
  if constexpr (kSingle<Number>) {
    if (count > 0) pull_again(v, s, w, adjoint, strong, count);
  }
}

template <typename Number>
static void soap_forces(const SoapViewOf<Number>& v, const SiteView& s, SoapWorkOf<Number>& w) {
  soap_adjoint(v, w, w.g, w.adjoint);
  for (std::size_t species = 0; species < v.species; ++species) {
    const std::size_t begin = w.begin[species], end = w.begin[species + 1];
    if (begin == end) continue;
    const Number* adjoint = w.adjoint + species * v.n_padded;
    std::size_t stride = v.width;
    if (!v.plain_species) {
      soap_adjoint_of(v, species, w.adjoint, w.one);
      adjoint = w.one;
      stride = v.n_padded;
    }
    pull_species(v, s, w, SoapRows<const Number>{adjoint, stride}, begin, end);
  }
}

}  // namespace FORCEMAP_LOOPS
}  // namespace forcemap
