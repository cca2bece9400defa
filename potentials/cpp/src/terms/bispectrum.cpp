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
//    "products": 180, "centers": [{"species": "O"}, ...]}
//
// Tensors: "radial" (species, intervals + 3, l_max + 1, n_max), "products" (products, 4), whole
// numbers k + n_max l in increasing order, -1 behind the last, and for each centre "A" (products),
// eV, linear in the weights.
#include <algorithm>
#include <cmath>

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

struct Scratch {
  SoapWorkspace density;
  Arena arena;
  FieldsWork room{};
  std::size_t size = 0;

  const FieldsWork& reserve(std::size_t wanted) {
    if (wanted > size) {
      size = wanted;
      arena.lay_out([&](const auto& each) {
        each(room.fields, size);
        each(room.slopes, size);
      });
    }
    return room;
  }
};

// What the energies of all species and draws share: expansion, products, points on the sphere.
class Fields {
 public:
  explicit Fields(TermReader& reader)
      : expansion_(read_expansion(reader)),
        products_(read_products(reader, view())),
        points_(view(), degree_of(products_, view().n_max)) {
    const JsonView offset = reader.json().at("offset");
    if (!(offset.number() > 0.0)) offset.reject("found ", offset.description(), ", expected > 0");
    fields_ = {offset.number(), points_.padded, points_.weights.data(), points_.harmonics.data()};
  }

  using Tree = std::vector<ProductNode>;

  // By species; those that are no centre have none.
  std::vector<Tree> trees(TermReader& reader) const {
    std::vector<Tree> trees(reader.species());
    for (const TermReader::Center& center : reader.centers({"species"}))
      trees[center.species] =
          tree_of(reader.take_weighted(reader.label({center.species}), {products_.size()}));
    return trees;
  }

  std::size_t count() const { return view().n_max * (view().l_max + 1); }
  const SoapView& view() const { return expansion_.view(); }

  std::size_t bytes() const {
    return expansion_.bytes() + products_.size() * sizeof(FieldProduct) +
           (points_.weights.size() + points_.harmonics.size()) * sizeof(double);
  }

  static std::size_t bytes(const std::vector<Tree>& trees) {
    std::size_t sum = 0;
    for (const Tree& tree : trees) sum += tree.size() * sizeof(ProductNode);
    return sum;
  }

  // A site whose fields are known.
  struct Known {
    SoapWork& work;
    const FieldsWork& room;
    double factor;
  };

  Known at(const SiteView& site, double* powers, Scratch& scratch) const {
    SoapWork& work = scratch.density.prepare(view(), site.count);
    const FieldsWork& room = scratch.reserve(count() * points_.padded);
    return {work, room, site_kernels().fields(view(), fields_, site, work, room, powers)};
  }

  // Adds the gradients of one energy to the site's; returns the energy.
  double energy(const Tree& tree, const SiteView& site, const Known& known) const {
    const ProductsView products = {tree.data(), static_cast<int>(tree.size())};
    return site_kernels().products(view(), fields_, products, site, known.factor, known.work,
                                   known.room);
  }

