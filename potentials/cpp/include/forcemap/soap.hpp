// Density expansions (SOAP): padded tables for the loops, the work space of a site, descriptors.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "forcemap/environments.hpp"

namespace forcemap {

template <typename Number>
struct SoapViewOf;
template <typename Number>
struct SoapWorkOf;
using SoapView = SoapViewOf<double>;
using SoapWork = SoapWorkOf<double>;

constexpr std::size_t max_soap_l = 20;

/// Expansion of the neighbours' density about an atom; c[lm][(alpha, n)] is the sum over neighbours
/// j of weights[alpha][species of j] R_nl(r_j) Y_lm(r_j), and the centre's own share for l = 0.
struct SoapBasis {
  double cutoff;                // Å
  std::size_t n_max;            // radial functions
  std::size_t l_max;            // at most max_soap_l
  std::size_t intervals;        // of the splines over [0, cutoff]
  std::vector<double> radial;   // (intervals + degree, l_max + 1, n_max) of R_nl
  std::vector<double> self;     // (n_max) of the centre itself
  std::size_t channels;         // alpha
  std::vector<double> weights;  // (channels, species)
  int degree = 3;               // of the splines: 3 or 5
  double cosine_width = 0.0;  // Å; above 0: R_nl times 1/2 (1 + cos) over this width at the cutoff
  /// Whether each species has radial functions of its own, a contraction of any number of them and
  /// of the species: `radial` and `self` are then arrays of (species), and there is one channel.
  bool by_species = false;

  /// Numbers of the power spectrum.
  std::size_t dimension() const {
    const std::size_t n = channels * n_max;
    return (l_max + 1) * (n * (n + 1) / 2);
  }
};

/// A density expansion with its tables in the order of the loops. Immutable.
class SoapExpansion {
 public:
  /// `species`: number of species of the weights. Throws Error if anything is inconsistent.
  SoapExpansion(const SoapBasis& basis, std::size_t species);
  ~SoapExpansion();
  SoapExpansion(SoapExpansion&&) noexcept;

  double cutoff() const;
  std::size_t dimension() const;
  std::size_t species() const;  // of its weights
  std::size_t bytes() const;    // of its tables
  const SoapView& view() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// Work space of one site for terms of any size, in doubles or floats.
template <typename Number>
class SoapWorkspaceOf {
 public:
  SoapWorkspaceOf();
  ~SoapWorkspaceOf();
  SoapWorkspaceOf(SoapWorkspaceOf&&) noexcept;
  SoapWorkspaceOf& operator=(SoapWorkspaceOf&&) noexcept;

  /// Room for `neighbors` of an expansion; what was kept is lost.
  SoapWorkOf<Number>& prepare(const SoapViewOf<Number>& view, std::size_t neighbors);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

using SoapWorkspace = SoapWorkspaceOf<double>;

class SpectrumRows;

/// What describes an atom, made from the coefficients of its density. Immutable.
class DensityFunctions {
 public:
  virtual ~DensityFunctions() = default;
  virtual std::size_t dimension() const = 0;
  /// Of a site whose density is known, (dimension).
  virtual void values(const SoapWork& work, double* out) const = 0;
  /// What writes the rows of their derivatives.
  virtual std::unique_ptr<SpectrumRows> rows() const = 0;
};

/// Power spectra of a structure's atoms of one species, or other functions of their density, and
/// their derivatives, for fitting.
class SoapDescriptors {
 public:
  /// `numbers`: atomic numbers of the expansion's species, increasing; every atom of `environments`
  /// must be one of them. `functions`: null for the normalised power spectrum. All arguments must
  /// outlive this.
  SoapDescriptors(const SoapExpansion& expansion, const std::vector<int>& numbers,
                  const Environments& environments, int center,
                  const DensityFunctions* functions = nullptr);
  ~SoapDescriptors();

  /// Indices of the atoms of the centre's species. (n)
  const std::vector<std::size_t>& centers() const { return centers_; }
  std::size_t dimension() const;
  /// Normalised power spectra, (n, dimension).
  void spectra(double* out) const;
  /// That of an isolated atom, (dimension).
  void isolated(double* out) const;

  /// Rows of derivatives of centre `n` (its place in centers()): for each atom within its cutoff
  /// and for itself -dp/dx, -dp/dy, -dp/dz, then the six dp/d(strain). Appends to `rows` (.,
  /// dimension) and, for each, the row of the structure that it adds to, to `targets`. By one
  /// thread at a time: the work space is kept.
  void derivatives(std::size_t n, std::vector<double>& rows,
                   std::vector<std::size_t>& targets) const;

 private:
  struct Neighborhood;
  struct Scratch;
  SoapWork& density(std::size_t atom, SoapWorkspace& space, Neighborhood& near) const;
  void write(const SoapWork& work, double* out) const;
  const SoapExpansion& expansion_;
  const Environments& environments_;
  const DensityFunctions* functions_;
  std::vector<int> species_of_;  // by atom
  std::vector<std::size_t> centers_;
  int center_species_;
  mutable std::unique_ptr<Scratch> scratch_;
};

/// y[n] += a[n] * b[n], n < count.
void add_product_row(const double* a, const double* b, std::size_t count, double* y);

}  // namespace forcemap
