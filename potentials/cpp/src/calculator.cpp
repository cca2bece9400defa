#include "forcemap/calculator.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <utility>

#include "forcemap/fail.hpp"
#include "forcemap/neighbors.hpp"
#include "thread_pool.hpp"

namespace forcemap {

namespace {

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

// What one thread adds up.
struct Sums {
  std::vector<Site> sites;  // evaluated together
  std::vector<double> of_sites;
  std::vector<double> forces;
  double energy = 0.0;
  std::array<double, 9> strain{};  // dE/d(strain)
};

}  // namespace

struct Calculator::Impl {
  std::shared_ptr<const Potential> potential;
  double skin;
  ThreadPool pool;
  std::vector<Sums> sums;
  NeighborList list;
  std::vector<double> placed;     // all entries, (entries, 3)
  std::vector<int> kinds;         // species of all entries
  std::vector<int> identity;      // kinds are species already
  std::vector<int> numbers;       // of the structure the list was made for
  std::vector<double> reference;  // its positions
  std::array<double, 9> reference_cell{};
  std::array<bool, 3> pbc{};
  bool have_list = false;
  std::size_t rebuilds = 0;

  Impl(std::shared_ptr<const Potential> p, double s, int threads)
      : potential(std::move(p)), skin(s), pool(std::max(threads, 1)) {
    if (!(skin >= 0.0) || !std::isfinite(skin)) fail("skin must be >= 0 Å, found ", skin);
    if (threads < 1) fail("threads must be at least 1, found ", threads);
    sums.resize(static_cast<std::size_t>(threads));
    for (Sums& part : sums) {
      part.sites.resize(potential->batch());
      part.of_sites.resize(potential->batch());
    }
    for (std::size_t n = 0; n < potential->numbers().size(); ++n)
      identity.push_back(static_cast<int>(n));
  }

  // Is every pair within the cutoff now in the list? A pair that was beyond cutoff + skin is now no
  // nearer than (cutoff + skin) * s - 2 d, where s is the smallest stretch of the cell's
  // deformation and d the largest displacement beyond that deformation.
  bool list_holds(const StructureView& s) const {
    if (!have_list || s.count != list.atoms) return false;
    if (!std::equal(pbc.begin(), pbc.end(), s.pbc)) return false;
    if (!std::equal(numbers.begin(), numbers.end(), s.numbers)) return false;
    const std::array<double, 9> old_cell = completed_cell(reference_cell.data(), s.pbc);
    const std::array<double, 9> new_cell = completed_cell(s.cell, s.pbc);
    const std::array<double, 9> f = product(inverse3(old_cell.data()).data(), new_cell.data());
    double largest2 = 0.0;
    for (std::size_t i = 0; i < s.count; ++i) {
      const double* r = &reference[3 * i];
      double d2 = 0.0;
      for (std::size_t d = 0; d < 3; ++d) {
        const double moved = r[0] * f[d] + r[1] * f[3 + d] + r[2] * f[6 + d];
        const double delta = s.positions[3 * i + d] - moved;
        d2 += delta * delta;
      }
      largest2 = std::max(largest2, d2);
      if (!std::isfinite(d2)) fail("position of atom ", i, " is not finite");
    }
    const double range = potential->cutoff() + skin;
    return range * smallest_stretch(f) - 2.0 * std::sqrt(largest2) > potential->cutoff();
  }

  void rebuild(const StructureView& s) {
    have_list = false;
    list = find_neighbors(s.count, s.positions, s.cell, s.pbc, potential->cutoff() + skin);
    numbers.assign(s.numbers, s.numbers + s.count);
    reference.assign(s.positions, s.positions + 3 * s.count);
    std::copy(s.cell, s.cell + 9, reference_cell.begin());
    std::copy(s.pbc, s.pbc + 3, pbc.begin());
    kinds.resize(list.owner.size());
    for (std::size_t e = 0; e < kinds.size(); ++e) {
      const int number = s.numbers[list.owner[e]];
      kinds[e] = potential->species_of(number);
      if (kinds[e] < 0)
        fail("atom ", list.owner[e], " has atomic number ", number,
             ", which is not an element of this potential");
    }
    have_list = true;
    ++rebuilds;
  }

