#include "forcemap/soap.hpp"

#include <algorithm>
#include <cmath>
#include <new>
#include <type_traits>
#include <utility>

#include "clones.hpp"
#include "forcemap/fail.hpp"
#include "loops/site_kernels.hpp"
#include "rows/row_writer.hpp"
#include "rows/spectrum_rows.hpp"

namespace forcemap {

namespace {

constexpr double pi = 3.14159265358979323846;

std::size_t rounded(std::size_t n, std::size_t to) { return (n + to - 1) / to * to; }

bool finite(const std::vector<double>& values) {
  return std::all_of(values.begin(), values.end(), [](double v) { return std::isfinite(v); });
}

// Of the real spherical harmonics for m >= 0, with the root of 2 of m > 0, as SoapViewOf has them.
std::vector<double> harmonic_numbers(std::size_t l_max) {
  std::vector<double> numbers;
  for (std::size_t l = 0; l <= l_max; ++l)
    for (std::size_t m = 0; m <= l; ++m) {
      double ratio = 1.0;  // (l - m)! / (l + m)!
      for (std::size_t k = l - m + 1; k <= l + m; ++k) ratio /= static_cast<double>(k);
      const double twice = m > 0 ? 2.0 : 1.0, el = static_cast<double>(l);
      const double em = static_cast<double>(m);
      const double norm = std::sqrt(twice * (2.0 * el + 1.0) / (4.0 * pi) * ratio);
      const double inverse = l > m ? 1.0 / (el - em) : 0.0;
      for (const double number :
           {norm, norm * (el + em), (2.0 * el - 1.0) * inverse, (el + em - 1.0) * inverse})
        numbers.push_back(number);
    }
  return numbers;
}

}  // namespace

struct SoapExpansion::Impl {
  SoapView view{};
  std::size_t species;
  std::vector<double> radial, self, weights, harmonic;

  Impl(const SoapBasis& basis, std::size_t species_count) : species(species_count) {
    const std::size_t lanes = site_kernels().soap.lanes, n_max = basis.n_max;
    check(basis, species);
    view.cutoff = basis.cutoff;
    view.inverse_spacing = static_cast<double>(basis.intervals) / basis.cutoff;
    view.last_interval = static_cast<double>(basis.intervals) - 1.0;
    view.degree = basis.degree;
    view.cosine_begin = basis.cutoff - basis.cosine_width;
    view.cosine_rate = basis.cosine_width > 0.0 ? pi / basis.cosine_width : 0.0;
    view.n_max = n_max;
    view.l_max = basis.l_max;
    view.n_padded = rounded(n_max, lanes);
    view.row = view.table_row = rounded((basis.l_max + 1) * n_max, lanes);
    view.channels = basis.channels;
    view.species = basis.by_species ? 1 : species;
    view.width = view.channels * view.n_padded;
    view.dimension = basis.dimension();
    view.padded_dimension = rounded(view.dimension, lanes);
    view.square = view.width * view.width;
    const std::size_t rows = basis.intervals + static_cast<std::size_t>(basis.degree);
    const std::size_t tables = basis.by_species ? species : 1;
    const std::size_t functions = (basis.l_max + 1) * n_max;
    radial.assign(tables * rows * view.row, 0.0);
    for (std::size_t row = 0; row < tables * rows; ++row)
      std::copy_n(&basis.radial[row * functions], functions, &radial[row * view.row]);
    self.assign(tables * view.n_padded, 0.0);
    for (std::size_t table = 0; table < tables; ++table)
      std::copy_n(&basis.self[table * n_max], n_max, &self[table * view.n_padded]);
    if (basis.by_species) {
      scale_tables(basis.weights);
      view.radial_stride = rows * view.row;
      view.self_stride = view.n_padded;
      weights = {1.0};
    } else {
      weights = basis.weights;
    }
    view.plain_species = basis.channels == view.species;
    for (std::size_t channel = 0; channel < basis.channels; ++channel)
      for (std::size_t s = 0; s < view.species && view.plain_species; ++s)
        view.plain_species = weights[channel * view.species + s] == (channel == s ? 1.0 : 0.0);
    harmonic = harmonic_numbers(basis.l_max);
    view.radial = radial.data();
    view.self = self.data();
    view.weights = weights.data();
    view.harmonic = harmonic.data();
  }

  // The tables of each species times its weight.
  void scale_tables(const std::vector<double>& by) {
    for (std::vector<double>* tables : {&radial, &self}) {
      const std::size_t size = tables->size() / by.size();
      for (std::size_t n = 0; n < tables->size(); ++n) (*tables)[n] *= by[n / size];
    }
  }

