// Rows of blocks: kernels or splines between a structure's environments and sparse points, summed
// to energies, forces and strain derivatives. Everything is added to what is there: to the energy's
// row sum_i f_i, to the forces' -d/dx of it, to the strain's d/d(strain). A cutoff beyond the
// environments' throws Error.
#pragma once

#include <cstddef>
#include <vector>

#include "forcemap/environments.hpp"
#include "forcemap/frame_rows.hpp"
#include "forcemap/kernels.hpp"

namespace forcemap {

/// Splines side by side, on uniform intervals over [0, range] as in terms/tables.hpp.
struct SplineColumns {
  double range;
  std::size_t intervals;
  std::size_t count;           // sparse points
  const double* coefficients;  // (intervals + 3, count)
};

/// Rows of a 2-body block: f_i = sum_{j != i} k(r_ij, s) f_c(r_ij) for each point s, Å.
void add_two_body(const Environments& environments, const KernelSettings& settings,
                  const PairSpecies& species, const SparsePoints& points, const RowBlock& block);

/// The same where the kernel is projected on splines over [0, cutoff], cutoff factors included.
void add_splines(const Environments& environments, const PairSpecies& species,
                 const SplineColumns& splines, const RowBlock& block);

/// Rows of a 3-body block: a triplet gives f_c(r_ij) f_c(r_ik) sum over images of k(q, image).
void add_three_body(const Environments& environments, const KernelSettings& settings,
                    const TripletSpecies& species, const SparsePoints& points,
                    const RowBlock& block);

/// One-dimensional splines of a 3-body block, for all its images: every image's kernel is the
/// product of three functions of one distance, cutoff factors included. What is fitted with them
/// lies in the space of the potential's tables.
struct ProductBlock {
  double cutoff;               // Å
  std::size_t count;           // sparse points
  std::size_t images;          // images of each point
  std::size_t leg_intervals;   // over [0, cutoff]
  std::size_t base_intervals;  // over [0, 2 cutoff]
  const double* first;         // (images, leg_intervals + 3, count) of r_ij
  const double* second;        // (images, leg_intervals + 3, count) of r_ik
  const double* base;          // (images, base_intervals + 3, count) of r_jk
};

/// Rows of such a block.
void add_product(const Environments& environments, const TripletSpecies& species,
                 const ProductBlock& product, const RowBlock& block);

/// Density functions about one species of centre: splines of the distance, one for each neighbour.
struct DensitySplines {
  double cutoff;               // Å
  std::size_t intervals;       // over [0, cutoff]
  std::vector<int> numbers;    // atomic numbers of the neighbours
  const double* coefficients;  // (numbers, intervals + 3)
};

/// Densities rho_i = sum_j phi(r_ij) at the atoms of species `center`, in their order.
std::vector<double> densities(const Environments& environments, const DensitySplines& density,
                              int center);

/// Rows of functions of the density at centres of one species: f_i = V(rho_i) - V(0). The functions
/// are splines over [0, range] of the density, continued linearly below 0 and beyond the range.
void add_embedding(const Environments& environments, const DensitySplines& density, int center,
                   const SplineColumns& functions, const RowBlock& block);

}  // namespace forcemap
