// Points on the sphere and products of fields: exact integrals, invariance, derivatives.
#include <algorithm>
#include <cmath>

#include "forcemap/sphere_products.hpp"
#include "structures.hpp"

using forcemap::Environments;
using forcemap::FieldProduct;
using forcemap::SoapBasis;
using forcemap::SoapDescriptors;
using forcemap::SoapExpansion;
using forcemap::SpherePoints;
using forcemap::SphereProducts;
using structures::check_derivatives;
using structures::close;
using structures::random_values;
using structures::Structure;
using structures::Values;

namespace {

constexpr double pi = 3.14159265358979323846, cutoff = 3.5, offset = 0.7;
const std::vector<int> species = {1, 8};

// Functions of each species' own, which vanish at the cutoff with two derivatives.
SoapExpansion expansion(std::size_t n_max, std::size_t l_max) {
  const std::size_t columns = (l_max + 1) * n_max;
  Values radial = random_values(2 * 13 * columns, -1.0, 1.0, 21);
  for (std::size_t table = 0; table < 2; ++table)
    std::fill_n(&radial[(table * 13 + 10) * columns], 3 * columns, 0.0);
  SoapBasis basis{cutoff, n_max, l_max, 10, radial, Values(2 * n_max, 0.0), 1, {1.0, 1.0}};
  basis.by_species = true;
  return {basis, 2};
}

// All products of one to four fields that no symmetry makes vanish.
std::vector<FieldProduct> every_product(std::size_t n_max, std::size_t l_max) {
  const int fields = static_cast<int>(n_max * (l_max + 1));
  std::vector<FieldProduct> found;
  for (int a = 0; a < fields; ++a)
    for (int b = -1; b < fields; ++b)
      for (int c = -1; c < fields; ++c)
        for (int d = -1; d < fields; ++d) {
          const FieldProduct product = {a, b, c, d};
          const std::size_t count = forcemap::factors_of(product);
          if (!std::is_sorted(product.begin(), product.begin() + count) ||
              !std::all_of(product.begin() + count, product.end(), [](int n) { return n == -1; }))
            continue;
          std::size_t sum = 0;
          for (std::size_t n = 0; n < count; ++n)
            sum += static_cast<std::size_t>(product[n]) / n_max;
          if (sum % 2 == 0) found.push_back(product);
        }
  return found;
}

double integral(const SpherePoints& points, std::initializer_list<std::size_t> harmonics) {
  double sum = 0.0;
  for (std::size_t n = 0; n < points.padded; ++n) {
    double product = points.weights[n];
    for (const std::size_t lm : harmonics) product *= points.harmonics[lm * points.padded + n];
    sum += product;
  }
  return sum;
}

double double_factorial(std::size_t n) {
  double product = 1.0;
  for (; n > 1; n -= 2) product *= static_cast<double>(n);
  return product;
}

std::size_t order_of(std::size_t lm) {
  return static_cast<std::size_t>(std::sqrt(static_cast<double>(lm)) + 1e-9);
}

}  // namespace

TEST(harmonics_are_orthonormal_at_the_points) {
  for (const std::size_t l_max : {0, 1, 3, 6, 8}) {
    const SoapExpansion some = expansion(1, l_max);
    for (const std::size_t degree : {std::size_t{0}, l_max, 2 * l_max, 3 * l_max, 4 * l_max}) {
      const SpherePoints points(some.view(), degree);
      const std::size_t count = (l_max + 1) * (l_max + 1);
      CHECK(points.count <= points.padded && points.weights.size() == points.padded &&
            points.harmonics.size() == count * points.padded);
      for (std::size_t n = points.count; n < points.padded; ++n) CHECK(points.weights[n] == 0.0);
      double whole = 0.0, worst = 0.0;
      for (const double weight : points.weights) whole += weight;
      CHECK(std::abs(whole - 4.0 * pi) < 1e-13);
      for (std::size_t a = 0; a < count; ++a)
        for (std::size_t b = a; b < count; ++b) {
          const std::size_t sum = order_of(a) + order_of(b);
          if (sum % 2 == 0 && sum <= degree)
            worst = std::max(worst, std::abs(integral(points, {a, b}) - (a == b ? 1.0 : 0.0)));
        }
      CHECK(worst < 1e-13);
    }
  }
}

// The integral of x^i y^j z^k is 4 pi (i - 1)!! (j - 1)!! (k - 1)!! / (i + j + k + 1)!! for even
// powers, and 0 if one is odd: of all even polynomials up to the degree, and of no more.
TEST(points_integrate_polynomials_up_to_their_degree) {
  const SoapExpansion first = expansion(1, 1);
  const double norm = std::sqrt(4.0 * pi / 3.0);  // Y_1m = (y, z, x) / norm
  for (const std::size_t degree : {0, 1, 2, 3, 4, 6, 8, 9, 12, 18, 24, 32}) {
    const SpherePoints points(first.view(), degree);
    const auto error = [&](std::size_t i, std::size_t j, std::size_t k) {
      double sum = 0.0;
      for (std::size_t n = 0; n < points.count; ++n) {
        const double* const y = &points.harmonics[n];
        sum += points.weights[n] * std::pow(norm * y[3 * points.padded], static_cast<double>(i)) *
               std::pow(norm * y[1 * points.padded], static_cast<double>(j)) *
               std::pow(norm * y[2 * points.padded], static_cast<double>(k));
      }
      if (i % 2 + j % 2 + k % 2 > 0) return std::abs(sum);
      const auto part = [](std::size_t n) { return n > 0 ? double_factorial(n - 1) : 1.0; };
      return std::abs(sum -
                      4.0 * pi * part(i) * part(j) * part(k) / double_factorial(i + j + k + 1));
    };
    double worst = 0.0;
    for (std::size_t total = 0; total <= degree; total += 2)
      for (std::size_t i = 0; i <= total; ++i)
        for (std::size_t j = 0; i + j <= total; ++j)
          worst = std::max(worst, error(i, j, total - i - j));
    CHECK(worst < 1e-13);
    // One more about the axis is too much for as many points, but the error falls as 2^-degree.
    const std::size_t next = degree / 2 * 2 + 2;
    CHECK(degree > 12 || error(next, 0, 0) > 1e-4);
  }
}