  static void check(const SoapBasis& b, std::size_t species) {
    if (!(b.cutoff > 0.0) || !std::isfinite(b.cutoff))
      fail("soap cutoff ", b.cutoff, " is not > 0");
    if (b.n_max < 1 || b.intervals < 1 || b.channels < 1)
      fail("soap needs at least one radial function, interval and channel");
    if (b.l_max > max_soap_l) fail("soap l_max ", b.l_max, " is above ", max_soap_l);
    if (b.degree != 3 && b.degree != 5) fail("soap splines of degree ", b.degree, " are not known");
    if (!(b.cosine_width >= 0.0) || b.cosine_width > b.cutoff)
      fail("soap cosine_width ", b.cosine_width, " is not within the cutoff");
    const std::size_t rows = b.intervals + static_cast<std::size_t>(b.degree);
    const std::size_t tables = b.by_species ? species : 1;
    if (b.by_species && b.channels != 1) fail("soap with tables by species has one channel");
    if (b.radial.size() != tables * rows * (b.l_max + 1) * b.n_max ||
        b.self.size() != tables * b.n_max || b.weights.size() != b.channels * species)
      fail("soap tables do not have the sizes that n_max, l_max and channels ask for");
    if (!finite(b.radial) || !finite(b.self) || !finite(b.weights))
      fail("soap tables hold a number that is not finite");
  }
};

SoapExpansion::SoapExpansion(const SoapBasis& basis, std::size_t species)
    : impl_(new Impl(basis, species)) {}
SoapExpansion::~SoapExpansion() = default;
SoapExpansion::SoapExpansion(SoapExpansion&&) noexcept = default;

double SoapExpansion::cutoff() const { return impl_->view.cutoff; }
std::size_t SoapExpansion::dimension() const { return impl_->view.dimension; }
std::size_t SoapExpansion::species() const { return impl_->species; }
const SoapView& SoapExpansion::view() const { return impl_->view; }

std::size_t SoapExpansion::bytes() const {
  std::size_t count = 0;
  for (const auto* table : {&impl_->radial, &impl_->self, &impl_->weights, &impl_->harmonic})
    count += table->size();
  return count * sizeof(double);
}

FORCEMAP_CLONES static void add_products(const double* __restrict a, const double* __restrict b,
                                         std::size_t count, double* __restrict y) {
  for (std::size_t n = 0; n < count; ++n) y[n] += a[n] * b[n];
}

void add_product_row(const double* a, const double* b, std::size_t count, double* y) {
  add_products(a, b, count, y);
}

// ---- work space
// ----------------------------------------------------------------------------------

template <typename Number>
struct SoapWorkspaceOf<Number>::Impl {
  SoapWorkOf<Number> work{};
  char* memory = nullptr;
  std::size_t capacity = 0;
  std::vector<std::size_t> begin;
  std::vector<int> slot;

  ~Impl() { release(); }
  void release() {
    if (memory) ::operator delete(memory, std::align_val_t(64));
    memory = nullptr;
  }
  void reserve(std::size_t bytes) {
    if (bytes <= capacity) return;
    release();
    memory = static_cast<char*>(::operator new(bytes, std::align_val_t(64)));
    capacity = bytes;
  }
};

template <typename Number>
SoapWorkspaceOf<Number>::SoapWorkspaceOf() : impl_(new Impl) {}
template <typename Number>
SoapWorkspaceOf<Number>::~SoapWorkspaceOf() = default;
template <typename Number>
SoapWorkspaceOf<Number>::SoapWorkspaceOf(SoapWorkspaceOf&&) noexcept = default;
template <typename Number>
SoapWorkspaceOf<Number>& SoapWorkspaceOf<Number>::operator=(SoapWorkspaceOf&&) noexcept = default;

template <typename Number>
SoapWorkOf<Number>& SoapWorkspaceOf<Number>::prepare(const SoapViewOf<Number>& v,
                                                     std::size_t neighbors) {
  Impl& impl = *impl_;
  SoapWorkOf<Number>& w = impl.work;
  const std::size_t near = rounded(neighbors + 1, 8), rows = (v.l_max + 1) * (v.l_max + 1);
  const std::size_t radial = near * v.row;
  const auto bytes = [](const auto& array, std::size_t count) {
    return rounded(count * sizeof(*array), 64);
  };
  const auto layout = [&](const auto& each) {
    each(w.r, near);
    for (Number** array : {&w.ux, &w.uy, &w.uz, &w.inverse_r}) each(*array, near);
    for (Number** array : {&w.value, &w.slope, &w.turned_value, &w.turned_slope})
      each(*array, radial);
    for (Number** array : {&w.y, &w.yx, &w.yy, &w.yz}) each(*array, rows * near);
    for (Number** array : {&w.c, &w.adjoint}) each(*array, rows * v.width);
    each(w.one, rows * v.n_padded);
    each(w.square, v.square + 8);
    for (Number** array : {&w.p, &w.g, &w.spare}) each(*array, v.padded_dimension + 8);
    each(w.projections, kMostProjections + 8);
    each(w.again, sizeof(Number) < sizeof(double) ? kAgain * (4 * v.row + 5) + rows * v.n_max : 0);
  };
  std::size_t total = 0;
  layout([&](auto& array, std::size_t count) { total += bytes(array, count); });
  impl.reserve(total);
  char* next = impl.memory;
  layout([&](auto& array, std::size_t count) {
    array = reinterpret_cast<std::remove_reference_t<decltype(array)>>(next);
    next += bytes(array, count);
  });
  if (impl.begin.size() < v.species + 1) impl.begin.resize(v.species + 1);
  if (impl.slot.size() < near) impl.slot.resize(near);
  w.begin = impl.begin.data();
  w.slot = impl.slot.data();
  return w;
}

template class SoapWorkspaceOf<double>;
template class SoapWorkspaceOf<float>;

// ---- descriptors for fitting
// -----------------------------------------------------------------------

// A site as the loops see it, with only what the density needs.
struct SoapDescriptors::Neighborhood {
  std::vector<double> x, y, z, r, inverse_r;
  std::vector<int> kind;
  SiteView view{};

