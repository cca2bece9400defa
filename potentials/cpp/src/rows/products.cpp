// Rows of triplets whose kernel is a product of splines.
#include <algorithm>

#include "forcemap/rows.hpp"
#include "spline_columns.hpp"
#include "triplet_walk.hpp"

namespace forcemap {

namespace {

// Values and slopes of one function of one distance, (count) each.
struct ValueAndSlope {
  double *value, *slope;
};

// One image's share of a triplet: first(r_ij) second(r_ik) base(r_jk) and its three slopes.
FORCEMAP_CLONES void add_product_triplet(const ValueAndSlope (&of)[3], const double* u,
                                         const TripletSums& to, std::size_t count) {
  const auto [v1, d1] = of[0];
  const auto [v2, d2] = of[1];
  const auto [v3, d3] = of[2];
  const auto [energy, radial_j, radial_k, pull_j, pull_k] = to;
  FORCEMAP_INDEPENDENT
  for (std::size_t s = 0; s < count; ++s) {
    const double both = v1[s] * v2[s];
    energy[s] += both * v3[s];
    radial_j[s] += d1[s] * v2[s] * v3[s];
    radial_k[s] += v1[s] * d2[s] * v3[s];
    const double g = both * d3[s];
    for (std::size_t d = 0; d < 3; ++d) {
      pull_j[d * count + s] -= g * u[d];
      pull_k[d * count + s] += g * u[d];
    }
  }
}

class ProductTriplets {
 public:
  explicit ProductTriplets(const ProductBlock& product)
      : count(product.count),
        product_(product),
        same_(product.images),
        bases_(2 * product.images * product.count) {
    // Swapping two neighbours leaves r_jk alone: images that share its spline share its values.
    const std::size_t size = (product.base_intervals + 3) * count;
    for (std::size_t p = 0; p < product.images; ++p) {
      same_[p] = p;
      for (std::size_t q = 0; q < p && same_[p] == p; ++q)
        if (std::equal(product.base + p * size, product.base + (p + 1) * size,
                       product.base + q * size))
          same_[p] = q;
    }
  }

  std::size_t count;

  void prepare(const NearAtoms& near, int a, int b) {
    legs_.resize(near.size() * 4 * product_.images * count);
    for (std::size_t j = 0; j < near.size(); ++j)
      for (std::size_t p = 0; p < product_.images; ++p)
        for (std::size_t role = 0; role < 2; ++role) {
          if (near[j].number != (role == 0 ? a : b)) continue;
          const double* all = role == 0 ? product_.first : product_.second;
          const ValueAndSlope to = leg(j, role, p);
          spline_values(splines(all, product_.leg_intervals, product_.cutoff, p), near[j].r,
                        to.value, to.slope);
        }
  }

  void add(const Triplet& t, const TripletSums& to) {
    for (std::size_t p = 0; p < product_.images; ++p) {
      double* const base = &bases_[2 * same_[p] * count];
      if (same_[p] == p)
        spline_values(splines(product_.base, product_.base_intervals, 2.0 * product_.cutoff, p),
                      t.distances[2], base, base + count);
      add_product_triplet({leg(t.j, 0, p), leg(t.k, 1, p), {base, base + count}}, t.along, to,
                          count);
    }
  }

 private:
  SplineColumns splines(const double* all, std::size_t intervals, double range,
                        std::size_t image) const {
    return {range, intervals, count, all + image * (intervals + 3) * count};
  }

  // Of neighbour j as first leg (role 0) or as second.
  ValueAndSlope leg(std::size_t j, std::size_t role, std::size_t p) {
    double* const value = legs_.data() + ((j * 2 + role) * product_.images + p) * 2 * count;
    return {value, value + count};
  }

  const ProductBlock& product_;
  std::vector<std::size_t> same_;  // the first image with the same base
  std::vector<double> legs_, bases_;
};

}  // namespace

void add_product(const Environments& environments, const TripletSpecies& species,
                 const ProductBlock& product, const RowBlock& block) {
  environments.check(product.cutoff);
  ProductTriplets columns(product);
  TripletWalk(environments, product.cutoff, species).add_all(columns, block);
}

}  // namespace forcemap
