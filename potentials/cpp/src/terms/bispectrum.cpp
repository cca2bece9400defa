// Terms of products of fields: the density of an atom's neighbours in channels k,
//
//   c[l m, k] = sum_j R_lk(r_j) Y_lm(r_j),  of radial functions of the neighbour's species,
//
// divided by the root of `offset` plus the sum of all squares, is for each k and l a field on the
// sphere, f(u) = sum_m c[l m, k] Y_lm(u). The energy of a centre is the sum of factors times the
// integral over the sphere of products of up to four fields: those of three are components of the
// bispectrum (Bartok, Kondor, Csanyi, DOI 10.1103/PhysRevB.87.184115) in channels.
//
//   {"kind": "bispectrum", "cutoff": 4.5, "intervals": 64, "n_max": 3, "l_max": 3, "offset": 1.2,
//    "products": 180, "centers": [{"species": "O"}, ...], "precision": "single"}
//
// Tensors: "radial" (species, intervals + 3, l_max + 1, n_max), "products" (products, 4), whole
// numbers k + n_max l in increasing order, -1 behind the last, and for each centre "A" (products),
// eV, linear in the weights. "precision", which may be absent, says what the term is evaluated in:
// "double" or "single".
#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <tuple>
#include <utility>

#include "arena.hpp"
#include "forcemap/sphere_products.hpp"
#include "sites.hpp"
#include "soap_parts.hpp"
#include "term_reader.hpp"
#include "workspace.hpp"

namespace forcemap {

namespace {

constexpr std::int64_t max_products = 100000;
constexpr std::int64_t max_fields_l = 8;

// The loops in numbers of one type.
template <typename Number>
const FieldKernels<Number>& field_kernels();
template <>
const FieldKernels<double>& field_kernels<double>() {
  return site_kernels().fields;
}
template <>
const FieldKernels<float>& field_kernels<float>() {
  return site_kernels().single_fields;
}

template <typename Number>
struct Scratch {
  SoapWorkspaceOf<Number> density;
  Arena arena;
  FieldsWorkOf<Number> room{};
  std::size_t parts = 0, coefficients = 0;

  const FieldsWorkOf<Number>& reserve(std::size_t parts_wanted, std::size_t coefficients_wanted) {
    if (parts_wanted > parts || coefficients_wanted > coefficients) {
      parts = std::max(parts, parts_wanted);
      coefficients = std::max(coefficients, coefficients_wanted);
      arena.lay_out([&](const auto& each) {
        each(room.parts, parts);
        each(room.slopes, parts);
        each(room.adjoint, coefficients + 8);
      });
    }
    return room;
  }
};

// Products as a quadratic form of their parts: the first two fields of each, and the others. Those
// of one or two fields are a part alone.
class Parts {
 public:
  Parts(const std::vector<FieldProduct>& products, std::size_t fields) : fields_(fields) {
    std::map<std::array<int, 2>, int> numbers;
    const auto part = [&](int a, int b) {
      if (b < 0) return a;
      const int next = static_cast<int>(fields + numbers.size());
      return numbers.insert({{a, b}, next}).first->second;
    };
    for (const FieldProduct& p : products) {
      const int first = part(p[0], p[1]);
      halves_.push_back({first, p[2] < 0 ? -1 : part(p[2], p[3])});
    }
    count_ = fields + numbers.size();
    pairs_.resize(2 * numbers.size());
    for (const auto& [pair, number] : numbers)
      std::copy_n(pair.begin(), 2, &pairs_[2 * (static_cast<std::size_t>(number) - fields)]);
    join_partners();
    share_pairs();
  }

  std::size_t count() const { return count_; }
  std::size_t bytes() const {
    return (pairs_.size() + partners_.size() + partners_end_.size() + shares_.size() +
            shares_end_.size() + partner_products_.size()) *
           sizeof(int);
  }

  PartsView view() const {
    return {fields_,
            count_,
            pairs_.data(),
            partners_.data(),
            partners_end_.data(),
            shares_.data(),
            shares_end_.data()};
  }

  // Factors of the products as the loops take them: of each part alone, of the partners.
  template <typename Number>
  std::pair<std::vector<Number>, std::vector<Number>> sorted(
      const std::vector<double>& factors) const {
    std::vector<double> alone(count_, 0.0);
    for (std::size_t n = 0; n < factors.size(); ++n)
      if (halves_[n][1] < 0) alone[static_cast<std::size_t>(halves_[n][0])] += factors[n];
    std::vector<Number> of_partners;
    for (const int product : partner_products_) {
      const auto n = static_cast<std::size_t>(product);
      const double times = halves_[n][0] == halves_[n][1] ? 2.0 : 1.0;
      of_partners.push_back(static_cast<Number>(times * factors[n]));
    }
    return {{alone.begin(), alone.end()}, of_partners};
  }

