#include "forcemap/potential.hpp"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <new>
#include <utility>

#include "forcemap/fail.hpp"
#include "forcemap/soap.hpp"
#include "forcemap/zbl.hpp"
#include "site_kernels.hpp"

namespace forcemap {

namespace {

constexpr std::size_t kAlignment = 64;
constexpr std::size_t kVector = 8;
constexpr std::size_t kMostSpecies = 118;
constexpr std::size_t kSoapSites = 4;  // what soap_energies takes at once

const SiteKernels& choose_kernels() {
  const char* asked = std::getenv("FORCEMAP_SIMD");
  int level = 2;
  if (asked && std::strcmp(asked, "generic") == 0) level = 0;
  if (asked && std::strcmp(asked, "avx2") == 0) level = 1;
  (void)level;
#ifdef FORCEMAP_X86_LOOPS
  __builtin_cpu_init();
  if (level >= 2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512dq"))
    return avx512_kernels();
  if (level >= 1 && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
    return avx2_kernels();
#endif
  return generic_kernels();
}

// One block of memory for all arrays of a site.
class Arena {
 public:
  ~Arena() { release(); }
  Arena() = default;
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  void allocate(std::size_t bytes) {
    release();
    begin_ = static_cast<char*>(::operator new(bytes, std::align_val_t(kAlignment)));
    std::memset(begin_, 0, bytes);
    next_ = begin_;
  }
  template <typename T>
  T* take(std::size_t count) {
    T* result = reinterpret_cast<T*>(next_);
    next_ += bytes<T>(count);
    return result;
  }
  template <typename T>
  static std::size_t bytes(std::size_t count) {
    return (count * sizeof(T) + kAlignment - 1) / kAlignment * kAlignment;
  }

 private:
  void release() {
    if (begin_) ::operator delete(begin_, std::align_val_t(kAlignment));
    begin_ = nullptr;
  }
  char* begin_ = nullptr;
  char* next_ = nullptr;
};

}  // namespace

const SiteKernels& site_kernels() {
  static const SiteKernels& chosen = choose_kernels();
  return chosen;
}

struct Site::Scratch {
  SiteView view{};
  Arena arena;
  SoapWorkspace soap;
};

Site::Site() : scratch(new Scratch) {}
Site::~Site() = default;
Site::Site(Site&&) noexcept = default;
Site& Site::operator=(Site&&) noexcept = default;

void Site::reserve(std::size_t neighbors) {
  SiteView& v = scratch->view;
  if (x && neighbors + kVector <= v.capacity) return;
  // A quarter more than asked, so that a growing list does not allocate every time.
  const std::size_t n = (neighbors + neighbors / 4 + 4 * kVector) / kVector * kVector;
  const std::size_t sorted = n + (kVector - 1) * kMostSpecies + 2 * kVector;
  v.capacity = n;
  scratch->arena.allocate(
      9 * Arena::bytes<double>(n) + 2 * Arena::bytes<int>(n) + 8 * Arena::bytes<double>(sorted) +
      2 * Arena::bytes<int>(sorted) + 2 * Arena::bytes<double>(4 * sorted) +
      2 * Arena::bytes<double>(kVector * sorted) + 4 * Arena::bytes<double>(kVector / 2 * sorted));
  Arena& a = scratch->arena;
  for (double** p : {&v.x, &v.y, &v.z, &v.r, &v.inverse_r, &v.gx, &v.gy, &v.gz, &v.slope})
    *p = a.take<double>(n);
  for (int** p : {&v.index, &v.kind}) *p = a.take<int>(n);
  for (double** p : {&v.tx, &v.ty, &v.tz, &v.tr, &v.hx, &v.hy, &v.hz, &v.row_start})
    *p = a.take<double>(sorted);
  for (int** p : {&v.slot, &v.interval}) *p = a.take<int>(sorted);
  for (double** p : {&v.weights, &v.derivatives}) *p = a.take<double>(4 * sorted);
  for (double** p : {&v.radial, &v.on_x, &v.on_y, &v.on_z})
    *p = a.take<double>(kVector / 2 * sorted);
  v.rows = a.take<double>(2 * kVector * sorted);
  x = v.x;
  y = v.y;
  z = v.z;
  index = v.index;
  gx = v.gx;
  gy = v.gy;
  gz = v.gz;
}

struct Potential::Impl {
  PotentialData data;
  std::vector<std::vector<const double*>> two_body_tables;
  std::vector<std::vector<const double*>> three_body_tables;
  std::vector<std::vector<double>> paired;  // what they point to
  std::vector<TwoBodyView> two_body;
  std::vector<ThreeBodyView> three_body;
  std::vector<std::vector<const double*>> density_tables;
  std::vector<std::vector<DensityFunction>> embedding_functions;
  std::vector<EmbeddingView> embedding;
  std::vector<SoapExpansion> soap;
  std::vector<ZblFunction> zbl;
  PotentialView view{};

  explicit Impl(PotentialData given) : data(std::move(given)) {
    const std::size_t n = data.numbers.size();
    if (n == 0 || n > kMostSpecies) fail("a potential needs 1 to 118 species, found ", n);
    if (data.e0.size() != n)
      fail("expected ", n, " isolated-atom energies, found ", data.e0.size());
    view.species = n;
    view.e0 = data.e0.data();
    add_two_body(n);
    add_three_body(n);
    add_embedding(n);
    for (const SoapTerm& term : data.soap) {
      soap.emplace_back(term.basis, n, term.zeta, term.centers);
      view.cutoff = std::max(view.cutoff, term.basis.cutoff);
    }
    data.soap = {};  // the expansions have copies
    add_core(n);
    if (!(view.cutoff > 0.0)) view.cutoff = 1e-3;  // isolated atoms only
    view.two_body = two_body.data();
    view.two_body_count = two_body.size();
    view.three_body = three_body.data();
    view.three_body_count = three_body.size();
    view.embedding = embedding.data();
    view.embedding_count = embedding.size();
  }

  static void check_table(double cutoff, std::size_t found, std::size_t expected,
                          const char* kind) {
    if (!(cutoff > 0.0) || !std::isfinite(cutoff)) fail(kind, " cutoff ", cutoff, " is not > 0");
    if (found != expected) fail(kind, " table has ", found, " coefficients, expected ", expected);
  }

  void add_two_body(std::size_t n) {
    for (const TwoBodyTerm& term : data.two_body) {
      std::vector<const double*> tables(n * n, nullptr);
      for (const TwoBodyTable& table : term.tables) {
        const auto [a, b] = table.species;
        if (a >= n || b >= n || a > b) fail("two_body table of species ", a, ", ", b);
        check_table(term.cutoff, table.coefficients.size(), term.intervals + 3, "two_body");
        tables[a * n + b] = tables[b * n + a] = table.coefficients.data();
      }
      two_body_tables.push_back(std::move(tables));
      two_body.push_back({term.cutoff, static_cast<double>(term.intervals) / term.cutoff,
                          static_cast<double>(term.intervals) - 1.0,
                          two_body_tables.back().data()});
      view.cutoff = std::max(view.cutoff, term.cutoff);
    }
  }

  // Each row along r_jk and the next one along r_ik, coefficient by coefficient: the loops then
  // load two rows with one instruction, and half as often.
  static std::vector<double> paired_rows(const std::vector<double>& table, std::size_t legs,
                                         std::size_t base) {
    std::vector<double> result(legs * (legs - 1) * base * 2);
    double* out = result.data();
    for (std::size_t a = 0; a < legs; ++a)
      for (std::size_t b = 0; b + 1 < legs; ++b) {
        const double* row = table.data() + (a * legs + b) * base;
        for (std::size_t c = 0; c < base; ++c) {
          *out++ = row[c];
          *out++ = row[base + c];
        }
      }
    return result;
  }

  void add_three_body(std::size_t n) {
    for (ThreeBodyTerm& term : data.three_body) {
      std::vector<const double*> tables(n * n * n, nullptr);
      const std::size_t legs = term.leg_intervals + 3, base = term.base_intervals + 3;
      for (ThreeBodyTable& table : term.tables) {
        const auto [c, a, b] = table.species;
        if (c >= n || b >= n || a > b) fail("three_body table of species ", c, ", ", a, ", ", b);
        check_table(term.cutoff, table.coefficients.size(), legs * legs * base, "three_body");
        if (2 * legs * base > static_cast<std::size_t>(std::numeric_limits<int>::max()))
          fail("three_body table of ", legs, " x ", legs, " x ", base,
               " coefficients is too large");
        paired.push_back(paired_rows(table.coefficients, legs, base));
        table.coefficients = {};
        tables[(c * n + a) * n + b] = paired.back().data();
      }
      three_body_tables.push_back(std::move(tables));
      three_body.push_back({term.cutoff, static_cast<double>(term.leg_intervals) / term.cutoff,
                            static_cast<double>(term.leg_intervals) - 1.0,
                            static_cast<double>(term.base_intervals) / (2.0 * term.cutoff),
                            static_cast<double>(term.base_intervals) - 1.0,
                            static_cast<std::ptrdiff_t>((legs - 1) * base * 2),
                            static_cast<std::ptrdiff_t>(base * 2),
                            three_body_tables.back().data()});
      view.cutoff = std::max(view.cutoff, term.cutoff);
    }
  }

  void add_embedding(std::size_t n) {
    for (const EmbeddingTerm& term : data.embedding) {
      std::vector<const double*> tables(n * n, nullptr);
      for (const DensityTable& table : term.densities) {
        const auto [center, neighbor] = table.species;
        if (center >= n || neighbor >= n) fail("density of species ", center, ", ", neighbor);
        check_table(term.cutoff, table.coefficients.size(), term.intervals + 3, "embedding");
        tables[center * n + neighbor] = table.coefficients.data();
      }
      std::vector<DensityFunction> functions(n, DensityFunction{0.0, 0.0, 0.0, nullptr});
      for (const EmbeddingCenter& center : term.centers) {
        if (center.species >= n) fail("embedding of species ", center.species);
        check_table(center.range, center.coefficients.size(), center.intervals + 3,
                    "embedding function's");
        const double* c = center.coefficients.data();
        functions[center.species] = {static_cast<double>(center.intervals) / center.range,
                                     static_cast<double>(center.intervals) - 1.0,
                                     (c[0] + 4.0 * c[1] + c[2]) / 6.0, c};
      }
      density_tables.push_back(std::move(tables));
      embedding_functions.push_back(std::move(functions));
      embedding.push_back({term.cutoff, static_cast<double>(term.intervals) / term.cutoff,
                           static_cast<double>(term.intervals) - 1.0, density_tables.back().data(),
                           embedding_functions.back().data()});
      view.cutoff = std::max(view.cutoff, term.cutoff);
    }
  }

  void add_core(std::size_t n) {
    zbl.resize(n * n);
    for (const ZblPair& pair : data.zbl) {
      const auto [a, b] = pair.species;
      if (a >= n || b >= n) fail("zbl pair of species ", a, ", ", b);
      if (!(pair.inner >= 0.0 && pair.inner < pair.outer) || !std::isfinite(pair.outer))
        fail("zbl needs 0 <= inner < outer, found ", pair.inner, ", ", pair.outer);
      zbl[a * n + b] = zbl[b * n + a] =
          ZblFunction(data.numbers[a], data.numbers[b], pair.inner, pair.outer);
      view.zbl.largest_outer = std::max(view.zbl.largest_outer, pair.outer);
    }
    view.zbl.functions = zbl.data();
    view.cutoff = std::max(view.cutoff, view.zbl.largest_outer);
  }
};

Potential::Potential(PotentialData data) : impl_(new Impl(std::move(data))) {}
Potential::~Potential() = default;
Potential::Potential(Potential&&) noexcept = default;
Potential& Potential::operator=(Potential&&) noexcept = default;

double Potential::cutoff() const { return impl_->view.cutoff; }
const std::vector<int>& Potential::numbers() const { return impl_->data.numbers; }
const std::vector<double>& Potential::e0() const { return impl_->data.e0; }
const std::string& Potential::metadata() const { return impl_->data.metadata; }

int Potential::species_of(int number) const {
  const std::vector<int>& all = impl_->data.numbers;
  const auto found = std::find(all.begin(), all.end(), number);
  return found == all.end() ? -1 : static_cast<int>(found - all.begin());
}

void Potential::gather(const double* positions, const int* kinds, const int* kind_to_species, int i,
                       const int* list, std::size_t list_length, int mask, Site& site) const {
  site.reserve(list_length);
  site.species = kinds ? kind_to_species[kinds[i]] : 0;
  site.count = site_kernels().gather(positions, kinds, kind_to_species, i, list, list_length, mask,
                                     impl_->view.cutoff, site.scratch->view);
}

double Potential::evaluate(Site& site) const {
  SiteView& view = site.scratch->view;
  view.count = site.count;
  view.species = site.species;
  double energy = site_kernels().evaluate(impl_->view, view);
  if (!impl_->soap.empty()) {
    double* energies[1] = {&energy};
    Site* sites[1] = {&site};
    add_soap(sites, 1, energies);
  }
  return energy;
}

std::size_t Potential::batch() const {
  if (impl_->soap.empty()) return 1;
  return impl_->data.numbers.size() == 1 ? kSoapSites : 2 * kSoapSites;
}

void Potential::evaluate(Site* sites, std::size_t count, double* energies) const {
  for (std::size_t n = 0; n < count; ++n) {
    SiteView& view = sites[n].scratch->view;
    view.count = sites[n].count;
    view.species = sites[n].species;
    energies[n] = site_kernels().evaluate(impl_->view, view);
  }
  if (impl_->soap.empty()) return;
  // Sites of one species go together: they share the vectors of their energy.
  Site* together[kSoapSites];
  double* of[kSoapSites];
  for (std::size_t species = 0; species < impl_->data.numbers.size(); ++species) {
    std::size_t held = 0;
    for (std::size_t n = 0; n < count; ++n) {
      if (static_cast<std::size_t>(sites[n].species) != species) continue;
      together[held] = &sites[n];
      of[held++] = &energies[n];
      if (held < kSoapSites) continue;
      add_soap(together, held, of);
      held = 0;
    }
    if (held) add_soap(together, held, of);
  }
}

void Potential::add_soap(Site* const* sites, std::size_t count, double* const* energies) const {
  const SoapKernels& loops = site_kernels().soap;
  for (const SoapExpansion& term : impl_->soap) {
    const SoapView& view = term.view();
    const SoapCenterView* center = view.centers[sites[0]->species];
    if (!center) continue;
    SoapWork* works[kSoapSites];
    double* of[kSoapSites];
    const SiteView* views[kSoapSites];
    std::size_t held = 0;
    for (std::size_t n = 0; n < count; ++n) {
      // Two atoms in one place: the answer is a NaN already.
      if (!std::isfinite(*energies[n])) continue;
      views[held] = &sites[n]->scratch->view;
      works[held] = &sites[n]->scratch->soap.prepare(view, views[held]->count);
      loops.density(view, *views[held], *works[held]);
      of[held++] = energies[n];
    }
    if (!held) continue;
    loops.energies(view, *center, works, held, of);
    for (std::size_t n = 0; n < held; ++n) loops.forces(view, *views[n], *works[n]);
  }
}

const char* Potential::instruction_set() { return site_kernels().name; }

}  // namespace forcemap