  void fill(const Environments& e, const std::vector<int>& species_of, std::size_t atom,
            double cutoff) {
    for (auto* array : {&x, &y, &z, &r, &inverse_r}) array->clear();
    kind.clear();
    for (const Environments::Neighbor& n : e.near(atom, cutoff)) {
      x.push_back(n.x);
      y.push_back(n.y);
      z.push_back(n.z);
      r.push_back(n.r);
      inverse_r.push_back(1.0 / n.r);
      kind.push_back(species_of[static_cast<std::size_t>(n.owner)]);
    }
    view.count = x.size();
    view.species = species_of[atom];
    view.x = x.data();
    view.y = y.data();
    view.z = z.data();
    view.r = r.data();
    view.inverse_r = inverse_r.data();
    view.kind = kind.data();
  }
};

struct SoapDescriptors::Scratch {
  explicit Scratch(std::unique_ptr<SpectrumRows> of) : rows(std::move(of)) {}
  SoapWorkspace space;
  Neighborhood near;
  std::unique_ptr<SpectrumRows> rows;
};

SoapDescriptors::~SoapDescriptors() = default;

SoapDescriptors::SoapDescriptors(const SoapExpansion& expansion, const std::vector<int>& numbers,
                                 const Environments& environments, int center,
                                 const DensityFunctions* functions)
    : expansion_(expansion),
      environments_(environments),
      functions_(functions),
      center_species_(-1) {
  const auto species = [&](int number) {
    const auto found = std::find(numbers.begin(), numbers.end(), number);
    if (found == numbers.end()) fail("atomic number ", number, " is not in the expansion");
    return static_cast<int>(found - numbers.begin());
  };
  if (numbers.size() != expansion.species())
    fail("expected ", expansion.species(), " species, found ", numbers.size());
  environments.check(expansion.cutoff());
  center_species_ = species(center);
  for (const int number : environments.numbers()) species_of_.push_back(species(number));
  centers_ = environments.of_species(center);
}

SoapWork& SoapDescriptors::density(std::size_t atom, SoapWorkspace& space,
                                   Neighborhood& near) const {
  const SoapView& view = expansion_.view();
  near.fill(environments_, species_of_, atom, view.cutoff);
  SoapWork& work = space.prepare(view, near.view.count);
  site_kernels().soap.density(view, near.view, work);
  return work;
}

void SoapDescriptors::spectra(double* out) const {
  SoapWorkspace space;
  Neighborhood near;
  for (const std::size_t atom : centers_) {
    const SoapWork& work = density(atom, space, near);
    write(work, out);
    out += dimension();
  }
}

void SoapDescriptors::isolated(double* out) const {
  SoapWorkspace space;
  SiteView nothing{};
  nothing.species = center_species_;
  SoapWork& work = space.prepare(expansion_.view(), 0);
  site_kernels().soap.density(expansion_.view(), nothing, work);
  write(work, out);
}

void SoapDescriptors::write(const SoapWork& work, double* out) const {
  if (functions_)
    functions_->values(work, out);
  else
    std::copy_n(work.p, dimension(), out);
}

void SoapDescriptors::derivatives(std::size_t n, std::vector<double>& rows,
                                  std::vector<std::size_t>& targets) const {
  const std::size_t center = centers_[n], begin = rows.size();
  if (!scratch_)
    scratch_.reset(new Scratch(functions_ ? functions_->rows()
                                          : std::make_unique<SpectrumRows>(expansion_.view())));
  const SoapWork& work = density(center, scratch_->space, scratch_->near);
  const Environments::Range neighbors = environments_.near(center, expansion_.cutoff());
  CenterRows involved(environments_.atoms(), center);
  for (std::size_t k = 0; k < work.count; ++k)
    involved.include(
        static_cast<std::size_t>(neighbors[static_cast<std::size_t>(work.slot[k])].owner));
  involved.append(dimension(), rows, targets);
  scratch_->rows->write(work, neighbors, involved.places(), involved.involved(),
                        rows.data() + begin);
}

std::size_t SoapDescriptors::dimension() const {
  return functions_ ? functions_->dimension() : expansion_.dimension();
}

}  // namespace forcemap