  void run_sites(std::size_t from, std::size_t to, Sums& out, double* energies) {
    const Potential& p = *potential;
    for (std::size_t begin = from; begin < to; begin += out.sites.size()) {
      const std::size_t count = std::min(out.sites.size(), to - begin);
      for (std::size_t n = 0; n < count; ++n) {
        const std::size_t i = begin + n;
        p.gather(placed.data(), kinds.data(), identity.data(), static_cast<int>(i),
                 list.neighbors.data() + list.first[i], list.first[i + 1] - list.first[i], ~0,
                 out.sites[n]);
      }
      p.evaluate(out.sites.data(), count, out.of_sites.data());
      for (std::size_t n = 0; n < count; ++n) {
        out.energy += out.of_sites[n];
        if (energies) energies[begin + n] = out.of_sites[n];
        add_site(out.sites[n], begin + n, out);
      }
    }
  }

  void add_site(const Site& site, std::size_t i, Sums& out) const {
    double fx = 0.0, fy = 0.0, fz = 0.0;
    double w[9] = {};
    for (std::size_t n = 0; n < site.count; ++n) {
      const double gx = site.gx[n], gy = site.gy[n], gz = site.gz[n];
      double* f = &out.forces[3 * static_cast<std::size_t>(
                                      list.owner[static_cast<std::size_t>(site.index[n])])];
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

  // Says which atoms are at fault once an energy is not a number.
  [[noreturn]] void explain(const StructureView& s) const {
    for (std::size_t i = 0; i < s.count; ++i) {
      for (std::size_t d = 0; d < 3; ++d)
        if (!std::isfinite(s.positions[3 * i + d])) fail("position of atom ", i, " is not finite");
      for (std::size_t n = list.first[i]; n < list.first[i + 1]; ++n) {
        const std::size_t e = static_cast<std::size_t>(list.neighbors[n]);
        if (std::equal(&placed[3 * i], &placed[3 * i] + 3, &placed[3 * e]))
          fail("atoms ", i, " and ", list.owner[e], " are in the same place");
      }
    }
    fail("the energy is not finite: the structure is far outside what can be evaluated");
  }

  void compute(const StructureView& s, ResultView& result) {
    if (!list_holds(s)) rebuild(s);
    list.place(s.positions, s.cell, placed);
    const std::size_t parts = sums.size();
    pool.run([&](int thread) {
      const std::size_t t = static_cast<std::size_t>(thread);
      Sums& out = sums[t];
      out.energy = 0.0;
      out.strain.fill(0.0);
      out.forces.assign(3 * s.count, 0.0);
      run_sites(s.count * t / parts, s.count * (t + 1) / parts, out, result.energies);
    });
    result.energy = 0.0;
    std::array<double, 9> strain{};
    for (const Sums& part : sums) {
      result.energy += part.energy;
      for (std::size_t n = 0; n < 9; ++n) strain[n] += part.strain[n];
    }
    double check = result.energy;
    if (result.forces) {
      std::memcpy(result.forces, sums[0].forces.data(), 3 * s.count * sizeof(double));
      for (std::size_t t = 1; t < parts; ++t)
        for (std::size_t n = 0; n < 3 * s.count; ++n) result.forces[n] += sums[t].forces[n];
      for (std::size_t n = 0; n < 3 * s.count; ++n) check += 0.0 * result.forces[n];
    }
    if (!std::isfinite(check)) explain(s);
    // Only one half was added up: dE/d(strain) is symmetric because the energy knows no direction.
    const double w[9] = {strain[0], strain[1], strain[2], strain[1], strain[4],
                         strain[5], strain[2], strain[5], strain[8]};
    for (std::size_t n = 0; n < 9; ++n) result.virial[n] = -w[n];
  }
};

Calculator::Calculator(std::shared_ptr<const Potential> potential, double skin, int threads)
    : impl_(new Impl(std::move(potential), skin, threads)) {}
Calculator::~Calculator() = default;
Calculator::Calculator(Calculator&&) noexcept = default;

void Calculator::compute(const StructureView& structure, ResultView& result) {
  impl_->compute(structure, result);
}

std::size_t Calculator::rebuilds() const { return impl_->rebuilds; }

}  // namespace forcemap
