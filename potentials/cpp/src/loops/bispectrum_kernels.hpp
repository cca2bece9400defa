// The boundary between terms of products of fields and their loops (bispectrum_loops.ipp).
#pragma once

#include <cstddef>

#include "soap_kernels.hpp"

namespace forcemap {

constexpr std::size_t kMostFields = 64;

/// Points on the sphere stand in groups of so many vectors.
constexpr std::size_t kPointVectors = 4;

/// A node of the tree of products, in the order of a walk that goes down first: the product of its
/// field and those of the nodes above it. `end` is where the walk goes on after all below it.
struct ProductNode {
  double factor;  // eV, of the product that ends here
  int field, end;
};

/// Of one species of centre: e = mean over the sphere of the sum of all products, of fields of
/// coefficients divided by the root of their sum of squares and `offset`.
struct ProductsView {
  const ProductNode* nodes;
  int count;
};

/// What all species share.
struct FieldsView {
  double offset;
  std::size_t padded;       // points on the sphere, in whole groups
  const double* weights;    // (padded) of the points
  const double* harmonics;  // ((l_max + 1)^2, padded)
};

/// Room for one site.
struct FieldsWork {
  double *fields, *slopes;  // (channels (l_max + 1), padded)
};

/// Fields of a site from its neighbours; returns the factor by which the coefficients, scaled, were
/// multiplied. Where `powers` is given, it receives the power of each field, (l_max + 1, channels).
using FieldsFunction = double (*)(const SoapView& view, const FieldsView& fields,
                                  const SiteView& site, SoapWork& work, const FieldsWork& room,
                                  double* powers);

/// Energy (eV) of a site whose fields are known; its gradients are added to those of the site.
/// `factor` is what FieldsFunction returned.
using ProductsFunction = double (*)(const SoapView& view, const FieldsView& fields,
                                    const ProductsView& products, const SiteView& site,
                                    double factor, SoapWork& work, const FieldsWork& room);

}  // namespace forcemap