 private:
  void join_partners() {
    std::vector<std::vector<std::array<int, 2>>> of_part(count_);  // a partner and the product
    for (std::size_t n = 0; n < halves_.size(); ++n) {
      const auto [first, last] = halves_[n];
      if (last < 0) continue;
      of_part[static_cast<std::size_t>(first)].push_back({last, static_cast<int>(n)});
      if (first != last)
        of_part[static_cast<std::size_t>(last)].push_back({first, static_cast<int>(n)});
    }
    for (const auto& partners : of_part) {
      for (const auto& [partner, product] : partners) {
        partners_.push_back(partner);
        partner_products_.push_back(product);
      }
      partners_end_.push_back(static_cast<int>(partners_.size()));
    }
  }

  // A square is twice a share of its field.
  void share_pairs() {
    for (std::size_t field = 0; field < fields_; ++field) {
      for (std::size_t n = 0; n < pairs_.size(); ++n)
        if (pairs_[n] == static_cast<int>(field))
          for (const int number : {static_cast<int>(fields_ + n / 2), pairs_[n ^ 1]})
            shares_.push_back(number);
      shares_end_.push_back(static_cast<int>(shares_.size() / 2));
    }
  }

  std::size_t fields_, count_ = 0;
  std::vector<std::array<int, 2>> halves_;  // (products) their parts; -1: none
  std::vector<int> pairs_, partners_, partners_end_, shares_, shares_end_;
  std::vector<int> partner_products_;  // as the partners
};

SoapExpansion expansion_of(TermReader& reader) {
  const JsonView& json = reader.json();
  json.allow_only({"kind", "cutoff", "intervals", "n_max", "l_max", "offset", "products", "centers",
                   "precision"});
  json.at("l_max").integer(0, max_fields_l);
  SoapBasis basis{};
  basis.channels = 1;
  basis.by_species = true;
  read_radial(reader, basis);
  if (basis.n_max * (basis.l_max + 1) > kMostFields)
    json.at("n_max").reject("found ", basis.n_max, ", expected no more than ", kMostFields,
                            " fields");
  basis.self.assign(reader.species() * basis.n_max, 0.0);
  basis.weights.assign(reader.species(), 1.0);
  return {basis, reader.species()};
}

template <typename View>
std::vector<FieldProduct> products_of(TermReader& reader, const View& view) {
  const auto count =
      static_cast<std::size_t>(reader.json().at("products").integer(1, max_products));
  const std::vector<double> given = reader.take("products", {count, most_factors});
  std::vector<FieldProduct> products(count);
  for (std::size_t n = 0; n < given.size(); ++n) {
    if (!(std::abs(given[n]) <= 1000.0) || given[n] != std::floor(given[n]))
      reader.reject_tensor("products", "found ", given[n], ", expected the number of a field");
    products[n / most_factors][n % most_factors] = static_cast<int>(given[n]);
  }
  try {
    check_products(products, view.n_max, view.l_max);
  } catch (const Error& error) {
    reader.reject_tensor("products", error.what());
  }
  return products;
}

// What the energies of all species and draws share: expansion, products, points on the sphere.
template <typename Number>
class Fields {
 public:
  explicit Fields(TermReader& reader)
      : tables_(expansion_of(reader)),
        products_(products_of(reader, tables_.exact())),
        parts_(products_, count()) {
    const JsonView offset = reader.json().at("offset");
    if (!(offset.number() > 0.0)) offset.reject("found ", offset.description(), ", expected > 0");
    set_points({tables_.exact(), degree_of(products_, view().n_max)});
    fields_ = {offset.number(), parts_.view(), weights_.size(), weights_.data(), harmonics_.data()};
  }
  Fields(const Fields&) = delete;
  Fields& operator=(const Fields&) = delete;

  // Of one species of centre; empty where it is none.
  struct Energy {
    std::vector<Number> alone, factors;
  };
  using Energies = std::vector<Energy>;

  // By species.
  Energies energies(TermReader& reader) const {
    Energies energies(reader.species());
    for (const TermReader::Center& center : reader.centers({"species"})) {
      Energy& energy = energies[center.species];
      std::tie(energy.alone, energy.factors) = parts_.template sorted<Number>(
          reader.take_weighted(reader.label({center.species}), {products_.size()}));
    }
    return energies;
  }

  std::size_t count() const { return view().n_max * (view().l_max + 1); }
  const SoapViewOf<Number>& view() const { return tables_.view(); }

  std::size_t bytes() const {
    return tables_.bytes() + products_.size() * sizeof(FieldProduct) + parts_.bytes() +
           (weights_.size() + harmonics_.size()) * sizeof(Number);
  }

  static std::size_t bytes(const Energies& energies) {
    std::size_t sum = 0;
    for (const Energy& energy : energies) sum += energy.alone.size() + energy.factors.size();
    return sum * sizeof(Number);
  }

  // A site whose parts are known.
  struct Known {
    SoapWorkOf<Number>& work;
    const FieldsWorkOf<Number>& room;
    double factor;
  };