TEST(products_know_no_direction_and_vanish_without_neighbours) {
  const double c = std::cos(0.7), s = std::sin(0.7);
  for (const auto& [n_max, l_max] : {std::pair<std::size_t, std::size_t>{2, 3}, {1, 4}, {3, 1}}) {
    const SoapExpansion some = expansion(n_max, l_max);
    const std::vector<FieldProduct> products = every_product(n_max, l_max);
    const Values scales = random_values(products.size(), 0.5, 2.0, 5);
    const SphereProducts functions(some, offset, products, scales);
    CHECK(functions.dimension() == products.size());
    const auto values = [&](const Structure& structure, int center) {
      const Environments e = structure.environments(cutoff);
      const SoapDescriptors descriptors(some, species, e, center, &functions);
      Values out(descriptors.centers().size() * products.size());
      descriptors.spectra(out.data());
      return out;
    };
    for (const Structure& structure : structures::all()) {
      Structure turned = structure;  // about x, then improperly: z -> -z
      for (Values* all : {&turned.positions, &turned.cell})
        for (std::size_t n = 0; n < all->size(); n += 3) {
          const double y = (*all)[n + 1], z = (*all)[n + 2];
          (*all)[n + 1] = c * y - s * z;
          (*all)[n + 2] = -(s * y + c * z);
        }
      for (const int center : species) {
        CHECK(structures::largest(values(structure, center)) > 1e-3);
        CHECK(close(values(turned, center), values(structure, center)));
      }
    }
    const Structure alone{"alone", {0.3, 0.1, 0.2}, {8}, Values(9, 0.0), {false, false, false}};
    CHECK(structures::largest(values(alone, 8)) == 0.0);
  }
}

TEST(derivatives_of_products) {
  for (const auto& [n_max, l_max] : {std::pair<std::size_t, std::size_t>{2, 2}, {1, 4}}) {
    const SoapExpansion some = expansion(n_max, l_max);
    const std::vector<FieldProduct> products = every_product(n_max, l_max);
    const std::size_t size = products.size();
    const SphereProducts functions(some, offset, products, random_values(size, 0.5, 2.0, 5));
    for (const Structure& structure : structures::all())
      for (const int center : species) {
        const Environments e = structure.environments(cutoff);
        const SoapDescriptors descriptors(some, species, e, center, &functions);
        const auto one = [&](const Structure& moved) {
          const Environments near = moved.environments(cutoff);
          const SoapDescriptors changed(some, species, near, center, &functions);
          Values all(changed.centers().size() * size);
          changed.spectra(all.data());
          all.resize(size);  // of the first centre
          return all;
        };
        Values rows, whole = one(structure);
        std::vector<std::size_t> targets;
        descriptors.derivatives(0, rows, targets);
        CHECK(rows.size() == targets.size() * size);
        whole.resize(forcemap::FrameRows{structure.atoms()}.count() * size, 0.0);
        for (std::size_t k = 0; k < targets.size(); ++k)
          for (std::size_t d = 0; d < size; ++d) whole[targets[k] * size + d] += rows[k * size + d];
        check_derivatives(structure, whole, one);
      }
  }
}

TEST(products_that_cannot_be_are_errors) {
  const SoapExpansion some = expansion(2, 1);  // fields 0 to 3, the last two of l = 1
  const auto of = [&](const FieldProduct& product) {
    SphereProducts(some, offset, {product}, {1.0});
  };
  of({0, 1, 2, 3});
  CHECK_ERROR(of({4, -1, -1, -1}), "found the field 4 of a product, expected 0 to 3");
  CHECK_ERROR(of({0, -2, -1, -1}), "found the field -2");
  CHECK_ERROR(of({0, -1, 1, -1}), "found the field 1 of a product, expected 0 to 3, or -1 behind");
  CHECK_ERROR(of({-1, -1, -1, -1}), "or without any");
  CHECK_ERROR(of({1, 0, -1, -1}), "fields are not in order");
  CHECK_ERROR(of({0, 2, -1, -1}), "have the odd sum 1");
  CHECK_ERROR(SphereProducts(some, 0.0, {{0, -1, -1, -1}}, {1.0}), "offset 0 is not above 0");
  CHECK_ERROR(SphereProducts(some, NAN, {{0, -1, -1, -1}}, {1.0}), "is not above 0");
  CHECK_ERROR(SphereProducts(some, offset, {{0, -1, -1, -1}}, {}), "expected 1 scales, found 0");
  const SoapBasis shared{cutoff, 1, 0, 1, Values(4, 1.0), {0.0}, 1, {1.0, 1.0}};
  const SoapExpansion of_all(shared, 2);
  CHECK_ERROR(SphereProducts(of_all, offset, {{0, -1, -1, -1}}, {1.0}), "for each species");
}

int main() { return check::run_all(); }
