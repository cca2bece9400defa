// SOAP terms: the site energy of a centre of one species is sum_k factors[k] (vectors[k] . p)^zeta
// - constant, p the normalised power spectrum in the order of soap_loops.ipp. The constant is the
// sum for the isolated atom.
//
//   {"kind": "soap", "cutoff": 5.0, "intervals": 64, "n_max": 8, "l_max": 6, "channels": 2,
//    "zeta": 2, "centers": [{"species": "O", "count": 64, "constant": -0.1}, ...]}
//
// The basis (SoapBasis) is "radial" (intervals + 3, l_max + 1, n_max), "self" (n_max) and "weights"
// (channels, species); for each centre there are "A.vectors" (count, dimension) and "A.factors"
// (count), eV, linear in the weights.
#include "forcemap/soap.hpp"

#include <algorithm>
#include <cmath>
#include <deque>

#include "sites.hpp"
#include "term_reader.hpp"
#include "workspace.hpp"

namespace forcemap {

namespace {

constexpr int max_zeta = 4;
constexpr std::int64_t max_channels = 128;  // also of radial functions
constexpr std::int64_t max_vectors = 1000000;
constexpr std::size_t together = 4;  // sites that the loops take at once

SoapBasis read_basis(TermReader& reader) {
  const JsonView& json = reader.json();
  SoapBasis basis{};
  basis.cutoff = reader.cutoff();
  basis.intervals = reader.intervals("intervals");
  basis.n_max = static_cast<std::size_t>(json.at("n_max").integer(1, max_channels));
  basis.l_max = static_cast<std::size_t>(json.at("l_max").integer(0, std::int64_t{max_soap_l}));
  basis.channels = static_cast<std::size_t>(json.at("channels").integer(1, max_channels));
  return basis;
}

SoapBasis read_tensors(TermReader& reader, SoapBasis basis) {
  basis.radial = reader.take("radial", {basis.intervals + 3, basis.l_max + 1, basis.n_max});
  basis.self = reader.take("self", {basis.n_max});
  basis.weights = reader.take("weights", {basis.channels, reader.species()});
  return basis;
}

// The energy of one centre species, padded for the loops, which take vectors by fours.
struct CenterEnergy {
  std::vector<double> vectors, factors;
  SoapCenterView view{};

  CenterEnergy(TermReader& reader, const TermReader::Center& center, int zeta,
               const SoapView& expansion) {
    const auto count = static_cast<std::size_t>(center.json.at("count").integer(1, max_vectors));
    const std::string name = reader.label({center.species});
    factors = reader.take_weighted(name + ".factors", {count});
    const std::size_t size = expansion.dimension, padded = expansion.padded_dimension;
    const std::vector<double> given = reader.take(name + ".vectors", {count, size});
    const std::size_t fours = (count + 3) / 4 * 4;
    vectors.assign(fours * padded, 0.0);
    for (std::size_t k = 0; k < count; ++k)
      std::copy_n(&given[k * size], size, &vectors[k * padded]);
    factors.resize(fours, 0.0);
    view = {zeta, fours, vectors.data(), factors.data(), center.json.at("constant").number()};
    settle_constant(expansion, static_cast<int>(center.species));
  }

  // The energy of an isolated atom as these loops round it: it then vanishes exactly.
  void settle_constant(const SoapView& expansion, int species) {
    SoapWorkspace space;
    SiteView nothing{};
    nothing.species = species;
    SoapWork* const work = &space.prepare(expansion, 0);
    site_kernels().soap.density(expansion, nothing, *work);
    const double given = view.constant;
    double left = 0.0, scale = 0.0, *const energy = &left;
    view.constant = 0.0;
    site_kernels().soap.energies(expansion, view, &work, 1, &energy);
    for (const double factor : factors) scale += std::abs(factor);
    view.constant = std::abs(left - given) <= 1e-9 * std::max(scale, 1.0) ? left : given;
  }
};

// The densities of sites that are evaluated together.
struct Scratch {
  SoapWorkspace of[together];
};

class Soap final : public MappedTerm {
 public:
  explicit Soap(TermReader& reader)
      : zeta_(checked_zeta(reader)),
        expansion_(read_tensors(reader, read_basis(reader)), reader.species()),
        by_species_(reader.species(), nullptr) {
    for (const TermReader::Center& center : reader.centers({"species", "count", "constant"})) {
      centers_.emplace_back(reader, center, zeta_, expansion_.view());
      by_species_[center.species] = &centers_.back().view;
    }
  }

  double cutoff() const override { return expansion_.cutoff(); }

  std::size_t bytes() const override {
    std::size_t count = 0;
    for (const CenterEnergy& center : centers_)
      count += center.vectors.size() + center.factors.size();
    return expansion_.bytes() + count * sizeof(double);
  }

  // With several species twice as many: the fours of one species are then rarely short.
  std::size_t sites_at_once() const override {
    return by_species_.size() == 1 ? together : 2 * together;
  }

  // Sites of one species go together: they share the vectors of their energy.
  void add(const Sites& sites, double* energies, Workspace& space) const override {
    Scratch& scratch = space.of<Scratch>();
    for (std::size_t species = 0; species < by_species_.size(); ++species) {
      if (!by_species_[species]) continue;
      Group group{};
      for (std::size_t n = 0; n < sites.count; ++n) {
        const SiteView& site = *sites.site[n];
        // Where the energy is not a number already there is nothing to add.
        if (static_cast<std::size_t>(site.species) != species || !std::isfinite(energies[n]))
          continue;
        group.site[group.count] = &site;
        group.energy[group.count++] = &energies[n];
        if (group.count == together) add(*by_species_[species], group, scratch);
      }
      add(*by_species_[species], group, scratch);
    }
  }

 private:
  struct Group {
    std::size_t count;
    const SiteView* site[together];
    double* energy[together];
  };

  static int checked_zeta(const TermReader& reader) {
    reader.json().allow_only(
        {"kind", "cutoff", "intervals", "n_max", "l_max", "channels", "zeta", "centers"});
    return static_cast<int>(reader.json().at("zeta").integer(1, max_zeta));
  }

  // Leaves the group empty.
  void add(const SoapCenterView& center, Group& group, Scratch& scratch) const {
    const SoapKernels& loops = site_kernels().soap;
    const SoapView& view = expansion_.view();
    if (group.count == 0) return;
    SoapWork* works[together];
    for (std::size_t n = 0; n < group.count; ++n) {
      works[n] = &scratch.of[n].prepare(view, group.site[n]->count);
      loops.density(view, *group.site[n], *works[n]);
    }
    loops.energies(view, center, works, group.count, group.energy);
    for (std::size_t n = 0; n < group.count; ++n) loops.forces(view, *group.site[n], *works[n]);
    group.count = 0;
  }

  int zeta_;
  SoapExpansion expansion_;
  std::deque<CenterEnergy> centers_;  // by_species_ points to them
  std::vector<const SoapCenterView*> by_species_;
};

}  // namespace

std::unique_ptr<MappedTerm> read_soap(TermReader& reader) { return std::make_unique<Soap>(reader); }

}  // namespace forcemap
