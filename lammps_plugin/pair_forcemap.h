// LAMMPS pair style "forcemap": translates between LAMMPS and forcemap's C++ core.
#pragma once

#include <cstddef>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "pair.h"

namespace forcemap {
class Site;
}

namespace LAMMPS_NS {

class GradeWatch;

/// pair_style forcemap [grade N|off]
/// pair_coeff * * FILE El1 El2 ...     (one element, or NULL, per atom type)
class PairForcemap : public Pair {
 public:
  explicit PairForcemap(LAMMPS* lmp);
  ~PairForcemap() override;

  void compute(int eflag, int vflag) override;
  void settings(int narg, char** arg) override;
  void coeff(int narg, char** arg) override;
  void init_style() override;
  double init_one(int i, int j) override;
  void finish() override;
  void* extract(const char* name, int& dimensions) override;
  void* extract_peratom(const char* name, int& columns) override;
  int pack_reverse_comm(int n, int first, double* buffer) override;
  void unpack_reverse_comm(int n, int* indices, double* buffer) override;
  double memory_usage() override;

 private:
  struct Evaluator;  // the potential and its scratch memory

  std::unique_ptr<Evaluator> evaluator;
  std::vector<int> type_to_species;  // (ntypes + 1), species in the potential; -1 for NULL
  bool one_species = false;          // every type is species 0
  double** scale = nullptr;          // (ntypes + 1, ntypes + 1), for fix adapt; see extract()
  double energy_unit = 1.0;          // LAMMPS' unit of energy per eV
  std::set<std::string> doubts;      // that there were warnings about

  struct PerAtom;  // what fix pair asks for
  std::unique_ptr<PerAtom> per_atom;
  std::unique_ptr<GradeWatch> watch;  // null for a potential without grades
  int watch_every = 100;              // steps between the pair style's own looks; 0: none
  int grade_flag = 0;                 // set by fix pair, before the step
  int deviation_flag = 0;
  // In the present step: grades are computed, deviations are made.
  bool watching = false, deviating = false;

  void allocate();
  void require_units();
  int excluded_groups() const;
  void warn_of_doubts();
  std::string shared_file(const std::string& path);
  bool is_absent(int i, int excluded) const;
  void begin_uncertainty();
  void add_sites(std::size_t count);
  void add_deviations(std::size_t count);
  void end_grades();
  void end_deviations(int excluded);
  void require_grade() const;
  void require_draws() const;
  void require_current(const char* name, bigint step) const;
  void add_forces(int i, const forcemap::Site& site, double factor, double* forces) const;
  void add_virial(const forcemap::Site& site, double factor);
  void stop_not_finite(int i, const forcemap::Site& site) const;
};

}  // namespace LAMMPS_NS
