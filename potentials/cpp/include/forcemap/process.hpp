// The Gaussian process before it is mapped: kernels between a structure's local environments and
// sparse points, summed to the rows of energies, forces and strain derivatives.
#pragma once

#include <array>
#include <cstddef>
#include <vector>

#include "forcemap/neighbors.hpp"

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

/// One-dimensional splines of a 3-body block, for all its images.
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

/// Density functions about one species of centre: splines of the distance, one for each neighbour.
struct DensitySplines {
  double cutoff;               // Å
  std::size_t intervals;       // over [0, cutoff]
  std::vector<int> numbers;    // atomic numbers of the neighbours
  const double* coefficients;  // (numbers, intervals + 3)
};

/// Splines of the density, continued linearly below 0 and beyond the range.
struct DensityColumns {
  double range;
  std::size_t intervals;       // over [0, range]
  std::size_t count;           // sparse points
  const double* coefficients;  // (intervals + 3, count)
};

/// A structure's environments within a cutoff, kept while its rows are built.
class Environments {
 public:
  /// Arguments as StructureView; throws Error as find_neighbors.
  Environments(std::size_t count, const double* positions, const int* numbers, const double* cell,
               const bool* pbc, double cutoff);

  std::size_t atoms() const { return first_.size() - 1; }
  double cutoff() const { return cutoff_; }
  /// Atomic numbers. (atoms)
  const std::vector<int>& numbers() const { return numbers_; }

  /// r_j - r_i and its length, Å; which atom j (or its image) is, and its atomic number.
  struct Neighbor {
    double x, y, z, r;
    int owner, number;
  };
  /// Neighbours of atom i, by distance: [begin, end).
  const Neighbor* begin(std::size_t i) const { return neighbors_.data() + first_[i]; }
  const Neighbor* end(std::size_t i) const { return neighbors_.data() + first_[i + 1]; }
  /// Indices of the atoms of one element, increasing.
  std::vector<std::size_t> of_species(int number) const;
  /// Throws Error if a term's cutoff is beyond that of the environments.
  void check(double cutoff) const;
  /// energy, 3 forces per atom, 6 strain derivatives (xx yy zz yz xz xy)
  std::size_t rows() const { return 1 + 3 * atoms() + 6; }

  /// Distances r_ij <= cutoff with species {a, b}, each pair once. (n)
  std::vector<double> distances(int a, int b, double cutoff) const;

  /// Triplets (r_ij, r_ik, r_jk) about centres of species c with neighbours of species a (first
  /// leg) and b, both legs < cutoff, each unordered pair once. (n, 3)
  std::vector<double> triplets(int c, int a, int b, double cutoff) const;

  /// Number of those triplets.
  std::size_t triplet_count(int c, int a, int b, double cutoff) const;

  /// Add the rows of a 2-body block to `rows`, (rows(), stride) row-major, columns
  /// [0, points): energy row sum_i sum_{j != i} k(r_ij, s) f_c(r_ij); force rows -d/dx of it;
  /// strain rows d/d(strain). `points` (count) in Å.
  void add_two_body(const KernelSettings& settings, int a, int b, const double* points,
                    std::size_t count, double* rows, std::size_t stride) const;

  /// The same for a 3-body block of centre c and neighbours {a, b}. `images` (image_count, 3) are
  /// the permuted copies of the sparse points which the kernel sums over, point by point:
  /// image_count = count * images_per_point. A triplet gives
  /// f_c(r_ij) f_c(r_ik) sum_images k(q, image).
  void add_three_body(const KernelSettings& settings, int c, int a, int b, const double* images,
                      std::size_t count, std::size_t images_per_point, double* rows,
                      std::size_t stride) const;

  /// Rows of a 2-body block whose kernel is projected on splines over [0, cutoff]: `coefficients`
  /// (intervals + 3, count), cutoff factors included.
  void add_splines(double cutoff, std::size_t intervals, const double* coefficients,
                   std::size_t count, int a, int b, double* rows, std::size_t stride) const;

  /// Rows of a 3-body block whose kernel is projected on splines: every image's kernel is the
  /// product of three functions of one distance (cutoff factors included), each a cubic spline on a
  /// uniform grid as in potential_data.hpp. What is fitted with it lies in the space of the
  /// potential's tables.
  void add_product(const struct ProductBlock& block, int c, int a, int b, double* rows,
                   std::size_t stride) const;

  /// Densities rho_i = sum_j phi(r_ij) at the atoms of species `center`, in their order.
  std::vector<double> densities(const DensitySplines& density, int center) const;

  /// Rows of functions of the density at centres of one species: sum_i V(rho_i) - V(0).
  void add_embedding(const DensitySplines& density, int center, const DensityColumns& functions,
                     double* rows, std::size_t stride) const;

 private:
  double density_of(const DensitySplines& density, std::size_t i,
                    std::vector<double>& slopes) const;
  template <typename Columns>
  void add_pairs(double cutoff, int a, int b, std::size_t count, const Columns& columns,
                 double* rows, std::size_t stride) const;

  double cutoff_;
  std::vector<int> numbers_;
  std::vector<std::size_t> first_;
  std::vector<Neighbor> neighbors_;
};

/// Triplets that those of an environment are compared with.
struct TripletBlock {
  int center, a, b;      // species, neighbours' a first
  const double* images;  // (count, per_point, 3) as in Environments::add_three_body
  std::size_t count, per_point;
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

/// Kernel matrix between descriptors, without cutoff factors: k[i, s] = sum over images of s.
/// `points` (n, dimension), `images` (count * images_per_point, dimension), out (n, count).
void kernel_matrix(const KernelSettings& settings, std::size_t dimension, const double* points,
                   std::size_t n, const double* images, std::size_t count,
                   std::size_t images_per_point, double* out);

/// f(point) = sum_s weights[s] * k[point, s]: as kernel_matrix times weights, (n), no matrix
/// formed.
void kernel_sum(const KernelSettings& settings, std::size_t dimension, const double* points,
                std::size_t n, const double* images, std::size_t count,
                std::size_t images_per_point, const double* weights, double* out);

/// Values on a grid of three distances, for the squared exponential:
///   out[i, k] = sum over points and images of weight * k((first[i], second[i], third[k]), image).
/// The kernel is a product over the distances, so no exponential is taken per grid value, and the
/// sum, in which large weights cancel, is done in twice the working precision: knots a hundredth of
/// an Å apart still give smooth slopes. Throws Error for another kernel.
///   first, second  (pairs) Å;  third (n) Å;  out (pairs, n)
void kernel_grid(const KernelSettings& settings, const double* first, const double* second,
                 std::size_t pairs, const double* third, std::size_t n, const double* images,
                 std::size_t count, std::size_t images_per_point, const double* weights,
                 double* out);

}  // namespace forcemap
