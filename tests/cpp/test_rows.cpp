// Rows of pairs, triplets, products and embedding: sums over the environments, and derivatives.
#include <algorithm>
#include <cmath>

#include "forcemap/rows.hpp"
#include "forcemap/triplet_descriptors.hpp"
#include "structures.hpp"

using forcemap::Environments;
using forcemap::FrameRows;
using forcemap::KernelSettings;
using forcemap::SparsePoints;
using structures::check_derivatives;
using structures::close;
using structures::random_values;
using structures::spline;
using structures::Structure;
using structures::Values;

namespace {

constexpr double cutoff = 3.4, range = 4.0;
constexpr std::size_t count = 3;

std::vector<KernelSettings> kernels() {
  using forcemap::CutoffKind;
  using forcemap::KernelKind;
  return {{KernelKind::squared_exponential, 0.9, CutoffKind::quintic, cutoff, 1.5},
          {KernelKind::matern52, 1.1, CutoffKind::cosine, cutoff, cutoff}};
}

double kernel(const KernelSettings& s, double square) {
  const double x = square / (s.lengthscale * s.lengthscale), u = std::sqrt(5.0 * x);
  return s.kernel == forcemap::KernelKind::squared_exponential
             ? std::exp(-0.5 * x)
             : (1.0 + u + u * u / 3.0) * std::exp(-u);
}

double factor(const KernelSettings& s, double r) {
  double slope;
  return forcemap::cutoff_function(s, r, slope);
}

// Rows that `add` gives to columns [1, 1 + count) of five, which must leave the others alone.
template <typename Add>
Values rows_of(const Environments& environments, const Add& add) {
  constexpr std::size_t stride = count + 2;
  const std::size_t n = FrameRows{environments.atoms()}.count();
  Values wide(n * stride, 7.0), rows(n * count);
  add(environments, forcemap::RowBlock{wide.data() + 1, stride});
  for (std::size_t row = 0; row < n; ++row) {
    CHECK(wide[row * stride] == 7.0 && wide[row * stride + count + 1] == 7.0);
    for (std::size_t c = 0; c < count; ++c)
      rows[row * count + c] = wide[row * stride + 1 + c] - 7.0;
  }
  return rows;
}

// The energies' row is sum_i e_i as `brute` adds it up, and the other rows are its derivatives.
template <typename Add, typename Brute>
void check_block(const Add& add, const Brute& brute) {
  for (const Structure& structure : structures::all()) {
    const Values rows = rows_of(structure.environments(range), add);
    const Values expected = brute(structure.environments(range));
    // The rows begin at 7, which rounds them to 1e-15.
    CHECK(close(Values(rows.begin(), rows.begin() + count), expected));
    check_derivatives(structure, rows,
                      [&](const Structure& s) { return brute(s.environments(range)); });
  }
}

// Sum over the triplets of all centres of `use(distances, sums)`.
template <typename Use>
Values over_triplets(const Environments& e, const forcemap::TripletSpecies& species,
                     const Use& use) {
  Values sums(count, 0.0);
  const Values all = e.triplets(species, cutoff);
  for (std::size_t n = 0; n < all.size(); n += 3) use(&all[n], sums);
  return sums;
}

// Sum over the neighbours of one species about the atoms of another.
template <typename Use>
void over_pairs(const Environments& e, int center, int neighbor, const Use& use) {
  for (const std::size_t i : e.of_species(center))
    for (const auto& nb : e.near(i, cutoff))
      if (nb.number == neighbor) use(nb.r);
}

// k(q, image) summed over images, with the cutoff factors of the legs.
void add_triplet(const KernelSettings& s, const double* q, const SparsePoints& points,
                 Values& sums) {
  for (std::size_t n = 0; n < points.count; ++n)
    for (std::size_t m = 0; m < points.per_point; ++m) {
      const double* p = points.images + 3 * (n * points.per_point + m);
      double square = 0.0;
      for (std::size_t d = 0; d < 3; ++d) square += (q[d] - p[d]) * (q[d] - p[d]);
      sums[n] += factor(s, q[0]) * factor(s, q[1]) * kernel(s, square);
    }
}

// Two images of each point, of which the second has the legs in the other order: then it does not
// matter which of two neighbours of one species is the first.
Values swapped_images(unsigned seed) {
  Values images = random_values(count * 2 * 3, 1.0, 4.0, seed);
  for (std::size_t n = 0; n < images.size(); n += 6) {
    images[n + 3] = images[n + 1];
    images[n + 4] = images[n];
    images[n + 5] = images[n + 2];
  }
  return images;
}

const std::vector<forcemap::TripletSpecies> triplet_species = {{8, 1, 1}, {1, 1, 8}, {8, 8, 8}};

}  // namespace

