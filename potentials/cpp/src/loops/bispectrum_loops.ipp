// Products of fields on the sphere: energy and forces in reverse mode. Included by site_loops.ipp
// after soap_loops.ipp, whose neighbours, radial functions, harmonics and pulls serve here too.
//
// The field of a channel and an l at a point u of the sphere is sum_m c[lm] Y_lm(u); products of
// fields are summed at the points, in the lanes, which no rotation of the atoms changes but by
// rounding: the sums over the points are exact.

namespace forcemap {
namespace FORCEMAP_LOOPS {

// Divides the coefficients by the root of `offset` and their squares; returns its inverse.
FORCEMAP_INLINE double scale_coefficients(const SoapView& v, double offset, SoapWork& w) {
  const std::size_t size = (v.l_max + 1) * (v.l_max + 1) * v.width;
  Lanes squares = all(0.0);
  for (std::size_t n = 0; n < size; n += kLanes)
    squares = mad(take(w.c + n), take(w.c + n), squares);
  const double inverse = 1.0 / __builtin_sqrt(offset + total(squares));
  const Lanes factor = all(inverse);
  for (std::size_t n = 0; n < size; n += kLanes) put(w.c + n, factor * take(w.c + n));
  return inverse;
}

// The fields of all channels at the points.
FORCEMAP_INLINE void fields_of(const SoapView& v, const FieldsView& f, const SoapWork& w,
                               double* out) {
  for (std::size_t l = 0; l <= v.l_max; ++l)
    for (std::size_t k = 0; k < v.n_max; ++k, out += f.padded)
      for (std::size_t q = 0; q < f.padded; q += kLanes) {
        Lanes sum = all(0.0);
        for (std::size_t lm = l * l; lm < (l + 1) * (l + 1); ++lm)
          sum = mad(all(w.c[lm * v.width + k]), take(f.harmonics + lm * f.padded + q), sum);
        put(out + q, sum);
      }
}

// Vectors of points that are evaluated together: each number of the tree serves all of them.
constexpr std::size_t kPoints = kLanes == 8 ? 4 : 2;  // AVX-512 has 32 registers

struct Points {
  Lanes of[kPoints];
};

FORCEMAP_INLINE Points points_of(double s) {
  Points p;
  for (std::size_t n = 0; n < kPoints; ++n) p.of[n] = all(s);
  return p;
}

// a b + c
FORCEMAP_INLINE void add_product(const Points& a, const Points& b, Points& c) {
#pragma GCC unroll 4
  for (std::size_t n = 0; n < kPoints; ++n) c.of[n] = mad(a.of[n], b.of[n], c.of[n]);
}

FORCEMAP_INLINE void add_product(Lanes a, const Points& b, Points& c) {
#pragma GCC unroll 4
  for (std::size_t n = 0; n < kPoints; ++n) c.of[n] = mad(a, b.of[n], c.of[n]);
}

FORCEMAP_INLINE Points product(const Points& a, const Points& b) {
  Points p;
#pragma GCC unroll 4
  for (std::size_t n = 0; n < kPoints; ++n) p.of[n] = a.of[n] * b.of[n];
  return p;
}

// The sum of the products at some points, and its slopes by the fields (added).
FORCEMAP_INLINE Points products_at(const ProductsView& p, const Points* field, Points* slope) {
  const ProductNode* const nodes = p.nodes;
  Points sum = points_of(0.0);
  for (int a = 0; a < p.count;) {
    const ProductNode& first = nodes[a];
    const Points fa = field[first.field];
    Points of_a = points_of(first.factor);
    for (int b = a + 1; b < first.end;) {
      const ProductNode& second = nodes[b];
      const Points fb = field[second.field], two = product(fa, fb);
      Points of_b = points_of(second.factor);
      for (int c = b + 1; c < second.end;) {
        const ProductNode& third = nodes[c];
        const Points fc = field[third.field];
        Points of_c = points_of(third.factor);
        if (c + 1 < third.end) {
          const Points three = product(two, fc);
          for (int d = c + 1; d < third.end; ++d) {
            const Lanes factor = all(nodes[d].factor);
            add_product(factor, field[nodes[d].field], of_c);
            add_product(factor, three, slope[nodes[d].field]);
          }
        }
        add_product(of_c, fc, of_b);
        add_product(of_c, two, slope[third.field]);
        c = third.end;
      }
      add_product(of_b, fb, of_a);
      add_product(of_b, fa, slope[second.field]);
      b = second.end;
    }
    add_product(of_a, fa, sum);
    for (std::size_t n = 0; n < kPoints; ++n)
      slope[first.field].of[n] = slope[first.field].of[n] + of_a.of[n];
    a = first.end;
  }
  return sum;
}

// dE/dc from the slopes by the fields at the points, back through the scaling of the coefficients.
FORCEMAP_INLINE void fields_adjoint(const SoapView& v, const FieldsView& f, double inverse,
                                    const double* slopes, SoapWork& w) {
  const std::size_t size = (v.l_max + 1) * (v.l_max + 1) * v.width;
  for (std::size_t n = 0; n < size; n += kLanes) put(w.adjoint + n, all(0.0));
  for (std::size_t l = 0; l <= v.l_max; ++l)
    for (std::size_t k = 0; k < v.n_max; ++k, slopes += f.padded)
      for (std::size_t lm = l * l; lm < (l + 1) * (l + 1); ++lm) {
        Lanes sum = all(0.0);
        for (std::size_t q = 0; q < f.padded; q += kLanes)
          sum = mad(take(slopes + q), take(f.harmonics + lm * f.padded + q), sum);
        w.adjoint[lm * v.width + k] = total(sum);
      }
  Lanes along = all(0.0);
  for (std::size_t n = 0; n < size; n += kLanes)
    along = mad(take(w.adjoint + n), take(w.c + n), along);
  const Lanes part = all(total(along)), factor = all(inverse);
  for (std::size_t n = 0; n < size; n += kLanes)
    put(w.adjoint + n, factor * (take(w.adjoint + n) - part * take(w.c + n)));
}

static double site_fields(const SoapView& v, const FieldsView& f, const SiteView& s, SoapWork& w,
                          const FieldsWork& room, double* powers) {
  soap_neighbors(v, s, w);
  soap_radial<false>(v, s, w);
  soap_harmonics(v, w);
  soap_coefficients(v, s, w);
  const double factor = scale_coefficients(v, f.offset, w);
  if (powers)
    for (std::size_t l = 0; l <= v.l_max; ++l)
      for (std::size_t k = 0; k < v.n_max; ++k) {
        double sum = 0.0;
        for (std::size_t lm = l * l; lm < (l + 1) * (l + 1); ++lm)
          sum += w.c[lm * v.width + k] * w.c[lm * v.width + k];
        *powers++ = sum;
      }
  fields_of(v, f, w, room.fields);
  return factor;
}

static double field_products(const SoapView& v, const FieldsView& f, const ProductsView& products,
                             const SiteView& s, double factor, SoapWork& w,
                             const FieldsWork& room) {
  const std::size_t count = (v.l_max + 1) * v.n_max;
  Points field[kMostFields], slope[kMostFields];
  Lanes energy = all(0.0);
  for (std::size_t q = 0; q < f.padded; q += kPoints * kLanes) {
    for (std::size_t n = 0; n < count; ++n) {
      for (std::size_t k = 0; k < kPoints; ++k)
        field[n].of[k] = take(room.fields + n * f.padded + q + k * kLanes);
      slope[n] = points_of(0.0);
    }
    const Points sums = products_at(products, field, slope);
    for (std::size_t k = 0; k < kPoints; ++k) {
      const Lanes weight = take(f.weights + q + k * kLanes);
      energy = mad(weight, sums.of[k], energy);
      for (std::size_t n = 0; n < count; ++n)
        put(room.slopes + n * f.padded + q + k * kLanes, weight * slope[n].of[k]);
    }
  }
  fields_adjoint(v, f, factor, room.slopes, w);
  if (w.count > 0) pull_species(v, s, w, SoapRows<const double>{w.adjoint, v.width}, 0, w.count);
  return total(energy);
}

}  // namespace FORCEMAP_LOOPS
}  // namespace forcemap
