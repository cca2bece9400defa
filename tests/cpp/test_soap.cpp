// Power spectra: their sum rule, what they do not depend on, and derivatives.
#include <cmath>

#include "forcemap/soap.hpp"
#include "structures.hpp"

using forcemap::Environments;
using forcemap::SoapBasis;
using forcemap::SoapDescriptors;
using forcemap::SoapExpansion;
using structures::check_derivatives;
using structures::close;
using structures::random_values;
using structures::Structure;
using structures::Values;

namespace {

constexpr double cutoff = 3.5;
const std::vector<int> species = {1, 8};

// Radial functions that vanish at the cutoff with two derivatives.
SoapBasis basis(std::size_t n_max, std::size_t l_max, std::size_t channels, const Values& weights) {
  const std::size_t columns = (l_max + 1) * n_max;
  Values radial = random_values(13 * columns, -1.0, 1.0, 21);
  for (std::size_t n = 10 * columns; n < radial.size(); ++n) radial[n] = 0.0;
  return {cutoff, n_max, l_max, 10, radial, random_values(n_max, 0.2, 1.0, 22), channels, weights};
}

// Functions of each species' own.
SoapBasis by_species(std::size_t n_max, std::size_t l_max, const Values& weights) {
  SoapBasis tables = basis(n_max, l_max, 1, weights);
  const SoapBasis second = basis(n_max, l_max, 1, weights);
  for (const double r : second.radial) tables.radial.push_back(0.8 * r * (1.0 - 0.3 * r));
  for (const double s : second.self) tables.self.push_back(-1.3 * s);
  tables.by_species = true;
  return tables;
}

// The species themselves; two mixed channels of odd widths; one; functions of each species' own.
std::vector<SoapBasis> bases() {
  return {by_species(4, 3, {1.0, 0.6}),         by_species(9, 1, {1.0, 1.0}),
          basis(3, 4, 2, {1.0, 0.0, 0.0, 1.0}), basis(5, 2, 2, {0.7, -0.4, 0.3, 0.9}),
          basis(1, 0, 1, {0.5, 1.5}),           basis(9, 1, 3, {1.0, 0.2, 0.0, 1.1, -0.6, 0.8})};
}

Values spectra(const SoapExpansion& expansion, const Structure& structure, int center) {
  const Environments e = structure.environments(cutoff);
  const SoapDescriptors descriptors(expansion, species, e, center);
  Values out(descriptors.centers().size() * descriptors.dimension());
  descriptors.spectra(out.data());
  return out;
}

}  // namespace

TEST(one_neighbour_gives_the_addition_theorem) {
  // sum_m Y_lm^2 = (2 l + 1) / 4 pi: p[l, a, b] is sqrt(2 l + 1) R_al R_bl, times sqrt 2 for a < b.
  constexpr std::size_t n_max = 3, l_max = 5;
  SoapBasis alone = basis(n_max, l_max, 1, {1.0, 1.0});
  alone.self.assign(n_max, 0.0);
  const SoapExpansion expansion(alone, 2);
  const Structure dimer = structures::all()[0];
  const auto* x = &dimer.positions[3];
  const double r = std::sqrt(x[0] * x[0] + x[1] * x[1] + x[2] * x[2]);
  const Values radial = structures::spline(alone.radial, (l_max + 1) * n_max, cutoff, r);
  Values expected;
  for (std::size_t l = 0; l <= l_max; ++l)
    for (std::size_t a = 0; a < n_max; ++a)
      for (std::size_t b = a; b < n_max; ++b)
        expected.push_back(std::sqrt(2.0 * static_cast<double>(l) + 1.0) *
                           (a == b ? 1.0 : std::sqrt(2.0)) * radial[l * n_max + a] *
                           radial[l * n_max + b]);
  double square = 0.0;
  for (const double p : expected) square += p * p;
  for (double& p : expected) p /= std::sqrt(square);
  CHECK(close(spectra(expansion, dimer, 1), expected));
  CHECK(close(spectra(expansion, dimer, 8), expected));
}

TEST(equal_functions_of_all_species_are_a_channel) {
  const Values weights = {0.7, -1.2};
  const SoapBasis shared = basis(5, 3, 1, weights);
  SoapBasis repeated = shared;
  repeated.radial.insert(repeated.radial.end(), shared.radial.begin(), shared.radial.end());
  repeated.self.insert(repeated.self.end(), shared.self.begin(), shared.self.end());
  repeated.by_species = true;
  for (const Structure& structure : structures::all())
    for (const int center : species)
      CHECK(close(spectra(SoapExpansion(repeated, 2), structure, center),
                  spectra(SoapExpansion(shared, 2), structure, center)));
}

