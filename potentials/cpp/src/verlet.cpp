#include "verlet.hpp"

#include <algorithm>
#include <cmath>

#include "forcemap/fail.hpp"

namespace forcemap {

namespace {

constexpr std::size_t stride = 64;  // atoms between looks at whether the list still holds

// Smallest singular value of a 3x3 matrix close to the identity, from below: 1 - |F - 1|_Frobenius.
double smallest_stretch(const std::array<double, 9>& f) {
  double sum = 0.0;
  for (std::size_t n = 0; n < 9; ++n) {
    const double d = f[n] - (n % 4 == 0 ? 1.0 : 0.0);
    sum += d * d;
  }
  return 1.0 - std::sqrt(sum);
}

std::array<double, 9> product(const double* a, const double* b) {
  std::array<double, 9> c{};
  for (std::size_t i = 0; i < 3; ++i)
    for (std::size_t j = 0; j < 3; ++j)
      for (std::size_t k = 0; k < 3; ++k) c[3 * i + j] += a[3 * i + k] * b[3 * k + j];
  return c;
}

}  // namespace

// A pair that was beyond the range is now no nearer than range * s - 2 d, where s is the smallest
// stretch of the cell's deformation and d the largest displacement beyond that deformation.
bool VerletList::holds(const StructureView& s, double cutoff, double range) const {
  if (!adopted_ || s.count != numbers_.size()) return false;
  if (!std::equal(pbc_.begin(), pbc_.end(), s.pbc)) return false;
  if (!std::equal(numbers_.begin(), numbers_.end(), s.numbers)) return false;
  std::array<double, 9> f{1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0};
  if (!std::equal(cell_.begin(), cell_.end(), s.cell)) {
    const std::array<double, 9> old_cell = completed_cell(cell_.data(), s.pbc);
    const std::array<double, 9> new_cell = completed_cell(s.cell, s.pbc);
    f = product(inverse3(old_cell.data()).data(), new_cell.data());
  }
  const double least = 0.5 * (range * smallest_stretch(f) - cutoff);
  if (!(least > 0.0)) return false;
  for (std::size_t begin = 0; begin < s.count; begin += stride) {
    double largest2 = 0.0, check = 0.0;
    const std::size_t end = std::min(begin + stride, s.count);
    for (std::size_t i = begin; i < end; ++i) {
      const double* r = &reference_[3 * i];
      double d2 = 0.0;
      for (std::size_t d = 0; d < 3; ++d) {
        const double moved = r[0] * f[d] + r[1] * f[3 + d] + r[2] * f[6 + d];
        const double delta = s.positions[3 * i + d] - moved;
        d2 += delta * delta;
      }
      check += 0.0 * d2;
      largest2 = std::max(largest2, d2);
    }
    if (check != 0.0)
      for (std::size_t i = begin; i < end; ++i)
        if (!all_finite(&s.positions[3 * i], 3)) fail("position of atom ", i, " is not finite");
    if (!(largest2 < least * least)) return false;
  }
  return true;
}

void VerletList::adopt(const StructureView& s) {
  adopted_ = false;  // of neither structure, should memory run out here
  numbers_.assign(s.numbers, s.numbers + s.count);
  reference_.assign(s.positions, s.positions + 3 * s.count);
  std::copy(s.cell, s.cell + 9, cell_.begin());
  std::copy(s.pbc, s.pbc + 3, pbc_.begin());
  adopted_ = true;
}

void VerletList::build(const Potential& potential, double range) {
  adopted_ = false;
  list_ = find_neighbors(numbers_.size(), reference_.data(), cell_.data(), pbc_.data(), range);
  kinds_.resize(list_.owner.size());
  for (std::size_t e = 0; e < kinds_.size(); ++e) {
    const int number = numbers_[static_cast<std::size_t>(list_.owner[e])];
    kinds_[e] = potential.species_of(number);
    if (kinds_[e] < 0)
      fail("atom ", list_.owner[e], " has atomic number ", number,
           ", which is not an element of this potential");
  }
  adopted_ = true;
}

void SiteSums::clear(std::size_t atoms) {
  energy = 0.0;
  strain.fill(0.0);
  forces.assign(3 * atoms, 0.0);
}

void SiteSums::add(const SiteSums& other) {
  energy += other.energy;
  for (std::size_t n = 0; n < 9; ++n) strain[n] += other.strain[n];
  for (std::size_t n = 0; n < forces.size(); ++n) forces[n] += other.forces[n];
}

void DrawnSums::clear(std::size_t atoms, std::size_t draws_width) {
  width = draws_width;
  forces.assign(3 * atoms * width, 0.0);
  energies.assign(width, 0.0);
  strain.assign(6 * width, 0.0);
}

void DrawnSums::add(const DrawnSums& other) {
  for (std::size_t n = 0; n < forces.size(); ++n) forces[n] += other.forces[n];
  for (std::size_t n = 0; n < energies.size(); ++n) energies[n] += other.energies[n];
  for (std::size_t n = 0; n < strain.size(); ++n) strain[n] += other.strain[n];
}

SiteSums DrawnSums::of_draw(std::size_t k) const {
  constexpr std::size_t upper[6] = {0, 1, 2, 4, 5, 8};
  SiteSums found;
  found.clear(forces.size() / (3 * width));
  found.energy = energies[k];
  for (std::size_t n = 0; n < found.forces.size(); ++n) found.forces[n] = forces[n * width + k];
  for (std::size_t c = 0; c < 6; ++c) found.strain[upper[c]] = strain[c * width + k];
  return found;
}

namespace {

void add_site(const Site& site, const NeighborList& list, std::size_t i, SiteSums& out) {
  double fx = 0.0, fy = 0.0, fz = 0.0;
  double w[9] = {};
  for (std::size_t n = 0; n < site.count; ++n) {
    const double gx = site.gx[n], gy = site.gy[n], gz = site.gz[n];
    const std::size_t owner =
        static_cast<std::size_t>(list.owner[static_cast<std::size_t>(site.index[n])]);
    double* f = &out.forces[3 * owner];
    f[0] -= gx;
    f[1] -= gy;
    f[2] -= gz;
    fx += gx;
    fy += gy;
    fz += gz;
    w[0] += site.x[n] * gx;
    w[1] += site.x[n] * gy;
    w[2] += site.x[n] * gz;
    w[4] += site.y[n] * gy;
    w[5] += site.y[n] * gz;
    w[8] += site.z[n] * gz;
  }
  double* f = &out.forces[3 * i];
  f[0] += fx;
  f[1] += fy;
  f[2] += fz;
  for (std::size_t n = 0; n < 9; ++n) out.strain[n] += w[n];
}

}  // namespace

void sum_sites(const Potential& potential, const SiteRange& range, SiteScratch& scratch,
               SiteSums& out, const SiteValues& values) {
  const NeighborList& list = range.list.neighbors();
  std::vector<Site>& sites = scratch.sites;
  scratch.queue.clear();
  each_gathered(potential, range, scratch, [&](std::size_t begin, std::size_t count) {
    if (values.grades) {
      for (std::size_t n = 0; n < count; ++n) scratch.grades[n] = values.grades + begin + n;
      potential.evaluate(sites.data(), count, scratch.energies.data(), scratch.grades.data(),
                         scratch.queue);
    } else {
      potential.evaluate(sites.data(), count, scratch.energies.data());
    }
    for (std::size_t n = 0; n < count; ++n) {
      const Site& site = sites[n];
      out.energy += scratch.energies[n];
      if (values.energies) values.energies[begin + n] = scratch.energies[n];
      if (site.count > 0) add_site(site, list, begin + n, out);
    }
  });
  if (values.grades) potential.finish_grades(scratch.queue);
}

void sum_draws(const Potential& potential, const SiteRange& range, SiteScratch& scratch,
               DrawnSums& out) {
  std::vector<SiteDraws>& draws = scratch.draws;
  draws.resize(scratch.sites.size());
  const DrawForces to{out.forces.data(), range.list.neighbors().owner.data(), 1.0,
                      out.strain.data()};
  each_gathered(potential, range, scratch, [&](std::size_t begin, std::size_t count) {
    potential.deviate(scratch.sites.data(), count, draws.data());
    for (std::size_t n = 0; n < count; ++n) {
      for (std::size_t k = 0; k < out.width; ++k) out.energies[k] += draws[n].energies[k];
      potential.add_forces(scratch.sites[n], draws[n], begin + n, to);
    }
  });
}

bool all_finite(const double* values, std::size_t count) {
  // Several sums, so that additions need not wait for each other.
  constexpr std::size_t lanes = 16;
  std::array<double, lanes> checks{};
  std::size_t n = 0;
  for (; n + lanes <= count; n += lanes)
    for (std::size_t k = 0; k < lanes; ++k) checks[k] += 0.0 * values[n + k];
  double check = 0.0;
  for (; n < count; ++n) check += 0.0 * values[n];
  for (const double part : checks) check += part;
  return check == 0.0;
}

bool finite(const SiteSums& sums) {
  return std::isfinite(sums.energy) && all_finite(sums.forces.data(), sums.forces.size()) &&
         all_finite(sums.strain.data(), sums.strain.size());
}

void virial_of(const SiteSums& sums, double* virial) {
  const std::array<double, 9>& s = sums.strain;
  const double w[9] = {s[0], s[1], s[2], s[1], s[4], s[5], s[2], s[5], s[8]};
  for (std::size_t n = 0; n < 9; ++n) virial[n] = -w[n];
}

void explain_fault(const StructureView& s, const NeighborList& list, const double* placed) {
  for (std::size_t i = 0; i < s.count; ++i) {
    for (std::size_t d = 0; d < 3; ++d)
      if (!std::isfinite(s.positions[3 * i + d])) fail("position of atom ", i, " is not finite");
    for (std::size_t n = list.first[i]; n < list.first[i + 1]; ++n) {
      const std::size_t e = static_cast<std::size_t>(list.neighbors[n]);
      if (std::equal(placed + 3 * i, placed + 3 * i + 3, placed + 3 * e))
        fail("atoms ", i, " and ", list.owner[e], " are in the same place");
    }
  }
  fail("the energy is not finite: the structure is far outside what can be evaluated");
}

}  // namespace forcemap
