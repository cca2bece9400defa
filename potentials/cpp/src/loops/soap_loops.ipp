// SOAP: density coefficients, power spectrum, energy and forces in reverse mode. Compiled once per
// instruction set like site_loops.ipp, which includes it.
//
// c[lm][a] = sum_j w_a R_nl(r_j) Y_lm(r_j),  p[l][a <= b] = (2 l + 1)^-1/2 sum_m c[lm][a] c[lm][b]
// (Bartok, Kondor, Csanyi, DOI 10.1103/PhysRevB.87.184115), off-diagonal a < b once and times
// sqrt(2), p normalised. From dE/dp follow dE/dc and then the forces; no derivative of p is formed.

#include "lanes.hpp"
#include "soap_kernels.hpp"

namespace forcemap {
namespace FORCEMAP_LOOPS {

constexpr std::size_t kMostL = 20;  // as max_soap_l in soap.hpp

// ---- neighbours
// ----------------------------------------------------------------------------------

// Those within the cutoff, by species unless these have tables of their own; what is left of the
// last vector is weightless.
static void soap_neighbors(const SoapView& v, const SiteView& s, SoapWork& w) {
  std::size_t found = 0;
  for (std::size_t species = 0; species < v.species; ++species) {
    w.begin[species] = found;
    for (std::size_t n = 0; n < s.count; ++n) {
      if (!(s.r[n] < v.cutoff)) continue;
      if (v.radial_stride == 0 && static_cast<std::size_t>(s.kind[n]) != species) continue;
      const double scale = s.inverse_r[n];
      w.slot[found] = static_cast<int>(n);
      w.ux[found] = s.x[n] * scale;
      w.uy[found] = s.y[n] * scale;
      w.uz[found] = s.z[n] * scale;
      w.r[found] = s.r[n];
      w.inverse_r[found] = scale;
      ++found;
    }
  }
  w.begin[v.species] = w.count = found;
  w.padded = (found + kLanes - 1) / kLanes * kLanes;
  for (std::size_t n = found; n < w.padded; ++n) {
    w.ux[n] = w.uy[n] = 0.0;
    w.uz[n] = w.r[n] = w.inverse_r[n] = 1.0;
  }
}

// The B-splines of a degree that live on an interval, and their derivatives by t, by the recursion
// of Cox and de Boor on uniform knots.
template <int degree>
FORCEMAP_INLINE void uniform_basis(double t, double* b, double* d) {
  b[0] = 1.0;
  for (int k = 1; k <= degree; ++k) {
    double before = 0.0;  // b[j - 1] of the degree below
    for (int j = 0; j <= k; ++j) {
      const double here = j < k ? b[j] : 0.0;
      if (k == degree) d[j] = before - here;
      b[j] = ((static_cast<double>(k - j) + t) * before + (static_cast<double>(1 + j) - t) * here) /
             static_cast<double>(k);
      before = here;
    }
  }
}

// Radial functions and slopes of a neighbour in row m: splines of degree 5.
FORCEMAP_INLINE void quintic_rows(const double* first, std::size_t row, const double* b,
                                  const double* d, double* value, double* slope) {
  for (std::size_t n = 0; n < row; n += kLanes) {
    Lanes f = all(0.0), g = f;
#pragma GCC unroll 6
    for (int k = 0; k < 6; ++k) {
      const Lanes e = take(first + static_cast<std::size_t>(k) * row + n);
      f = mad(all(b[k]), e, f);
      g = mad(all(d[k]), e, g);
    }
    put(value + n, f);
    put(slope + n, g);
  }
}

// The cosine that ends the radial functions: factors of values and slopes from those of the
// splines.
FORCEMAP_INLINE void end_by_cosine(const SoapView& v, double r, int count, double* b, double* d) {
  if (!(r > v.cosine_begin)) return;
  const double phase = (r - v.cosine_begin) * v.cosine_rate;
  const double f = 0.5 * (1.0 + __builtin_cos(phase));
  const double df = -0.5 * v.cosine_rate * __builtin_sin(phase);
  for (int k = 0; k < count; ++k) {
    d[k] = f * d[k] + df * b[k];
    b[k] *= f;
  }
}

// Radial functions and slopes of all neighbours: B-splines on uniform intervals.
static void soap_radial(const SoapView& v, const SiteView& s, SoapWork& w) {
  const std::size_t row = (v.l_max + 1) * v.n_padded;
  const double h = v.inverse_spacing;
  for (std::size_t j = 0; j < w.padded; ++j) {
    double* value = w.value + j * row;
    double* slope = w.slope + j * row;
    if (j >= w.count) {
      for (std::size_t n = 0; n < row; n += kLanes) {
        put(value + n, all(0.0));
        put(slope + n, all(0.0));
      }
      continue;
    }
    const double u = w.r[j] * h;
    double m = __builtin_floor(u);
    m = m < v.last_interval ? m : v.last_interval;
    const double t = u - m, q = 1.0 - t;
    const double* c0 = v.radial + static_cast<std::size_t>(m) * row;
    if (v.radial_stride != 0) c0 += v.radial_stride * static_cast<std::size_t>(s.kind[w.slot[j]]);
    if (v.degree == 5) {
      double b[6], d[6];
      uniform_basis<5>(t, b, d);
      for (double& slope_of : d) slope_of *= h;
      end_by_cosine(v, w.r[j], 6, b, d);
      quintic_rows(c0, row, b, d, value, slope);
      continue;
    }
    double b[4] = {q * q * q * (1.0 / 6.0), (0.5 * t - 1.0) * t * t + 2.0 / 3.0,
                   (0.5 * q - 1.0) * q * q + 2.0 / 3.0, t * t * t * (1.0 / 6.0)};
    double d[4] = {-0.5 * q * q * h, t * (1.5 * t - 2.0) * h, -q * (1.5 * q - 2.0) * h,
                   0.5 * t * t * h};
    end_by_cosine(v, w.r[j], 4, b, d);
    const double *c1 = c0 + row, *c2 = c1 + row, *c3 = c2 + row;
    const Lanes b0 = all(b[0]), b1 = all(b[1]), b2 = all(b[2]), b3 = all(b[3]);
    const Lanes d0 = all(d[0]), d1 = all(d[1]), d2 = all(d[2]), d3 = all(d[3]);
    for (std::size_t n = 0; n < row; n += kLanes) {
      const Lanes e0 = take(c0 + n), e1 = take(c1 + n), e2 = take(c2 + n), e3 = take(c3 + n);
      put(value + n, mad(b0, e0, mad(b1, e1, mad(b2, e2, b3 * e3))));
      put(slope + n, mad(d0, e0, mad(d1, e1, mad(d2, e2, d3 * e3))));
    }
  }
}

// Real spherical harmonics of unit vectors and their derivatives along the sphere, by the
// recursions of solid harmonics (Bigi, Fraux, Browning, Ceriotti, J. Chem. Phys. 159, 064802
// (2023)), without the Condon-Shortley sign. m runs from -l (sines) to l (cosines).
static void soap_harmonics(const SoapView& v, SoapWork& w) {
  const std::size_t l_max = v.l_max, stride = w.padded;
  Lanes q[(kMostL + 1) * (kMostL + 2) / 2], cosine[kMostL + 1], sine[kMostL + 1];
  const Lanes zero = all(0.0), one = all(1.0);
  for (std::size_t j = 0; j < w.padded; j += kLanes) {
    const Lanes x = take(w.ux + j), y = take(w.uy + j), z = take(w.uz + j);
    cosine[0] = one;
    sine[0] = zero;
    for (std::size_t m = 0; m < l_max; ++m) {
      cosine[m + 1] = x * cosine[m] - y * sine[m];
      sine[m + 1] = x * sine[m] + y * cosine[m];
    }
    const auto at = [](std::size_t l, std::size_t m) { return l * (l + 1) / 2 + m; };
    double diagonal = 1.0;
    for (std::size_t m = 0; m <= l_max; ++m) {
      q[at(m, m)] = all(diagonal);
      if (m < l_max) q[at(m + 1, m)] = all(diagonal * static_cast<double>(2 * m + 1)) * z;
      for (std::size_t l = m + 2; l <= l_max; ++l) {
        const double inverse = 1.0 / static_cast<double>(l - m);
        q[at(l, m)] = all(static_cast<double>(2 * l - 1) * inverse) * z * q[at(l - 1, m)] -
                      all(static_cast<double>(l + m - 1) * inverse) * q[at(l - 2, m)];
      }
      diagonal *= static_cast<double>(2 * m + 1);
    }
    for (std::size_t l = 0; l <= l_max; ++l) {
      const Lanes el = all(static_cast<double>(l));
      const auto write = [&](std::size_t lm, Lanes value, Lanes dx, Lanes dy, Lanes dz) {
        // The part along r of the solid harmonic's gradient is l Y.
        const Lanes radial = el * value;
        put(w.y + lm * stride + j, value);
        put(w.yx + lm * stride + j, dx - radial * x);
        put(w.yy + lm * stride + j, dy - radial * y);
        put(w.yz + lm * stride + j, dz - radial * z);
      };
      for (std::size_t m = 0; m <= l; ++m) {
        const Lanes f = all(v.harmonic[at(l, m)]);
        const Lanes ql = f * q[at(l, m)];
        // dQ_l^m/dx = -x Q_(l-1)^(m+1), dQ_l^m/dz = (l + m) Q_(l-1)^m
        const Lanes up = m + 2 <= l ? f * q[at(l - 1, m + 1)] : zero;
        const Lanes along =
            m + 1 <= l ? f * all(static_cast<double>(l + m)) * q[at(l - 1, m)] : zero;
        const Lanes mq = all(static_cast<double>(m)) * ql;
        const Lanes c1 = m > 0 ? cosine[m - 1] : zero, s1 = m > 0 ? sine[m - 1] : zero;
        write(l * l + l + m, ql * cosine[m], mq * c1 - x * up * cosine[m],
              zero - mq * s1 - y * up * cosine[m], along * cosine[m]);
        if (m > 0)
          write(l * l + l - m, ql * sine[m], mq * s1 - x * up * sine[m], mq * c1 - y * up * sine[m],
                along * sine[m]);
      }
    }
  }
}

// ---- coefficients
// --------------------------------------------------------------------------------

// Rows of an array that are `stride` apart.
template <typename T>
struct SoapRows {
  T* first;
  std::size_t stride;
};

// M rows of coefficients from neighbours [begin, end): row m of `out` is the sum of radial
// functions times harmonic m.
template <int M>
FORCEMAP_INLINE void expand_rows(const SoapRows<const double>& radial,
                                 const SoapRows<const double>& harmonics, std::size_t begin,
                                 std::size_t end, const SoapRows<double>& out) {
  Lanes sums_of[M];
  for (int m = 0; m < M; ++m) sums_of[m] = all(0.0);
  for (std::size_t j = begin; j < end; ++j) {
    const Lanes r = take(radial.first + j * radial.stride);
#pragma GCC unroll 8
    for (int m = 0; m < M; ++m)
      sums_of[m] = mad(r, all(harmonics.first[static_cast<std::size_t>(m) * harmonics.stride + j]),
                       sums_of[m]);
  }
  for (int m = 0; m < M; ++m) put(out.first + static_cast<std::size_t>(m) * out.stride, sums_of[m]);
}

// M rows times a matrix: out[m][q] = sum_a rows[m][a] matrix[a][q], one vector of columns q.
template <int M>
FORCEMAP_INLINE void multiply_rows(const double* rows, std::size_t stride, const double* matrix,
                                   std::size_t size, double* out) {
  Lanes sums_of[M];
  for (int m = 0; m < M; ++m) sums_of[m] = all(0.0);
  for (std::size_t a = 0; a < size; ++a) {
    const Lanes v = take(matrix + a * size);
#pragma GCC unroll 8
    for (int m = 0; m < M; ++m)
      sums_of[m] = mad(v, all(rows[static_cast<std::size_t>(m) * stride + a]), sums_of[m]);
  }
  for (int m = 0; m < M; ++m) put(out + static_cast<std::size_t>(m) * stride, sums_of[m]);
}

// Calls block<M>(first) for blocks of up to 8 that cover [0, count).
#define FORCEMAP_IN_BLOCKS(count, first, call)               \
  for (std::size_t first = 0; first < (count); first += 8) { \
    const std::size_t rest = (count) - first;                \
    switch (rest < 8 ? rest : 8) {                           \
      case 1:                                                \
        call(1);                                             \
        break;                                               \
      case 2:                                                \
        call(2);                                             \
        break;                                               \
      case 3:                                                \
        call(3);                                             \
        break;                                               \
      case 4:                                                \
        call(4);                                             \
        break;                                               \
      case 5:                                                \
        call(5);                                             \
        break;                                               \
      case 6:                                                \
        call(6);                                             \
        break;                                               \
      case 7:                                                \
        call(7);                                             \
        break;                                               \
      default:                                               \
        call(8);                                             \
        break;                                               \
    }                                                        \
  }

// Density coefficients of the neighbours of one species, rows of n_padded at `out`.
static void soap_expand(const SoapView& v, const SoapWork& w, std::size_t species, double* out,
                        std::size_t out_stride) {
  const std::size_t begin = w.begin[species], end = w.begin[species + 1];
  const std::size_t row = (v.l_max + 1) * v.n_padded, stride = w.padded;
  for (std::size_t l = 0; l <= v.l_max; ++l)
    for (std::size_t n = 0; n < v.n_padded; n += kLanes) {
      const double* radial = w.value + l * v.n_padded + n;
#define FORCEMAP_CALL(M)                                                              \
  expand_rows<M>({radial, row}, {w.y + (l * l + first) * stride, stride}, begin, end, \
                 {out + (l * l + first) * out_stride + n, out_stride})
      FORCEMAP_IN_BLOCKS(2 * l + 1, first, FORCEMAP_CALL)
#undef FORCEMAP_CALL
    }
}

static void soap_coefficients(const SoapView& v, const SiteView& s, SoapWork& w) {
  const std::size_t rows = (v.l_max + 1) * (v.l_max + 1);
  if (v.plain_species) {
    for (std::size_t species = 0; species < v.species; ++species)
      soap_expand(v, w, species, w.c + species * v.n_padded, v.width);
  } else {
    for (std::size_t n = 0; n < rows * v.width; n += kLanes) put(w.c + n, all(0.0));
    for (std::size_t species = 0; species < v.species; ++species) {
      if (w.begin[species] == w.begin[species + 1]) continue;
      soap_expand(v, w, species, w.one, v.n_padded);
      for (std::size_t channel = 0; channel < v.channels; ++channel) {
        const double weight = v.weights[channel * v.species + species];
        if (weight == 0.0) continue;
        for (std::size_t lm = 0; lm < rows; ++lm)
          for (std::size_t n = 0; n < v.n_padded; n += kLanes) {
            double* c = w.c + lm * v.width + channel * v.n_padded + n;
            put(c, mad(all(weight), take(w.one + lm * v.n_padded + n), take(c)));
          }
      }
    }
  }
  // The centre itself.
  const std::size_t center = static_cast<std::size_t>(s.species);
  const double* const self = v.self + v.self_stride * center;
  for (std::size_t channel = 0; channel < v.channels; ++channel) {
    const double weight = v.self_stride != 0 ? 1.0 : v.weights[channel * v.species + center];
    for (std::size_t n = 0; n < v.n_max; ++n) w.c[channel * v.n_padded + n] += weight * self[n];
  }
}

// ---- power spectrum
// ------------------------------------------------------------------------------

// square[a][b] = sum_m c[lm][a] c[lm][b] for the b of a's vector and later ones.
static void soap_square(const SoapView& v, std::size_t l, const double* c, double* square) {
  const std::size_t width = v.width, rows = 2 * l + 1;
  const double* begin = c + l * l * width;
  for (std::size_t a = 0; a < width; a += 4)
    for (std::size_t b = a / kLanes * kLanes; b < width; b += kLanes) {
      Lanes s0 = all(0.0), s1 = s0, s2 = s0, s3 = s0;
      for (std::size_t m = 0; m < rows; ++m) {
        const double* row = begin + m * width;
        const Lanes r = take(row + b);
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

// Calls each(a, b, length) for the stored runs of one l, in the order of the packed spectrum: row a
// with columns b .. b + length - 1, the first of which is the diagonal where a == b.
template <typename Each>
FORCEMAP_INLINE void packed_rows(const SoapView& v, const Each& each) {
  for (std::size_t alpha = 0; alpha < v.channels; ++alpha)
    for (std::size_t n = 0; n < v.n_max; ++n) {
      const std::size_t a = alpha * v.n_padded + n;
      each(a, a, v.n_max - n);
      for (std::size_t beta = alpha + 1; beta < v.channels; ++beta)
        each(a, beta * v.n_padded, v.n_max);
    }
}

constexpr double kRoot2 = 1.4142135623730950488;

static void soap_density(const SoapView& v, const SiteView& s, SoapWork& w) {
  soap_neighbors(v, s, w);
  soap_radial(v, s, w);
  soap_harmonics(v, w);
  soap_coefficients(v, s, w);
  double* p = w.p;
  double square_norm = 0.0;
  for (std::size_t l = 0; l <= v.l_max; ++l) {
    soap_square(v, l, w.c, w.square);
    const double scale = 1.0 / __builtin_sqrt(static_cast<double>(2 * l + 1));
    packed_rows(v, [&](std::size_t a, std::size_t b, std::size_t length) {
      const double* row = w.square + a * v.width + b;
      const double factor = kRoot2 * scale;
      for (std::size_t n = 0; n < length; ++n) p[n] = factor * row[n];
      if (a == b) p[0] = scale * row[0];
      p += length;
    });
  }
  for (; p < w.p + v.padded_dimension; ++p) *p = 0.0;
  Lanes squares = all(0.0);
  for (std::size_t n = 0; n < v.padded_dimension; n += kLanes)
    squares = mad(take(w.p + n), take(w.p + n), squares);
  square_norm = total(squares);
  w.norm = __builtin_sqrt(square_norm);
  const Lanes inverse = all(w.norm > 0.0 ? 1.0 / w.norm : 0.0);
  for (std::size_t n = 0; n < v.padded_dimension; n += kLanes)
    put(w.p + n, take(w.p + n) * inverse);
}

// ---- energy
// --------------------------------------------------------------------------------------

// As many vectors as there are registers for, and four sites, at a time: each number that is read
// serves several products.
constexpr std::size_t kVectors = kLanes == 8 ? 4 : 2;

// Their products with the sites by fours: those of one site with four vectors, or of two sites with
// two vectors each.
constexpr std::size_t kSitesOfFour = 4 / kVectors;
constexpr std::size_t kFours = 4 / kSitesOfFour;

struct FourSites {
  const double* p[4];
  double* g[4];
  double* projections[4];
  Vec4 energy[kFours];  // parts of the sites' energies
  Vec4 along[kFours];   // parts of the sums of dE/d(scale of p)
};

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

FORCEMAP_INLINE void some_vectors(const SoapView& v, const SoapCenterView& center,
                                  std::size_t first, FourSites& sites) {
  const std::size_t size = v.padded_dimension;
  const double* const vectors = center.vectors + first * size;
  const double* const factors = center.factors + first;
  const bool kept = first < kMostProjections;
  Lanes y[kVectors][4];
  Lanes w[4][kVectors];  // dE/d(product)
  for (std::size_t k = 0; k < kVectors; ++k)
    for (int b = 0; b < 4; ++b) y[k][b] = all(0.0);
  for (std::size_t n = 0; n < size; n += kLanes) {
    Lanes a[kVectors];
#pragma GCC unroll 4
    for (std::size_t k = 0; k < kVectors; ++k) a[k] = take(vectors + k * size + n);
#pragma GCC unroll 4
    for (int b = 0; b < 4; ++b) {
      const Lanes x = take(sites.p[b] + n);
#pragma GCC unroll 4
      for (std::size_t k = 0; k < kVectors; ++k) y[k][b] = mad(a[k], x, y[k][b]);
    }
  }
  const Vec4 f = kSitesOfFour == 1 ? load(factors) : load_pair(factors);
  for (std::size_t four = 0; four < kFours; ++four) {
    const std::size_t b = four * kSitesOfFour, last = b + kSitesOfFour - 1;
    const Vec4 x = totals(y[0][b], y[1][b], y[kVectors - 2][last], y[kVectors - 1][last]);
    const Vec4 power = f * powers_below(center.power, x), slope = splat(center.power.zeta) * power;
    sites.energy[four] = fma(power, x, sites.energy[four]);
    sites.along[four] = fma(slope, x, sites.along[four]);
    double slopes[4], products[4];
    store(slopes, slope);
    store(products, x);
#pragma GCC unroll 4
    for (std::size_t n = 0; n < 4; ++n) {
      w[b + n / kVectors][n % kVectors] = all(slopes[n]);
      if (kept) sites.projections[b + n / kVectors][first + n % kVectors] = products[n];
    }
  }
  for (std::size_t n = 0; n < size; n += kLanes) {
    Lanes a[kVectors];
#pragma GCC unroll 4
    for (std::size_t k = 0; k < kVectors; ++k) a[k] = take(vectors + k * size + n);
#pragma GCC unroll 4
    for (int b = 0; b < 4; ++b) {
      Lanes sum = take(sites.g[b] + n);
#pragma GCC unroll 4
      for (std::size_t k = 0; k < kVectors; ++k) sum = mad(w[b][k], a[k], sum);
      put(sites.g[b] + n, sum);
    }
  }
}

// Back through the normalisation of p: g becomes dE/d(p before it), where `along` is p . g.
FORCEMAP_INLINE void denormalise(const SoapView& v, const SoapWork& w, double along, double* g) {
  const Lanes inverse = all(w.norm > 0.0 ? 1.0 / w.norm : 0.0), part = all(along);
  for (std::size_t n = 0; n < v.padded_dimension; n += kLanes)
    put(g + n, (take(g + n) - part * take(w.p + n)) * inverse);
}

// Four sites at a time. With more sites blocks of vectors stay in the second-level cache, so that
// each vector is read once for all of them from where it lies.
static void soap_energies(const SoapView& v, const SoapCenterView& center, SoapWork* const* works,
                          std::size_t count, double* const* energies) {
  constexpr std::size_t in_cache = 16384;  // doubles
  const std::size_t size = v.padded_dimension;
  FourSites groups[kSoapSites / 4]{};
  const std::size_t fours = (count + 3) / 4;
  for (std::size_t n = 0; n < 4 * fours; ++n) {
    FourSites& sites = groups[n / 4];
    // Missing sites repeat the last one; their answer goes to a spare array.
    SoapWork& w = *works[n < count ? n : count - 1];
    const std::size_t b = n % 4;
    sites.p[b] = w.p;
    sites.g[b] = n < count ? w.g : works[0]->spare;
    sites.projections[b] = w.projections;
    for (std::size_t k = 0; k < size; k += kLanes) put(sites.g[b] + k, all(0.0));
  }
  const std::size_t some = in_cache / size / kVectors * kVectors;
  const std::size_t block = fours == 1 ? center.count : some < kVectors ? kVectors : some;
  for (std::size_t first = 0; first < center.count; first += block) {
    const std::size_t last = first + block < center.count ? first + block : center.count;
    for (std::size_t n = 0; n < fours; ++n)
      for (std::size_t k = first; k < last; k += kVectors) some_vectors(v, center, k, groups[n]);
  }
  for (std::size_t n = 0; n < count; ++n) {
    const FourSites& sites = groups[n / 4];
    *energies[n] += part_of(sites.energy, n % 4) - center.constant;
    denormalise(v, *works[n], part_of(sites.along, n % 4), works[n]->g);
  }
}

// ---- forces
// --------------------------------------------------------------------------------------

// dE/dc from dE/dp: for each l a symmetric matrix times the coefficients.
static void soap_adjoint(const SoapView& v, const SoapWork& w, const double* g, double* adjoint) {
  const std::size_t width = v.width;
  for (std::size_t n = 0; n < width * width; n += kLanes) put(w.square + n, all(0.0));
  for (std::size_t l = 0; l <= v.l_max; ++l) {
    const double scale = 1.0 / __builtin_sqrt(static_cast<double>(2 * l + 1));
    packed_rows(v, [&](std::size_t a, std::size_t b, std::size_t length) {
      double* row = w.square + a * width + b;
      const double factor = kRoot2 * scale;
      for (std::size_t n = 0; n < length; ++n) row[n] = factor * g[n];
      if (a == b) row[0] = 2.0 * scale * g[0];
      double* column = w.square + b * width + a;
      for (std::size_t n = 0; n < length; ++n) column[n * width] = row[n];
      g += length;
    });
    const double* c = w.c + l * l * width;
    for (std::size_t q = 0; q < width; q += kLanes) {
      double* out = adjoint + l * l * width + q;
#define FORCEMAP_CALL(M) \
  multiply_rows<M>(c + first * width, width, w.square + q, width, out + first * width)
      FORCEMAP_IN_BLOCKS(2 * l + 1, first, FORCEMAP_CALL)
#undef FORCEMAP_CALL
    }
  }
}

struct SoapPull {
  Lanes x, y, z, r;
};

// Forces on two neighbours from dE/dc of their species, one vector of radial functions.
FORCEMAP_INLINE void pull_two(const SoapView& v, const SoapWork& w,
                              const SoapRows<const double>& adjoint, std::size_t n, std::size_t j,
                              SoapPull& first, SoapPull& second) {
  const std::size_t stride = w.padded, row = (v.l_max + 1) * v.n_padded;
  const double *y = w.y + j, *yx = w.yx + j, *yy = w.yy + j, *yz = w.yz + j;
  const double* a = adjoint.first + n;
  for (std::size_t l = 0; l <= v.l_max; ++l) {
    Lanes r0 = all(0.0), x0 = r0, y0 = r0, z0 = r0, r1 = r0, x1 = r0, y1 = r0, z1 = r0;
    for (std::size_t m = 0; m < 2 * l + 1; ++m) {
      const Lanes c = take(a);
      r0 = mad(c, all(y[0]), r0);
      r1 = mad(c, all(y[1]), r1);
      x0 = mad(c, all(yx[0]), x0);
      x1 = mad(c, all(yx[1]), x1);
      y0 = mad(c, all(yy[0]), y0);
      y1 = mad(c, all(yy[1]), y1);
      z0 = mad(c, all(yz[0]), z0);
      z1 = mad(c, all(yz[1]), z1);
      a += adjoint.stride;
      y += stride;
      yx += stride;
      yy += stride;
      yz += stride;
    }
    const std::size_t at = j * row + l * v.n_padded + n;
    const Lanes value0 = take(w.value + at), value1 = take(w.value + at + row);
    first.r = mad(take(w.slope + at), r0, first.r);
    second.r = mad(take(w.slope + at + row), r1, second.r);
    first.x = mad(value0, x0, first.x);
    second.x = mad(value1, x1, second.x);
    first.y = mad(value0, y0, first.y);
    second.y = mad(value1, y1, second.y);
    first.z = mad(value0, z0, first.z);
    second.z = mad(value1, z1, second.z);
  }
}

FORCEMAP_INLINE void add_pull(const SiteView& s, const SoapWork& w, std::size_t j,
                              const SoapPull& pull) {
  const std::size_t n = static_cast<std::size_t>(w.slot[j]);
  const double along = total(pull.r), inverse = w.inverse_r[j];
  s.gx[n] += along * w.ux[j] + inverse * total(pull.x);
  s.gy[n] += along * w.uy[j] + inverse * total(pull.y);
  s.gz[n] += along * w.uz[j] + inverse * total(pull.z);
}

// dE/dc of the channels as that of one species' neighbours: rows of n_padded at `out`.
static void soap_adjoint_of(const SoapView& v, std::size_t species, const double* adjoint,
                            double* out) {
  const std::size_t rows = (v.l_max + 1) * (v.l_max + 1);
  for (std::size_t n = 0; n < rows * v.n_padded; n += kLanes) put(out + n, all(0.0));
  for (std::size_t channel = 0; channel < v.channels; ++channel) {
    const double weight = v.weights[channel * v.species + species];
    if (weight == 0.0) continue;
    for (std::size_t lm = 0; lm < rows; ++lm)
      for (std::size_t n = 0; n < v.n_padded; n += kLanes) {
        double* one = out + lm * v.n_padded + n;
        put(one,
            mad(all(weight), take(adjoint + lm * v.width + channel * v.n_padded + n), take(one)));
      }
  }
}

// Forces on the neighbours [begin, end) of one species from dE/dc of that species.
FORCEMAP_INLINE void pull_species(const SoapView& v, const SiteView& s, const SoapWork& w,
                                  const SoapRows<const double>& adjoint, std::size_t begin,
                                  std::size_t end) {
  const Lanes zero = all(0.0);
  for (std::size_t j = begin; j < end; j += 2) {
    SoapPull first{zero, zero, zero, zero}, second = first;
    // Past the last neighbour stands another species' or a weightless one: computed, not used.
    // Where the arrays end there, the last one is done twice.
    const std::size_t at = j + 1 < w.padded || j == 0 ? j : j - 1;
    for (std::size_t n = 0; n < v.n_padded; n += kLanes)
      pull_two(v, w, adjoint, n, at, first, second);
    if (at == j) {
      add_pull(s, w, j, first);
      if (j + 1 < end) add_pull(s, w, j + 1, second);
    } else {
      add_pull(s, w, j, second);
    }
  }
}

static void soap_forces(const SoapView& v, const SiteView& s, SoapWork& w) {
  soap_adjoint(v, w, w.g, w.adjoint);
  for (std::size_t species = 0; species < v.species; ++species) {
    const std::size_t begin = w.begin[species], end = w.begin[species + 1];
    if (begin == end) continue;
    const double* adjoint = w.adjoint + species * v.n_padded;
    std::size_t stride = v.width;
    if (!v.plain_species) {
      soap_adjoint_of(v, species, w.adjoint, w.one);
      adjoint = w.one;
      stride = v.n_padded;
    }
    pull_species(v, s, w, {adjoint, stride}, begin, end);
  }
}

}  // namespace FORCEMAP_LOOPS
}  // namespace forcemap
