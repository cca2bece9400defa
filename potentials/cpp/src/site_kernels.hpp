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
  std::ptrdiff_t stride_first;   // doubles between neighbouring coefficients of r_ij
  std::ptrdiff_t stride_second;  // the same of r_ik; r_jk is contiguous
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
  // neighbours of a 3-body term, sorted by species, each block padded with zero-weight entries
  int* slot;  // entry of the arrays above
  double *tx, *ty, *tz, *tr;
  double* weights;       // (padded, 4), or (padded, 16) with every weight repeated
  double* derivatives;   // the same of the basis' slopes, per Å
  long long* offset;     // interval of r
  double* radial;        // dE/dr
  double *hx, *hy, *hz;  // dE/d(r_j) through r_jk
};

using GatherFunction = std::size_t (*)(const double* positions, const int* kinds,
                                       const int* kind_to_species, int i, const int* list,
                                       std::size_t list_length, int mask, double cutoff,
                                       const SiteView& site);
using EvaluateFunction = double (*)(const PotentialView& potential, const SiteView& site);

struct SiteKernels {
  const char* name;
  GatherFunction gather;
  EvaluateFunction evaluate;
  SoapKernels soap;
};

/// Those of the best instruction set that this machine has and FORCEMAP_SIMD allows.
const SiteKernels& site_kernels();

// One per loop file; defined only where the compiler has the flags.
const SiteKernels& generic_kernels();
const SiteKernels& avx2_kernels();
const SiteKernels& avx512_kernels();

}  // namespace forcemap
