// Means over the sphere of products of fields: invariants of an atom's density coefficients beyond
// their power spectrum.
#pragma once

#include <array>
#include <cstddef>
#include <memory>
#include <vector>

#include "forcemap/soap.hpp"

namespace forcemap {

/// A product of up to four fields; a field is numbered channel + channels * l. Those that are not
/// there are -1, behind the others.
constexpr std::size_t most_factors = 4;
using FieldProduct = std::array<int, most_factors>;

/// Number of the product's fields.
std::size_t factors_of(const FieldProduct& product);

/// Throws Error if a product has no field, fields out of order, one that is not there, or if the
/// sum of the angular numbers of its fields is odd, so that its mean over the sphere is 0.
void check_products(const std::vector<FieldProduct>& products, std::size_t channels,
                    std::size_t l_max);

/// Largest sum of the angular numbers of a product's fields.
std::size_t degree_of(const std::vector<FieldProduct>& products, std::size_t channels);

/// Points and weights of means over the sphere, exact for even functions up to a degree: the points
/// of a product rule (Gauss-Legendre in z, equidistant about the axis) of which opposite ones count
/// as one.
struct SpherePoints {
  /// The harmonics are those of `view`.
  SpherePoints(const SoapView& view, std::size_t degree);

  std::size_t count;            // of points
  std::size_t padded;           // the same in whole groups; points that fill them up weigh nothing
  std::vector<double> weights;  // (padded) whose sum is that of a whole sphere, 4 pi
  std::vector<double> harmonics;  // ((l_max + 1)^2, padded)
};

/// What describes an atom: integrals over the sphere of products of the fields that the bispectrum
/// terms of potentials are made of (src/terms/bispectrum.cpp), times a scale each.
class SphereProducts final : public DensityFunctions {
 public:
  /// Of an expansion with tables for each species, which must outlive this. Throws Error if
  /// anything is inconsistent.
  SphereProducts(const SoapExpansion& expansion, double offset, std::vector<FieldProduct> products,
                 std::vector<double> scales);

  std::size_t dimension() const override { return products_.size(); }
  void values(const SoapWork& work, double* out) const override;
  std::unique_ptr<SpectrumRows> rows() const override;

  /// d(value)/dc of a site, (dimension, (l_max + 1)^2, n_max).
  void slopes(const SoapWork& work, double* out) const;

 private:
  struct Site;
  void scaled(const SoapWork& work, Site& site) const;
  void fields(Site& site) const;

  const SoapView& view_;
  double offset_;
  std::vector<FieldProduct> products_;
  std::vector<double> scales_;
  SpherePoints points_;
};

}  // namespace forcemap