TEST(triplets_are_counted_and_unordered) {
  for (const Structure& structure : structures::all()) {
    const Environments e = structure.environments(range);
    for (const auto& species : triplet_species)
      CHECK(3 * e.triplet_count(species, cutoff) == e.triplets(species, cutoff).size());
    // {a, b} and {b, a} are the same triplets with the legs in the other order.
    CHECK(e.triplet_count({1, 1, 8}, cutoff) == e.triplet_count({1, 8, 1}, cutoff));
    CHECK_ERROR(e.triplets({8, 1, 1}, 4.1), "a term's cutoff of 4.1 Å is beyond");
  }
}

TEST(two_body_rows) {
  const Values points = random_values(count, 1.0, 3.0, 1);
  for (const KernelSettings& s : kernels())
    for (const forcemap::PairSpecies species : {forcemap::PairSpecies{1, 8}, {8, 8}})
      check_block(
          [&](const Environments& e, const forcemap::RowBlock& block) {
            forcemap::add_two_body(e, s, species, {points.data(), count, 1, 1}, block);
          },
          [&](const Environments& e) {
            Values sums(count, 0.0);
            const auto add = [&](double r) {
              for (std::size_t n = 0; n < count; ++n)
                sums[n] += factor(s, r) * kernel(s, (r - points[n]) * (r - points[n]));
            };
            over_pairs(e, species.a, species.b, add);
            if (species.a != species.b) over_pairs(e, species.b, species.a, add);
            return sums;
          });
}

TEST(spline_rows) {
  // Zero at the cutoff with two derivatives, as a fit's splines are: rows are then smooth.
  Values coefficients = random_values(11 * count, -1.0, 1.0, 2);
  for (std::size_t n = 8 * count; n < coefficients.size(); ++n) coefficients[n] = 0.0;
  check_block(
      [&](const Environments& e, const forcemap::RowBlock& block) {
        forcemap::add_splines(e, {8, 1}, {cutoff, 8, count, coefficients.data()}, block);
      },
      [&](const Environments& e) {
        Values sums(count, 0.0);
        const auto add = [&](double r) {
          const Values value = spline(coefficients, count, cutoff, r);
          for (std::size_t n = 0; n < count; ++n) sums[n] += value[n];
        };
        over_pairs(e, 8, 1, add);
        over_pairs(e, 1, 8, add);
        return sums;
      });
}

TEST(three_body_rows) {
  const Values images = swapped_images(3);
  const SparsePoints points{images.data(), count, 2, 3};
  for (const KernelSettings& s : kernels())
    for (const auto& species : triplet_species)
      check_block(
          [&](const Environments& e, const forcemap::RowBlock& block) {
            forcemap::add_three_body(e, s, species, points, block);
          },
          [&](const Environments& e) {
            return over_triplets(e, species, [&](const double* q, Values& sums) {
              add_triplet(s, q, points, sums);
            });
          });
}

TEST(product_rows) {
  constexpr std::size_t images = 2, legs = 11, bases = 15;
  Values first = random_values(images * legs * count, -1.0, 1.0, 4), second = first;
  for (std::size_t p = 0; p < images; ++p)
    for (std::size_t n = 8 * count; n < legs * count; ++n) first[p * legs * count + n] = 0.0;
  // The second image is the first with the legs in the other order.
  std::copy_n(first.begin(), legs * count, second.begin() + legs * count);
  std::copy_n(first.begin() + legs * count, legs * count, second.begin());
  // Images that share the splines of r_jk are computed once: the same, and not the same, which only
  // neighbours of two species can have.
  const Values base = random_values(images * bases * count, -1.0, 1.0, 6);
  Values shared = base;
  std::copy_n(shared.begin(), bases * count, shared.begin() + bases * count);
  for (const Values& third : {base, shared})
    for (const auto& species : triplet_species) {
      if (species.a == species.b && third == base) continue;
      check_block(
          [&](const Environments& e, const forcemap::RowBlock& block) {
            forcemap::add_product(e, species,
                                  {cutoff, count, images, legs - 3, bases - 3, first.data(),
                                   second.data(), third.data()},
                                  block);
          },
          [&](const Environments& e) {
            return over_triplets(e, species, [&](const double* q, Values& sums) {
              for (std::size_t p = 0; p < images; ++p) {
                const auto at = [&](const Values& all, std::size_t size, double end, double r) {
                  const auto begin = all.begin() + static_cast<std::ptrdiff_t>(p * size * count);
                  const auto last = begin + static_cast<std::ptrdiff_t>(size * count);
                  return spline(Values(begin, last), count, end, r);
                };
                const Values a = at(first, legs, cutoff, q[0]), b = at(second, legs, cutoff, q[1]);
                const Values c = at(third, bases, 2.0 * cutoff, q[2]);
                for (std::size_t n = 0; n < count; ++n) sums[n] += a[n] * b[n] * c[n];
              }
            });
          });
    }
}

