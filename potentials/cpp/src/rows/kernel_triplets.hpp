// Triplets compared with sparse points by the exact kernel.
#pragma once

#include <cstddef>
#include <vector>

#include "forcemap/kernels.hpp"
#include "kernel_functions.hpp"
#include "triplet_walk.hpp"

namespace forcemap {

/// Columns of a TripletWalk: f_c(r_ij) f_c(r_ik) sum over images of k(q, image).
class KernelTriplets {
 public:
  KernelTriplets(const KernelSettings& settings, const SparsePoints& points);

  std::size_t count;

  void prepare(const NearAtoms& near, int a, int b);
  void add(const Triplet& triplet, const TripletSums& to);

 private:
  KernelSettings settings_;
  PointPlanes planes_;
  std::vector<double> values_;  // (4, count): value and the slopes by the three distances
  std::vector<double> f_, df_;  // cutoff factors of the neighbours
};

}  // namespace forcemap
