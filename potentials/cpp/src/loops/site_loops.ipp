// The loops over one atom's neighbours, compiled once per instruction set by site_*.cpp, which set
// FORCEMAP_LOOPS (a namespace) and FORCEMAP_LOOPS_NAME. Nothing here, nor in the files of the kinds
// of term that it includes, may instantiate library templates: the linker would be free to use the
// copy with the wrong machine flags everywhere.

#include "site_kernels.hpp"
#include "vec8.hpp"

// after the types that they use
#include "embedding_loops.ipp"
#include "grade_loops.ipp"
#include "pair_loops.ipp"
#include "soap_loops.ipp"
#include "three_body_loops.ipp"
// after the loops of one energy
#include "bispectrum_loops.ipp"
#include "soap_contracted_loops.ipp"
#include "soap_draws_loops.ipp"
#include "three_body_draws_loops.ipp"

namespace forcemap {
namespace FORCEMAP_LOOPS {

template <typename Number>
static SpectrumKernels<Number> spectrum_kernels_of() {
  return {kLanesOf<Number>,    spectrum_density<Number>,   soap_energies<Number>,
          soap_forces<Number>, contracted_density<Number>, contracted_forces<Number>};
}

template <typename Number>
static FieldKernels<Number> field_kernels_of() {
  return {kLanesOf<Number>, site_fields<Number>, field_products<Number>};
}

// ---- neighbours within the cutoff --------------------------------------------------------------

#if defined(__AVX512F__)
// The candidates within the cutoff, eight at a time; returns how many there are.
FORCEMAP_INLINE std::size_t gather_all(const Surroundings& around, double cutoff2,
                                       const SiteView& site) {
  const double* positions = around.positions;
  const double* center = positions + 3 * static_cast<std::ptrdiff_t>(around.center);
  const int* list = around.list;
  const int mask = around.mask;
  const std::size_t length = around.length;
  std::size_t found = 0;
  const Vec8 cx = splat8(center[0]), cy = splat8(center[1]), cz = splat8(center[2]),
             limit = splat8(cutoff2);
  const __m512i front = _mm512_setr_epi64(0, 1, 8, 9, 4, 5, 12, 13);
  const __m512i back = _mm512_setr_epi64(2, 3, 10, 11, 6, 7, 14, 15);
  const __m256i entry_mask = _mm256_set1_epi32(mask);
  for (std::size_t n = 0; n < length; n += 8) {
    const unsigned lanes = first_lanes(length - n);
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
  return found;
}
#else
#if defined(__AVX2__)
// The same, four at a time, of all but the last `n` % 4; returns how many there are.
FORCEMAP_INLINE std::size_t gather_fours(const Surroundings& around, double cutoff2,
                                         const SiteView& site) {
  const double* positions = around.positions;
  const double* center = positions + 3 * static_cast<std::ptrdiff_t>(around.center);
  const int* list = around.list;
  const int mask = around.mask;
  std::size_t found = 0;
  const Vec4 cx = splat(center[0]), cy = splat(center[1]), cz = splat(center[2]),
             limit = splat(cutoff2);
  const __m128i entry_mask = _mm_set1_epi32(mask);
  for (std::size_t n = 0; n + 4 <= around.length; n += 4) {
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
  return found;
}
#endif

FORCEMAP_INLINE std::size_t gather_all(const Surroundings& around, double cutoff2,
                                       const SiteView& site) {
  const double* positions = around.positions;
  const double* center = positions + 3 * static_cast<std::ptrdiff_t>(around.center);
  const int* list = around.list;
  const int mask = around.mask;
  const double xi = center[0], yi = center[1], zi = center[2];
  std::size_t found = 0, n = 0;
#if defined(__AVX2__)
  found = gather_fours(around, cutoff2, site);
  n = around.length / 4 * 4;
#endif
  for (; n < around.length; ++n) {
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
  return found;
}
#endif

// Those of the first `found` whose species is known, which it notes; returns how many there are.
FORCEMAP_INLINE std::size_t keep_known(const Surroundings& around, std::size_t found,
                                       const SiteView& site) {
  const int* kinds = around.kinds;
  if (!kinds) {
    for (std::size_t m = 0; m < found; ++m) site.kind[m] = 0;
    return found;
  }
  std::size_t count = 0;
  for (std::size_t m = 0; m < found; ++m) {
    const int j = site.index[m];
    const int species = around.kind_to_species[kinds[j]];
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

static std::size_t gather(const Surroundings& around, double cutoff, const SiteView& site) {
  return keep_known(around, gather_all(around, cutoff * cutoff, site), site);
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

// ---- distances ---------------------------------------------------------------------------------

// Lengths of all neighbour vectors and the least of their squares; gradients of zero. What `with`
// does with the lengths costs less here than in a loop of its own.
template <typename With>
FORCEMAP_INLINE double lengths(const SiteView& view, const With& with) {
  const SiteView s = view;  // which no store can change
  const Vec8 zero = splat8(0.0);
  Vec8 smallest = splat8(1e300);
  for (std::size_t n = 0; n < s.padded; n += 8) {
    const Vec8 x = load8(s.x + n), y = load8(s.y + n), z = load8(s.z + n);
    const Vec8 r2 = fma(x, x, fma(y, y, z * z));
    Vec8 r, inverse;
    roots(r2, r, inverse);
    smallest = smaller(r2, smallest);
    store(s.r + n, r);
    store(s.inverse_r + n, inverse);
    store(s.gx + n, zero);
    store(s.gy + n, zero);
    store(s.gz + n, zero);
    with(r);
  }
  double lane[8];
  store(lane, smallest);
  double least = lane[0];
  for (int n = 1; n < 8; ++n) least = lane[n] < least ? lane[n] : least;
  return least;
}

// Lengths whose squares have left the range of doubles: once more, with scaling. Returns false
// where two atoms coincide.
static bool short_lengths(const SiteView& s) {
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

// Entries beyond every cutoff up to a multiple of 8, and as many as make eight: there is room, and
// nothing to count.
FORCEMAP_INLINE void pad(SiteView& s, double beyond) {
  s.padded = (s.count + 7) & ~static_cast<std::size_t>(7);
  store(s.x + s.count, splat8(beyond));
  store(s.y + s.count, splat8(0.0));
  store(s.z + s.count, splat8(0.0));
  __builtin_memset(s.kind + s.count, 0, 8 * sizeof(int));
}

// Squares of this size are within the range of doubles.
constexpr double kLeastSquare = 1e-40;

static bool prepare(SiteView& s, double beyond) {
  pad(s, beyond);
  s.least_square = lengths(s, [](Vec8) {});
  return s.least_square > kLeastSquare || short_lengths(s);
}

static bool prepare_few(SiteView& s, double cutoff, double* sums) {
  // Beyond the cutoff, also once it is rounded, and too near for powers of the difference to count:
  // without a look at each neighbour the loop is shorter.
  pad(s, (1.0 + 1e-12) * cutoff);
  FadingSums faded(cutoff);
  s.least_square = lengths(s, [&](Vec8 r) __attribute__((always_inline)) { faded.add(r); });
  faded.write(sums);
  if (s.least_square > kLeastSquare) return true;
  if (!short_lengths(s)) return false;
  FadingSums again(cutoff);
  for (std::size_t n = 0; n < s.padded; n += 8) again.add(load8(s.r + n));
  again.write(sums);
  return true;
}

}  // namespace FORCEMAP_LOOPS

const SiteKernels& FORCEMAP_LOOPS_GETTER() {
  static const SiteKernels kernels = {
      FORCEMAP_LOOPS_NAME,
      FORCEMAP_LOOPS::gather,
      FORCEMAP_LOOPS::prepare,
      FORCEMAP_LOOPS::prepare_few,
      FORCEMAP_LOOPS::near,
      FORCEMAP_LOOPS::two_body,
      FORCEMAP_LOOPS::two_body_draws,
      FORCEMAP_LOOPS::spread_draws,
      FORCEMAP_LOOPS::zbl,
      FORCEMAP_LOOPS::embedding,
      FORCEMAP_LOOPS::field_kernels_of<double>(),
      FORCEMAP_LOOPS::field_kernels_of<float>(),
      FORCEMAP_LOOPS::three_body,
      FORCEMAP_LOOPS::three_body_draws,
      FORCEMAP_LOOPS::moment_sums,
      FORCEMAP_LOOPS::moment_features,
      FORCEMAP_LOOPS::few_grades,
      FORCEMAP_LOOPS::whiten,
      FORCEMAP_LOOPS::whiten_eight,
      {FORCEMAP_LOOPS::kLanes, FORCEMAP_LOOPS::spectrum_kernels_of<double>(),
       FORCEMAP_LOOPS::spectrum_kernels_of<float>(), FORCEMAP_LOOPS::soap_density,
       FORCEMAP_LOOPS::soap_products, FORCEMAP_LOOPS::soap_sums, FORCEMAP_LOOPS::soap_forms,
       FORCEMAP_LOOPS::soap_keep, FORCEMAP_LOOPS::soap_draw_forces}};
  return kernels;
}

}  // namespace forcemap
