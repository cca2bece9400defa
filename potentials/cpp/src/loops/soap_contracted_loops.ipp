// Contracted spectra: channels are sums of the species' radial functions, a spectrum products of
// chosen pairs of channels. Included by site_loops.ipp after soap_loops.ipp, whose neighbours,
// radial functions, harmonics and pulls serve here too.

namespace forcemap {
namespace FORCEMAP_LOOPS {

// out[m][q] += sum_a rows[m][a] matrix[a][q] for M rows and one vector of columns.
template <int M, typename Number>
FORCEMAP_INLINE void add_rows_times(const SoapRows<const Number>& rows, std::size_t count,
                                    const SoapRows<const Number>& matrix,
                                    const SoapRows<Number>& out) {
  LanesOf<Number> sums_of[M];
  for (int m = 0; m < M; ++m)
    sums_of[m] = take(out.first + static_cast<std::size_t>(m) * out.stride);
  for (std::size_t a = 0; a < count; ++a) {
    const LanesOf<Number> v = take(matrix.first + a * matrix.stride);
#pragma GCC unroll 8
    for (int m = 0; m < M; ++m)
      sums_of[m] =
          mad(v, all(rows.first[static_cast<std::size_t>(m) * rows.stride + a]), sums_of[m]);
  }
  for (int m = 0; m < M; ++m) put(out.first + static_cast<std::size_t>(m) * out.stride, sums_of[m]);
}

template <typename Number>
static void contracted_coefficients(const SoapViewOf<Number>& v,
                                    const SoapContractionViewOf<Number>& mix, const SiteView& s,
                                    SoapWorkOf<Number>& w) {
  const std::size_t rows = (v.l_max + 1) * (v.l_max + 1);
  for (std::size_t n = 0; n < rows * v.width; n += kLanesOf<Number>)
    put(w.c + n, spread<Number>(0.0));
  for (std::size_t species = 0; species < v.species; ++species) {
    if (w.begin[species] == w.begin[species + 1]) continue;
    soap_expand(v, w, species, w.one, v.n_padded);
    for (std::size_t q = mix.begin[species]; q < mix.end[species]; q += kLanesOf<Number>) {
      const Number* matrix = mix.mixing + species * v.n_max * v.width + q;
#define FORCEMAP_CALL(M)                                                                          \
  add_rows_times<M, Number>({w.one + first * v.n_padded, v.n_padded}, v.n_max, {matrix, v.width}, \
                            {w.c + first * v.width + q, v.width})
      FORCEMAP_IN_BLOCKS(rows, first, FORCEMAP_CALL)
#undef FORCEMAP_CALL
    }
  }
  const Number* self = mix.self + static_cast<std::size_t>(s.species) * v.width;
  for (std::size_t q = 0; q < v.width; q += kLanesOf<Number>)
    put(w.c + q, take(w.c + q) + take(self + q));
}

template <typename Number>
static void contracted_density(const SoapViewOf<Number>& v,
                               const SoapContractionViewOf<Number>& mix, const SiteView& s,
                               SoapWorkOf<Number>& w) {
  soap_neighbors(v, s, w);
  soap_radial<false>(v, s, w);
  soap_harmonics(v, w);
  contracted_coefficients(v, mix, s, w);
  // Runs are written in their order by whole vectors: what a vector writes past the end of a run is
  // where the next one begins, or behind the spectrum.
  Number* p = w.p;
  for (std::size_t l = 0; l <= v.l_max; ++l) {
    const Number* const c = w.c + l * l * v.width;
    for (std::size_t r = 0; r < mix.run_count; ++r) {
      const SoapRun& run = mix.runs[r];
      for (std::size_t n = 0; n < run.length; n += kLanesOf<Number>) {
        const Number* a = c + run.a + n * run.step;
        const Number* b = c + run.b + n;
        LanesOf<Number> sum_of = spread<Number>(0.0);
        for (std::size_t m = 0; m < 2 * l + 1; ++m, a += v.width, b += v.width)
          sum_of = mad(run.step ? take(a) : all(*a), take(b), sum_of);
        put(p + n, sum_of);
      }
      p += run.length;
    }
  }
  for (std::size_t n = 0; n < kLanesOf<Number>; ++n) p[n] = 0;
  for (std::size_t n = 0; n < v.padded_dimension; n += kLanesOf<Number>)
    put(w.p + n, take(w.p + n) * take(mix.scale + n));
  normalise(v, w);
}

// dE/dc of the channels from dE/dp.
template <typename Number>
static void contracted_adjoint(const SoapViewOf<Number>& v,
                               const SoapContractionViewOf<Number>& mix, SoapWorkOf<Number>& w) {
  const std::size_t rows = (v.l_max + 1) * (v.l_max + 1);
  for (std::size_t n = 0; n < rows * v.width; n += kLanesOf<Number>)
    put(w.adjoint + n, spread<Number>(0.0));
  std::size_t at = 0;
  Number* const h = w.square;  // slopes of a run's products, with zeros up to whole vectors
  for (std::size_t l = 0; l <= v.l_max; ++l) {
    const Number* const c = w.c + l * l * v.width;
    Number* const to = w.adjoint + l * l * v.width;
    for (std::size_t r = 0; r < mix.run_count; ++r) {
      const SoapRun& run = mix.runs[r];
      for (std::size_t n = 0; n < run.length; n += kLanesOf<Number>)
        put(h + n, take(w.g + at + n) * take(mix.scale + at + n));
      for (std::size_t n = run.length; n % kLanesOf<Number> != 0; ++n) h[n] = 0;
      for (std::size_t m = 0; m < 2 * l + 1; ++m) {
        const Number* const a = c + m * v.width + run.a;
        const Number* const b = c + m * v.width + run.b;
        Number* const to_a = to + m * v.width + run.a;
        Number* const to_b = to + m * v.width + run.b;
        if (run.step) {
          for (std::size_t n = 0; n < run.length; n += kLanesOf<Number>) {
            const LanesOf<Number> slope = take(h + n);
            put(to_a + n, mad(slope, take(b + n), take(to_a + n)));
            put(to_b + n, mad(slope, take(a + n), take(to_b + n)));
          }
        } else {
          LanesOf<Number> along = spread<Number>(0.0);
          const LanesOf<Number> one = all(*a);
          for (std::size_t n = 0; n < run.length; n += kLanesOf<Number>) {
            const LanesOf<Number> slope = take(h + n);
            along = mad(slope, take(b + n), along);
            put(to_b + n, mad(slope, one, take(to_b + n)));
          }
          *to_a += static_cast<Number>(total(along));
        }
      }
      at += run.length;
    }
  }
}

template <typename Number>
static void contracted_forces(const SoapViewOf<Number>& v, const SoapContractionViewOf<Number>& mix,
                              const SiteView& s, SoapWorkOf<Number>& w) {
  const std::size_t rows = (v.l_max + 1) * (v.l_max + 1);
  contracted_adjoint(v, mix, w);
  for (std::size_t species = 0; species < v.species; ++species) {
    const std::size_t begin = w.begin[species], end = w.begin[species + 1];
    if (begin == end) continue;
    const std::size_t first_channel = mix.begin[species];
    for (std::size_t n = 0; n < rows * v.n_padded; n += kLanesOf<Number>)
      put(w.one + n, spread<Number>(0.0));
    for (std::size_t n = 0; n < v.n_padded; n += kLanesOf<Number>) {
      const Number* matrix = mix.back + (species * v.width + first_channel) * v.n_padded + n;
#define FORCEMAP_CALL(M)                                                            \
  add_rows_times<M, Number>({w.adjoint + first * v.width + first_channel, v.width}, \
                            mix.end[species] - first_channel, {matrix, v.n_padded}, \
                            {w.one + first * v.n_padded + n, v.n_padded})
      FORCEMAP_IN_BLOCKS(rows, first, FORCEMAP_CALL)
#undef FORCEMAP_CALL
    }
    pull_species(v, s, w, SoapRows<const Number>{w.one, v.n_padded}, begin, end);
  }
}

}  // namespace FORCEMAP_LOOPS
}  // namespace forcemap
