// 3-body terms that are sums over sparse points, evaluated as they are: what splines would need too
// many knots for, as functions that are narrow or have kinks. The site energy of atom i is the sum
// over unordered pairs of neighbours {j, k} of
//
//   w ( S(z)^(-1/2) sum_n factors[n] k(z, z_n) + constant ),  S(z) = sum_P k(P z, z),
//
// with z the coordinates over their lengthscales and z_n those of the points. Of the permutations P
// of coordinates there is at least the identity; points have been permuted already.
//
//   {"kind": "three_body_kernel", "cutoff": 4.0, "transition": 0.5, "coordinates": "distances",
//    "covariance": "squared_exponential", "weight": "center", "pairs": "unordered",
//    "tables": [["O", "H", "H"], ...]}
//
// coordinates: "distances" (r_ij, r_ik, r_jk), "sums" (r_ij + r_ik, (r_ij - r_ik)^2, r_jk).
// covariance: "squared_exponential" exp(-d^2 / 2), "wendland" (1 - d)^4 (4 d + 1) up to d = 1; or
// "spline": all in the bracket, which has no part in the kinks of w, is a spline of the coordinates
// on the "intervals" [n, m, l], from 0 to the largest value of each coordinate: (cutoff, cutoff,
// 2 cutoff) or (2 cutoff, cutoff^2, 2 cutoff). Each table is then "C-A-B.values"
// (n + 3, m + 3, l + 3), eV, linear in the weights.
// weight: "center" c(r_ij) c(r_ik), "cluster" c(r_ij) c(r_ik) (1 - 2/3 c(r_jk)), where c is 1 and
// from cutoff - transition on half a cosine, down to 0 at the cutoff. pairs: "unordered" or
// "ordered", where neighbours of one species count as (j, k) and as (k, j). For each table, of a
// centre C and neighbours A and B, "C-A-B.points" (n, 3), "C-A-B.factors" (n), eV, and
// "C-A-B.constant" (1), eV, linear in the weights, "C-A-B.lengthscales" (3), "C-A-B.permutations"
// (m, 3), whole numbers 0 to 2.
#include <algorithm>
#include <array>
#include <cmath>

#include "clones.hpp"
#include "rows/kernel_functions.hpp"
#include "sites.hpp"
#include "term_reader.hpp"
#include "workspace.hpp"

namespace forcemap {

namespace {

constexpr std::size_t batch_size = 128;
constexpr double max_lengthscale = 1e9;

using Permutation = std::array<std::size_t, 3>;

// Triplets side by side: everything about sparse points is done for all of them in turn.
struct Batch {
  std::size_t count = 0;
  int j[batch_size], k[batch_size];     // entries of the site
  double base[batch_size];              // r_jk, Å
  alignas(64) double z[3][batch_size];  // scaled coordinates
  alignas(64) double value[batch_size];
  alignas(64) double slope[3][batch_size];  // by z
};

// Points over lengthscales, side by side, and what belongs to them.
struct Points {
  std::vector<double> scaled;  // (3, n)
  std::vector<double> factors;
  double constant;
  std::array<double, 3> inverse;  // of the lengthscales
  std::vector<Permutation> permutations;
  std::vector<double> grid;  // (intervals + 3), in the place of points
  std::array<std::size_t, 3> intervals{};

