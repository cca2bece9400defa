// Kernels of the Gaussian process between distances or triplets and sparse points.
#pragma once

#include <cstddef>

namespace forcemap {

enum class KernelKind { squared_exponential, matern52 };
enum class CutoffKind { quintic, cosine };

/// What is common to the sparse points of a 2- or 3-body term; unit variance (delta = 1).
struct KernelSettings {
  KernelKind kernel;
  double lengthscale;  // Å
  CutoffKind cutoff_kind;
  double cutoff;        // Å
  double cutoff_width;  // Å, 0 < width <= cutoff
};

/// Smooth step from 1 (r <= cutoff - width) to 0 (r >= cutoff), and its derivative by r. `quintic`
/// has two continuous derivatives, `cosine` (the one of GAP) one.
double cutoff_function(const KernelSettings& settings, double r, double& derivative);

/// Sparse points. The kernel sums over the images of each, its permuted copies.
struct SparsePoints {
  const double* images;  // (count, per_point, dimension)
  std::size_t count, per_point, dimension;
};

/// Points that are compared with them.
struct Points {
  const double* values;  // (count, dimension)
  std::size_t count;
};

/// Kernel matrix, without cutoff factors: k[i, s] = sum over images of s. `out` (points, sparse
/// points).
void kernel_matrix(const KernelSettings& settings, const Points& points, const SparsePoints& sparse,
                   double* out);

/// f(point) = sum_s weights[s] * k[point, s]: as kernel_matrix times weights, (points), no matrix
/// formed.
void kernel_sum(const KernelSettings& settings, const Points& points, const SparsePoints& sparse,
                const double* weights, double* out);

/// A grid of three distances: every pair of the first two with every third.
struct DistanceGrid {
  const double *first, *second;  // (pairs) Å
  std::size_t pairs;
  const double* third;  // (n) Å
  std::size_t n;
};

/// Values on a grid of three distances, for the squared exponential:
///   out[i, k] = sum over points and images of weight * k((first[i], second[i], third[k]), image).
/// The kernel is a product over the distances, so no exponential is taken per grid value, and the
/// sum, in which large weights cancel, is done in twice the working precision: knots a hundredth of
/// an Å apart still give smooth slopes. Throws Error for another kernel. `out` (pairs, n)
void kernel_grid(const KernelSettings& settings, const DistanceGrid& grid,
                 const SparsePoints& sparse, const double* weights, double* out);

}  // namespace forcemap