 private:
  static SoapExpansion read_expansion(TermReader& reader) {
    const JsonView& json = reader.json();
    json.allow_only(
        {"kind", "cutoff", "intervals", "n_max", "l_max", "offset", "products", "centers"});
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

  static std::vector<FieldProduct> read_products(TermReader& reader, const SoapView& view) {
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

  // Products in lexicographic order are a tree whose branches share their first fields.
  std::vector<ProductNode> tree_of(const std::vector<double>& factors) const {
    std::vector<std::size_t> order(products_.size());
    for (std::size_t n = 0; n < order.size(); ++n) order[n] = n;
    std::sort(order.begin(), order.end(),
              [&](std::size_t a, std::size_t b) { return products_[a] < products_[b]; });
    std::vector<ProductNode> nodes;
    std::size_t open[most_factors] = {};
    FieldProduct last = {-1, -1, -1, -1};
    std::size_t depth = 0;
    for (const std::size_t n : order) {
      const FieldProduct& product = products_[n];
      const std::size_t count = factors_of(product);
      std::size_t same = 0;
      while (same < depth && same < count && product[same] == last[same]) ++same;
      for (std::size_t level = same; level < depth; ++level)
        nodes[open[level]].end = static_cast<int>(nodes.size());
      for (std::size_t level = same; level < count; ++level) {
        open[level] = nodes.size();
        nodes.push_back({0.0, product[level], 0});
      }
      nodes[open[count - 1]].factor += factors[n];
      last = product;
      depth = count;
    }
    for (std::size_t level = 0; level < depth; ++level)
      nodes[open[level]].end = static_cast<int>(nodes.size());
    return nodes;
  }

  SoapExpansion expansion_;
  std::vector<FieldProduct> products_;
  SpherePoints points_;
  FieldsView fields_{};
};

class Bispectrum final : public MappedTerm {
 public:
  explicit Bispectrum(TermReader& reader) : fields_(reader), trees_(fields_.trees(reader)) {}

  double cutoff() const override { return fields_.view().cutoff; }
  std::size_t bytes() const override { return fields_.bytes() + Fields::bytes(trees_); }

  std::size_t features(std::size_t species) const override {
    return trees_[species].empty() ? 0 : fields_.count();
  }

  void add(const Sites& sites, double* energies, Workspace& space) const override {
    Scratch& scratch = space.of<Scratch>();
    for (std::size_t n = 0; n < sites.count; ++n) {
      const SiteView& site = *sites.site[n];
      const Fields::Tree& tree = trees_[static_cast<std::size_t>(site.species)];
      if (tree.empty()) continue;
      double* const powers = sites.features ? sites.features[n] : nullptr;
      energies[n] += fields_.energy(tree, site, fields_.at(site, powers, scratch));
    }
  }

 private:
  Fields fields_;
  std::vector<Fields::Tree> trees_;  // (species)
};

// Draws share the fields of a site, which cost more than the products.
class DrawnBispectrum final : public DrawnTerm {
 public:
  explicit DrawnBispectrum(TermReader& reader) : fields_(reader) {
    for (std::size_t draw = 0; draw < reader.draws(); ++draw) {
      TermReader one = reader.of_draw(draw);
      trees_.push_back(fields_.trees(one));
    }
  }

  double cutoff() const override { return fields_.view().cutoff; }

  std::size_t bytes() const override {
    std::size_t sum = fields_.bytes();
    for (const std::vector<Fields::Tree>& trees : trees_) sum += Fields::bytes(trees);
    return sum;
  }

  void add(const SiteView& site, const DrawSums& sums, Workspace& space) const override {
    const auto species = static_cast<std::size_t>(site.species);
    if (trees_.front()[species].empty()) return;
    const Fields::Known known = fields_.at(site, nullptr, space.of<Scratch>());
    double* const own[] = {site.gx, site.gy, site.gz};
    for (std::size_t draw = 0; draw < trees_.size(); ++draw) {
      for (double* g : own) std::fill_n(g, site.padded, 0.0);
      sums.energies[draw] += fields_.energy(trees_[draw][species], site, known);
      for (std::size_t n = 0; n < site.count; ++n)
        for (std::size_t d = 0; d < 3; ++d)
          sums.gradients[(3 * n + d) * sums.width + draw] += own[d][n];
    }
  }

 private:
  Fields fields_;
  std::vector<std::vector<Fields::Tree>> trees_;  // (draws, species)
};

}  // namespace

std::unique_ptr<MappedTerm> read_bispectrum(TermReader& reader) {
  return std::make_unique<Bispectrum>(reader);
}

std::unique_ptr<DrawnTerm> draw_bispectrum(TermReader& reader) {
  return std::make_unique<DrawnBispectrum>(reader);
}

}  // namespace forcemap