  std::size_t bytes() const {
    return (scaled.size() + factors.size() + grid.size()) * sizeof(double) +
           permutations.size() * sizeof(Permutation);
  }
};

// (1 - d)^4 (4 d + 1) within d < 1; slope with dk/dq = slope (q - s).
struct Wendland {
  inline __attribute__((always_inline)) double value(double d2, double& slope) const {
    const double d = __builtin_sqrt(d2), inside = d < 1.0 ? 1.0 - d : 0.0;
    const double cube = inside * inside * inside;
    slope = -20.0 * cube;
    return cube * inside * (4.0 * d + 1.0);
  }
};

template <typename Kernel>
FORCEMAP_INLINE void add_points(const Kernel& kernel, const Points& points, Batch& batch) {
  const std::size_t n = points.factors.size();
  const double *const x = points.scaled.data(), *const y = x + n, *const z = y + n;
  // A multiple of the vectors' lengths: what is beyond the last triplet nobody reads.
  const std::size_t count = (batch.count + 7) / 8 * 8;
  double *const value = batch.value, *const s0 = batch.slope[0], *const s1 = batch.slope[1];
  double* const s2 = batch.slope[2];
  for (std::size_t m = 0; m < n; ++m) {
    const double factor = points.factors[m], xm = x[m], ym = y[m], zm = z[m];
    FORCEMAP_INDEPENDENT
    for (std::size_t t = 0; t < count; ++t) {
      const double d0 = batch.z[0][t] - xm, d1 = batch.z[1][t] - ym, d2 = batch.z[2][t] - zm;
      double g;
      value[t] += factor * kernel.value(d0 * d0 + d1 * d1 + d2 * d2, g);
      g *= factor;
      s0[t] += g * d0;
      s1[t] += g * d1;
      s2[t] += g * d2;
    }
  }
}

FORCEMAP_CLONES void add_squared_exponentials(const Points& points, Batch& batch) {
  add_points(SquaredExponential(1.0), points, batch);
}
FORCEMAP_CLONES void add_wendlands(const Points& points, Batch& batch) {
  add_points(Wendland(), points, batch);
}

// B-splines of an interval's four coefficients and their slopes, u in intervals.
struct Weights {
  std::size_t first;
  double value[4], slope[4];

  inline __attribute__((always_inline)) Weights(double u, std::size_t intervals) {
    const double last = static_cast<double>(intervals - 1), low = __builtin_floor(u);
    const double m = low < last ? low : last, t = u - m, q = 1.0 - t;
    first = static_cast<std::size_t>(m);
    value[0] = q * q * q * (1.0 / 6.0);
    value[1] = (0.5 * t - 1.0) * t * t + 2.0 / 3.0;
    value[2] = (0.5 * q - 1.0) * q * q + 2.0 / 3.0;
    value[3] = t * t * t * (1.0 / 6.0);
    slope[0] = -0.5 * q * q;
    slope[1] = t * (1.5 * t - 2.0);
    slope[2] = -q * (1.5 * q - 2.0);
    slope[3] = 0.5 * t * t;
  }
};

FORCEMAP_CLONES void add_splines(const Points& points, Batch& batch) {
  const std::array<std::size_t, 3>& n = points.intervals;
  const std::size_t row = n[2] + 3, plane = (n[1] + 3) * row;
  for (std::size_t t = 0; t < batch.count; ++t) {
    const Weights j(batch.z[0][t], n[0]), k(batch.z[1][t], n[1]), jk(batch.z[2][t], n[2]);
    const double* const corner = points.grid.data() + j.first * plane + k.first * row + jk.first;
    double v[4] = {}, vj[4] = {}, vk[4] = {};
    for (std::size_t a = 0; a < 4; ++a)
      for (std::size_t b = 0; b < 4; ++b) {
        const double* const g = corner + a * plane + b * row;
        const double w = j.value[a] * k.value[b];
        const double wj = j.slope[a] * k.value[b], wk = j.value[a] * k.slope[b];
        for (std::size_t c = 0; c < 4; ++c) {
          v[c] += w * g[c];
          vj[c] += wj * g[c];
          vk[c] += wk * g[c];
        }
      }
    for (std::size_t c = 0; c < 4; ++c) {
      batch.value[t] += jk.value[c] * v[c];
      batch.slope[0][t] += jk.value[c] * vj[c];
      batch.slope[1][t] += jk.value[c] * vk[c];
      batch.slope[2][t] += jk.slope[c] * v[c];
    }
  }
}

// Divides by the square root of S, the sum over permutations of a triplet's covariances with
// itself.
template <typename Kernel>
void normalise(const Kernel& kernel, const std::vector<Permutation>& permutations, Batch& batch) {
  if (permutations.size() == 1) return;
  for (std::size_t t = 0; t < batch.count; ++t) {
    const double z[3] = {batch.z[0][t], batch.z[1][t], batch.z[2][t]};
    double sum = 0.0, slope[3] = {0.0, 0.0, 0.0};
    for (const Permutation& p : permutations) {
      const double d[3] = {z[p[0]] - z[0], z[p[1]] - z[1], z[p[2]] - z[2]};
      double g;
      sum += kernel.value(d[0] * d[0] + d[1] * d[1] + d[2] * d[2], g);
      for (std::size_t a = 0; a < 3; ++a) {
        slope[p[a]] += g * d[a];
        slope[a] -= g * d[a];
      }
    }
    const double root = 1.0 / std::sqrt(sum), by_sum = -0.5 * root / sum * batch.value[t];
    for (std::size_t a = 0; a < 3; ++a)
      batch.slope[a][t] = batch.slope[a][t] * root + by_sum * slope[a];
    batch.value[t] *= root;
  }
}

// Neighbours of one species within the cutoff.
struct Neighbor {
  int entry;
  double r, weight, weight_slope;  // c(r), 1/Å
};

struct Scratch {
  std::vector<std::vector<Neighbor>> of_species;
  std::vector<double> weights, weight_slopes;  // by entry of the site
  Batch batch;
};

class ThreeBodyKernel final : public MappedTerm {
 public:
  explicit ThreeBodyKernel(TermReader& reader)
      : species_(reader.species()), places_(species_ * species_ * species_, -1) {
    const JsonView& json = reader.json();
    json.allow_only({"kind", "cutoff", "transition", "coordinates", "covariance", "weight", "pairs",
                     "tables", "intervals"});
    cutoff_ = reader.cutoff();
    transition_ = json.at("transition").number();
    if (!(transition_ > 0.0 && transition_ <= max_distance))
      json.at("transition")
          .reject("found ", transition_, ", expected 0 < transition <= ", max_distance);
    sums_ = chosen(json, "coordinates", "sums", "distances");
    spline_ = json.at("covariance").string() == "spline";
    if (!spline_) {
      json.allow_only({"kind", "cutoff", "transition", "coordinates", "covariance", "weight",
                       "pairs", "tables"});
      wendland_ = chosen(json, "covariance", "wendland", "squared_exponential");
    }
    cluster_ = chosen(json, "weight", "cluster", "center");
    ordered_ = chosen(json, "pairs", "ordered", "unordered");
    for (const Species& t : reader.tables(3, TermReader::Order::exchangeable)) {
      places_[(t[0] * species_ + t[1]) * species_ + t[2]] = static_cast<int>(tables_.size());
      const std::string label = reader.label(t);
      tables_.push_back(spline_ ? read_grid(reader, label) : read(reader, label));
    }
  }

