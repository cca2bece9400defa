// Derivatives of one centre's power spectrum by the atoms about it and by strain, through those of
// its density coefficients.
#pragma once

#include <cstddef>
#include <vector>

#include "forcemap/environments.hpp"
#include "loops/soap_kernels.hpp"

namespace forcemap {

/// The rows of centres of one expansion, one centre after another. Neighbours that are images of
/// one atom move together: their derivatives are added up as those of the coefficients, which are
/// few, before one of the spectrum, whose numbers are many, is formed.
class SpectrumRows {
 public:
  explicit SpectrumRows(const SoapView& view);
  virtual ~SpectrumRows() = default;

  /// The centre's neighbours in the order of `work` are near[work.slot[k]]. `place[owner]` is an
  /// atom's place among the `involved` ones, 0 for the centre. Writes -dp/dx of each of them in
  /// turn, three rows each, then six of dp/d(strain); (3 involved + 6, dimension), p normalised.
  void write(const SoapWork& work, const Environments::Range& near,
             const std::vector<std::size_t>& place, std::size_t involved, double* rows);

 protected:
  /// Of functions of the coefficients other than their spectrum; `are_products` where derivatives
  /// of the coefficients are to be scaled as those of their products of one l are.
  SpectrumRows(const SoapView& view, std::size_t dimension, bool are_products);

  /// Before the first `finish` of a site.
  virtual void begin(const SoapWork& work);

  /// `count` rows (., dimension) from derivatives of the coefficients, (., harmonics, stride).
  virtual void finish(const SoapWork& work, const double* channels, std::size_t stride,
                      std::size_t count, double* rows);

 private:
  void sort_by_owner(const SoapWork& work, const Environments::Range& near,
                     const std::vector<std::size_t>& place);
  void add_neighbor(const SoapWork& work, const Environments::Neighbor& neighbor, std::size_t k);
  void mix(const double* sums, std::size_t species, double sign, double* channels) const;

  const SoapView& view_;
  std::size_t dimension_;                         // of what is differentiated
  std::size_t harmonics_, one_, width_, stride_;  // one_: numbers of one direction, one species
  std::vector<double> scale_;                     // of the products of coefficients, by harmonic
  std::vector<std::size_t> order_, owner_place_;  // of the neighbours, by species and owner
  std::vector<double> gradient_, moved_, center_, strain_;        // (., harmonics, n_max)
  std::vector<double> coefficients_, owner_, whole_, straining_;  // (., harmonics, stride)
};

}  // namespace forcemap
