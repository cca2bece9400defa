#include "soap_parts.hpp"

#include <algorithm>

#include "arena.hpp"
#include "workspace.hpp"

namespace forcemap {

namespace {

constexpr std::int64_t max_channels = 128;  // also of radial functions

std::size_t padded_count(std::size_t draws) {
  return (draws + kDrawsAtOnce - 1) / kDrawsAtOnce * kDrawsAtOnce;
}

// The density of a site and what its draws need.
struct Scratch {
  SoapWorkspace density;
  Arena arena;
  SoapDrawsWork work{};
  double *energies = nullptr, *spare = nullptr;
  std::vector<std::size_t> sizes;  // that there is room for

  void reserve(const SoapView& v, std::size_t draws, std::size_t neighbors, std::size_t spares) {
    const std::size_t rows = (v.l_max + 1) * (v.l_max + 1), padded = padded_count(draws);
    work.draws = draws;
    work.padded_draws = padded;
    const std::vector<std::size_t> wanted = {padded * v.padded_dimension,
                                             padded * rows * v.width,
                                             padded * rows * v.n_padded,
                                             (v.l_max + 1) * v.n_padded * (neighbors + 8),
                                             padded,
                                             spares};
    sizes.resize(wanted.size(), 0);
    const auto fits = [](std::size_t want, std::size_t have) { return want <= have; };
    if (std::equal(wanted.begin(), wanted.end(), sizes.begin(), fits)) return;
    std::transform(wanted.begin(), wanted.end(), sizes.begin(), sizes.begin(),
                   [](std::size_t a, std::size_t b) { return std::max(a, b); });
    arena.lay_out([&](const auto& each) {
      each(work.g, sizes[0]);
      each(work.adjoint, sizes[1]);
      each(work.one, sizes[2]);
      each(work.value, sizes[3]);
      each(work.slope, sizes[3]);
      each(energies, sizes[4]);
      each(spare, sizes[5]);
    });
  }
};

class SpectrumTerm final : public DrawnTerm {
 public:
  SpectrumTerm(TermReader& reader, std::initializer_list<std::string_view> names,
               const ReadSpectrumDraws& read)
      : draws_(std::max<std::size_t>(reader.draws(), 1)),
        expansion_(read_soap_expansion(reader)),
        centers_(reader.species()) {
    for (const TermReader::Center& center : reader.centers(names)) {
      Center& made = centers_[center.species];
      made.functions = read(reader, center, expansion_.view());
      made.constants.assign(draws_, 0.0);
      Scratch scratch;
      scratch.reserve(expansion_.view(), draws_, 0, spare(*made.functions));
      evaluate(made,
               isolated_atom(expansion_.view(), static_cast<int>(center.species), scratch.density),
               scratch);
      std::copy_n(scratch.energies, draws_, made.constants.begin());
    }
  }

  double cutoff() const override { return expansion_.cutoff(); }

  std::size_t bytes() const override {
    std::size_t sum = expansion_.bytes();
    for (const Center& center : centers_)
      if (center.functions) sum += center.functions->bytes();
    return sum;
  }

  void add(const SiteView& site, const DrawSums& sums, Workspace& space) const override {
    const Center& center = centers_[static_cast<std::size_t>(site.species)];
    if (!center.functions) return;
    const SoapKernels& loops = site_kernels().soap;
    const SoapView& view = expansion_.view();
    Scratch& scratch = space.of<Scratch>();
    scratch.reserve(view, draws_, site.count, spare(*center.functions));
    SoapWork& work = scratch.density.prepare(view, site.count);
    loops.density(view, site, work);
    evaluate(center, work, scratch);
    for (std::size_t k = 0; k < draws_; ++k)
      sums.energies[k] += scratch.energies[k] - center.constants[k];
    loops.draw_forces(view, work, scratch.work, sums);
  }

 private:
  struct Center {
    std::unique_ptr<SpectrumDraws> functions;  // null: no energy
    std::vector<double> constants;             // (draws) of the isolated atom, eV
  };

  std::size_t spare(const SpectrumDraws& functions) const {
    return functions.spare(padded_count(draws_));
  }

  static void evaluate(const Center& center, const SoapWork& work, Scratch& scratch) {
    center.functions->evaluate(
        {work.p, scratch.work.padded_draws, scratch.energies, scratch.work.g, scratch.spare});
  }

