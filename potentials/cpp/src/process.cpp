#include "forcemap/process.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "clones.hpp"
#include "forcemap/fail.hpp"
#include "row_writer.hpp"

#define FORCEMAP_INLINE static inline __attribute__((always_inline))

namespace forcemap {

namespace {

// exp(x) for x <= 0, to 2 ulp, in a form that compilers vectorise; below -708 it gives exp(-708).
FORCEMAP_INLINE double exp_of_negative(double x) {
  x = x < -708.0 ? -708.0 : x;
  // 1.5 * 2^52 rounds to the nearest integer, which then stands in the low bits.
  const double shifted = x * 1.4426950408889634 + 6755399441055744.0;
  const double n = shifted - 6755399441055744.0;
  const double f = (x - n * 0.693147180369123816490) - n * 1.90821492927058770002e-10;
  double p = 1.0 / 6227020800.0;
  p = p * f + 1.0 / 479001600.0;
  p = p * f + 1.0 / 39916800.0;
  p = p * f + 1.0 / 3628800.0;
  p = p * f + 1.0 / 362880.0;
  p = p * f + 1.0 / 40320.0;
  p = p * f + 1.0 / 5040.0;
  p = p * f + 1.0 / 720.0;
  p = p * f + 1.0 / 120.0;
  p = p * f + 1.0 / 24.0;
  p = p * f + 1.0 / 6.0;
  p = p * f + 0.5;
  p = p * f + 1.0;
  p = p * f + 1.0;
  std::int64_t bits;
  std::memcpy(&bits, &shifted, sizeof bits);
  bits = static_cast<std::int64_t>(static_cast<std::uint64_t>(bits) << 52);
  std::int64_t result;
  std::memcpy(&result, &p, sizeof result);
  result += bits;
  std::memcpy(&p, &result, sizeof p);
  return p;
}

// k(d^2) and slope with dk/dq = slope * (q - s).
struct SquaredExponential {
  double c;  // 1/lengthscale^2
  explicit SquaredExponential(double lengthscale) : c(1.0 / (lengthscale * lengthscale)) {}
  inline __attribute__((always_inline)) double value(double d2, double& slope) const {
    const double k = exp_of_negative(-0.5 * c * d2);
    slope = -c * k;
    return k;
  }
};

// (1 + u + u^2/3) exp(-u), u = sqrt(5) d / lengthscale.
struct Matern52 {
  double c;  // 5/lengthscale^2
  explicit Matern52(double lengthscale) : c(5.0 / (lengthscale * lengthscale)) {}
  inline __attribute__((always_inline)) double value(double d2, double& slope) const {
    const double u2 = c * d2;
    const double u = __builtin_sqrt(u2);
    const double e = exp_of_negative(-u);
    slope = -c * (1.0 / 3.0) * (1.0 + u) * e;
    return (1.0 + u + u2 * (1.0 / 3.0)) * e;
  }
};

template <typename Kernel>
FORCEMAP_INLINE void distance_columns(const Kernel& kernel, double r, const double* points,
                                      std::size_t count, double* value, double* slope) {
  for (std::size_t s = 0; s < count; ++s) {
    const double d = r - points[s];
    double g;
    value[s] = kernel.value(d * d, g);
    slope[s] = g * d;
  }
}

// Images of one point stand a whole plane apart, so that the inner loop runs over points:
// images[image][coordinate][point].
template <typename Kernel>
FORCEMAP_INLINE void triplet_columns(const Kernel& kernel, const double q[3], const double* images,
                                     std::size_t count, std::size_t per_point, double* value,
                                     double* slope1, double* slope2, double* slope3) {
  for (std::size_t image = 0; image < per_point; ++image) {
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

FORCEMAP_CLONES void distance_columns_se(double lengthscale, double r, const double* points,
                                         std::size_t count, double* value, double* slope) {
  distance_columns(SquaredExponential(lengthscale), r, points, count, value, slope);
}
FORCEMAP_CLONES void distance_columns_matern(double lengthscale, double r, const double* points,
                                             std::size_t count, double* value, double* slope) {
  distance_columns(Matern52(lengthscale), r, points, count, value, slope);
}
FORCEMAP_CLONES void triplet_columns_se(double lengthscale, const double* q, const double* images,
                                        std::size_t count, std::size_t per_point, double* value,
                                        double* slope1, double* slope2, double* slope3) {
  triplet_columns(SquaredExponential(lengthscale), q, images, count, per_point, value, slope1,
                  slope2, slope3);
}
FORCEMAP_CLONES void triplet_columns_matern(double lengthscale, const double* q,
                                            const double* images, std::size_t count,
                                            std::size_t per_point, double* value, double* slope1,
                                            double* slope2, double* slope3) {
  triplet_columns(Matern52(lengthscale), q, images, count, per_point, value, slope1, slope2,
                  slope3);
}

// One triplet's share in everything that is added up over triplets of one centre.
FORCEMAP_CLONES void add_triplet(double fj, double fk, double dfj, double dfk,
                                 const double* __restrict u, const double* __restrict value,
                                 const double* __restrict slope1, const double* __restrict slope2,
                                 const double* __restrict slope3, std::size_t count,
                                 double* __restrict energy, double* __restrict radial_j,
                                 double* __restrict radial_k, double* __restrict pull_j,
                                 double* __restrict pull_k) {
  const double f = fj * fk, gj = dfj * fk, gk = fj * dfk;
  for (std::size_t s = 0; s < count; ++s) {
    energy[s] += f * value[s];
    radial_j[s] += f * slope1[s] + gj * value[s];
    radial_k[s] += f * slope2[s] + gk * value[s];
    const double g = f * slope3[s];
    for (std::size_t d = 0; d < 3; ++d) {
      pull_j[d * count + s] -= g * u[d];
      pull_k[d * count + s] += g * u[d];
    }
  }
}

// (point, image, coordinate) -> (image, coordinate, point)
std::vector<double> planes_of(const double* images, std::size_t dimension, std::size_t count,
                              std::size_t per_point) {
  std::vector<double> planes(dimension * count * per_point);
  for (std::size_t s = 0; s < count; ++s)
    for (std::size_t m = 0; m < per_point; ++m)
      for (std::size_t d = 0; d < dimension; ++d)
        planes[(m * dimension + d) * count + s] = images[(s * per_point + m) * dimension + d];
  return planes;
}

// Where a triplet adds its values, (count), and derivatives: along r_ij and r_ik, (count), and
// through r_jk by the positions of j and k, (3, count).
struct TripletSums {
  double *energy, *radial_j, *radial_k, *pull_j, *pull_k;
};

// Triplets of centres and neighbours of two species: what is added up over the pairs of neighbours
// of one centre. `columns` has `count`, is shown a centre's neighbours by prepare(), and adds a
// triplet.
class TripletWalk {
 public:
  TripletWalk(const Environments& environments, double cutoff, int a, int b)
      : environments_(environments), cutoff_(cutoff), a_(a), b_(b) {}

  // Values to `energy` and, where there is a writer, derivatives to its rows.
  template <typename Columns>
  void add(std::size_t center, Columns& columns, double* energy, const RowWriter* writer) {
    const std::size_t count = columns.count;
    near_.clear();
    for (const Neighbor* n = environments_.begin(center);
         n != environments_.end(center) && n->r < cutoff_; ++n)
      if (n->number == a_ || n->number == b_) near_.push_back(n);
    columns.prepare(near_, a_, b_);
    radial_.assign(near_.size() * count, 0.0);
    pull_.assign(3 * near_.size() * count, 0.0);
    for (std::size_t j = 0; j < near_.size(); ++j) {
      if (near_[j]->number != a_) continue;
      for (std::size_t k = a_ == b_ ? j + 1 : 0; k < near_.size(); ++k) {
        if (near_[k]->number != b_ || k == j) continue;
        const Neighbor &p = *near_[j], &q = *near_[k];
        double u[3] = {q.x - p.x, q.y - p.y, q.z - p.z};
        const double r = std::sqrt(u[0] * u[0] + u[1] * u[1] + u[2] * u[2]);
        for (double& v : u) v /= r;
        const double distances[3] = {p.r, q.r, r};
        columns.add(j, k, distances, u,
                    TripletSums{energy, &radial_[j * count], &radial_[k * count],
                                &pull_[3 * j * count], &pull_[3 * k * count]});
      }
    }
    if (writer) write(*writer, center, count);
  }

 private:
  using Neighbor = Environments::Neighbor;

  void write(const RowWriter& writer, std::size_t center, std::size_t count) {
    for (std::size_t j = 0; j < near_.size(); ++j) {
      const double r[3] = {near_[j]->x, near_[j]->y, near_[j]->z};
      double* g = &pull_[3 * j * count];
      for (std::size_t d = 0; d < 3; ++d)
        add_scaled(r[d] / near_[j]->r, &radial_[j * count], g + d * count, count);
      writer.add(center, static_cast<std::size_t>(near_[j]->owner), r, g, count);
    }
  }

  const Environments& environments_;
  double cutoff_;
  int a_, b_;
  std::vector<const Neighbor*> near_;
  std::vector<double> radial_, pull_;
};

// All centres of species c into a structure's rows.
template <typename Columns>
void add_all_centers(const Environments& environments, double cutoff, int c, int a, int b,
                     Columns& columns, double* rows, std::size_t stride) {
  const RowWriter writer{rows, stride, environments.atoms()};
  TripletWalk walk(environments, cutoff, a, b);
  for (std::size_t i = 0; i < environments.atoms(); ++i)
    if (environments.numbers()[i] == c) walk.add(i, columns, rows, &writer);
}

// Triplets compared with sparse points by the exact kernel.
struct KernelTriplets {
  KernelSettings settings;
  std::size_t count, per_point;
  std::vector<double> planes, work, f, df;

  KernelTriplets(const KernelSettings& s, const double* images, std::size_t points,
                 std::size_t images_per_point)
      : settings(s),
        count(points),
        per_point(images_per_point),
        planes(planes_of(images, 3, points, images_per_point)),
        work(4 * points) {}

  void prepare(const std::vector<const Environments::Neighbor*>& near, int, int) {
    f.resize(near.size());
    df.resize(near.size());
    for (std::size_t j = 0; j < near.size(); ++j)
      f[j] = cutoff_function(settings, near[j]->r, df[j]);
  }

  void add(std::size_t j, std::size_t k, const double* q, const double* u, const TripletSums& to) {
    const auto columns = settings.kernel == KernelKind::squared_exponential
                             ? triplet_columns_se
                             : triplet_columns_matern;
    double* value = work.data();
    double* slope[3] = {value + count, value + 2 * count, value + 3 * count};
    columns(settings.lengthscale, q, planes.data(), count, per_point, value, slope[0], slope[1],
            slope[2]);
    add_triplet(f[j], f[k], df[j], df[k], u, value, slope[0], slope[1], slope[2], count, to.energy,
                to.radial_j, to.radial_k, to.pull_j, to.pull_k);
  }
};

}  // namespace

double cutoff_function(const KernelSettings& s, double r, double& derivative) {
  const double x = (r - (s.cutoff - s.cutoff_width)) / s.cutoff_width;
  derivative = 0.0;
  if (x <= 0.0) return 1.0;
  if (x >= 1.0) return 0.0;
  if (s.cutoff_kind == CutoffKind::cosine) {
    constexpr double pi = 3.14159265358979323846;
    derivative = -0.5 * pi * std::sin(pi * x) / s.cutoff_width;
    return 0.5 * (std::cos(pi * x) + 1.0);
  }
  derivative = -30.0 * x * x * (1.0 - x) * (1.0 - x) / s.cutoff_width;
  return 1.0 + x * x * x * (-10.0 + x * (15.0 - 6.0 * x));
}

Environments::Environments(std::size_t count, const double* positions, const int* numbers,
                           const double* cell, const bool* pbc, double cutoff)
    : cutoff_(cutoff), numbers_(numbers, numbers + count) {
  const NeighborList list = find_neighbors(count, positions, cell, pbc, cutoff);
  std::vector<double> placed;
  list.place(positions, cell, placed);
  first_.assign(count + 1, 0);
  neighbors_.reserve(list.neighbors.size());
  for (std::size_t i = 0; i < count; ++i) {
    for (std::size_t n = list.first[i]; n < list.first[i + 1]; ++n) {
      const std::size_t e = static_cast<std::size_t>(list.neighbors[n]);
      Neighbor nb;
      nb.x = placed[3 * e] - placed[3 * i];
      nb.y = placed[3 * e + 1] - placed[3 * i + 1];
      nb.z = placed[3 * e + 2] - placed[3 * i + 2];
      nb.r = std::sqrt(nb.x * nb.x + nb.y * nb.y + nb.z * nb.z);
      nb.owner = list.owner[e];
      nb.number = numbers[nb.owner];
      if (!(nb.r > 0.0)) fail("atoms ", i, " and ", nb.owner, " are in the same place");
      neighbors_.push_back(nb);
    }
    // Sorted by distance: a term with a shorter cutoff stops early.
    std::sort(neighbors_.begin() + static_cast<std::ptrdiff_t>(first_[i]), neighbors_.end(),
              [](const Neighbor& p, const Neighbor& q) { return p.r < q.r; });
    first_[i + 1] = neighbors_.size();
  }
}

void Environments::check(double cutoff) const {
  if (cutoff > cutoff_)
    fail("a term's cutoff of ", cutoff, " Å is beyond the environments' ", cutoff_, " Å");
}

std::vector<std::size_t> Environments::of_species(int number) const {
  std::vector<std::size_t> found;
  for (std::size_t i = 0; i < atoms(); ++i)
    if (numbers_[i] == number) found.push_back(i);
  return found;
}

std::vector<double> Environments::distances(int a, int b, double cutoff) const {
  check(cutoff);
  std::vector<double> all;
  for (std::size_t i = 0; i < atoms(); ++i) {
    if (numbers_[i] != a) continue;
    for (std::size_t n = first_[i]; n < first_[i + 1] && neighbors_[n].r < cutoff; ++n)
      // Of a pair of one species, both directions are met: the first index is the lower one. An
      // image of the centre itself comes with its opposite; both stay, they change no selection.
      if (neighbors_[n].number == b && (a != b || static_cast<int>(i) <= neighbors_[n].owner))
        all.push_back(neighbors_[n].r);
  }
  return all;
}

std::vector<double> Environments::triplets(int c, int a, int b, double cutoff) const {
  check(cutoff);
  std::vector<double> all;
  for (std::size_t i = 0; i < atoms(); ++i) {
    if (numbers_[i] != c) continue;
    for (std::size_t j = first_[i]; j < first_[i + 1] && neighbors_[j].r < cutoff; ++j) {
      if (neighbors_[j].number != a) continue;
      for (std::size_t k = a == b ? j + 1 : first_[i];
           k < first_[i + 1] && neighbors_[k].r < cutoff; ++k) {
        if (neighbors_[k].number != b || k == j) continue;
        const double dx = neighbors_[k].x - neighbors_[j].x;
        const double dy = neighbors_[k].y - neighbors_[j].y;
        const double dz = neighbors_[k].z - neighbors_[j].z;
        all.push_back(neighbors_[j].r);
        all.push_back(neighbors_[k].r);
        all.push_back(std::sqrt(dx * dx + dy * dy + dz * dz));
      }
    }
  }
  return all;
}

std::size_t Environments::triplet_count(int c, int a, int b, double cutoff) const {
  check(cutoff);
  std::size_t total = 0;
  for (std::size_t i = 0; i < atoms(); ++i) {
    if (numbers_[i] != c) continue;
    std::size_t na = 0, nb = 0;
    for (std::size_t n = first_[i]; n < first_[i + 1] && neighbors_[n].r < cutoff; ++n) {
      na += neighbors_[n].number == a;
      nb += neighbors_[n].number == b;
    }
    total += a == b ? na * (na ? na - 1 : 0) / 2 : na * nb;
  }
  return total;
}

template <typename Columns>
void Environments::add_pairs(double cutoff, int a, int b, std::size_t count, const Columns& columns,
                             double* rows, std::size_t stride) const {
  check(cutoff);
  const RowWriter writer{rows, stride, atoms()};
  std::vector<double> value(count), slope(count), gradient(3 * count);
  for (std::size_t i = 0; i < atoms(); ++i) {
    const int other = numbers_[i] == a ? b : a;
    if (numbers_[i] != a && numbers_[i] != b) continue;
    for (std::size_t n = first_[i]; n < first_[i + 1] && neighbors_[n].r < cutoff; ++n) {
      const Neighbor& nb = neighbors_[n];
      if (nb.number != other) continue;
      columns(nb.r, value.data(), slope.data());
      add_scaled(1.0, value.data(), rows, count);
      const double unit[3] = {nb.x / nb.r, nb.y / nb.r, nb.z / nb.r};
      for (std::size_t d = 0; d < 3; ++d)
        for (std::size_t s = 0; s < count; ++s) gradient[d * count + s] = slope[s] * unit[d];
      const double r[3] = {nb.x, nb.y, nb.z};
      writer.add(i, static_cast<std::size_t>(nb.owner), r, gradient.data(), count);
    }
  }
}

void Environments::add_two_body(const KernelSettings& settings, int a, int b, const double* points,
                                std::size_t count, double* rows, std::size_t stride) const {
  const auto columns = settings.kernel == KernelKind::squared_exponential ? distance_columns_se
                                                                          : distance_columns_matern;
  add_pairs(
      settings.cutoff, a, b, count,
      [&](double r, double* value, double* slope) {
        double df;
        const double f = cutoff_function(settings, r, df);
        columns(settings.lengthscale, r, points, count, value, slope);
        for (std::size_t s = 0; s < count; ++s) {
          slope[s] = f * slope[s] + df * value[s];
          value[s] *= f;
        }
      },
      rows, stride);
}

void Environments::add_three_body(const KernelSettings& settings, int c, int a, int b,
                                  const double* images, std::size_t count, std::size_t per_point,
                                  double* rows, std::size_t stride) const {
  check(settings.cutoff);
  KernelTriplets columns(settings, images, count, per_point);
  add_all_centers(*this, settings.cutoff, c, a, b, columns, rows, stride);
}

TripletDescriptors::TripletDescriptors(const KernelSettings& settings,
                                       const std::vector<TripletBlock>& blocks,
                                       const Environments& environments, int center)
    : settings_(settings), environments_(environments), centers_(environments.of_species(center)) {
  environments.check(settings.cutoff);
  for (const TripletBlock& block : blocks)
    if (block.center == center) {
      blocks_.push_back(block);
      dimension_ += block.count;
    }
}

template <typename Use>
void TripletDescriptors::each_block(const Use& use) const {
  std::size_t column = 0;
  for (const TripletBlock& block : blocks_) {
    KernelTriplets columns(settings_, block.images, block.count, block.per_point);
    TripletWalk walk(environments_, settings_.cutoff, block.a, block.b);
    use(column, columns, walk);
    column += block.count;
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
  CenterRows found(environments_.atoms(), center);
  for (const auto* near = environments_.begin(center);
       near != environments_.end(center) && near->r < settings_.cutoff; ++near)
    found.include(static_cast<std::size_t>(near->owner));
  const RowWriter whole = found.append(dimension_, rows, targets);
  std::vector<double> value(dimension_);
  each_block([&](std::size_t column, KernelTriplets& columns, TripletWalk& walk) {
    RowWriter writer = whole;
    writer.rows += column;
    walk.add(center, columns, value.data() + column, &writer);
  });
}

namespace {

// Values and slopes at r of `count` splines whose coefficients stand side by side, (n + 3, count).
FORCEMAP_CLONES void spline_columns(const double* __restrict coefficients, std::size_t intervals,
                                    double inverse_spacing, double r, std::size_t count,
                                    double* __restrict value, double* __restrict slope) {
  const double u = r * inverse_spacing;
  const double m = std::min(std::floor(u), static_cast<double>(intervals) - 1.0);
  const double t = u - m, s = 1.0 - t;
  const double b[4] = {s * s * s / 6.0, (3.0 * t * t * t - 6.0 * t * t + 4.0) / 6.0,
                       (3.0 * s * s * s - 6.0 * s * s + 4.0) / 6.0, t * t * t / 6.0};
  const double d[4] = {-0.5 * s * s * inverse_spacing, (1.5 * t * t - 2.0 * t) * inverse_spacing,
                       (2.0 * s - 1.5 * s * s) * inverse_spacing, 0.5 * t * t * inverse_spacing};
  const double* c = coefficients + static_cast<std::size_t>(m) * count;
  for (std::size_t n = 0; n < count; ++n) {
    const double c0 = c[n], c1 = c[count + n], c2 = c[2 * count + n], c3 = c[3 * count + n];
    value[n] = b[0] * c0 + b[1] * c1 + b[2] * c2 + b[3] * c3;
    slope[n] = d[0] * c0 + d[1] * c1 + d[2] * c2 + d[3] * c3;
  }
}

// One image's share of a triplet: first(r_ij) second(r_ik) base(r_jk) and its three slopes.
FORCEMAP_CLONES void add_product_triplet(const double* __restrict v1, const double* __restrict d1,
                                         const double* __restrict v2, const double* __restrict d2,
                                         const double* __restrict v3, const double* __restrict d3,
                                         const double* __restrict u, std::size_t count,
                                         double* __restrict energy, double* __restrict radial_j,
                                         double* __restrict radial_k, double* __restrict pull_j,
                                         double* __restrict pull_k) {
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

// Triplets whose kernel is a product of splines.
struct ProductTriplets {
  const ProductBlock& block;
  std::size_t count, planes, leg_plane, base_plane;
  std::vector<std::size_t> same;
  std::vector<double> legs, bases;

  explicit ProductTriplets(const ProductBlock& b)
      : block(b),
        count(b.count),
        planes(b.images),
        leg_plane((b.leg_intervals + 3) * b.count),
        base_plane((b.base_intervals + 3) * b.count),
        same(b.images),
        bases(2 * b.images * b.count) {
    // Swapping two neighbours leaves r_jk alone: images that share its spline share its values.
    for (std::size_t p = 0; p < planes; ++p) {
      same[p] = p;
      for (std::size_t q = 0; q < p && same[p] == p; ++q)
        if (std::equal(block.base + p * base_plane, block.base + (p + 1) * base_plane,
                       block.base + q * base_plane))
          same[p] = q;
    }
  }

  // Of neighbour j: value and slope as first leg, then as second leg, for every image.
  double* leg(std::size_t j, std::size_t role, std::size_t p, std::size_t slope) {
    return legs.data() + (((j * 2 + role) * planes + p) * 2 + slope) * count;
  }

  void prepare(const std::vector<const Environments::Neighbor*>& near, int a, int b) {
    const double scale = static_cast<double>(block.leg_intervals) / block.cutoff;
    legs.resize(near.size() * 4 * planes * count);
    for (std::size_t j = 0; j < near.size(); ++j)
      for (std::size_t p = 0; p < planes; ++p)
        for (std::size_t role = 0; role < 2; ++role) {
          if (near[j]->number != (role == 0 ? a : b)) continue;
          spline_columns((role == 0 ? block.first : block.second) + p * leg_plane,
                         block.leg_intervals, scale, near[j]->r, count, leg(j, role, p, 0),
                         leg(j, role, p, 1));
        }
  }

  void add(std::size_t j, std::size_t k, const double* q, const double* u, const TripletSums& to) {
    const double scale = static_cast<double>(block.base_intervals) / (2.0 * block.cutoff);
    for (std::size_t p = 0; p < planes; ++p) {
      double* base = &bases[2 * same[p] * count];
      if (same[p] == p)
        spline_columns(block.base + p * base_plane, block.base_intervals, scale, q[2], count, base,
                       base + count);
      add_product_triplet(leg(j, 0, p, 0), leg(j, 0, p, 1), leg(k, 1, p, 0), leg(k, 1, p, 1), base,
                          base + count, u, count, to.energy, to.radial_j, to.radial_k, to.pull_j,
                          to.pull_k);
    }
  }
};

}  // namespace

void Environments::add_splines(double cutoff, std::size_t intervals, const double* coefficients,
                               std::size_t count, int a, int b, double* rows,
                               std::size_t stride) const {
  add_pairs(
      cutoff, a, b, count,
      [&](double r, double* value, double* slope) {
        spline_columns(coefficients, intervals, static_cast<double>(intervals) / cutoff, r, count,
                       value, slope);
      },
      rows, stride);
}

void Environments::add_product(const ProductBlock& block, int c, int a, int b, double* rows,
                               std::size_t stride) const {
  check(block.cutoff);
  ProductTriplets columns(block);
  add_all_centers(*this, block.cutoff, c, a, b, columns, rows, stride);
}

// rho_i, and the slope of phi at every neighbour within the cutoff.
double Environments::density_of(const DensitySplines& density, std::size_t i,
                                std::vector<double>& slopes) const {
  const double scale = static_cast<double>(density.intervals) / density.cutoff;
  double rho = 0.0;
  slopes.clear();
  for (const Neighbor* nb = begin(i); nb != end(i) && nb->r < density.cutoff; ++nb) {
    double value = 0.0, slope = 0.0;
    for (std::size_t s = 0; s < density.numbers.size(); ++s)
      if (density.numbers[s] == nb->number)
        spline_columns(density.coefficients + s * (density.intervals + 3), density.intervals, scale,
                       nb->r, 1, &value, &slope);
    rho += value;
    slopes.push_back(slope);
  }
  return rho;
}

std::vector<double> Environments::densities(const DensitySplines& density, int center) const {
  check(density.cutoff);
  std::vector<double> all, slopes;
  for (std::size_t i = 0; i < atoms(); ++i)
    if (numbers_[i] == center) all.push_back(density_of(density, i, slopes));
  return all;
}

void Environments::add_embedding(const DensitySplines& density, int center,
                                 const DensityColumns& functions, double* rows,
                                 std::size_t stride) const {
  check(density.cutoff);
  const std::size_t count = functions.count;
  const RowWriter writer{rows, stride, atoms()};
  const double scale = static_cast<double>(functions.intervals) / functions.range;
  std::vector<double> value(count), slope(count), free(count), slopes;
  spline_columns(functions.coefficients, functions.intervals, scale, 0.0, count, free.data(),
                 slope.data());
  for (std::size_t i = 0; i < atoms(); ++i) {
    if (numbers_[i] != center) continue;
    const double rho = density_of(density, i, slopes);
    if (slopes.empty()) continue;
    const double inside = std::min(std::max(rho, 0.0), functions.range);
    spline_columns(functions.coefficients, functions.intervals, scale, inside, count, value.data(),
                   slope.data());
    for (std::size_t s = 0; s < count; ++s)
      rows[s] += value[s] - free[s] + slope[s] * (rho - inside);
    // dV/d(anything) = V' drho/d(anything): numbers of the densities first, then all columns.
    double pull[3] = {0.0, 0.0, 0.0}, strain[6] = {0.0, 0.0, 0.0, 0.0, 0.0, 0.0};
    for (std::size_t n = 0; n < slopes.size(); ++n) {
      const Neighbor& nb = begin(i)[n];
      const double r[3] = {nb.x, nb.y, nb.z};
      double g[3];
      for (std::size_t d = 0; d < 3; ++d) g[d] = slopes[n] * r[d] / nb.r;
      for (std::size_t d = 0; d < 3; ++d) strain[d] += r[d] * g[d];
      strain[3] += r[1] * g[2];
      strain[4] += r[0] * g[2];
      strain[5] += r[0] * g[1];
      const auto owner = static_cast<std::size_t>(nb.owner);
      if (owner == i) continue;
      for (std::size_t d = 0; d < 3; ++d) {
        add_scaled(-g[d], slope.data(), writer.force(owner, d), count);
        pull[d] += g[d];
      }
    }
    for (std::size_t d = 0; d < 3; ++d)
      add_scaled(pull[d], slope.data(), writer.force(i, d), count);
    for (std::size_t v = 0; v < 6; ++v)
      add_scaled(strain[v], slope.data(), writer.strain(v), count);
  }
}

namespace {

template <typename Kernel>
FORCEMAP_INLINE void kernel_row(const Kernel& kernel, std::size_t dimension, const double* point,
                                const double* planes, std::size_t count, std::size_t per_point,
                                double* out) {
  for (std::size_t s = 0; s < count; ++s) out[s] = 0.0;
  for (std::size_t m = 0; m < per_point; ++m) {
    const double* p = planes + dimension * m * count;
    if (dimension == 3) {
      for (std::size_t s = 0; s < count; ++s) {
        const double d1 = point[0] - p[s], d2 = point[1] - p[count + s];
        const double d3 = point[2] - p[2 * count + s];
        double g;
        out[s] += kernel.value(d1 * d1 + d2 * d2 + d3 * d3, g);
      }
    } else {
      for (std::size_t s = 0; s < count; ++s) {
        double d2 = 0.0;
        for (std::size_t d = 0; d < dimension; ++d) {
          const double delta = point[d] - p[d * count + s];
          d2 += delta * delta;
        }
        double g;
        out[s] += kernel.value(d2, g);
      }
    }
  }
}

FORCEMAP_CLONES void kernel_row_se(double lengthscale, std::size_t dimension, const double* point,
                                   const double* planes, std::size_t count, std::size_t per_point,
                                   double* out) {
  kernel_row(SquaredExponential(lengthscale), dimension, point, planes, count, per_point, out);
}
FORCEMAP_CLONES void kernel_row_matern(double lengthscale, std::size_t dimension,
                                       const double* point, const double* planes, std::size_t count,
                                       std::size_t per_point, double* out) {
  kernel_row(Matern52(lengthscale), dimension, point, planes, count, per_point, out);
}

// Rows of the kernel matrix, one after the other, handed to `use(row number, values)`.
template <typename Use>
void each_row(const KernelSettings& settings, std::size_t dimension, const double* points,
              std::size_t n, const double* images, std::size_t count, std::size_t per_point,
              const Use& use) {
  const std::vector<double> planes = planes_of(images, dimension, count, per_point);
  std::vector<double> row(count);
  const auto function =
      settings.kernel == KernelKind::squared_exponential ? kernel_row_se : kernel_row_matern;
  for (std::size_t i = 0; i < n; ++i) {
    function(settings.lengthscale, dimension, points + i * dimension, planes.data(), count,
             per_point, row.data());
    use(i, row.data());
  }
}

}  // namespace

void kernel_matrix(const KernelSettings& settings, std::size_t dimension, const double* points,
                   std::size_t n, const double* images, std::size_t count, std::size_t per_point,
                   double* out) {
  each_row(settings, dimension, points, n, images, count, per_point,
           [&](std::size_t i, const double* row) { std::copy(row, row + count, out + i * count); });
}

void kernel_sum(const KernelSettings& settings, std::size_t dimension, const double* points,
                std::size_t n, const double* images, std::size_t count, std::size_t per_point,
                const double* weights, double* out) {
  each_row(settings, dimension, points, n, images, count, per_point,
           [&](std::size_t i, const double* row) {
             double sum = 0.0;
             for (std::size_t s = 0; s < count; ++s) sum += row[s] * weights[s];
             out[i] = sum;
           });
}

}  // namespace forcemap
