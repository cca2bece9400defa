// The boundary between the SOAP code and its instruction-set specific loops (soap_loops.ipp): plain
// views, as in site_kernels.hpp.
#pragma once

#include <cstddef>

namespace forcemap {

struct DrawSums;
struct SiteView;

/// The first projections of a spectrum on a centre's vectors are features of the site.
constexpr std::size_t kMostProjections = 32;

/// Sites whose energies are computed together at most.
constexpr std::size_t kSoapSites = 32;

/// An exponent above 0.
struct SoapPower {
  double zeta;
  int whole;  // the same where it is a whole number of moderate size, else 0
};

/// x^(zeta - 1). A negative x has no power that is not whole: NaN, but where it is rounding.
static inline double power_below(const SoapPower& of, double x) {
  if (of.whole > 0) {
    double power = 1.0;
    for (int z = 1; z < of.whole; ++z) power *= x;
    return power;
  }
  if (x <= 0.0 && x > -1e-12) return 0.0;
  return __builtin_pow(x, of.zeta - 1.0);
}

/// Energy of one centre species: sum_k factors[k] (vectors[k] . p)^zeta - constant.
template <typename Number>
struct SoapCenterViewOf {
  SoapPower power;
  std::size_t count;      // rows of `vectors`, a multiple of 4
  const Number* vectors;  // (count, padded_dimension)
  const double* factors;  // (count) eV
  double constant;        // eV
};

/// Of each Y_lm: its norm; that times l + m; a, b of the recursion Q_l^m = a z Q_(l-1)^m - b
/// Q_(l-2)^m of the part that depends on z.
constexpr std::size_t kHarmonicNumbers = 4;

/// A density expansion in numbers of one type. Radial channels (alpha, n) of a coefficient row
/// stand at alpha * n_padded + n.
template <typename Number>
struct SoapViewOf {
  double cutoff;
  double inverse_spacing;
  double last_interval;
  int degree;           // of the splines, 3 or 5
  double cosine_begin;  // where the cosine that multiplies them begins; the cutoff where none does
  double cosine_rate;   // pi / its width
  std::size_t n_max, l_max, n_padded, channels, species;
  std::size_t row;               // (l_max + 1) n_max up to a multiple of the vector width
  std::size_t width;             // channels * n_padded
  std::size_t square;            // numbers of SoapWorkOf::square
  std::size_t dimension;         // of the power spectrum
  std::size_t padded_dimension;  // a multiple of the vector width
  bool plain_species;            // channels are the species themselves
  std::size_t table_row;         // from row to row of `radial`
  // (intervals + degree, table_row), functions of one l after another: coefficients of the splines,
  // and in single precision behind each row the steps to the next one
  const Number* radial;
  const Number* self;  // (n_padded)
  // Where each species has tables of its own: their distances in the arrays above, and `species` is
  // 1, since their neighbours are treated alike. 0 where all share them.
  std::size_t radial_stride, self_stride;
  const double* weights;            // (channels, species)
  const Number* harmonic;           // of Y_lm, m >= 0, from kHarmonicNumbers (l (l + 1) / 2 + m) on
  const SoapViewOf<double>* exact;  // of single precision: what it is rounded from
};

/// Neighbours whose forces are taken again in doubles, at a time.
constexpr std::size_t kAgain = 8;

/// What is kept of one site between the steps, as SoapWorkspaceOf (soap.cpp) lays it out.
template <typename Number>
struct SoapWorkOf {
  std::size_t count;   // neighbours within the cutoff
  std::size_t padded;  // rounded up to the vector width
  std::size_t* begin;  // (species + 1) of each species' neighbours
  int* slot;           // entry of the site's arrays
  double* r;
  Number *ux, *uy, *uz, *inverse_r;
  Number *value, *slope;                // (padded, row) radial functions
  Number *turned_value, *turned_slope;  // (row, padded) the same
  Number *y, *yx, *yy, *yz;             // ((l_max + 1)^2, padded) harmonics; tangential derivatives
  Number* c;                            // ((l_max + 1)^2, width)
  Number* adjoint;                      // the same: dE/dc
  Number* one;                          // ((l_max + 1)^2, n_padded) of one species
  Number* square;                       // (view.square) scratch
  Number* p;            // (padded_dimension and a vector more) power spectrum, see `unit`
  Number* g;            // (padded_dimension) dE/dp
  Number* spare;        // (padded_dimension)
  double* projections;  // (kMostProjections and a vector more) products with the first vectors
  double* again;        // (kAgain * (4 row + 5) + (l_max + 1)^2 n_max) of neighbours pulled again
  double norm;          // of the power spectrum before normalisation
  double unit;          // what p is to be multiplied by: 1 of doubles, which are normalised
};

using SoapView = SoapViewOf<double>;
using SoapWork = SoapWorkOf<double>;

/// Sums of vectors: out[k] = sum_n coefficients[k][n] vectors[n].
struct SoapSums {
  std::size_t count;           // of sums, a multiple of kDrawsAtOnce
  std::size_t vectors_count;   //
  std::size_t size;            // of the vectors, a multiple of the vector width
  const double* coefficients;  // (count, vectors_count)
  const double* vectors;       // (vectors_count, size)
  double* out;                 // (count, size)
};

constexpr std::size_t kDrawsAtOnce = 8;

/// Columns of a matrix that stand together: of each panel of so many the rows follow each other.
constexpr std::size_t kSoapPanel = 16;

/// Sites whose forms are evaluated together at most: the forms come from memory once for all.
constexpr std::size_t kFormSites = 8;

/// Forms of the draws of one species of centre: of what is left of the spectrum without q, as it is
/// or in fewer coordinates. All matrices are in panels; `size` and `rank` are multiples of
/// kSoapPanel.
struct SoapFormsView {
  std::size_t draws, size, rank;  // rank is size where there is no `down`
  const float* down;              // (size, rank) to the coordinates; null: the spectrum itself
  const float* up;                // (rank, size), the same transposed
  const float* forms;             // (draws, rank, rank)
  const float* lines;             // (draws, size), rows
  const float* spectrum;          // (size) q
};

/// Of up to kFormSites sites, with room for as many.
struct SoapFormsWork {
  std::size_t sites, padded_draws;
  const float* apart;    // (sites, size) p without q
  const double* along;   // (sites) the factor of the lines
  const double* across;  // (sites, padded_draws) that of q
  float *y, *image;      // (sites, rank) scratch
  double* energies;      // (sites, padded_draws), to which the forms' are added
  float* slopes;         // (sites, padded_draws, size) dE/dp: 2 (form + along line + across q)
};

/// What draws need of an expansion.
struct SoapDrawsView {
  std::size_t padded_draws;  // a multiple of kDrawsAtOnce
  std::size_t dimension;     // of the spectrum
  std::size_t size;          // the same up to a multiple of kSoapPanel
  std::size_t width;         // channels * n_max: rows of coefficients without gaps
  const int* pairs;          // (width, width) places of a pair within the spectrum of one l
  const float* scale;        // (dimension) of dE/d(square), both of whose triangles count
};

/// What is kept of the density of a site for the forces of draws, in single precision: neighbours
/// by fours, those of each species apart.
struct SoapKept {
  double* inverse_norm;  // of the spectrum
  std::size_t* begin;    // (species + 1) of each species' neighbours
  int* slot;             // entry of the site's arrays
  float* p;              // (size) spectrum, normalised
  float* c;              // ((l_max + 1)^2, width) coefficients
  float* radial;         // (fours, row, 8) four values and four slopes
  float* harmonics;      // (fours, (l_max + 1)^2, 4, 4) y, yx, yy and yz of four neighbours
  float* unit;           // (fours, 4, 4) ux, uy, uz, inverse_r
};

/// Of one site.
struct SoapDrawsWork {
  const float* slopes;  // (padded_draws, size) dE/dp, p normalised
  float* turned;        // (size, padded_draws)
  float* adjoint;       // ((l_max + 1)^2, width, padded_draws) dE/dc
  float* one;           // ((l_max + 1)^2, n_max, padded_draws) of one species
};

/// Pairs of channels (a + k step, b + k), k < length; step is 0 or 1.
struct SoapRun {
  std::size_t a, b, length, step;
};

/// Channels that are sums of the species' radial functions, and the products of channels that make
/// up a spectrum: p[l, pair (a, b)] = scale sum_m c[lm][a] c[lm][b]. Goes with a SoapView whose
/// width is that of a row of channels, with a spare vector at its end, and whose square is as long
/// as the longest run and a vector more.
template <typename Number>
struct SoapContractionViewOf {
  const Number* mixing;      // (species, n_max, width)
  const Number* back;        // (species, width, n_padded), the same transposed
  const std::size_t* begin;  // (species) first of the channels that a species has a share in
  const std::size_t* end;    // (species); both multiples of the vector width
  const Number* self;        // (species, width), of the centre itself, for l = 0
  const SoapRun* runs;
  std::size_t run_count;
  const Number* scale;  // (padded_dimension and a vector more)
};

/// What terms are evaluated by, in numbers of one type.
template <typename Number>
struct SpectrumKernels {
  std::size_t lanes;
  /// Neighbours, coefficients and power spectrum of a site whose distances are known; nothing that
  /// forces do not need: no rows of slopes, no derivatives of harmonics.
  void (*density)(const SoapViewOf<Number>& view, const SiteView& site, SoapWorkOf<Number>& work);
  /// Energies (eV, added) of up to kSoapSites sites of one species and their dE/dp.
  void (*energies)(const SoapViewOf<Number>& view, const SoapCenterViewOf<Number>& center,
                   SoapWorkOf<Number>* const* works, std::size_t count, double* const* energies);
  /// Adds dE/dr of the neighbours to the site's gx, gy, gz.
  void (*forces)(const SoapViewOf<Number>& view, const SiteView& site, SoapWorkOf<Number>& work);
  /// The same of contracted channels.
  void (*contracted_density)(const SoapViewOf<Number>& view,
                             const SoapContractionViewOf<Number>& contraction, const SiteView& site,
                             SoapWorkOf<Number>& work);
  void (*contracted_forces)(const SoapViewOf<Number>& view,
                            const SoapContractionViewOf<Number>& contraction, const SiteView& site,
                            SoapWorkOf<Number>& work);
};

struct SoapKernels {
  std::size_t lanes;
  SpectrumKernels<double> exact;
  SpectrumKernels<float> single;
  /// As SpectrumKernels have it, with rows of the radial functions' slopes and derivatives of the
  /// harmonics and without what is turned.
  void (*density)(const SoapView& view, const SiteView& site, SoapWork& work);
  /// out[k] = vectors[k] . p, of `count` vectors, a multiple of 4, as long as `size`, a multiple of
  /// the vector width.
  void (*products)(const double* vectors, std::size_t count, std::size_t size, const double* p,
                   double* out);
  void (*sums)(const SoapSums& sums);
  void (*forms)(const SoapFormsView& view, const SoapFormsWork& work);
  /// Of a site whose `density` is known.
  void (*keep)(const SoapView& view, const SoapDrawsView& draws, const SoapWork& work,
               const SoapKept& to);
  /// Adds d(energy)/dr of the neighbours for each draw to the gradients in `to`.
  void (*draw_forces)(const SoapView& view, const SoapDrawsView& draws, const SoapKept& kept,
                      const SoapDrawsWork& work, const DrawSums& to);
};

}  // namespace forcemap