  double cutoff() const override { return cutoff_; }
  std::size_t bytes() const override {
    std::size_t sum = places_.size() * sizeof(int);
    for (const Points& points : tables_) sum += points.bytes();
    return sum;
  }

  void add(const Sites& sites, double* energies, Workspace& space) const override {
    Scratch& scratch = space.of<Scratch>();
    add_each(sites, energies, [&](const SiteView& site) { return energy(site, scratch); });
  }

 private:
  /// True for `one`, false for `other`; Error for anything else.
  static bool chosen(const JsonView& json, const char* name, const char* one, const char* other) {
    const std::string& text = json.at(name).string();
    if (text != one && text != other)
      json.at(name).reject("found ", quoted(text), ", expected ", other, " or ", one);
    return text == one;
  }

  static Points read(TermReader& reader, const std::string& label) {
    Points points;
    const std::string factors = label + ".factors", lengthscales = label + ".lengthscales";
    const std::size_t draws = std::max<std::size_t>(reader.draws(), 1);
    const std::size_t n = reader.count(label + ".points") / 3;
    if (n == 0) reader.reject_tensor(label + ".points", "found no points, expected (points, 3)");
    if (reader.count(factors) / draws != n)
      reader.reject_tensor(factors, "found ", reader.count(factors), " numbers, expected ", n,
                           draws > 1 ? " for each draw" : "");
    const std::vector<double> given = reader.take(label + ".points", {n, 3});
    points.factors = reader.take_weighted(factors, {n});
    points.constant = reader.take_weighted(label + ".constant", {1})[0];
    const std::vector<double> scales = reader.take(lengthscales, {3});
    for (std::size_t a = 0; a < 3; ++a) {
      if (!(scales[a] > 1.0 / max_lengthscale && scales[a] <= max_lengthscale))
        reader.reject_tensor(lengthscales, "found ", scales[a], ", expected ",
                             1.0 / max_lengthscale, " < lengthscale <= ", max_lengthscale);
      points.inverse[a] = 1.0 / scales[a];
    }
    points.scaled.resize(3 * n);
    for (std::size_t m = 0; m < n; ++m)
      for (std::size_t a = 0; a < 3; ++a)
        points.scaled[a * n + m] = given[3 * m + a] * points.inverse[a];
    points.permutations = permutations(reader, label + ".permutations");
    return points;
  }

