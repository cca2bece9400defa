#include "soap_parts.hpp"

#include <algorithm>
#include <cmath>

#include "arena.hpp"
#include "workspace.hpp"

namespace forcemap {

namespace {

constexpr std::int64_t max_channels = 128;  // also of radial functions

std::size_t padded_count(std::size_t draws) {
  return (draws + kDrawsAtOnce - 1) / kDrawsAtOnce * kDrawsAtOnce;
}

// Of the sites that are evaluated together: what is kept of their densities, and what their draws
// need.
struct Scratch {
  SoapWorkspace density;
  Arena arena;
  SoapKept kept[kFormSites]{};
  std::vector<double> spectra[kFormSites];
  SoapDrawsWork work{};
  double *energies = nullptr, *spare = nullptr;
  float* slopes = nullptr;
  std::vector<std::size_t> sizes;  // that there is room for

  void reserve(const SoapView& v, const SoapDrawsView& d, std::size_t neighbors,
               std::size_t spares) {
    const std::size_t rows = (v.l_max + 1) * (v.l_max + 1), draws = d.padded_draws;
    const std::size_t fours = neighbors / 4 + v.species + 1;
    const std::vector<std::size_t> wanted = {v.species + 1,
                                             neighbors,
                                             d.size,
                                             rows * d.width,
                                             8 * fours * v.row,
                                             16 * fours * rows,
                                             16 * fours,
                                             draws * d.size,
                                             draws * rows * d.width,
                                             draws * rows * v.n_max,
                                             draws,
                                             spares};
    sizes.resize(wanted.size(), 0);
    const auto fits = [](std::size_t want, std::size_t have) { return want <= have; };
    if (std::equal(wanted.begin(), wanted.end(), sizes.begin(), fits)) return;
    std::transform(wanted.begin(), wanted.end(), sizes.begin(), sizes.begin(),
                   [](std::size_t a, std::size_t b) { return std::max(a, b); });
    arena.lay_out([&](const auto& each) {
      for (SoapKept& site : kept) {
        each(site.inverse_norm, 1);
        each(site.begin, sizes[0]);
        each(site.slot, sizes[1]);
        each(site.p, sizes[2]);
        each(site.c, sizes[3]);
        each(site.radial, sizes[4]);
        each(site.harmonics, sizes[5]);
        each(site.unit, sizes[6]);
      }
      each(slopes, kFormSites * sizes[7]);
      each(work.turned, sizes[7]);
      each(work.adjoint, sizes[8]);
      each(work.one, sizes[9]);
      each(energies, kFormSites * sizes[10]);
      each(spare, sizes[11]);
    });
  }

  // Of the n-th site.
  void keep(const SoapView& v, const SoapDrawsView& d, const SoapWork& density_of, std::size_t n) {
    spectra[n].assign(density_of.p, density_of.p + v.padded_dimension);
    site_kernels().soap.keep(v, d, density_of, kept[n]);
  }
};

class SpectrumTerm final : public DrawnTerm {
 public:
  SpectrumTerm(TermReader& reader, std::initializer_list<std::string_view> names,
               const ReadSpectrumDraws& read)
      : draws_(reader.draws()),
        expansion_(read_soap_expansion(reader)),
        centers_(reader.species()) {
    number_pairs();
    for (const TermReader::Center& center : reader.centers(names)) {
      Center& made = centers_[center.species];
      made.functions = read(reader, center, expansion_.view());
      Scratch scratch;
      scratch.reserve(expansion_.view(), view_, 0, spare(*made.functions));
      scratch.keep(
          expansion_.view(), view_,
          isolated_atom(expansion_.view(), static_cast<int>(center.species), scratch.density), 0);
      evaluate(*made.functions, 1, scratch);
      made.constants.assign(scratch.energies, scratch.energies + draws_);
    }
  }

  double cutoff() const override { return expansion_.cutoff(); }

  std::size_t bytes() const override {
    std::size_t sum =
        expansion_.bytes() + pairs_.size() * sizeof(int) + scale_.size() * sizeof(float);
    for (const Center& center : centers_)
      if (center.functions) sum += center.functions->bytes();
    return sum;
  }

  std::size_t sites_at_once() const override { return kFormSites; }

  void add(const SiteView& site, const DrawSums& sums, Workspace& space) const override {
    const SiteView* const sites[] = {&site};
    add_all({1, sites, &sums}, space);
  }

  // Sites of one species go together: they share the functions of their energies.
  void add_all(const DrawnSites& sites, Workspace& space) const override {
    Scratch& scratch = space.of<Scratch>();
    for (std::size_t species = 0; species < centers_.size(); ++species) {
      if (!centers_[species].functions) continue;
      Group group{};
      for (std::size_t n = 0; n < sites.count; ++n) {
        if (static_cast<std::size_t>(sites.site[n]->species) != species) continue;
        group.site[group.count] = sites.site[n];
        group.sums[group.count++] = &sites.sums[n];
        if (group.count == kFormSites) add(centers_[species], group, scratch);
      }
      add(centers_[species], group, scratch);
    }
  }

 private:
  struct Center {
    std::unique_ptr<SpectrumDraws> functions;  // null: no energy
    std::vector<double> constants;             // (draws) of the isolated atom, eV
  };

  struct Group {
    std::size_t count;
    const SiteView* site[kFormSites];
    const DrawSums* sums[kFormSites];
  };

