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

/// pair_style forcemap
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
  void* extract(const char* name, int& dimensions) override;
  double memory_usage() override;

 private:
  struct Evaluator;  // the potential and its scratch memory

  std::unique_ptr<Evaluator> evaluator;
  std::vector<int> type_to_species;  // (ntypes + 1), species in the potential; -1 for NULL
  bool one_species = false;          // every type is species 0
  double** scale = nullptr;          // (ntypes + 1, ntypes + 1), for fix adapt; see extract()
  double energy_unit = 1.0;          // LAMMPS' unit of energy per eV
  std::set<std::string> doubts;      // that there were warnings about

  void allocate();
  void require_units();
  int excluded_groups() const;
  void warn_of_doubts();
  std::string shared_file(const std::string& path);
  void add_sites(std::size_t count);
  void add_forces(int i, const forcemap::Site& site, double factor, double* forces) const;
  void add_virial(const forcemap::Site& site, double factor);
  void stop_not_finite(int i, const forcemap::Site& site) const;
};

}  // namespace LAMMPS_NS