  Points read_grid(TermReader& reader, const std::string& label) const {
    Points points;
    const JsonView counts = reader.json().at("intervals");
    if (counts.size() != 3) counts.reject("found ", counts.size(), " numbers, expected 3");
    const double first = sums_ ? 2.0 * cutoff_ : cutoff_;
    const std::array<double, 3> range = {first, sums_ ? cutoff_ * cutoff_ : cutoff_, 2.0 * cutoff_};
    for (std::size_t a = 0; a < 3; ++a) {
      points.intervals[a] = static_cast<std::size_t>(counts.at(a).integer(1, max_intervals));
      points.inverse[a] = static_cast<double>(points.intervals[a]) / range[a];
    }
    const std::array<std::size_t, 3>& n = points.intervals;
    points.grid = reader.take_weighted(label + ".values", {n[0] + 3, n[1] + 3, n[2] + 3});
    points.constant = 0.0;
    return points;
  }

  static std::vector<Permutation> permutations(TermReader& reader, const std::string& name) {
    const std::size_t count = reader.count(name) / 3;
    if (count == 0 || count > 6)
      reader.reject_tensor(name, "found ", count, " permutations, expected 1 to 6");
    const std::vector<double> given = reader.take(name, {count, 3});
    std::vector<Permutation> found(count);
    for (std::size_t p = 0; p < count; ++p) {
      unsigned seen = 0;
      for (std::size_t a = 0; a < 3; ++a) {
        const double value = given[3 * p + a];
        if (!(value == 0.0 || value == 1.0 || value == 2.0))
          reader.reject_tensor(name, "found ", value, ", expected 0, 1 or 2");
        found[p][a] = static_cast<std::size_t>(value);
        seen |= 1u << found[p][a];
      }
      if (seen != 7u) reader.reject_tensor(name, "found a number twice in row ", p);
    }
    return found;
  }

  double energy(const SiteView& site, Scratch& scratch) const {
    gather(site, scratch);
    double sum = 0.0;
    const auto center = static_cast<std::size_t>(site.species);
    for (std::size_t a = 0; a < species_; ++a)
      for (std::size_t b = a; b < species_; ++b) {
        const int place = places_[(center * species_ + a) * species_ + b];
        if (place < 0) continue;
        const Points& points = tables_[static_cast<std::size_t>(place)];
        const std::vector<Neighbor>&first = scratch.of_species[a], &second = scratch.of_species[b];
        for (std::size_t j = 0; j < first.size(); ++j)
          for (std::size_t k = a == b && !ordered_ ? j + 1 : 0; k < second.size(); ++k) {
            if (a == b && j == k) continue;
            enter(site, points, first[j], second[k], scratch.batch);
            if (scratch.batch.count == batch_size) sum += evaluate(site, points, scratch);
          }
        sum += evaluate(site, points, scratch);
      }
    return sum;
  }

  void gather(const SiteView& site, Scratch& scratch) const {
    if (scratch.of_species.size() < species_) scratch.of_species.resize(species_);
    for (std::vector<Neighbor>& neighbors : scratch.of_species) neighbors.clear();
    scratch.weights.resize(std::max(scratch.weights.size(), site.count));
    scratch.weight_slopes.resize(scratch.weights.size());
    for (std::size_t n = 0; n < site.count; ++n) {
      if (!(site.r[n] < cutoff_)) continue;
      Neighbor neighbor{static_cast<int>(n), site.r[n], 0.0, 0.0};
      neighbor.weight = switched(site.r[n], neighbor.weight_slope);
      scratch.weights[n] = neighbor.weight;
      scratch.weight_slopes[n] = neighbor.weight_slope;
      scratch.of_species[static_cast<std::size_t>(site.kind[n])].push_back(neighbor);
    }
  }

  /// c(r) and its slope.
  double switched(double r, double& slope) const {
    constexpr double pi = 3.14159265358979323846;
    const double x = r - (cutoff_ - transition_);
    slope = 0.0;
    if (x <= 0.0) return 1.0;
    if (x >= transition_) return 0.0;
    const double angle = pi / transition_ * x;
    slope = -0.5 * pi / transition_ * std::sin(angle);
    return 0.5 * (1.0 + std::cos(angle));
  }

