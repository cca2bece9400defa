// Contracted spectra: channels are sums of the species' radial functions, a spectrum products of
// chosen pairs of channels. Included by site_loops.ipp after soap_loops.ipp, whose neighbours,
// radial functions, harmonics and pulls serve here too.

namespace forcemap {
namespace FORCEMAP_LOOPS {

// out[m][q] += sum_a rows[m][a] matrix[a][q] for M rows and one vector of columns.
template <int M>
FORCEMAP_INLINE void add_rows_times(const SoapRows<const double>& rows, std::size_t count,
                                    const SoapRows<const double>& matrix,
                                    const SoapRows<double>& out) {
  Lanes sums_of[M];
  for (int m = 0; m < M; ++m)
    sums_of[m] = take(out.first + static_cast<std::size_t>(m) * out.stride);
  for (std::size_t a = 0; a < count; ++a) {
    const Lanes v = take(matrix.first + a * matrix.stride);
#pragma GCC unroll 8
    for (int m = 0; m < M; ++m)
      sums_of[m] =
          mad(v, all(rows.first[static_cast<std::size_t>(m) * rows.stride + a]), sums_of[m]);
  }
  for (int m = 0; m < M; ++m) put(out.first + static_cast<std::size_t>(m) * out.stride, sums_of[m]);
}

static void contracted_coefficients(const SoapView& v, const SoapContractionView& mix,
                                    const SiteView& s, SoapWork& w) {
  const std::size_t rows = (v.l_max + 1) * (v.l_max + 1);
  for (std::size_t n = 0; n < rows * v.width; n += kLanes) put(w.c + n, all(0.0));
  for (std::size_t species = 0; species < v.species; ++species) {
    if (w.begin[species] == w.begin[species + 1]) continue;
    soap_expand(v, w, species, w.one, v.n_padded);
    for (std::size_t q = mix.begin[species]; q < mix.end[species]; q += kLanes) {
      const double* matrix = mix.mixing + species * v.n_max * v.width + q;
#define FORCEMAP_CALL(M)                                                                  \
  add_rows_times<M>({w.one + first * v.n_padded, v.n_padded}, v.n_max, {matrix, v.width}, \
                    {w.c + first * v.width + q, v.width})
      FORCEMAP_IN_BLOCKS(rows, first, FORCEMAP_CALL)
#undef FORCEMAP_CALL
    }
  }
  const double* self = mix.self + static_cast<std::size_t>(s.species) * v.width;
  for (std::size_t q = 0; q < v.width; q += kLanes) put(w.c + q, take(w.c + q) + take(self + q));
}

static void contracted_density(const SoapView& v, const SoapContractionView& mix, const SiteView& s,
                               SoapWork& w) {
  soap_neighbors(v, s, w);
  soap_radial(v, s, w);
  soap_harmonics(v, w);
  contracted_coefficients(v, mix, s, w);
  // Runs are written in their order by whole vectors: what a vector writes past the end of a run is
  // where the next one begins, or behind the spectrum.
  double* p = w.p;
  for (std::size_t l = 0; l <= v.l_max; ++l) {
    const double* const c = w.c + l * l * v.width;
    for (std::size_t r = 0; r < mix.run_count; ++r) {
      const SoapRun& run = mix.runs[r];
      for (std::size_t n = 0; n < run.length; n += kLanes) {
        const double* a = c + run.a + n * run.step;
        const double* b = c + run.b + n;
        Lanes sum_of = all(0.0);
        for (std::size_t m = 0; m < 2 * l + 1; ++m, a += v.width, b += v.width)
          sum_of = mad(run.step ? take(a) : all(*a), take(b), sum_of);
        put(p + n, sum_of);
      }
      p += run.length;
    }
  }
  for (std::size_t n = 0; n < kLanes; ++n) p[n] = 0.0;
  Lanes squares = all(0.0);
  for (std::size_t n = 0; n < v.padded_dimension; n += kLanes) {
    const Lanes scaled = take(w.p + n) * take(mix.scale + n);
    put(w.p + n, scaled);
    squares = mad(scaled, scaled, squares);
  }
  w.norm = __builtin_sqrt(total(squares));
  const Lanes inverse = all(w.norm > 0.0 ? 1.0 / w.norm : 0.0);
  for (std::size_t n = 0; n < v.padded_dimension; n += kLanes)
    put(w.p + n, take(w.p + n) * inverse);
}

// dE/dc of the channels from dE/dp.
static void contracted_adjoint(const SoapView& v, const SoapContractionView& mix, SoapWork& w) {
  const std::size_t rows = (v.l_max + 1) * (v.l_max + 1);
  for (std::size_t n = 0; n < rows * v.width; n += kLanes) put(w.adjoint + n, all(0.0));
  std::size_t at = 0;
  double* const h = w.square;  // slopes of a run's products, with zeros up to whole vectors
  for (std::size_t l = 0; l <= v.l_max; ++l) {
    const double* const c = w.c + l * l * v.width;
    double* const to = w.adjoint + l * l * v.width;
    for (std::size_t r = 0; r < mix.run_count; ++r) {
      const SoapRun& run = mix.runs[r];
      for (std::size_t n = 0; n < run.length; n += kLanes)
        put(h + n, take(w.g + at + n) * take(mix.scale + at + n));
      for (std::size_t n = run.length; n % kLanes != 0; ++n) h[n] = 0.0;
      for (std::size_t m = 0; m < 2 * l + 1; ++m) {
        const double* const a = c + m * v.width + run.a;
        const double* const b = c + m * v.width + run.b;
        double* const to_a = to + m * v.width + run.a;
        double* const to_b = to + m * v.width + run.b;
        if (run.step) {
          for (std::size_t n = 0; n < run.length; n += kLanes) {
            const Lanes slope = take(h + n);
            put(to_a + n, mad(slope, take(b + n), take(to_a + n)));
            put(to_b + n, mad(slope, take(a + n), take(to_b + n)));
          }
        } else {
          Lanes along = all(0.0);
          const Lanes one = all(*a);
          for (std::size_t n = 0; n < run.length; n += kLanes) {
            const Lanes slope = take(h + n);
            along = mad(slope, take(b + n), along);
            put(to_b + n, mad(slope, one, take(to_b + n)));
          }
          *to_a += total(along);
        }
      }
      at += run.length;
    }
  }
}

static void contracted_forces(const SoapView& v, const SoapContractionView& mix, const SiteView& s,
                              SoapWork& w) {
  const std::size_t rows = (v.l_max + 1) * (v.l_max + 1);
  contracted_adjoint(v, mix, w);
  for (std::size_t species = 0; species < v.species; ++species) {
    const std::size_t begin = w.begin[species], end = w.begin[species + 1];
    if (begin == end) continue;
    const std::size_t first_channel = mix.begin[species];
    for (std::size_t n = 0; n < rows * v.n_padded; n += kLanes) put(w.one + n, all(0.0));
    for (std::size_t n = 0; n < v.n_padded; n += kLanes) {
      const double* matrix = mix.back + (species * v.width + first_channel) * v.n_padded + n;
#define FORCEMAP_CALL(M)                                                    \
  add_rows_times<M>({w.adjoint + first * v.width + first_channel, v.width}, \
                    mix.end[species] - first_channel, {matrix, v.n_padded}, \
                    {w.one + first * v.n_padded + n, v.n_padded})
      FORCEMAP_IN_BLOCKS(rows, first, FORCEMAP_CALL)
#undef FORCEMAP_CALL
    }
    pull_species(v, s, w, {w.one, v.n_padded}, begin, end);
  }
}

}  // namespace FORCEMAP_LOOPS
}  // namespace forcemap
