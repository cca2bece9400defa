// The boundary between terms of products of fields and their loops (bispectrum_loops.ipp).
#pragma once

#include <cstddef>

#include "soap_kernels.hpp"

namespace forcemap {

constexpr std::size_t kMostFields = 64;

/// Points on the sphere stand in groups of so many vectors.
constexpr std::size_t kPointVectors = 4;

/// What products are made of: each is one part or the product of two, and a part is a field or the
/// product of two fields, a pair. The sum of all products is then a quadratic form of the parts.
struct PartsView {
  std::size_t fields, count;  // parts, the fields first
  const int* pairs;           // (count - fields, 2) fields
  const int* partners;        // of each part in turn the other parts of its products
  const int* partners_end;    // (count) where those of a part end
  const int* shares;          // (., 2) of each field in turn: a pair that it is in, the other field
  const int* shares_end;      // (fields) where those of a field end
};

/// Of one species of centre: e = mean over the sphere of the sum of all products, of fields of
/// coefficients divided by the root of their sum of squares and `offset`.
template <typename Number>
struct ProductsViewOf {
  const Number* alone;    // (parts) eV, factor of the product that is this part
  const Number* factors;  // eV, as the partners; twice that of a part's square
};

/// What all species share.
template <typename Number>
struct FieldsViewOf {
  double offset;
  PartsView parts;
  std::size_t padded;       // points on the sphere, in whole groups
  const Number* weights;    // (padded) of the points
  const Number* harmonics;  // ((l_max + 1)^2, padded)
};

/// Room for one site: numbers of each part at the points of a group follow each other, those of
/// the next group come after all parts.
template <typename Number>
struct FieldsWorkOf {
  Number *parts, *slopes;  // (groups, parts, points of a group)
  double* adjoint;         // ((l_max + 1)^2 channels and a vector more)
};

template <typename Number>
struct FieldKernels {
  std::size_t lanes;
  /// Parts of a site from its neighbours; returns the factor by which the coefficients, scaled,
  /// were multiplied. Where `powers` is given, it receives the power of each field, (l_max + 1,
  /// channels).
  double (*fields)(const SoapViewOf<Number>& view, const FieldsViewOf<Number>& fields,
                   const SiteView& site, SoapWorkOf<Number>& work, const FieldsWorkOf<Number>& room,
                   double* powers);
  /// Energy (eV) of a site whose parts are known; its gradients are added to those of the site.
  /// `factor` is what `fields` returned.
  double (*products)(const SoapViewOf<Number>& view, const FieldsViewOf<Number>& fields,
                     const ProductsViewOf<Number>& products, const SiteView& site, double factor,
                     SoapWorkOf<Number>& work, const FieldsWorkOf<Number>& room);
};

}  // namespace forcemap
