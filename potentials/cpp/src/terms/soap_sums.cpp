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

// The sums of one centre species in numbers of one type, padded for the loops, which take vectors
// by fours. They may be of another type than the spectrum.
template <typename Number>
struct Sums {
  std::vector<Number> vectors;
  SoapViewOf<Number> sizes{};  // of vectors alone
  SoapCenterViewOf<Number> view{};

  void set(const std::vector<double>& given, const std::vector<double>& factors,
           const SoapPower& power, std::size_t dimension) {
    const std::size_t lanes = spectrum_kernels<Number>().lanes;
    sizes.dimension = dimension;
    sizes.padded_dimension = (dimension + lanes - 1) / lanes * lanes;
    vectors = padded_rows(given, factors.size(), sizes);
    view = {power, factors.size(), vectors.data(), factors.data(), 0.0};
  }
};

// How far rounding of the sums' products to single precision spreads: the error of forces is about
// 2e-10 Å of it, by experience.
double amplification(const std::vector<double>& vectors, const std::vector<double>& factors,
                     double zeta, std::size_t dimension) {
  double sum = 0.0;
  for (std::size_t k = 0; k * dimension < vectors.size(); ++k) {
    double square = 0.0;
    for (std::size_t n = 0; n < dimension; ++n)
      square += vectors[k * dimension + n] * vectors[k * dimension + n];
    const double part =
        factors[k] * zeta * std::max(zeta - 1.0, 0.0) * std::pow(square, 0.5 * zeta);
    sum += part * part;
  }
  return std::sqrt(sum);
}

// The densities of sites that are evaluated together, and their spectra in doubles.
template <typename Number>
struct Scratch {
  SoapWorkspaceOf<Number> of[kSoapSites];
  SoapWorkspace exact[kSoapSites];
};

// The energy of one centre species. Where what single precision would make of its sums is too far
// off, as with the weights of many sparse points, which cancel, the sums are in doubles.
template <typename Number>
struct CenterEnergy {
  static constexpr double most = 3e4;
  std::vector<double> factors;
  Sums<Number> own;
  Sums<double> exact;  // empty where its own serve
  std::size_t features;

  CenterEnergy(TermReader& reader, const TermReader::Center& center, const SoapPower& power,
               const Spectrum<Number>& spectrum) {
    const auto count = static_cast<std::size_t>(center.json.at("count").integer(1, max_vectors));
    const std::string name = reader.label({center.species});
    const std::size_t dimension = spectrum.view().dimension;
    factors = reader.take_weighted(name + ".factors", {count});
    const std::vector<double> vectors = reader.take(name + ".vectors", {count, dimension});
    const bool in_single = sizeof(Number) < sizeof(double);
    const bool spreads = in_single && amplification(vectors, factors, power.zeta, dimension) > most;
    factors.resize((count + 3) / 4 * 4, 0.0);
    if (spreads)
      exact.set(vectors, factors, power, dimension);
    else
      own.set(vectors, factors, power, dimension);
    features = std::min(count, kMostProjections);
    const double left = isolated(spectrum, static_cast<int>(center.species));
    double constant = left;
    if (reader.draws() == 0) {
      // As these loops round it: the isolated atom's energy then vanishes exactly.
      const double given = center.json.at("constant").number();
      double scale = 1.0;
      for (const double factor : factors) scale += std::abs(factor);
      if (std::abs(left - given) > (in_single ? 1e-3 : 1e-9) * scale) constant = given;
    }
    own.view.constant = exact.view.constant = constant;
  }

  std::size_t bytes() const {
    return own.vectors.size() * sizeof(Number) +
           (exact.vectors.size() + factors.size()) * sizeof(double);
  }

