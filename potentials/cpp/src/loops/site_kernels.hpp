// The boundary between the core and its instruction-set specific loops: plain views, no templates,
// no inline library code (each loop file is compiled with its own machine flags). What a kind of
// term has is in a header of its own.
#pragma once

#include <cstddef>

#include "bispectrum_kernels.hpp"
#include "embedding_kernels.hpp"
#include "forcemap/surroundings.hpp"
#include "grade_kernels.hpp"
#include "pair_kernels.hpp"
#include "soap_kernels.hpp"
#include "three_body_kernels.hpp"

namespace forcemap {

/// Working arrays of one site, with room for `capacity` entries (a multiple of the vector width).
/// Up to `padded` stand entries without a neighbour, beyond every cutoff.
struct SiteView {
  std::size_t capacity;
  std::size_t count;    // neighbours
  std::size_t padded;   // the same up to a multiple of 8
  int species;          // of the centre
  double least_square;  // of all distances, Å^2
  int* index;           // neighbour's index in the caller's arrays
  int* kind;            // neighbour's species
  double *x, *y, *z, *r, *inverse_r;
  double *gx, *gy, *gz;  // dE_i/dr_j, to which terms add
};

/// Fills the site with the candidates within the cutoff of the centre; returns their number.
using GatherFunction = std::size_t (*)(const Surroundings& around, double cutoff,
                                       const SiteView& site);
/// What all terms need of the gathered neighbours: distances, gradients of zero, entries without a
/// neighbour at the distance `beyond`. False where two atoms coincide.
using PrepareFunction = bool (*)(SiteView& site, double beyond);

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
  PrepareFunction prepare;
  PrepareFewFunction prepare_few;
  NearFunction near;
  TwoBodyFunction two_body;
  TwoBodyDrawsFunction two_body_draws;
  SpreadDrawsFunction spread_draws;
  ZblEnergyFunction zbl;
  EmbeddingEnergyFunction embedding;
  FieldKernels<double> fields;
  FieldKernels<float> single_fields;
  ThreeBodyFunction three_body;
  ThreeBodyDrawsFunction three_body_draws;
  MomentSumsFunction moment_sums;
  MomentFeaturesFunction moment_features;
  FewGradesFunction few_grades;
  WhitenFunction whiten;
  WhitenEightFunction whiten_eight;
  SoapKernels soap;
};

// One per loop file; defined only where the compiler has the flags.
const SiteKernels& generic_kernels();
const SiteKernels& avx2_kernels();
const SiteKernels& avx512_kernels();

/// The best of them that this machine has and FORCEMAP_SIMD allows.
const SiteKernels& site_kernels();

}  // namespace forcemap
