// The boundary between Potential and the instruction-set specific loops: plain views, no templates,
// no inline library code (each loop file is compiled with its own machine flags).
#pragma once

#include <cstddef>

#include "soap_kernels.hpp"

namespace forcemap {

struct TwoBodyView {
  double cutoff;
  double inverse_spacing;
  double last_interval;         // intervals - 1
  const double* const* tables;  // (species, species) coefficients, or null
};

struct ThreeBodyView {
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

/// Spline of the density at one species of centre, continued linearly.
struct DensityFunction {
  double inverse_spacing;
  double last_interval;        // intervals - 1
  double zero;                 // value at density 0
  const double* coefficients;  // null: no energy
};

struct EmbeddingView {
  double cutoff;
  double inverse_spacing;
  double last_interval;              // intervals - 1
  const double* const* tables;       // (centre, neighbour) coefficients of the densities, or null
  const DensityFunction* functions;  // (species)
};

struct ZblView {
  const struct ZblFunction* functions;  // (species, species); outer = 0: no core
  double largest_outer;
};

struct PotentialView {
  std::size_t species;
  double cutoff;
  const double* e0;
  const TwoBodyView* two_body;
  std::size_t two_body_count;
  const ThreeBodyView* three_body;
  std::size_t three_body_count;
  const EmbeddingView* embedding;
  std::size_t embedding_count;
  ZblView zbl;
};

/// Working arrays of one site; sizes in SiteView::capacity (a multiple of the vector width).
struct SiteView {
  std::size_t capacity;
  std::size_t count;
  int species;
  int* index;  // neighbour's index in the caller's arrays
  int* kind;   // neighbour's species
  double *x, *y, *z, *r, *inverse_r;
  double *gx, *gy, *gz;
  double* slope;  // of the density of an embedding term
  // neighbours of a 3-body term, sorted by species, each block followed by seven entries without a
  // neighbour
  int* slot;  // entry of the arrays above
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

using GatherFunction = std::size_t (*)(const double* positions, const int* kinds,
                                       const int* kind_to_species, int i, const int* list,
                                       std::size_t list_length, int mask, double cutoff,
                                       const SiteView& site);
using EvaluateFunction = double (*)(const PotentialView& potential, const SiteView& site);

/// Candidate positions of a neighbour search, a structure of arrays, and whose they are. There are
/// eight more entries than candidates.
struct Candidates {
  const double *x, *y, *z;
  const int* entry;
};
/// Writes the entries of those candidates [from, to) that are nearer than sqrt(range2) to `center`
/// and are not `self`; returns their number. `out` needs room for to - from + 8.
using NearFunction = std::size_t (*)(const Candidates& candidates, std::size_t from, std::size_t to,
                                     const double* center, double range2, int self, int* out);

struct SiteKernels {
  const char* name;
  GatherFunction gather;
  EvaluateFunction evaluate;
  NearFunction near;
  SoapKernels soap;
};

// One per loop file; defined only where the compiler has the flags.
const SiteKernels& generic_kernels();
const SiteKernels& avx2_kernels();
const SiteKernels& avx512_kernels();

/// The best of them that this machine has and FORCEMAP_SIMD allows.
const SiteKernels& site_kernels();

}  // namespace forcemap