  std::size_t draws_;
  SoapExpansion expansion_;
  std::vector<Center> centers_;  // (species)
};

}  // namespace

SoapExpansion read_soap_expansion(TermReader& reader) {
  SoapBasis basis{};
  basis.channels = static_cast<std::size_t>(reader.json().at("channels").integer(1, max_channels));
  if (reader.json().has("species_tables")) {
    const JsonView tables = reader.json().at("species_tables");
    const auto species = static_cast<std::int64_t>(reader.species());
    tables.integer(species, species);
    basis.by_species = true;
    if (basis.channels != 1) reader.json().at("channels").reject("species_tables need 1 channel");
  }
  read_radial(reader, basis);
  basis.self = basis.by_species ? reader.take("self", {reader.species(), basis.n_max})
                                : reader.take("self", {basis.n_max});
  basis.weights = reader.take("weights", {basis.channels, reader.species()});
  return {basis, reader.species()};
}

void read_radial(TermReader& reader, SoapBasis& basis) {
  const JsonView& json = reader.json();
  basis.cutoff = reader.cutoff();
  basis.intervals = reader.intervals("intervals");
  basis.n_max = static_cast<std::size_t>(json.at("n_max").integer(1, max_channels));
  basis.l_max = static_cast<std::size_t>(json.at("l_max").integer(0, std::int64_t{max_soap_l}));
  if (json.has("degree")) {
    basis.degree = static_cast<int>(json.at("degree").integer(3, 5));
    if (basis.degree == 4) json.at("degree").reject("found 4, expected 3 or 5");
  }
  if (json.has("cosine_width")) {
    const JsonView width = json.at("cosine_width");
    basis.cosine_width = width.number();
    if (!(basis.cosine_width > 0.0) || basis.cosine_width > basis.cutoff)
      width.reject("found ", width.description(), ", expected 0 < cosine_width <= cutoff");
  }
  const std::size_t rows = basis.intervals + static_cast<std::size_t>(basis.degree);
  basis.radial = basis.by_species
                     ? reader.take("radial", {reader.species(), rows, basis.l_max + 1, basis.n_max})
                     : reader.take("radial", {rows, basis.l_max + 1, basis.n_max});
}

bool in_single_precision(const TermReader& reader) {
  const JsonView& json = reader.json();
  if (!json.has("precision")) return false;
  const JsonView given = json.at("precision");
  const std::string name(given.string());
  if (name != "single" && name != "double")
    given.reject("found ", given.description(), ", expected \"single\" or \"double\"");
  return name == "single";
}

template <>
SpectrumTables<double>::SpectrumTables(SoapExpansion expansion)
    : expansion_(std::move(expansion)), view_(expansion_.view()) {}

template <>
SpectrumTables<float>::SpectrumTables(SoapExpansion expansion) : expansion_(std::move(expansion)) {
  const SoapView& from = expansion_.view();
  const std::size_t lanes = spectrum_kernels<float>().lanes;
  const auto rounded = [lanes](std::size_t n) { return (n + lanes - 1) / lanes * lanes; };
  SoapViewOf<float>& v = view_;
  v.cutoff = from.cutoff;
  v.inverse_spacing = from.inverse_spacing;
  v.last_interval = from.last_interval;
  v.degree = from.degree;
  v.cosine_begin = from.cosine_begin;
  v.cosine_rate = from.cosine_rate;
  v.n_max = from.n_max;
  v.l_max = from.l_max;
  v.n_padded = rounded(from.n_max);
  v.channels = from.channels;
  v.species = from.species;
  v.width = v.channels * v.n_padded;
  v.square = v.width * v.width;
  v.dimension = from.dimension;
  v.padded_dimension = rounded(from.dimension);
  v.plain_species = from.plain_species;
  v.weights = from.weights;
  const auto copied = [&](const double* rows, std::size_t count) {
    std::vector<float> numbers(count * v.n_padded, 0.0F);
    for (std::size_t row = 0; row < count; ++row)
      for (std::size_t n = 0; n < v.n_max; ++n)
        numbers[row * v.n_padded + n] = static_cast<float>(rows[row * from.n_padded + n]);
    return numbers;
  };
  const std::size_t intervals = static_cast<std::size_t>(from.last_interval) + 1;
  const std::size_t rows = (intervals + static_cast<std::size_t>(from.degree)) * (from.l_max + 1);
  const bool by_species = from.radial_stride != 0;
  const std::size_t tables = by_species ? expansion_.species() : 1;
  radial_ = copied(from.radial, tables * rows);
  self_ = copied(from.self, tables);
  v.radial_stride = by_species ? rows * v.n_padded : 0;
  v.self_stride = by_species ? v.n_padded : 0;
  const std::size_t harmonics = (v.l_max + 1) * (v.l_max + 2) / 2 * kHarmonicNumbers;
  for (std::size_t n = 0; n < harmonics; ++n)
    harmonic_.push_back(static_cast<float>(from.harmonic[n]));
  v.harmonic = harmonic_.data();
  v.radial = radial_.data();
  v.self = self_.data();
}

SoapWork& isolated_atom(const SoapView& expansion, int species, SoapWorkspace& space) {
  SiteView nothing{};
  nothing.species = species;
  SoapWork& work = space.prepare(expansion, 0);
  site_kernels().soap.density(expansion, nothing, work);
  return work;
}

std::unique_ptr<DrawnTerm> draw_spectrum_term(TermReader& reader,
                                              std::initializer_list<std::string_view> names,
                                              const ReadSpectrumDraws& read) {
  return std::make_unique<SpectrumTerm>(reader, names, read);
}

}  // namespace forcemap