TEST(spectra_are_normalised_and_know_no_direction) {
  const double c = std::cos(0.7), s = std::sin(0.7);
  for (const SoapBasis& given : bases()) {
    const SoapExpansion expansion(given, 2);
    CHECK(expansion.dimension() == given.dimension());
    for (const Structure& structure : structures::all()) {
      Structure turned = structure;  // about x, then improperly: z -> -z
      for (Values* all : {&turned.positions, &turned.cell})
        for (std::size_t n = 0; n < all->size(); n += 3) {
          const double y = (*all)[n + 1], z = (*all)[n + 2];
          (*all)[n + 1] = c * y - s * z;
          (*all)[n + 2] = -(s * y + c * z);
        }
      for (const int center : species) {
        const Values p = spectra(expansion, structure, center);
        CHECK(close(spectra(expansion, turned, center), p));
        for (std::size_t n = 0; n < p.size(); n += expansion.dimension()) {
          double square = 0.0;
          for (std::size_t d = 0; d < expansion.dimension(); ++d) square += p[n + d] * p[n + d];
          CHECK(std::abs(square - 1.0) < 1e-13);
        }
      }
    }
  }
}

TEST(an_atom_alone_has_the_isolated_spectrum) {
  const Structure alone{"alone", {0.3, 0.1, 0.2}, {8}, Values(9, 0.0), {false, false, false}};
  const Environments e = alone.environments(cutoff);
  for (const SoapBasis& given : bases()) {
    const SoapExpansion expansion(given, 2);
    const SoapDescriptors descriptors(expansion, species, e, 8);
    Values isolated(expansion.dimension());
    descriptors.isolated(isolated.data());
    CHECK(spectra(expansion, alone, 8) == isolated);
    Values rows;
    std::vector<std::size_t> targets;
    descriptors.derivatives(0, rows, targets);
    CHECK(targets.size() == 9 && structures::largest(rows) == 0.0);
  }
}

TEST(derivatives_of_spectra) {
  for (const SoapBasis& given : bases()) {
    const SoapExpansion expansion(given, 2);
    const std::size_t size = expansion.dimension();
    for (const Structure& structure : structures::all())
      for (const int center : species) {
        const Environments e = structure.environments(cutoff);
        const SoapDescriptors descriptors(expansion, species, e, center);
        for (std::size_t n = 0; n < descriptors.centers().size(); ++n) {
          const auto one = [&](const Structure& moved) {
            const Values all = spectra(expansion, moved, center);
            const auto begin = all.begin() + static_cast<std::ptrdiff_t>(n * size);
            return Values(begin, begin + static_cast<std::ptrdiff_t>(size));
          };
          Values rows, whole = one(structure);
          std::vector<std::size_t> targets;
          descriptors.derivatives(n, rows, targets);
          whole.resize(forcemap::FrameRows{structure.atoms()}.count() * size, 0.0);
          CHECK(rows.size() == targets.size() * size);
          for (std::size_t k = 0; k < targets.size(); ++k)
            for (std::size_t d = 0; d < size; ++d)
              whole[targets[k] * size + d] += rows[k * size + d];
          check_derivatives(structure, whole, one);
        }
      }
  }
}

TEST(what_does_not_fit_is_an_error) {
  const SoapBasis good = basis(3, 4, 2, {1.0, 0.0, 0.0, 1.0});
  const Environments near = structures::all()[1].environments(3.0);
  const Environments e = structures::all()[1].environments(cutoff);
  CHECK_ERROR(SoapDescriptors(SoapExpansion(good, 2), species, near, 1),
              "cutoff of 3.5 Å is beyond");
  CHECK_ERROR(SoapDescriptors(SoapExpansion(good, 2), {1, 14}, e, 1), "atomic number 8 is not in");
  CHECK_ERROR(SoapExpansion(good, 3), "soap tables do not have the sizes");
  SoapBasis bad = good;
  bad.l_max = 21;
  CHECK_ERROR(SoapExpansion(bad, 2), "soap l_max 21 is above 20");
  bad = by_species(3, 2, {1.0, 1.0});
  bad.radial.resize(bad.radial.size() / 2);
  CHECK_ERROR(SoapExpansion(bad, 2), "soap tables do not have the sizes");
  bad = by_species(3, 2, {1.0, 0.0, 0.0, 1.0});
  bad.channels = 2;
  CHECK_ERROR(SoapExpansion(bad, 2), "soap with tables by species has one channel");
  bad = good;
  bad.radial[3] = NAN;
  CHECK_ERROR(SoapExpansion(bad, 2), "soap tables hold a number that is not finite");
}

int main() { return check::run_all(); }
