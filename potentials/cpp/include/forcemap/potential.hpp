// Evaluates a potential: one centre atom and its neighbours at a time.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "forcemap/draw_sums.hpp"
#include "forcemap/potential_data.hpp"
#include "forcemap/surroundings.hpp"

namespace forcemap {

/// One centre atom's neighbourhood and the answer for it; scratch memory of one thread, used again
/// for every atom. Structure of arrays; every array has room for `capacity` entries rounded up to a
/// whole vector. Filled by Potential::gather, answered by Potential::evaluate.
class Site {
 public:
  Site();
  ~Site();
  Site(Site&&) noexcept;
  Site& operator=(Site&&) noexcept;

  std::size_t count = 0;  // neighbours within the cutoff
  int species = 0;        // of the centre
  double* x = nullptr;    // r_j - r_i, Å
  double* y = nullptr;    //
  double* z = nullptr;    //
  int* index = nullptr;   // the neighbour's index in the caller's arrays
  double* gx = nullptr;   // dE_i/dr_j, eV/Å
  double* gy = nullptr;   //
  double* gz = nullptr;   //

  /// Make room for `neighbors` entries (keeps nothing).
  void reserve(std::size_t neighbors);

  struct Scratch;
  std::unique_ptr<Scratch> scratch;
};

/// The differences of the draws at one site; scratch memory of one thread.
struct SiteDraws {
  std::size_t width = 0;          // draws up to a multiple of 8; what is beyond them is no draw
  std::vector<double> energies;   // (width) eV
  std::vector<double> gradients;  // (neighbours, 3, width) dE_i/dr_j, eV/Å
};

/// Where grades wait that are computed later than the energies: several at once cost less. Memory
/// of one thread, for one potential.
class GradeQueue {
 public:
  GradeQueue();
  ~GradeQueue();
  GradeQueue(GradeQueue&&) noexcept;
  GradeQueue& operator=(GradeQueue&&) noexcept;

  /// Forget those that wait, whose places may be gone: what an error has left behind.
  void clear();

  struct Waiting;
  std::unique_ptr<Waiting> waiting;
};

/// A potential ready to be evaluated; immutable, shared by threads (one Site each).
class Potential {
 public:
  /// Throws Error if `data` is inconsistent.
  explicit Potential(PotentialData data);
  ~Potential();
  Potential(Potential&&) noexcept;
  Potential& operator=(Potential&&) noexcept;

  double cutoff() const;  // Å, the largest of all terms
  const std::vector<int>& numbers() const;
  const std::vector<double>& e0() const;
  const std::string& metadata() const;
  std::size_t bytes() const;  // of the tables of all terms

  /// Index of an atomic number in numbers(), or -1.
  int species_of(int number) const;

  /// Fill `site` with those candidates that lie within the cutoff of the centre.
  void gather(const Surroundings& around, Site& site) const;

  /// Site energy (eV, e0 included) of the gathered neighbourhood; fills gx, gy, gz.
  /// Any distance > 0 gives a finite answer; two atoms in one place give NaN, and non-finite
  /// positions give NaN or are no neighbours: callers check the energy with std::isfinite.
  double evaluate(Site& site) const;

  /// How many sites evaluate best together.
  std::size_t batch() const;
  /// The same for `count` gathered sites; `energies` (count).
  void evaluate(Site* sites, std::size_t count, double* energies) const;
  /// With grades, for potentials that have one: that of site n comes to grades[n], NaN where the
  /// energy is not finite, now or in a later call with this queue, at last in `finish_grades`.
  void evaluate(Site* sites, std::size_t count, double* energies, double* const* grades,
                GradeQueue& queue) const;
  void finish_grades(GradeQueue& queue) const;

  /// Whether sites can be graded.
  bool has_grade() const;

  /// The number of draws from the posterior of the fit's weights; 0: the potential has none.
  std::size_t draws() const;
  std::size_t bytes_of_draws() const;
  /// The draws' differences to the energies of `count` gathered sites; an energy of NaN as
  /// `evaluate` has it. The sites' own gradients are lost.
  void deviate(Site* sites, std::size_t count, SiteDraws* draws) const;
  /// The number of draws up to a multiple of 8.
  std::size_t draws_width() const;
  /// Adds what `deviate` has found of a site, whose centre is the atom `center`.
  void add_forces(const Site& site, const SiteDraws& draws, std::size_t center,
                  const DrawForces& to) const;
  /// What the raw deviations become; null: unknown.
  const Uncertainty* uncertainty() const;

  /// Features of a species' sites: those of the terms, or of `moments` if it is not null.
  std::size_t feature_count(std::size_t species, const Moments* moments) const;
  /// Those of `count` gathered sites, each `stride` after the last one; zeros beyond the features
  /// of its species.
  void features(Site* sites, std::size_t count, const Moments* moments, double* features,
                std::size_t stride) const;

  /// Name of the instruction set in use: "avx512", "avx2" or "generic". Chosen at run time; the
  /// environment variable FORCEMAP_SIMD (same words) asks for a lower one.
  static const char* instruction_set();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace forcemap