  Known at(const SiteView& site, double* powers, Scratch<Number>& scratch) const {
    SoapWorkOf<Number>& work = scratch.density.prepare(view(), site.count);
    const std::size_t coefficients = (view().l_max + 1) * (view().l_max + 1) * view().n_max;
    const FieldsWorkOf<Number>& room =
        scratch.reserve(parts_.count() * fields_.padded, coefficients);
    return {work, room, field_kernels<Number>().fields(view(), fields_, site, work, room, powers)};
  }

  // Adds the gradients of one energy to the site's; returns the energy.
  double energy(const Energy& of, const SiteView& site, const Known& known) const {
    return field_kernels<Number>().products(view(), fields_, {of.alone.data(), of.factors.data()},
                                            site, known.factor, known.work, known.room);
  }

 private:
  // In whole groups; those that fill the last one up weigh nothing.
  void set_points(const SpherePoints& points) {
    const std::size_t group = kPointVectors * field_kernels<Number>().lanes;
    const std::size_t padded = (points.count + group - 1) / group * group;
    const std::size_t rows = (view().l_max + 1) * (view().l_max + 1);
    weights_.assign(padded, 0);
    harmonics_.assign(rows * padded, 0);
    for (std::size_t n = 0; n < points.count; ++n) {
      weights_[n] = static_cast<Number>(points.weights[n]);
      for (std::size_t lm = 0; lm < rows; ++lm)
        harmonics_[lm * padded + n] = static_cast<Number>(points.harmonics[lm * points.padded + n]);
    }
  }

  SpectrumTables<Number> tables_;
  std::vector<FieldProduct> products_;
  Parts parts_;
  std::vector<Number> weights_, harmonics_;
  FieldsViewOf<Number> fields_{};
};

template <typename Number>
class Bispectrum final : public MappedTerm {
 public:
  explicit Bispectrum(TermReader& reader) : fields_(reader), energies_(fields_.energies(reader)) {}

  double cutoff() const override { return fields_.view().cutoff; }
  std::size_t bytes() const override { return fields_.bytes() + Fields<Number>::bytes(energies_); }

  std::size_t features(std::size_t species) const override {
    return energies_[species].alone.empty() ? 0 : fields_.count();
  }

  void add(const Sites& sites, double* energies, Workspace& space) const override {
    auto& scratch = space.of<Scratch<Number>>();
    for (std::size_t n = 0; n < sites.count; ++n) {
      const SiteView& site = *sites.site[n];
      const auto& energy = energies_[static_cast<std::size_t>(site.species)];
      if (energy.alone.empty()) continue;
      double* const powers = sites.features ? sites.features[n] : nullptr;
      energies[n] += fields_.energy(energy, site, fields_.at(site, powers, scratch));
    }
  }

 private:
  Fields<Number> fields_;
  typename Fields<Number>::Energies energies_;
};

// Draws share the fields of a site and their pairs.
class DrawnBispectrum final : public DrawnTerm {
 public:
  explicit DrawnBispectrum(TermReader& reader) : fields_(reader) {
    for (std::size_t draw = 0; draw < reader.draws(); ++draw) {
      TermReader one = reader.of_draw(draw);
      energies_.push_back(fields_.energies(one));
    }
  }

  double cutoff() const override { return fields_.view().cutoff; }

  std::size_t bytes() const override {
    std::size_t sum = fields_.bytes();
    for (const auto& energies : energies_) sum += Fields<double>::bytes(energies);
    return sum;
  }

  void add(const SiteView& site, const DrawSums& sums, Workspace& space) const override {
    const auto species = static_cast<std::size_t>(site.species);
    if (energies_.front()[species].alone.empty()) return;
    const auto known = fields_.at(site, nullptr, space.of<Scratch<double>>());
    double* const own[] = {site.gx, site.gy, site.gz};
    for (std::size_t draw = 0; draw < energies_.size(); ++draw) {
      for (double* g : own) std::fill_n(g, site.padded, 0.0);
      sums.energies[draw] += fields_.energy(energies_[draw][species], site, known);
      for (std::size_t n = 0; n < site.count; ++n)
        for (std::size_t d = 0; d < 3; ++d)
          sums.gradients[(3 * n + d) * sums.width + draw] += own[d][n];
    }
  }

 private:
  Fields<double> fields_;
  std::vector<Fields<double>::Energies> energies_;  // (draws)
};

}  // namespace

std::unique_ptr<MappedTerm> read_bispectrum(TermReader& reader) {
  if (in_single_precision(reader)) return std::make_unique<Bispectrum<float>>(reader);
  return std::make_unique<Bispectrum<double>>(reader);
}

std::unique_ptr<DrawnTerm> draw_bispectrum(TermReader& reader) {
  return std::make_unique<DrawnBispectrum>(reader);
}

}  // namespace forcemap
