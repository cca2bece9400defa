// SOAP terms: the site energy of a centre of one species is sum_k factors[k] (vectors[k] . p)^zeta
// - constant, p the normalised power spectrum in the order of soap_loops.ipp. The constant is the
// sum for the isolated atom.
//
//   {"kind": "soap", "cutoff": 5.0, "intervals": 64, "n_max": 8, "l_max": 6, "channels": 2,
//    "zeta": 2, "centers": [{"species": "O", "count": 64, "constant": -0.1}, ...]}
//
// The basis (SoapBasis) is "radial" (intervals + 3, l_max + 1, n_max), "self" (n_max) and "weights"
// (channels, species); for each centre there are "A.vectors" (count, dimension) and "A.factors"
// (count), eV, linear in the weights. Draws have no "constant": it is what makes the isolated
// atom's energy zero. The features of a site are its projections on the first vectors.
#include "forcemap/soap.hpp"

#include <algorithm>
#include <cmath>
#include <deque>

#include "sites.hpp"
#include "soap_parts.hpp"
#include "term_reader.hpp"
#include "workspace.hpp"

namespace forcemap {

namespace {

constexpr int max_zeta = 4;
constexpr std::int64_t max_vectors = 1000000;
constexpr std::size_t together = 4;  // sites that the loops take at once

// The energy of one centre species, padded for the loops, which take vectors by fours.
struct CenterEnergy {
  std::vector<double> vectors, factors;
  SoapCenterView view{};
  std::size_t features;

  CenterEnergy(TermReader& reader, const TermReader::Center& center, int zeta,
               const SoapView& expansion) {
    const auto count = static_cast<std::size_t>(center.json.at("count").integer(1, max_vectors));
    const std::string name = reader.label({center.species});
    factors = reader.take_weighted(name + ".factors", {count});
    const std::size_t fours = (count + 3) / 4 * 4;
    vectors =
        padded_rows(reader.take(name + ".vectors", {count, expansion.dimension}), fours, expansion);
    factors.resize(fours, 0.0);
    features = std::min(count, kMostProjections);
    view = {zeta, fours, vectors.data(), factors.data(), center.json.at("constant").number()};
    settle_constant(expansion, static_cast<int>(center.species));
  }

  // The energy of an isolated atom as these loops round it: it then vanishes exactly.
  void settle_constant(const SoapView& expansion, int species) {
    SoapWorkspace space;
    SoapWork* const work = &isolated_atom(expansion, species, space);
    const double given = view.constant;
    double left = 0.0, scale = 0.0, *const energy = &left;
    view.constant = 0.0;
    site_kernels().soap.energies(expansion, view, &work, 1, &energy);
    for (const double factor : factors) scale += std::abs(factor);
    view.constant = std::abs(left - given) <= 1e-9 * std::max(scale, 1.0) ? left : given;
  }
};

int checked_zeta(const TermReader& reader) {
  reader.json().allow_only(
      {"kind", "cutoff", "intervals", "n_max", "l_max", "channels", "zeta", "centers"});
  return static_cast<int>(reader.json().at("zeta").integer(1, max_zeta));
}

// The densities of sites that are evaluated together.
struct Scratch {
  SoapWorkspace of[together];
};

class Soap final : public MappedTerm {
 public:
  explicit Soap(TermReader& reader)
      : zeta_(checked_zeta(reader)),
        expansion_(read_soap_expansion(reader)),
        by_species_(reader.species(), nullptr) {
    for (const TermReader::Center& center : reader.centers({"species", "count", "constant"})) {
      centers_.emplace_back(reader, center, zeta_, expansion_.view());
      by_species_[center.species] = &centers_.back();
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

  std::size_t features(std::size_t species) const override {
    return by_species_[species] ? by_species_[species]->features : 0;
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
        group.features[group.count] = sites.features ? sites.features[n] : nullptr;
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
    double* features[together];
  };

  // Leaves the group empty.
  void add(const CenterEnergy& center, Group& group, Scratch& scratch) const {
    const SoapKernels& loops = site_kernels().soap;
    const SoapView& view = expansion_.view();
    if (group.count == 0) return;
    SoapWork* works[together];
    for (std::size_t n = 0; n < group.count; ++n) {
      works[n] = &scratch.of[n].prepare(view, group.site[n]->count);
      loops.density(view, *group.site[n], *works[n]);
    }
    loops.energies(view, center.view, works, group.count, group.energy);
    for (std::size_t n = 0; n < group.count; ++n)
      if (group.features[n]) std::copy_n(works[n]->projections, center.features, group.features[n]);
    for (std::size_t n = 0; n < group.count; ++n) loops.forces(view, *group.site[n], *works[n]);
    group.count = 0;
  }

  int zeta_;
  SoapExpansion expansion_;
  std::deque<CenterEnergy> centers_;  // by_species_ points to them
  std::vector<const CenterEnergy*> by_species_;
};

// One centre species for all draws: they share the vectors.
class FactorDraws final : public SpectrumDraws {
 public:
  FactorDraws(TermReader& reader, const TermReader::Center& center, int zeta,
              const SoapView& expansion)
      : zeta_(zeta), draws_(reader.draws()), size_(expansion.padded_dimension) {
    const auto count = static_cast<std::size_t>(center.json.at("count").integer(1, max_vectors));
    const std::string name = reader.label({center.species});
    count_ = (count + 3) / 4 * 4;
    const std::vector<double> given = reader.take_draws(name + ".factors", {count});
    factors_.assign(draws_ * count_, 0.0);
    for (std::size_t k = 0; k < draws_; ++k)
      std::copy_n(&given[k * count], count, &factors_[k * count_]);
    vectors_ = padded_rows(reader.take(name + ".vectors", {count, expansion.dimension}), count_,
                           expansion);
  }

  std::size_t bytes() const override {
    return (vectors_.size() + factors_.size()) * sizeof(double);
  }
  std::size_t spare(std::size_t padded_draws) const override { return (padded_draws + 1) * count_; }

  void evaluate(const SpectrumAnswer& answer) const override {
    double *const y = answer.spare, *const slopes = y + count_;
    site_kernels().soap.products(vectors_.data(), count_, size_, answer.spectrum, y);
    std::fill_n(slopes, answer.padded_draws * count_, 0.0);
    for (std::size_t k = 0; k < draws_; ++k) {
      double energy = 0.0;
      for (std::size_t v = 0; v < count_; ++v) {
        double power = factors_[k * count_ + v];  // times y^(zeta - 1)
        for (int z = 1; z < zeta_; ++z) power *= y[v];
        energy += power * y[v];
        slopes[k * count_ + v] = static_cast<double>(zeta_) * power;
      }
      answer.energies[k] = energy;
    }
    site_kernels().soap.sums(
        {answer.padded_draws, count_, size_, slopes, vectors_.data(), answer.slopes});
  }

 private:
  int zeta_;
  std::size_t draws_, size_, count_ = 0;
  std::vector<double> vectors_, factors_;
};

}  // namespace

std::unique_ptr<MappedTerm> read_soap(TermReader& reader) { return std::make_unique<Soap>(reader); }

std::unique_ptr<DrawnTerm> draw_soap(TermReader& reader) {
  const int zeta = checked_zeta(reader);
  return draw_spectrum_term(reader, {"species", "count"},
                            [zeta](TermReader& of, const TermReader::Center& center,
                                   const SoapView& expansion) -> std::unique_ptr<SpectrumDraws> {
                              return std::make_unique<FactorDraws>(of, center, zeta, expansion);
                            });
}

}  // namespace forcemap