  // Energies (added), dE/dp and projections of up to kSoapSites sites.
  void evaluate(SoapWorkOf<Number>* const* works, std::size_t count, double* const* energies,
                Scratch<Number>& scratch) const {
    if (exact.vectors.empty()) {
      spectrum_kernels<Number>().energies(own.sizes, own.view, works, count, energies);
      return;
    }
    SoapWork* wide[kSoapSites];
    const std::size_t dimension = exact.sizes.dimension;
    for (std::size_t n = 0; n < count; ++n) {
      wide[n] = &scratch.exact[n].prepare(exact.sizes, 0);
      wide[n]->norm = works[n]->norm;
      wide[n]->unit = 1.0;
      for (std::size_t k = 0; k < exact.sizes.padded_dimension; ++k)
        wide[n]->p[k] = k < dimension ? works[n]->unit * static_cast<double>(works[n]->p[k]) : 0.0;
    }
    spectrum_kernels<double>().energies(exact.sizes, exact.view, wide, count, energies);
    for (std::size_t n = 0; n < count; ++n) {
      for (std::size_t k = 0; k < dimension; ++k)
        works[n]->g[k] = static_cast<Number>(wide[n]->g[k]);
      std::copy_n(wide[n]->projections, features, works[n]->projections);
    }
  }

  // The sum for an isolated atom.
  double isolated(const Spectrum<Number>& spectrum, int species) const {
    Scratch<Number> scratch;
    SiteView nothing{};
    nothing.species = species;
    SoapWorkOf<Number>* const work = &scratch.of[0].prepare(spectrum.view(), 0);
    spectrum.density(nothing, *work);
    double left = 0.0, *const energy = &left;
    evaluate(&work, 1, &energy, scratch);
    return left;
  }
};

template <typename Number>
class SpectrumSums final : public MappedTerm {
 public:
  SpectrumSums(TermReader& reader, std::unique_ptr<const Spectrum<Number>> spectrum)
      : power_(read_power(reader.json())),
        spectrum_(std::move(spectrum)),
        by_species_(reader.species(), nullptr) {
    std::size_t most = 0;
    const auto given = reader.draws() > 0 ? reader.centers({"species", "count"})
                                          : reader.centers({"species", "count", "constant"});
    for (const TermReader::Center& center : given) {
      centers_.emplace_back(reader, center, power_, *spectrum_);
      by_species_[center.species] = &centers_.back();
      most = std::max(most, centers_.back().bytes());
    }
    together_ = most > large ? std::min(kSoapSites, most_sites_at_once) : few;
  }

  double cutoff() const override { return spectrum_->view().cutoff; }

  std::size_t bytes() const override {
    std::size_t sum = spectrum_->bytes();
    for (const CenterEnergy<Number>& center : centers_) sum += center.bytes();
    return sum;
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
    Scratch<Number>& scratch = space.of<Scratch<Number>>();
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
  void add(const CenterEnergy<Number>& center, Group& group, Scratch<Number>& scratch) const {
    const SoapViewOf<Number>& view = spectrum_->view();
    if (group.count == 0) return;
    SoapWorkOf<Number>* works[kSoapSites];
    for (std::size_t n = 0; n < group.count; ++n) {
      works[n] = &scratch.of[n].prepare(view, group.site[n]->count);
      spectrum_->density(*group.site[n], *works[n]);
    }
    center.evaluate(works, group.count, group.energy, scratch);
    for (std::size_t n = 0; n < group.count; ++n)
      if (group.features[n]) std::copy_n(works[n]->projections, center.features, group.features[n]);
    for (std::size_t n = 0; n < group.count; ++n) spectrum_->forces(*group.site[n], *works[n]);
    group.count = 0;
  }

  SoapPower power_;
  std::unique_ptr<const Spectrum<Number>> spectrum_;
  std::deque<CenterEnergy<Number>> centers_;  // by_species_ points to them
  std::vector<const CenterEnergy<Number>*> by_species_;
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

template <typename Number>
std::unique_ptr<MappedTerm> read_spectrum_sums(TermReader& reader,
                                               std::unique_ptr<const Spectrum<Number>> spectrum) {
  return std::make_unique<SpectrumSums<Number>>(reader, std::move(spectrum));
}

template std::unique_ptr<MappedTerm> read_spectrum_sums(
    TermReader& reader, std::unique_ptr<const Spectrum<double>> spectrum);
template std::unique_ptr<MappedTerm> read_spectrum_sums(
    TermReader& reader, std::unique_ptr<const Spectrum<float>> spectrum);

}  // namespace forcemap
