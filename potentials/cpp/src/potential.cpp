#include "forcemap/potential.hpp"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "arena.hpp"
#include "forcemap/fail.hpp"
#include "sites.hpp"
#include "workspace.hpp"

namespace forcemap {

namespace {

constexpr std::size_t kVector = 8;

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

}  // namespace

const SiteKernels& site_kernels() {
  static const SiteKernels& chosen = choose_kernels();
  return chosen;
}

struct Site::Scratch {
  SiteView view{};
  Arena arena;
  Workspace space;
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
  v.capacity = n;
  scratch->arena.lay_out([&](const auto& each) {
    for (double** p : {&v.x, &v.y, &v.z, &v.r, &v.inverse_r, &v.gx, &v.gy, &v.gz}) each(*p, n);
    for (int** p : {&v.index, &v.kind}) each(*p, n);
  });
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
  double cutoff = 0.0;    // the largest of all terms
  std::size_t batch = 1;  // the same of sites_at_once
  std::size_t bytes = 0;

  explicit Impl(PotentialData given) : data(std::move(given)) {
    const std::size_t n = data.numbers.size();
    if (n == 0 || n > kMostSpecies) fail("a potential needs 1 to 118 species, found ", n);
    if (data.e0.size() != n)
      fail("expected ", n, " isolated-atom energies, found ", data.e0.size());
    for (const auto& term : data.terms) {
      cutoff = std::max(cutoff, term->cutoff());
      batch = std::max(batch, term->sites_at_once());
      bytes += term->bytes();
    }
    batch = std::min(batch, most_sites_at_once);
    if (!(cutoff > 0.0)) cutoff = 1e-3;  // isolated atoms only
  }

  // Up to most_sites_at_once of them.
  void evaluate(Site* sites, std::size_t count, double* energies) const {
    const PrepareFunction prepare = site_kernels().prepare;
    const SiteView* views[most_sites_at_once];
    double* to[most_sites_at_once];
    double sums[most_sites_at_once];
    std::size_t held = 0;
    for (std::size_t n = 0; n < count; ++n) {
      if (sites[n].count == 0) {
        energies[n] = data.e0[static_cast<std::size_t>(sites[n].species)];
        continue;
      }
      SiteView& view = sites[n].scratch->view;
      view.count = sites[n].count;
      view.species = sites[n].species;
      if (!prepare(view, 2.0 * cutoff)) {
        energies[n] = std::nan("");
        continue;
      }
      views[held] = &view;
      to[held] = &energies[n];
      sums[held++] = data.e0[static_cast<std::size_t>(view.species)];
    }
    if (held == 0) return;
    for (const auto& term : data.terms) term->add({held, views}, sums, sites[0].scratch->space);
    for (std::size_t n = 0; n < held; ++n) *to[n] = sums[n];
  }
};

Potential::Potential(PotentialData data) : impl_(new Impl(std::move(data))) {}
Potential::~Potential() = default;
Potential::Potential(Potential&&) noexcept = default;
Potential& Potential::operator=(Potential&&) noexcept = default;

double Potential::cutoff() const { return impl_->cutoff; }
const std::vector<int>& Potential::numbers() const { return impl_->data.numbers; }
const std::vector<double>& Potential::e0() const { return impl_->data.e0; }
const std::string& Potential::metadata() const { return impl_->data.metadata; }

int Potential::species_of(int number) const {
  const std::vector<int>& all = impl_->data.numbers;
  const auto found = std::find(all.begin(), all.end(), number);
  return found == all.end() ? -1 : static_cast<int>(found - all.begin());
}

void Potential::gather(const Surroundings& around, Site& site) const {
  site.reserve(around.length);
  site.species = around.kinds ? around.kind_to_species[around.kinds[around.center]] : 0;
  site.count = site_kernels().gather(around, impl_->cutoff, site.scratch->view);
}

double Potential::evaluate(Site& site) const {
  double energy;
  impl_->evaluate(&site, 1, &energy);
  return energy;
}

std::size_t Potential::batch() const { return impl_->batch; }
std::size_t Potential::bytes() const { return impl_->bytes; }

void Potential::evaluate(Site* sites, std::size_t count, double* energies) const {
  for (std::size_t n = 0; n < count; n += most_sites_at_once)
    impl_->evaluate(sites + n, std::min(count - n, most_sites_at_once), energies + n);
}

const char* Potential::instruction_set() { return site_kernels().name; }

}  // namespace forcemap
