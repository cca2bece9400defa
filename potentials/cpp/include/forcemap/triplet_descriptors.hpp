// Sums over the triplets about atoms, for fitting: what many-body terms are made of.
#pragma once

#include <cstddef>
#include <vector>

#include "forcemap/environments.hpp"
#include "forcemap/kernels.hpp"

namespace forcemap {

/// Triplets that those of an environment are compared with.
struct TripletBlock {
  TripletSpecies species;
  SparsePoints points;
};

/// Sums of the triplets about one atom, for the atoms of one species, and their derivatives:
///   s_m = sum over triplets of f_c(r_ij) f_c(r_ik) sum over the images of m of k(q, image)
/// for every triplet m of every block about that species, block after block.
class TripletDescriptors {
 public:
  /// `environments` and the blocks' images must outlive this. Throws Error for a cutoff beyond the
  /// environments'.
  TripletDescriptors(const KernelSettings& settings, const std::vector<TripletBlock>& blocks,
                     const Environments& environments, int center);

  /// Indices of the atoms of the centre's species. (n)
  const std::vector<std::size_t>& centers() const { return centers_; }
  std::size_t dimension() const { return dimension_; }
  /// (n, dimension)
  void values(double* out) const;
  /// As SoapDescriptors::derivatives.
  void derivatives(std::size_t n, std::vector<double>& rows,
                   std::vector<std::size_t>& targets) const;

 private:
  template <typename Use>
  void each_block(const Use& use) const;
  KernelSettings settings_;
  std::vector<TripletBlock> blocks_;
  const Environments& environments_;
  std::vector<std::size_t> centers_;
  std::size_t dimension_ = 0;
};

}  // namespace forcemap
