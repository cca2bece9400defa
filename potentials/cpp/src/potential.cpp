#include "forcemap/potential.hpp"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "arena.hpp"
#include "forcemap/fail.hpp"
#include "moment_grades.hpp"
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
  std::vector<double> features;  // of the sites that are evaluated together
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

struct GradeQueue::Waiting {
  MomentGrades moments;
};

GradeQueue::GradeQueue() : waiting(new Waiting) {}
GradeQueue::~GradeQueue() = default;
GradeQueue::GradeQueue(GradeQueue&&) noexcept = default;
GradeQueue& GradeQueue::operator=(GradeQueue&&) noexcept = default;
void GradeQueue::clear() { waiting->moments.clear(); }

struct Potential::Impl {
  PotentialData data;
  double cutoff = 0.0;    // the largest of all terms
  std::size_t batch = 1;  // the same of sites_at_once
  std::size_t bytes = 0;
  std::size_t most_features = 0;  // of a site that is graded, up to a multiple of 8

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
    // With several species twice as many, so that there are enough of each.
    if (data.draws)
      for (const auto& term : data.draws->terms)
        batch = std::max(batch, n > 1 ? 2 * term->sites_at_once() : term->sites_at_once());
    batch = std::min(batch, most_sites_at_once);
    if (data.grade)
      for (std::size_t s = 0; s < n; ++s)
        most_features = std::max(
            most_features, feature_count(s, data.grade->moments ? &*data.grade->moments : nullptr));
    most_features = (most_features + 7) / 8 * 8;
    if (!(cutoff > 0.0)) cutoff = 1e-3;  // isolated atoms only
  }

  // Up to most_sites_at_once sites that can be evaluated.
  struct Prepared {
    std::size_t count = 0;
    const SiteView* view[most_sites_at_once];
    std::size_t place[most_sites_at_once];  // among those given
    double energy[most_sites_at_once];
  };

  // NaN for the energies of the others. An atom on its own has its e0, to which no term adds; it is
  // kept only where more than its energy is wanted.
  enum class Alone { kept, left_out };
  Prepared prepare(Site* sites, std::size_t count, double* energies, Alone alone) const {
    const PrepareFunction prepare = site_kernels().prepare;
    return prepare_by(sites, count, energies, alone,
                      [&](SiteView& view, std::size_t) { return prepare(view, 2.0 * cutoff); });
  }

  // by(view, place) prepares each site, false where two atoms coincide.
  template <typename By>
  Prepared prepare_by(Site* sites, std::size_t count, double* energies, Alone alone,
                      const By& by) const {
    Prepared found;
    for (std::size_t n = 0; n < count; ++n) {
      if (sites[n].count == 0 && alone == Alone::left_out) {
        energies[n] = data.e0[static_cast<std::size_t>(sites[n].species)];
        continue;
      }
      SiteView& view = sites[n].scratch->view;
      view.count = sites[n].count;
      view.species = sites[n].species;
      if (!by(view, n)) {
        energies[n] = std::nan("");
        continue;
      }
      found.view[found.count] = &view;
      found.place[found.count] = n;
      found.energy[found.count++] = data.e0[static_cast<std::size_t>(view.species)];
    }
    return found;
  }

  void evaluate(Site* sites, std::size_t count, double* energies) const {
    if (count == 1) {
      const PrepareFunction prepare = site_kernels().prepare;
      const auto by = [&](SiteView& view) { return prepare(view, 2.0 * cutoff); };
      evaluate_one(*sites, *energies, Alone::left_out, by);
      return;
    }
    Prepared found = prepare(sites, count, energies, Alone::left_out);
    if (found.count > 0) add_terms(found, energies, sites[0].scratch->space);
  }

  // A site on its own, as most terms take them; by(view) prepares it. Whether it could.
  template <typename By>
  bool evaluate_one(Site& site, double& energy, Alone alone, const By& by) const {
    energy = data.e0[static_cast<std::size_t>(site.species)];
    if (site.count == 0 && alone == Alone::left_out) return true;
    SiteView& view = site.scratch->view;
    view.count = site.count;
    view.species = site.species;
    if (!by(view)) {
      energy = std::nan("");
      return false;
    }
    const SiteView* const views[] = {&view};
    for (const auto& term : data.terms) term->add({1, views}, &energy, site.scratch->space);
    return true;
  }

  void add_terms(Prepared& found, double* energies, Workspace& space) const {
    for (const auto& term : data.terms) term->add({found.count, found.view}, found.energy, space);
    for (std::size_t n = 0; n < found.count; ++n) energies[found.place[n]] = found.energy[n];
  }

  // The same with features, each site's `stride` after the last one's.
  void evaluate(Site* sites, std::size_t count, double* energies, const Moments* moments,
                double* features, std::size_t stride) const {
    std::fill_n(features, count * stride, 0.0);
    Prepared found = prepare(sites, count, energies, Alone::kept);
    if (found.count == 0) return;
    Workspace& space = sites[0].scratch->space;
    double* next[most_sites_at_once];
    for (std::size_t n = 0; n < found.count; ++n) next[n] = features + found.place[n] * stride;
    if (moments) {
      moments->evaluate(found.view, found.count, data.numbers.size(), next, space);
      add_terms(found, energies, space);
      return;
    }
    for (const auto& term : data.terms) {
      term->add({found.count, found.view, next}, found.energy, space);
      for (std::size_t n = 0; n < found.count; ++n)
        next[n] += term->features(static_cast<std::size_t>(found.view[n]->species));
    }
    for (std::size_t n = 0; n < found.count; ++n) energies[found.place[n]] = found.energy[n];
  }

  void grade(Site* sites, std::size_t count, double* energies, double* const* grades,
             GradeQueue& queue) const {
    if (data.grade->moments) {
      grade_by_moments(sites, count, energies, grades, queue.waiting->moments);
      return;
    }
    std::vector<double>& features = sites[0].scratch->features;
    features.resize(most_sites_at_once * most_features);
    evaluate(sites, count, energies, nullptr, features.data(), most_features);
    for (std::size_t n = 0; n < count; ++n)
      *grades[n] = std::isfinite(energies[n])
                       ? data.grade->of(sites[n].scratch->view, &features[n * most_features])
                       : std::nan("");
  }

  void grade_by_moments(Site* sites, std::size_t count, double* energies, double* const* grades,
                        MomentGrades& waiting) const {
    if (count == 1) {
      const auto by = [&](SiteView& view) {
        return waiting.prepare(*data.grade, view, cutoff, *grades);
      };
      // Moments of distances that are no numbers are none either.
      if (!evaluate_one(*sites, *energies, Alone::kept, by)) waiting.spoil(*grades);
      return;
    }
    const auto by = [&](SiteView& view, std::size_t n) {
      return waiting.prepare(*data.grade, view, cutoff, grades[n]);
    };
    Prepared found = prepare_by(sites, count, energies, Alone::kept, by);
    if (found.count > 0) add_terms(found, energies, sites[0].scratch->space);
    for (std::size_t n = 0; n < count; ++n)
      if (!std::isfinite(energies[n])) waiting.spoil(grades[n]);
  }

  std::size_t feature_count(std::size_t species, const Moments* moments) const {
    if (moments) return moments->count(data.numbers.size());
    std::size_t count = 0;
    for (const auto& term : data.terms) count += term->features(species);
    return count;
  }

  // Up to most_sites_at_once.
  void deviate(Site* sites, std::size_t count, SiteDraws* draws) const {
    double energies[most_sites_at_once] = {};
    for (std::size_t n = 0; n < count; ++n) begin_draws(sites[n], draws[n]);
    const Prepared found = prepare(sites, count, energies, Alone::kept);
    DrawSums sums[most_sites_at_once];
    for (std::size_t n = 0; n < found.count; ++n) {
      SiteDraws& of = draws[found.place[n]];
      sums[n] = {of.energies.data(), of.gradients.data(), of.width};
    }
    for (std::size_t n = 0; n < count; ++n)
      if (std::isnan(energies[n]))
        std::fill_n(draws[n].energies.begin(), data.draws->count, energies[n]);
    if (found.count == 0) return;
    for (const auto& term : data.draws->terms)
      term->add_all({found.count, found.view, sums}, sites[0].scratch->space);
  }

  void begin_draws(const Site& site, SiteDraws& out) const {
    const Draws& draws = *data.draws;
    const std::size_t species = data.numbers.size(), own = static_cast<std::size_t>(site.species);
    out.width = (draws.count + 7) / 8 * 8;
    out.energies.assign(out.width, 0.0);
    for (std::size_t k = 0; k < draws.count; ++k) out.energies[k] = draws.e0[k * species + own];
    const std::size_t size = 3 * out.width * site.count;
    if (out.gradients.size() < size) out.gradients.resize(size);
    std::fill_n(out.gradients.begin(), size, 0.0);
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

void Potential::evaluate(Site* sites, std::size_t count, double* energies, double* const* grades,
                         GradeQueue& queue) const {
  if (!has_grade()) fail("this potential has no extrapolation grade");
  for (std::size_t n = 0; n < count; n += most_sites_at_once)
    impl_->grade(sites + n, std::min(count - n, most_sites_at_once), energies + n, grades + n,
                 queue);
}

void Potential::finish_grades(GradeQueue& queue) const {
  if (impl_->data.grade && impl_->data.grade->moments)
    queue.waiting->moments.finish(*impl_->data.grade);
}

bool Potential::has_grade() const { return impl_->data.grade.has_value(); }

std::size_t Potential::draws() const { return impl_->data.draws ? impl_->data.draws->count : 0; }

std::size_t Potential::bytes_of_draws() const {
  std::size_t sum = 0;
  if (impl_->data.draws)
    for (const auto& term : impl_->data.draws->terms) sum += term->bytes();
  return sum;
}

void Potential::deviate(Site* sites, std::size_t count, SiteDraws* draws) const {
  if (!impl_->data.draws) fail("this potential has no draws");
  for (std::size_t n = 0; n < count; n += most_sites_at_once)
    impl_->deviate(sites + n, std::min(count - n, most_sites_at_once), draws + n);
}

std::size_t Potential::draws_width() const { return (draws() + 7) / 8 * 8; }

void Potential::add_forces(const Site& site, const SiteDraws& draws, std::size_t center,
                           const DrawForces& to) const {
  site_kernels().spread_draws(site.scratch->view, draws.gradients.data(), draws.width, center, to);
}

const Uncertainty* Potential::uncertainty() const {
  return impl_->data.uncertainty ? &*impl_->data.uncertainty : nullptr;
}

std::size_t Potential::feature_count(std::size_t species, const Moments* moments) const {
  return impl_->feature_count(species, moments);
}

void Potential::features(Site* sites, std::size_t count, const Moments* moments, double* features,
                         std::size_t stride) const {
  double energies[most_sites_at_once];
  for (std::size_t n = 0; n < count; n += most_sites_at_once)
    impl_->evaluate(sites + n, std::min(count - n, most_sites_at_once), energies, moments,
                    features + n * stride, stride);
}

const char* Potential::instruction_set() { return site_kernels().name; }

}  // namespace forcemap
