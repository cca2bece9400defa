// Products of fields on the sphere: energy and forces in reverse mode. Included by site_loops.ipp
// after soap_loops.ipp, whose neighbours, radial functions, harmonics and pulls serve here too.
//
// The field of a channel and an l at a point u of the sphere is sum_m c[lm] Y_lm(u); products of
// fields are summed at the points, in the lanes, which no rotation of the atoms changes but by
// rounding: the sums over the points are exact.
//
// In single precision the sum of the coefficients' squares, energies once a vector of lanes is
// summed, and dE/dc until it has gone back through the scaling of the coefficients are doubles.

namespace forcemap {
namespace FORCEMAP_LOOPS {

// Divides the coefficients by the root of `offset` and their squares; returns its inverse.
template <typename Number>
FORCEMAP_INLINE double scale_coefficients(const SoapViewOf<Number>& v, double offset,
                                          SoapWorkOf<Number>& w) {
  const std::size_t size = (v.l_max + 1) * (v.l_max + 1) * v.width;
  LanesOf<Number> squares = spread<Number>(0.0);
  for (std::size_t n = 0; n < size; n += kLanesOf<Number>)
    squares = mad(take(w.c + n), take(w.c + n), squares);
  const double inverse = 1.0 / __builtin_sqrt(offset + total(squares));
  const LanesOf<Number> factor = spread<Number>(inverse);
  for (std::size_t n = 0; n < size; n += kLanesOf<Number>) put(w.c + n, factor * take(w.c + n));
  return inverse;
}

// Numbers at the points of a group: each factor serves all of them.
template <typename Number>
struct Points {
  LanesOf<Number> of[kPointVectors];
};

template <typename Number>
constexpr std::size_t kPointsOf = kPointVectors * kLanesOf<Number>;

template <typename Number>
FORCEMAP_INLINE Points<Number> points_of(Number s) {
  Points<Number> p;
  for (std::size_t n = 0; n < kPointVectors; ++n) p.of[n] = all(s);
  return p;
}

template <typename Number>
FORCEMAP_INLINE Points<Number> take_points(const Number* from) {
  Points<Number> p;
  for (std::size_t n = 0; n < kPointVectors; ++n) p.of[n] = take(from + n * kLanesOf<Number>);
  return p;
}

template <typename Number>
FORCEMAP_INLINE void put_points(Number* to, const Points<Number>& p) {
  for (std::size_t n = 0; n < kPointVectors; ++n) put(to + n * kLanesOf<Number>, p.of[n]);
}

// a b + c, b in memory
template <typename Number>
FORCEMAP_INLINE void add_product(LanesOf<Number> a, const Number* b, Points<Number>& c) {
#pragma GCC unroll 4
  for (std::size_t n = 0; n < kPointVectors; ++n)
    c.of[n] = mad(a, take(b + n * kLanesOf<Number>), c.of[n]);
}

template <typename Number>
FORCEMAP_INLINE void add_product(const Points<Number>& a, const Number* b, Points<Number>& c) {
#pragma GCC unroll 4
  for (std::size_t n = 0; n < kPointVectors; ++n)
    c.of[n] = mad(a.of[n], take(b + n * kLanesOf<Number>), c.of[n]);
}

// The fields of all channels at the points of a group, and their pairs.
template <typename Number>
FORCEMAP_INLINE void parts_of(const SoapViewOf<Number>& v, const FieldsViewOf<Number>& f,
                              const SoapWorkOf<Number>& w, std::size_t first, Number* parts) {
  constexpr std::size_t step = kPointsOf<Number>;
  Number* out = parts;
  for (std::size_t l = 0; l <= v.l_max; ++l)
    for (std::size_t k = 0; k < v.n_max; ++k, out += step) {
      Points<Number> sum = points_of<Number>(0);
      for (std::size_t lm = l * l; lm < (l + 1) * (l + 1); ++lm)
        add_product(all(w.c[lm * v.width + k]), f.harmonics + lm * f.padded + first, sum);
      put_points(out, sum);
    }
  const int* pair = f.parts.pairs;
  for (std::size_t n = f.parts.fields; n < f.parts.count; ++n, pair += 2, out += step) {
    const Points<Number> a = take_points(parts + static_cast<std::size_t>(pair[0]) * step);
    Points<Number> product = points_of<Number>(0);
    add_product(a, parts + static_cast<std::size_t>(pair[1]) * step, product);
    put_points(out, product);
  }
}

// The derivative of the sum of all products by one part, but for the parts that it is itself in:
// `end` is where those of the parts before it end. Adds the part's share to `energy`, twice.
template <typename Number>
FORCEMAP_INLINE Points<Number> slope_of(const PartsView& of, const ProductsViewOf<Number>& p,
                                        const Number* parts, std::size_t part, int& end,
                                        Points<Number>& energy) {
  constexpr std::size_t step = kPointsOf<Number>;
  const Points<Number> alone = points_of(p.alone[part]);
  Points<Number> slope = alone;
  int at = end;
  end = of.partners_end[part];
  for (; at < end; ++at)
    add_product(all(p.factors[at]), parts + static_cast<std::size_t>(of.partners[at]) * step,
                slope);
  Points<Number> both;
  for (std::size_t n = 0; n < kPointVectors; ++n) both.of[n] = alone.of[n] + slope.of[n];
  add_product(both, parts + part * step, energy);
  return slope;
}

// Twice the sum of the products at the points of a group, and its slopes by the fields, times
// `weights` of the points.
template <typename Number>
FORCEMAP_INLINE Points<Number> products_at(const PartsView& of, const ProductsViewOf<Number>& p,
                                           const Number* weights, const Number* parts,
                                           Number* slopes) {
  constexpr std::size_t step = kPointsOf<Number>;
  Points<Number> energy = points_of<Number>(0);
  int end = of.partners_end[of.fields - 1];
  for (std::size_t n = of.fields; n < of.count; ++n)
    put_points(slopes + n * step, slope_of(of, p, parts, n, end, energy));
  end = 0;
  int at = 0;
  for (std::size_t n = 0; n < of.fields; ++n) {
    Points<Number> slope = slope_of(of, p, parts, n, end, energy);
    for (; at < of.shares_end[n]; ++at) {
      const int* const share = of.shares + 2 * at;
      const Points<Number> by_pair =
          take_points(slopes + static_cast<std::size_t>(share[0]) * step);
      add_product(by_pair, parts + static_cast<std::size_t>(share[1]) * step, slope);
    }
    for (std::size_t k = 0; k < kPointVectors; ++k)
      slope.of[k] = slope.of[k] * take(weights + k * kLanesOf<Number>);
    put_points(slopes + n * step, slope);
  }
  return energy;
}

// dE/dc from the slopes by the fields at the points, back through the scaling of the coefficients.
template <typename Number>
FORCEMAP_INLINE void fields_adjoint(const SoapViewOf<Number>& v, const FieldsViewOf<Number>& f,
                                    double inverse, const FieldsWorkOf<Number>& room,
                                    SoapWorkOf<Number>& w) {
  constexpr std::size_t step = kPointsOf<Number>;
  const std::size_t rows = (v.l_max + 1) * (v.l_max + 1), count = rows * v.n_max;
  // Four coefficients, (lm, k) in turn, at a time; behind the last they repeat it.
  std::size_t l = 0, lm = 0, k = 0;
  for (std::size_t n = 0; n < count; n += 4) {
    const Number *harmonic[4], *slope[4];
    for (std::size_t e = 0; e < 4; ++e) {
      harmonic[e] = f.harmonics + lm * f.padded;
      slope[e] = room.slopes + (l * v.n_max + k) * step;
      if (n + e + 1 >= count) continue;
      if (++k < v.n_max) continue;
      k = 0;
      if (++lm == (l + 1) * (l + 1)) ++l;
    }
    LanesOf<Number> sums_of[4];
    for (std::size_t e = 0; e < 4; ++e) sums_of[e] = spread<Number>(0.0);
    for (std::size_t q = 0; q < f.padded; q += step)
      for (std::size_t e = 0; e < 4; ++e) {
        const Number *const from = harmonic[e] + q, *const by = slope[e] + q * f.parts.count;
#pragma GCC unroll 4
        for (std::size_t u = 0; u < step; u += kLanesOf<Number>)
          sums_of[e] = mad(take(by + u), take(from + u), sums_of[e]);
      }
    store(room.adjoint + n, totals(sums_of[0], sums_of[1], sums_of[2], sums_of[3]));
  }
  double along = 0.0;
  const double* from = room.adjoint;
  for (lm = 0; lm < rows; ++lm)
    for (k = 0; k < v.n_max; ++k) along += *from++ * static_cast<double>(w.c[lm * v.width + k]);
  from = room.adjoint;
  for (lm = 0; lm < rows; ++lm)
    for (k = 0; k < v.n_max; ++k) {
      const double c = static_cast<double>(w.c[lm * v.width + k]);
      w.adjoint[lm * v.width + k] = static_cast<Number>(inverse * (*from++ - along * c));
    }
}

template <typename Number>
static double site_fields(const SoapViewOf<Number>& v, const FieldsViewOf<Number>& f,
                          const SiteView& s, SoapWorkOf<Number>& w,
                          const FieldsWorkOf<Number>& room, double* powers) {
  soap_neighbors(v, s, w);
  soap_radial<false>(v, s, w);
  soap_harmonics(v, w);
  soap_coefficients(v, s, w);
  const double factor = scale_coefficients(v, f.offset, w);
  if (powers)
    for (std::size_t l = 0; l <= v.l_max; ++l)
      for (std::size_t k = 0; k < v.n_max; ++k) {
        double sum = 0.0;
        for (std::size_t lm = l * l; lm < (l + 1) * (l + 1); ++lm) {
          const double c = static_cast<double>(w.c[lm * v.width + k]);
          sum += c * c;
        }
        *powers++ = sum;
      }
  for (std::size_t q = 0; q < f.padded; q += kPointsOf<Number>)
    parts_of(v, f, w, q, room.parts + q * f.parts.count);
  return factor;
}

template <typename Number>
static double field_products(const SoapViewOf<Number>& v, const FieldsViewOf<Number>& f,
                             const ProductsViewOf<Number>& products, const SiteView& s,
                             double factor, SoapWorkOf<Number>& w,
                             const FieldsWorkOf<Number>& room) {
  LanesOf<Number> twice = spread<Number>(0.0);
  for (std::size_t q = 0; q < f.padded; q += kPointsOf<Number>) {
    const std::size_t at = q * f.parts.count;
    const Points<Number> sums =
        products_at(f.parts, products, f.weights + q, room.parts + at, room.slopes + at);
    for (std::size_t k = 0; k < kPointVectors; ++k)
      twice = mad(take(f.weights + q + k * kLanesOf<Number>), sums.of[k], twice);
  }
  fields_adjoint(v, f, factor, room, w);
  if (w.count > 0) pull_species(v, s, w, SoapRows<const Number>{w.adjoint, v.width}, 0, w.count);
  return 0.5 * total(twice);
}

}  // namespace FORCEMAP_LOOPS
}  // namespace forcemap
