#include "soap_sums.hpp"

#include <algorithm>
#include <cmath>
#include <deque>

#include "sites.hpp"
#include "soap_parts.hpp"
#include "workspace.hpp"

namespace forcemap {

namespace {

constexpr double largest_zeta = 100.0;
constexpr double largest_whole = 16.0;  // exponents up to it are products
constexpr std::int64_t max_vectors = 1000000;
constexpr std::size_t few = 4;  // sites that the loops take at once

// Bytes of vectors above which more sites are evaluated together: those of one species then do not
// stay in a second-level cache from one group of sites to the next.
constexpr std::size_t large = 1 << 19;

// The energy of one centre species, padded for the loops, which take vectors by fours.
struct CenterEnergy {
  std::vector<double> vectors, factors;
  SoapCenterView view{};
  std::size_t features;

  CenterEnergy(TermReader& reader, const TermReader::Center& center, const SoapPower& power,
               const Spectrum& spectrum) {
    const auto count = static_cast<std::size_t>(center.json.at("count").integer(1, max_vectors));
    const std::string name = reader.label({center.species});
    const SoapView& sizes = spectrum.view();
    factors = reader.take_weighted(name + ".factors", {count});
    const std::size_t fours = (count + 3) / 4 * 4;
    vectors = padded_rows(reader.take(name + ".vectors", {count, sizes.dimension}), fours, sizes);
    factors.resize(fours, 0.0);
    features = std::min(count, kMostProjections);
    view = {power, fours, vectors.data(), factors.data(), 0.0};
    const double left = isolated(spectrum, static_cast<int>(center.species));
    if (reader.draws() > 0) {
      view.constant = left;
      return;
    }
    // As these loops round it: the isolated atom's energy then vanishes exactly.
    const double given = center.json.at("constant").number();
    double scale = 1.0;
    for (const double factor : factors) scale += std::abs(factor);
    view.constant = std::abs(left - given) <= 1e-9 * scale ? left : given;
  }

  // The sum for an isolated atom.
  double isolated(const Spectrum& spectrum, int species) const {
    SoapWorkspace space;
    SiteView nothing{};
    nothing.species = species;
    SoapWork* const work = &space.prepare(spectrum.view(), 0);
    spectrum.density(nothing, *work);
    double left = 0.0, *const energy = &left;
    spectrum.view().loops->energies(spectrum.view(), view, &work, 1, &energy);
    return left;
  }
};

// The densities of sites that are evaluated together.
struct Scratch {
  SoapWorkspace of[kSoapSites];
};

class SpectrumSums final : public MappedTerm {
 public:
  SpectrumSums(TermReader& reader, std::unique_ptr<const Spectrum> spectrum)
      : power_(read_power(reader.json())),
        spectrum_(std::move(spectrum)),
        by_species_(reader.species(), nullptr) {
    std::size_t most = 0;
    const auto given = reader.draws() > 0 ? reader.centers({"species", "count"})
                                          : reader.centers({"species", "count", "constant"});
    for (const TermReader::Center& center : given) {
      centers_.emplace_back(reader, center, power_, *spectrum_);
      by_species_[center.species] = &centers_.back();
      most = std::max(most, centers_.back().vectors.size() * sizeof(double));
    }
    together_ = most > large ? std::min(kSoapSites, most_sites_at_once) : few;
  }

  double cutoff() const override { return spectrum_->view().cutoff; }

  std::size_t bytes() const override {
    std::size_t count = 0;
    for (const CenterEnergy& center : centers_)
      count += center.vectors.size() + center.factors.size();
    return spectrum_->bytes() + count * sizeof(double);
  }

  // With several species twice as many: the fours of one species are then rarely short.
  std::size_t sites_at_once() const override {
    return by_species_.size() == 1 ? together_ : 2 * together_;
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
        if (group.count == together_) add(*by_species_[species], group, scratch);
      }
      add(*by_species_[species], group, scratch);
    }
  }

 private:
  struct Group {
    std::size_t count;
    const SiteView* site[kSoapSites];
    double* energy[kSoapSites];
    double* features[kSoapSites];
  };

  // Leaves the group empty.
  void add(const CenterEnergy& center, Group& group, Scratch& scratch) const {
    const SoapView& view = spectrum_->view();
    if (group.count == 0) return;
    SoapWork* works[kSoapSites];
    for (std::size_t n = 0; n < group.count; ++n) {
      works[n] = &scratch.of[n].prepare(view, group.site[n]->count);
      spectrum_->density(*group.site[n], *works[n]);
    }
    view.loops->energies(view, center.view, works, group.count, group.energy);
    for (std::size_t n = 0; n < group.count; ++n)
      if (group.features[n]) std::copy_n(works[n]->projections, center.features, group.features[n]);
    for (std::size_t n = 0; n < group.count; ++n) spectrum_->forces(*group.site[n], *works[n]);
    group.count = 0;
  }

  SoapPower power_;
  std::unique_ptr<const Spectrum> spectrum_;
  std::deque<CenterEnergy> centers_;  // by_species_ points to them
  std::vector<const CenterEnergy*> by_species_;
  std::size_t together_ = few;  // sites of one species
};

}  // namespace

SoapPower read_power(const JsonView& json) {
  const JsonView given = json.at("zeta");
  const double zeta = given.number();
  if (!(zeta > 0.0) || zeta > largest_zeta)
    given.reject("found ", given.description(), ", expected 0 < zeta <= ", largest_zeta);
  const bool whole = zeta <= largest_whole && zeta == std::floor(zeta);
  return {zeta, whole ? static_cast<int>(zeta) : 0};
}

std::unique_ptr<MappedTerm> read_spectrum_sums(TermReader& reader,
                                               std::unique_ptr<const Spectrum> spectrum) {
  return std::make_unique<SpectrumSums>(reader, std::move(spectrum));
}

}  // namespace forcemap