TEST(embedding_rows) {
  Values phi = random_values(2 * 11, 0.2, 1.0, 7);
  for (std::size_t s = 0; s < 2; ++s)
    for (std::size_t n = 8; n < 11; ++n) phi[11 * s + n] = 0.0;
  const Values functions = random_values(9 * count, -1.0, 1.0, 8);
  const forcemap::DensitySplines density{cutoff, 8, {1, 8}, phi.data()};
  const auto rho = [&](const Environments& e, std::size_t i) {
    double sum = 0.0;
    for (const auto& nb : e.near(i, cutoff)) {
      const auto begin = phi.begin() + (nb.number == 1 ? 0 : 11);
      sum += spline(Values(begin, begin + 11), 1, cutoff, nb.r)[0];
    }
    return sum;
  };
  double densest = 0.0;
  for (const double end : {0.4, 60.0})  // of the functions: beyond it, and within
    check_block(
        [&](const Environments& e, const forcemap::RowBlock& block) {
          forcemap::add_embedding(e, density, 8, {end, 6, count, functions.data()}, block);
        },
        [&](const Environments& e) {
          Values sums(count, 0.0), expected;
          for (const std::size_t i : e.of_species(8)) {
            expected.push_back(rho(e, i));
            densest = std::max(densest, expected.back());
            const double inside = std::min(expected.back(), end), step = end / 18.0;
            const Values free = spline(functions, count, end, 0.0);
            const Values value = spline(functions, count, end, inside);
            // The slope at the end, exact from values at thirds of the last interval, a cubic.
            const Values one = spline(functions, count, end, end - step);
            const Values two = spline(functions, count, end, end - 2.0 * step);
            const Values three = spline(functions, count, end, end - 3.0 * step);
            for (std::size_t n = 0; n < count; ++n) {
              const double slope =
                  inside < end ? 0.0
                               : (11.0 * value[n] - 18.0 * one[n] + 9.0 * two[n] - 2.0 * three[n]) /
                                     (6.0 * step);
              sums[n] += value[n] - free[n] + slope * (expected.back() - inside);
            }
          }
          CHECK(close(forcemap::densities(e, density, 8), expected));
          return sums;
        });
  CHECK(densest > 0.4 && densest < 60.0);
}

TEST(triplet_descriptors) {
  const Values images = swapped_images(9);
  const SparsePoints points{images.data(), count, 2, 3}, two{images.data(), 2, 1, 3};
  const std::vector<forcemap::TripletBlock> blocks = {
      {{8, 1, 1}, points}, {{1, 8, 8}, points}, {{8, 1, 8}, two}};
  for (const KernelSettings& s : kernels())
    for (const Structure& structure : structures::all()) {
      const auto values = [&](const Structure& at) {
        const Environments e = at.environments(range);
        const forcemap::TripletDescriptors descriptors(s, blocks, e, 8);
        CHECK(descriptors.dimension() == count + 2);
        Values out(descriptors.centers().size() * descriptors.dimension());
        descriptors.values(out.data());
        return out;
      };
      const Environments e = structure.environments(range);
      const forcemap::TripletDescriptors descriptors(s, blocks, e, 8);
      const Values at = values(structure);
      // Their sum over atoms is the sum over all triplets.
      Values sums(count, 0.0);
      for (std::size_t n = 0; n < descriptors.centers().size(); ++n)
        for (std::size_t c = 0; c < count; ++c) sums[c] += at[n * (count + 2) + c];
      CHECK(close(sums, over_triplets(e, {8, 1, 1}, [&](const double* q, Values& to) {
                    add_triplet(s, q, points, to);
                  })));
      const FrameRows layout{structure.atoms()};
      for (std::size_t n = 0; n < descriptors.centers().size(); ++n) {
        Values rows, whole(layout.count() * (count + 2), 0.0);
        std::vector<std::size_t> targets;
        descriptors.derivatives(n, rows, targets);
        const auto one = [&](const Structure& moved) {
          const Values all = values(moved);
          const auto begin = all.begin() + static_cast<std::ptrdiff_t>(n * (count + 2));
          return Values(begin, begin + count + 2);
        };
        const Values energy = one(structure);
        std::copy(energy.begin(), energy.end(), whole.begin());
        CHECK(rows.size() == targets.size() * (count + 2));
        for (std::size_t k = 0; k < targets.size(); ++k)
          for (std::size_t c = 0; c < count + 2; ++c)
            whole[targets[k] * (count + 2) + c] += rows[k * (count + 2) + c];
        check_derivatives(structure, whole, one);
      }
    }
}

int main() { return check::run_all(); }