  // Leaves the group empty.
  void add(const Center& center, Group& group, Scratch& scratch) const {
    if (group.count == 0) return;
    const SoapKernels& loops = site_kernels().soap;
    const SoapView& view = expansion_.view();
    std::size_t most = 0;
    for (std::size_t n = 0; n < group.count; ++n) most = std::max(most, group.site[n]->count);
    scratch.reserve(view, view_, most, spare(*center.functions));
    for (std::size_t n = 0; n < group.count; ++n) {
      SoapWork& work = scratch.density.prepare(view, group.site[n]->count);
      loops.density(view, *group.site[n], work);
      scratch.keep(view, view_, work, n);
    }
    evaluate(*center.functions, group.count, scratch);
    for (std::size_t n = 0; n < group.count; ++n) {
      const double* const energies = scratch.energies + n * view_.padded_draws;
      for (std::size_t k = 0; k < draws_; ++k)
        group.sums[n]->energies[k] += energies[k] - center.constants[k];
      scratch.work.slopes = scratch.slopes + n * view_.padded_draws * view_.size;
      loops.draw_forces(view, view_, scratch.kept[n], scratch.work, *group.sums[n]);
    }
    group.count = 0;
  }

  std::size_t spare(const SpectrumDraws& functions) const {
    return functions.spare(view_.padded_draws);
  }

  void evaluate(const SpectrumDraws& functions, std::size_t count, Scratch& scratch) const {
    const double* spectra[kFormSites];
    for (std::size_t n = 0; n < count; ++n) spectra[n] = scratch.spectra[n].data();
    functions.evaluate(
        {count, spectra, view_.padded_draws, scratch.energies, scratch.slopes, scratch.spare});
  }

  // The order of the spectrum: see packed_rows (soap_loops.ipp).
  void number_pairs() {
    const SoapView& v = expansion_.view();
    const std::size_t n_max = v.n_max, width = v.channels * n_max;
    pairs_.assign(width * width, 0);
    std::vector<float> of_order;
    const auto number = [&](std::size_t a, std::size_t b) {
      pairs_[a * width + b] = pairs_[b * width + a] = static_cast<int>(of_order.size());
      of_order.push_back(static_cast<float>(a == b ? 2.0 : std::sqrt(2.0)));
    };
    for (std::size_t alpha = 0; alpha < v.channels; ++alpha)
      for (std::size_t n = 0; n < n_max; ++n) {
        const std::size_t a = alpha * n_max + n;
        for (std::size_t b = a; b < (alpha + 1) * n_max; ++b) number(a, b);
        for (std::size_t b = (alpha + 1) * n_max; b < width; ++b) number(a, b);
      }
    for (std::size_t l = 0; l <= v.l_max; ++l)
      for (const float factor : of_order)
        scale_.push_back(factor / std::sqrt(static_cast<float>(2 * l + 1)));
    view_ = {padded_count(draws_), v.dimension,  in_panels(v.dimension), width,
             pairs_.data(),        scale_.data()};
  }

  std::size_t draws_;
  SoapExpansion expansion_;
  std::vector<Center> centers_;  // (species)
  std::vector<int> pairs_;
  std::vector<float> scale_;
  SoapDrawsView view_{};
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
  v.row = rounded((from.l_max + 1) * from.n_max);
  v.table_row = 2 * v.row;
  v.channels = from.channels;
  v.species = from.species;
  v.width = v.channels * v.n_padded;
  v.square = v.width * v.width;
  v.dimension = from.dimension;
  v.padded_dimension = rounded(from.dimension);
  v.plain_species = from.plain_species;
  v.weights = from.weights;
  v.exact = &from;
  const auto copied = [](const double* rows, std::size_t count, std::size_t from_stride,
                         std::size_t size, std::size_t stride) {
    std::vector<float> numbers(count * stride, 0.0F);
    for (std::size_t row = 0; row < count; ++row)
      for (std::size_t n = 0; n < size; ++n)
        numbers[row * stride + n] = static_cast<float>(rows[row * from_stride + n]);
    return numbers;
  };
  const std::size_t intervals = static_cast<std::size_t>(from.last_interval) + 1;
  const std::size_t rows = intervals + static_cast<std::size_t>(from.degree);
  const bool by_species = from.radial_stride != 0;
  const std::size_t tables = by_species ? expansion_.species() : 1;
  const std::size_t functions = (v.l_max + 1) * v.n_max;
  radial_ = copied(from.radial, tables * rows, from.row, functions, v.table_row);
  for (std::size_t row = 0; row < tables * rows; ++row) {
    if ((row + 1) % rows == 0) continue;
    const double *const here = from.radial + row * from.row, *const next = here + from.row;
    for (std::size_t n = 0; n < functions; ++n)
      radial_[row * v.table_row + v.row + n] = static_cast<float>(next[n] - here[n]);
  }
  self_ = copied(from.self, tables, from.n_padded, v.n_max, v.n_padded);
  v.radial_stride = by_species ? rows * v.table_row : 0;
  v.self_stride = by_species ? v.n_padded : 0;
  const std::size_t harmonics = (v.l_max + 1) * (v.l_max + 2) / 2 * kHarmonicNumbers;
  for (std::size_t n = 0; n < harmonics; ++n)
    harmonic_.push_back(static_cast<float>(from.harmonic[n]));
  v.harmonic = harmonic_.data();
  v.radial = radial_.data();
  v.self = self_.data();
}

std::vector<float> panels_of(const std::vector<double>& given, std::size_t rows,
                             std::size_t columns) {
  const std::size_t height = in_panels(rows);
  std::vector<float> panels(height * in_panels(columns), 0.0F);
  for (std::size_t row = 0; row < rows; ++row)
    for (std::size_t n = 0; n < columns; ++n)
      panels[(n / kSoapPanel * height + row) * kSoapPanel + n % kSoapPanel] =
          static_cast<float>(given[row * columns + n]);
  return panels;
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
