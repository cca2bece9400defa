// The boundary between 3-body terms and their loops (three_body_loops.ipp), as in site_kernels.hpp.
#pragma once

#include <cstddef>

namespace forcemap {

struct DrawSums;
struct SiteView;

constexpr std::size_t kMostSpecies = 118;

struct ThreeBodyView {
  std::size_t species;
  double cutoff;
  double leg_inverse_spacing;
  double leg_last_interval;
  double base_inverse_spacing;
  double base_last_interval;
  // Coefficients (r_ij, r_ik, r_jk, 2): those of a row along r_jk and of the next row side by side.
  std::ptrdiff_t stride_first;   // doubles between neighbouring coefficients of r_ij
  std::ptrdiff_t stride_second;  // the same of r_ik
  const double* const* tables;   // (centre, first, second) with first <= second, or null
};

/// Working arrays: neighbours within the cutoff, sorted by species, each block followed by up to
/// seven entries without a neighbour. There is room for a site's neighbours and 7 more entries for
/// each species, "padded" below.
struct ThreeBodyWork {
  int* slot;  // entry of the site's arrays
  double *tx, *ty, *tz, *tr;
  double* weights;       // (padded, 4), of the basis at r
  double* derivatives;   // the same of the basis' slopes, per Å
  int* interval;         // of r
  double* row_start;     // interval times stride_second
  double* rows;          // (padded, 16) sums over the triplets of an atom as k
  double *hx, *hy, *hz;  // dE/d(r_k) through r_jk
  // (padded / 2, up to 8) parts of two neighbours, to be added: dE/dr; the same as hx on j,
  // opposite
  double *radial, *on_x, *on_y, *on_z;
};

/// Where the rows along r_jk of a table of draws are, each as long as triangles reach.
struct RowPlaces {
  std::size_t legs;  // coefficients of a leg
  // (r_ij, r_ik) where the first coefficient of r_jk would be, in numbers from the table's begin.
  const int* of_different;
  const int* of_same;  // of a table whose neighbours are of one species
};

/// Draws that are computed together: they stand side by side in tables and sums.
constexpr std::size_t kDrawnSideBySide = 8;

/// The same term for many sets of weights. Tables (draws / kDrawnSideBySide, centre, first,
/// second), or null, are rows of (r_jk, kDrawnSideBySide).
struct ThreeBodyDrawsView {
  std::size_t draws;
  ThreeBodyView term;  // without tables
  RowPlaces rows;
  const float* const* tables;
};

/// Draws whose sums are kept at once: those of 16 fit into the fastest cache.
constexpr std::size_t kDrawnTogether = 16;

/// Further working arrays, with room as those of ThreeBodyWork.
struct ThreeBodyDrawsWork {
  float* legs;                // (padded, 4) of the basis at r
  float *base, *base_slopes;  // (padded, 4) of the basis at r_jk; slopes by r_jk over r_jk
  float *dx, *dy, *dz;        // r_k - r_j
  int* cell;                  // of r_jk, in numbers from the begin of a row
  float* products;            // (padded, 4, 4) of the basis at r_ik and that at r_jk
  // of up to kDrawnTogether draws, in vectors of kDrawnSideBySide:
  float* rows;    // (vectors, padded, 4, draws) as those of ThreeBodyWork
  float* radial;  // (vectors, padded, draws) dE/d(r_ij)
  float* h;       // (vectors, padded, 3, draws) dE/d(r_j) through r_jk
};

/// Adds the draws' energies and derivatives.
using ThreeBodyDrawsFunction = void (*)(const ThreeBodyDrawsView& term, const SiteView& site,
                                        const ThreeBodyWork& work,
                                        const ThreeBodyDrawsWork& draws_work, const DrawSums& sums);

/// Energy of a site, eV; its derivatives are added to the site's gradients.
using ThreeBodyFunction = double (*)(const ThreeBodyView& term, const SiteView& site,
                                     const ThreeBodyWork& work);

}  // namespace forcemap