  void enter(const SiteView& site, const Points& points, const Neighbor& j, const Neighbor& k,
             Batch& batch) const {
    const std::size_t t = batch.count++;
    const double dx = site.x[k.entry] - site.x[j.entry], dy = site.y[k.entry] - site.y[j.entry];
    const double dz = site.z[k.entry] - site.z[j.entry];
    batch.j[t] = j.entry;
    batch.k[t] = k.entry;
    batch.base[t] = std::sqrt(dx * dx + dy * dy + dz * dz);
    const double apart = j.r - k.r;
    batch.z[0][t] = (sums_ ? j.r + k.r : j.r) * points.inverse[0];
    batch.z[1][t] = (sums_ ? apart * apart : k.r) * points.inverse[1];
    batch.z[2][t] = batch.base[t] * points.inverse[2];
    batch.value[t] = batch.slope[0][t] = batch.slope[1][t] = batch.slope[2][t] = 0.0;
  }

  /// Energy of the triplets of the batch, which is left empty; adds to the site's gradients.
  double evaluate(const SiteView& site, const Points& points, Scratch& scratch) const {
    Batch& batch = scratch.batch;
    if (batch.count == 0) return 0.0;
    for (std::size_t t = batch.count; t < (batch.count + 7) / 8 * 8; ++t)
      batch.z[0][t] = batch.z[1][t] = batch.z[2][t] = batch.value[t] = batch.slope[0][t] =
          batch.slope[1][t] = batch.slope[2][t] = 0.0;
    if (spline_) {
      add_splines(points, batch);
    } else if (wendland_) {
      add_wendlands(points, batch);
      normalise(Wendland(), points.permutations, batch);
    } else {
      add_squared_exponentials(points, batch);
      normalise(SquaredExponential(1.0), points.permutations, batch);
    }
    double sum = 0.0;
    for (std::size_t t = 0; t < batch.count; ++t) sum += push(site, points, scratch, t);
    batch.count = 0;
    return sum;
  }

  double push(const SiteView& site, const Points& points, const Scratch& scratch,
              std::size_t t) const {
    const Batch& batch = scratch.batch;
    const auto j = static_cast<std::size_t>(batch.j[t]), k = static_cast<std::size_t>(batch.k[t]);
    const double value = batch.value[t] + points.constant;
    double slope[3];
    for (std::size_t a = 0; a < 3; ++a) slope[a] = batch.slope[a][t] * points.inverse[a];
    if (sums_) {
      const double by_square = 2.0 * (site.r[j] - site.r[k]) * slope[1];
      slope[1] = slope[0] - by_square;
      slope[0] += by_square;
    }
    const double wj = scratch.weights[j], wk = scratch.weights[k];
    double third = 1.0, third_slope = 0.0;
    if (cluster_) {
      third = 1.0 - 2.0 / 3.0 * switched(batch.base[t], third_slope);
      third_slope *= -2.0 / 3.0;
    }
    const double w = wj * wk * third;
    const double by_j = w * slope[0] + scratch.weight_slopes[j] * wk * third * value;
    const double by_k = w * slope[1] + wj * scratch.weight_slopes[k] * third * value;
    const double by_base = w * slope[2] + wj * wk * third_slope * value;
    const double gj = by_j * site.inverse_r[j], gk = by_k * site.inverse_r[k];
    const double g = by_base / batch.base[t];
    const auto add = [&](double* gradient, const double* x) {
      const double along = g * (x[k] - x[j]);
      gradient[j] += gj * x[j] - along;
      gradient[k] += gk * x[k] + along;
    };
    add(site.gx, site.x);
    add(site.gy, site.y);
    add(site.gz, site.z);
    return w * value;
  }

  std::size_t species_;
  std::vector<int> places_;  // (centre, first, second) of tables_, first <= second; -1: none
  std::vector<Points> tables_;
  double cutoff_ = 0.0, transition_ = 0.0;
  bool sums_ = false, wendland_ = false, cluster_ = false, ordered_ = false, spline_ = false;
};

}  // namespace

std::unique_ptr<MappedTerm> read_three_body_kernel(TermReader& reader) {
  return std::make_unique<ThreeBodyKernel>(reader);
}

std::unique_ptr<DrawnTerm> draw_three_body_kernel(TermReader& reader) {
  return draw_one_by_one(reader, read_three_body_kernel);
}

}  // namespace forcemap
