// Repulsive cores: switched ZBL functions of pairs of species, in the form of LAMMPS' pair_style
// zbl. Half of each pair's energy belongs to either atom.
//
//   {"kind": "zbl", "pairs": [{"species": ["H", "H"], "inner": 0.4, "outer": 0.7}, ...]}
//
// A pair has one core, in whatever term of a file it stands.
#include "forcemap/zbl.hpp"

#include <algorithm>

#include "sites.hpp"
#include "term_reader.hpp"

namespace forcemap {

namespace {

class Zbl final : public MappedTerm {
 public:
  explicit Zbl(TermReader& reader) : functions_(reader.species() * reader.species()) {
    reader.json().allow_only({"kind", "pairs"});
    const JsonView pairs = reader.json().at("pairs");
    if (pairs.size() == 0) pairs.reject("found an empty array, expected at least one pair");
    view_ = {reader.species(), functions_.data(), 0.0};
    for (std::size_t i = 0; i < pairs.size(); ++i) read(reader, pairs.at(i));
  }

  double cutoff() const override { return view_.outer; }
  std::size_t bytes() const override { return functions_.size() * sizeof(ZblFunction); }

  void add(const Sites& sites, double* energies, Workspace&) const override {
    const ZblEnergyFunction energy = site_kernels().zbl;
    add_each(sites, energies, [&](const SiteView& site) {
      return site.least_square < view_.outer * view_.outer ? energy(view_, site) : 0.0;
    });
  }

 private:
  void read(TermReader& reader, const JsonView& pair) {
    pair.allow_only({"species", "inner", "outer"});
    const Species species = reader.table(pair.at("species"), 2, TermReader::Order::exchangeable);
    const double inner = pair.at("inner").number();  // Å; full ZBL below
    const double outer = pair.at("outer").number();  // Å; zero beyond, with two derivatives
    if (!(inner >= 0.0 && inner < outer && outer <= max_distance)) {
      pair.reject("found inner ", inner, " and outer ", outer,
                  ", expected 0 <= inner < outer <= ", max_distance);
    }
    if (!reader.claim("core of " + reader.label(species))) {
      pair.at("species").reject("found a pair that has its core already");
    }
    const std::size_t n = reader.species(), a = species[0], b = species[1];
    functions_[a * n + b] = functions_[b * n + a] =
        ZblFunction(reader.numbers()[a], reader.numbers()[b], inner, outer);
    view_.outer = std::max(view_.outer, outer);
  }

  std::vector<ZblFunction> functions_;
  ZblView view_{};
};

}  // namespace

std::unique_ptr<MappedTerm> read_zbl(TermReader& reader) { return std::make_unique<Zbl>(reader); }

std::unique_ptr<DrawnTerm> draw_zbl(TermReader& reader) {
  reader.json().at("kind").reject("found a term without weights, which has no draws");
}

}  // namespace forcemap
