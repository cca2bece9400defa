// Embedding terms: energies F(rho_i) - F(0) of the density rho_i = sum_j phi(r_ij) of an atom's
// neighbours, splines both. phi depends on both species, in their order; F on that of the centre,
// continued linearly on both sides of its range.
//
//   {"kind": "embedding", "cutoff": 5.0, "intervals": 50, "tables": [["O", "H"], ...],
//    "centers": [{"species": "O", "intervals": 50, "range": 1.25}, ...]}
//
// For each table, of a neighbour B of a centre A, the density "A-B" (intervals + 3), and for each
// centre F on [0, range], "A" (its intervals + 3), eV, linear in the weights.
#include "arena.hpp"
#include "sites.hpp"
#include "tables.hpp"
#include "term_reader.hpp"
#include "workspace.hpp"

namespace forcemap {

namespace {

constexpr double max_density = 1e9;

// Slopes of the density at a site's neighbours.
struct Scratch {
  Arena arena;
  double* slopes = nullptr;
  std::size_t capacity = 0;

  double* reserve(const SiteView& site) {
    if (site.capacity > capacity) {
      capacity = site.capacity;
      arena.lay_out([&](const auto& each) { each(slopes, capacity); });
    }
    return slopes;
  }
};

class Embedding final : public MappedTerm {
 public:
  explicit Embedding(TermReader& reader)
      : tables_(reader.species() * reader.species()),
        functions_(reader.species(), DensityFunction{0.0, 0.0, 0.0, nullptr}) {
    reader.json().allow_only({"kind", "cutoff", "intervals", "tables", "centers"});
    const double cutoff = reader.cutoff();  // phi is zero there with its first derivative
    const std::size_t intervals = reader.intervals("intervals");
    for (const Species& pair : reader.tables(2, TermReader::Order::as_given))
      tables_.set(pair[0] * reader.species() + pair[1],
                  tables_.keep(reader.take(reader.label(pair), {intervals + 3})));
    for (const TermReader::Center& center : reader.centers({"species", "intervals", "range"}))
      functions_[center.species] = read(reader, center);
    const double count = static_cast<double>(intervals);
    view_ = {reader.species(), cutoff,         count / cutoff,
             count - 1.0,      tables_.data(), functions_.data()};
  }

  double cutoff() const override { return view_.cutoff; }
  std::size_t bytes() const override { return tables_.bytes(); }

  void add(const Sites& sites, double* energies, Workspace& space) const override {
    const EmbeddingEnergyFunction energy = site_kernels().embedding;
    Scratch& scratch = space.of<Scratch>();
    add_each(sites, energies,
             [&](const SiteView& site) { return energy(view_, site, scratch.reserve(site)); });
  }

 private:
  DensityFunction read(TermReader& reader, const TermReader::Center& center) {
    const double range = center.json.at("range").number();  // of the density
    if (!(range > 1.0 / max_density && range <= max_density)) {
      center.json.at("range").reject("found ", range, ", expected ", 1.0 / max_density,
                                     " < range <= ", max_density);
    }
    const std::size_t intervals = TermReader::intervals(center.json, "intervals");
    const double* c =
        tables_.keep(reader.take_weighted(reader.label({center.species}), {intervals + 3}));
    const double count = static_cast<double>(intervals);
    return {count / range, count - 1.0, (c[0] + 4.0 * c[1] + c[2]) / 6.0, c};
  }

  Tables tables_;
  std::vector<DensityFunction> functions_;
  EmbeddingView view_{};
};

}  // namespace

std::unique_ptr<MappedTerm> read_embedding(TermReader& reader) {
  return std::make_unique<Embedding>(reader);
}

std::unique_ptr<DrawnTerm> draw_embedding(TermReader& reader) {
  return draw_one_by_one(reader, read_embedding);
}

}  // namespace forcemap
