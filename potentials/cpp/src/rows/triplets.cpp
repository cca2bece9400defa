// Rows and descriptors of triplets by the exact kernel.
#include <algorithm>

#include "forcemap/rows.hpp"
#include "forcemap/triplet_descriptors.hpp"
#include "kernel_triplets.hpp"

namespace forcemap {

namespace {

// k(q, point), summed over images, and its slopes by the three distances: `out` (4, count).
template <typename Kernel>
FORCEMAP_INLINE void triplet_columns(const Kernel& kernel, const double* q,
                                     const PointPlanes& planes, double* out) {
  const std::size_t count = planes.count;
  double *value = out, *slope1 = out + count, *slope2 = out + 2 * count, *slope3 = out + 3 * count;
  const double* const images = planes.values.data();
  for (std::size_t image = 0; image < planes.per_point; ++image) {
    const double* p1 = images + 3 * image * count;
    const double* p2 = p1 + count;
    const double* p3 = p2 + count;
    const double keep = image == 0 ? 0.0 : 1.0;
    for (std::size_t s = 0; s < count; ++s) {
      const double d1 = q[0] - p1[s], d2 = q[1] - p2[s], d3 = q[2] - p3[s];
      double g;
      const double k = kernel.value(d1 * d1 + d2 * d2 + d3 * d3, g);
      value[s] = keep * value[s] + k;
      slope1[s] = keep * slope1[s] + g * d1;
      slope2[s] = keep * slope2[s] + g * d2;
      slope3[s] = keep * slope3[s] + g * d3;
    }
  }
}

FORCEMAP_CLONES void triplet_columns_se(double lengthscale, const double* q,
                                        const PointPlanes& planes, double* out) {
  triplet_columns(SquaredExponential(lengthscale), q, planes, out);
}
FORCEMAP_CLONES void triplet_columns_matern(double lengthscale, const double* q,
                                            const PointPlanes& planes, double* out) {
  triplet_columns(Matern52(lengthscale), q, planes, out);
}

// Cutoff factors of the two legs and their derivatives.
struct Legs {
  double fj, fk, dfj, dfk;
};

// One triplet's share in everything that is added up over triplets of one centre.
FORCEMAP_CLONES void add_triplet(const Legs& legs, const double* u, const TripletValues& from,
                                 const TripletSums& to, std::size_t count) {
  const auto [value, by_ij, by_ik, by_jk] = from;
  const auto [energy, radial_j, radial_k, pull_j, pull_k] = to;
  const double f = legs.fj * legs.fk, gj = legs.dfj * legs.fk, gk = legs.fj * legs.dfk;
  FORCEMAP_INDEPENDENT
  for (std::size_t s = 0; s < count; ++s) {
    energy[s] += f * value[s];
    radial_j[s] += f * by_ij[s] + gj * value[s];
    radial_k[s] += f * by_ik[s] + gk * value[s];
    const double g = f * by_jk[s];
    for (std::size_t d = 0; d < 3; ++d) {
      pull_j[d * count + s] -= g * u[d];
      pull_k[d * count + s] += g * u[d];
    }
  }
}

}  // namespace

KernelTriplets::KernelTriplets(const KernelSettings& settings, const SparsePoints& points)
    : count(points.count), settings_(settings), planes_(points), values_(4 * points.count) {}

void KernelTriplets::prepare(const NearAtoms& near, int, int) {
  f_.resize(near.size());
  df_.resize(near.size());
  for (std::size_t j = 0; j < near.size(); ++j)
    f_[j] = cutoff_function(settings_, near[j].r, df_[j]);
}

void KernelTriplets::add(const Triplet& t, const TripletSums& to) {
  const auto columns = settings_.kernel == KernelKind::squared_exponential ? triplet_columns_se
                                                                           : triplet_columns_matern;
  double* const v = values_.data();
  columns(settings_.lengthscale, t.distances, planes_, v);
  add_triplet({f_[t.j], f_[t.k], df_[t.j], df_[t.k]}, t.along,
              {v, v + count, v + 2 * count, v + 3 * count}, to, count);
}

void add_three_body(const Environments& environments, const KernelSettings& settings,
                    const TripletSpecies& species, const SparsePoints& points,
                    const RowBlock& block) {
  environments.check(settings.cutoff);
  KernelTriplets columns(settings, points);
  TripletWalk(environments, settings.cutoff, species).add_all(columns, block);
}

TripletDescriptors::TripletDescriptors(const KernelSettings& settings,
                                       const std::vector<TripletBlock>& blocks,
                                       const Environments& environments, int center)
    : settings_(settings), environments_(environments), centers_(environments.of_species(center)) {
  environments.check(settings.cutoff);
  for (const TripletBlock& block : blocks)
    if (block.species.center == center) {
      blocks_.push_back(block);
      dimension_ += block.points.count;
    }
}

template <typename Use>
void TripletDescriptors::each_block(const Use& use) const {
  std::size_t column = 0;
  for (const TripletBlock& block : blocks_) {
    KernelTriplets columns(settings_, block.points);
    TripletWalk walk(environments_, settings_.cutoff, block.species);
    use(column, columns, walk);
    column += block.points.count;
  }
}

void TripletDescriptors::values(double* out) const {
  std::fill_n(out, centers_.size() * dimension_, 0.0);
  each_block([&](std::size_t column, KernelTriplets& columns, TripletWalk& walk) {
    for (std::size_t n = 0; n < centers_.size(); ++n)
      walk.add(centers_[n], columns, out + n * dimension_ + column, nullptr);
  });
}

void TripletDescriptors::derivatives(std::size_t n, std::vector<double>& rows,
                                     std::vector<std::size_t>& targets) const {
  const std::size_t center = centers_[n];
  CenterRows involved(environments_.atoms(), center);
  for (const auto& neighbor : environments_.near(center, settings_.cutoff))
    involved.include(static_cast<std::size_t>(neighbor.owner));
  const RowWriter whole = involved.append(dimension_, rows, targets);
  std::vector<double> value(dimension_);
  each_block([&](std::size_t column, KernelTriplets& columns, TripletWalk& walk) {
    const RowWriter writer = whole.from(column);
    walk.add(center, columns, value.data() + column, &writer);
  });
}

}  // namespace forcemap
