#include "pair_forcemap.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <exception>
#include <iterator>
#include <utility>

#include "atom.h"
#include "comm.h"
#include "error.h"
#include "force.h"
#include "force_deviations.h"
#include "forcemap/elements.hpp"
#include "forcemap/fail.hpp"
#include "forcemap/lacking.hpp"
#include "forcemap/potential.hpp"
#include "forcemap/potential_file.hpp"
#include "grade_watch.h"
#include "memory.h"
#include "modify.h"
#include "neigh_list.h"
#include "neighbor.h"
#include "setup_doubts.h"
#include "update.h"
#include "utils.h"

// The core reports with C++ exceptions, LAMMPS with error->all, which throws one of its own. So
// what the core throws is caught and kept as a text first, and error->all is called outside.

namespace LAMMPS_NS {

namespace {

std::string element_list(const std::vector<int>& numbers) {
  std::string list;
  for (const int number : numbers)
    list += (list.empty() ? "" : ", ") + std::string(forcemap::element_symbol(number));
  return list;
}

// Its norm, and its components: values of their own, since the fix pair of some releases of LAMMPS
// writes beyond its memory for a value of several columns.
constexpr const char* deviation_names[] = {"deviation", "deviation_x", "deviation_y",
                                           "deviation_z"};

}  // namespace

struct PairForcemap::Evaluator {
  forcemap::Potential potential;
  std::string file;
  // Sites that are evaluated together, the atom at the centre of each, and their energies.
  std::vector<forcemap::Site> sites;
  std::vector<int> centers;
  std::vector<double> energies;
  std::vector<double*> grades;  // where they go
  forcemap::GradeQueue queue;

  Evaluator(forcemap::PotentialData data, std::string file)
      : potential(std::move(data)),
        file(std::move(file)),
        sites(potential.batch()),
        centers(sites.size()),
        energies(sites.size()),
        grades(sites.size()) {}
};

// What fix pair asks for, by atom; memory is used once it does.
struct PairForcemap::PerAtom {
  std::vector<double> grades;  // 0 for absent atoms
  ForceDeviations deviations;
  bigint graded_step = -1;
  bigint deviated_step = -1;
  std::size_t sent = 0;  // the first of the values in communication
  std::size_t sent_count = 0;

  void reserve_grades(std::size_t atoms) {
    // At least one, since LAMMPS takes null for something that does not exist.
    if (grades.size() < std::max<std::size_t>(atoms, 1))
      grades.resize(std::max<std::size_t>(atoms, 1), 0.0);
  }
};

PairForcemap::PairForcemap(LAMMPS* lmp) : Pair(lmp), per_atom(new PerAtom) {
  // Here and not once the number of draws is known, since pair_style hybrid asks at once.
  comm_reverse = ForceDeviations::values_at_once;
  single_enable = 0;
  restartinfo = 0;
  one_coeff = 1;
  manybody_flag = 1;
  centroidstressflag = CENTROID_AVAIL;
  unit_convert_flag = utils::get_supported_conversions(utils::ENERGY);
}

PairForcemap::~PairForcemap() {
  if (!allocated) return;
  memory->destroy(setflag);
  memory->destroy(cutsq);
  memory->destroy(scale);
}

void PairForcemap::compute(int eflag, int vflag) {
  ev_init(eflag, vflag);

  begin_uncertainty();

  const int* kinds = one_species ? nullptr : atom->type;
  const int excluded = excluded_groups();
  std::vector<forcemap::Site>& sites = evaluator->sites;
  std::size_t held = 0;

  for (int ii = 0; ii < list->inum; ii++) {
    const int i = list->ilist[ii];
    if (is_absent(i, excluded)) continue;
    const auto length = static_cast<std::size_t>(list->numneigh[i]);
    evaluator->potential.gather(
        {atom->x[0], kinds, type_to_species.data(), i, list->firstneigh[i], length, NEIGHMASK},
        sites[held]);
    evaluator->centers[held++] = i;
    if (held < sites.size()) continue;
    add_sites(held);
    held = 0;
  }
  if (held > 0) add_sites(held);
  if (watching) end_grades();
  if (deviating) end_deviations(excluded);

  if (vflag_fdotr) virial_fdotr_compute();
}

// Bits of the groups that 'neigh_modify exclude group X all' takes out of everything, which is how
// fix gcmc tries what the energy would be without an atom. Such an atom has no energy, not even e0:
// it counts as absent. Exclusions between other groups, by type and by molecule leave atoms where
// they are.
int PairForcemap::excluded_groups() const {
  constexpr int all = 0;  // LAMMPS' first group
  int bits = 0;
  if (neighbor->exclude)
    for (int n = 0; n < neighbor->nex_group; n++) {
      if (neighbor->ex1_group[n] == all) bits |= neighbor->ex2_bit[n];
      if (neighbor->ex2_group[n] == all) bits |= neighbor->ex1_bit[n];
    }
  return bits;
}

// Whether atom `i` has no site: its type is NULL, or it is excluded.
bool PairForcemap::is_absent(int i, int excluded) const {
  if (!one_species && type_to_species[static_cast<std::size_t>(atom->type[i])] < 0) return true;
  // With neighbours in the list it was not excluded when that was built.
  return (atom->mask[i] & excluded) && list->numneigh[i] == 0;
}

// What this step has beside forces: what fix pair asks for, and the pair style's own looks.
void PairForcemap::begin_uncertainty() {
  const auto local = static_cast<std::size_t>(atom->nlocal);
  watching = deviating = false;
  if (deviation_flag) {
    require_draws();
    deviating = true;
    per_atom->deviations.begin(evaluator->potential, local,
                               local + static_cast<std::size_t>(atom->nghost));
    per_atom->deviated_step = update->ntimestep;
  }
  if (grade_flag) {
    require_grade();
    per_atom->graded_step = update->ntimestep;
  }
  watching = watch && (grade_flag || watch->is_due(watch_every));
  if (!watching) return;
  per_atom->reserve_grades(local);
  std::fill_n(per_atom->grades.begin(), local, 0.0);
  evaluator->queue.clear();
  watch->begin();
}

// Evaluates the gathered sites and books what they give.
void PairForcemap::add_sites(std::size_t count) {
  if (watching) {
    for (std::size_t n = 0; n < count; n++)
      evaluator->grades[n] = &per_atom->grades[static_cast<std::size_t>(evaluator->centers[n])];
    evaluator->potential.evaluate(evaluator->sites.data(), count, evaluator->energies.data(),
                                  evaluator->grades.data(), evaluator->queue);
  } else {
    evaluator->potential.evaluate(evaluator->sites.data(), count, evaluator->energies.data());
  }
  for (std::size_t n = 0; n < count; n++) {
    const int i = evaluator->centers[n];
    const int itype = atom->type[i];
    const double energy = evaluator->energies[n];
    forcemap::Site& site = evaluator->sites[n];
    if (!std::isfinite(energy)) stop_not_finite(i, site);

    const double factor = energy_unit * scale[itype][itype];
    add_forces(i, site, factor, atom->f[0]);
    if (eflag_global) eng_vdwl += factor * energy;
    if (eflag_atom) eatom[i] += factor * energy;
    if (vflag_either) add_virial(site, factor);
  }
  if (deviating) add_deviations(count);
}

// Last, since it takes the sites' gradients.
void PairForcemap::add_deviations(std::size_t count) {
  per_atom->deviations.evaluate(evaluator->potential, evaluator->sites, count);
  for (std::size_t n = 0; n < count; n++) {
    const int i = evaluator->centers[n];
    const int itype = atom->type[i];
    per_atom->deviations.add(evaluator->potential, evaluator->sites[n], n,
                             static_cast<std::size_t>(i), energy_unit * scale[itype][itype]);
  }
}

// The grades that are still to be computed, and a look at all of them.
void PairForcemap::end_grades() {
  evaluator->potential.finish_grades(evaluator->queue);
  watch->see(per_atom->grades.data(), atom->nlocal);
}

// Brings the ghosts' shares home, some draws at a time, and makes deviations of the sums.
void PairForcemap::end_deviations(int excluded) {
  ForceDeviations& deviations = per_atom->deviations;
  for (per_atom->sent = 0; per_atom->sent < deviations.values();
       per_atom->sent += per_atom->sent_count) {
    per_atom->sent_count =
        std::min(ForceDeviations::values_at_once, deviations.values() - per_atom->sent);
    comm->reverse_comm(this);
  }
  for (int ii = 0; ii < list->inum; ii++) {
    const int i = list->ilist[ii];
    if (is_absent(i, excluded)) continue;
    const int itype = atom->type[i];
    deviations.finish(evaluator->potential, static_cast<std::size_t>(i),
                      energy_unit * std::abs(scale[itype][itype]));
  }
}

int PairForcemap::pack_reverse_comm(int n, int first, double* buffer) {
  const std::size_t count = per_atom->sent_count;
  for (int k = 0; k < n; k++)
    per_atom->deviations.pack(static_cast<std::size_t>(first + k), per_atom->sent, count,
                              buffer + static_cast<std::size_t>(k) * count);
  return n * static_cast<int>(count);
}

void PairForcemap::unpack_reverse_comm(int n, int* indices, double* buffer) {
  const std::size_t count = per_atom->sent_count;
  for (int k = 0; k < n; k++)
    per_atom->deviations.unpack(static_cast<std::size_t>(indices[k]), per_atom->sent, count,
                                buffer + static_cast<std::size_t>(k) * count);
}

// The force on neighbour j is -dE_i/dr_j; the centre takes the opposite of their sum. Forces on
// ghosts go home in LAMMPS' reverse communication (newton on).
void PairForcemap::add_forces(int i, const forcemap::Site& site, double factor,
                              double* forces) const {
  double x = 0.0, y = 0.0, z = 0.0;
  for (std::size_t k = 0; k < site.count; k++) {
    const double gx = factor * site.gx[k], gy = factor * site.gy[k], gz = factor * site.gz[k];
    double* on_neighbor = forces + 3 * static_cast<std::ptrdiff_t>(site.index[k]);
    on_neighbor[0] -= gx;
    on_neighbor[1] -= gy;
    on_neighbor[2] -= gz;
    x += gx;
    y += gy;
    z += gz;
  }
  double* on_center = forces + 3 * static_cast<std::ptrdiff_t>(i);
  on_center[0] += x;
  on_center[1] += y;
  on_center[2] += z;
}

// The site's virial is the sum over its neighbours of r_ij ⊗ f_j, f_j = -dE_i/dr_j; it is
// symmetric, since the site's energy does not change when the site is turned. Per atom each term is
// booked on the atom that feels the force, j: then the sum over atoms of (virial · velocity) is the
// heat current of the site energies (Fan et al., Phys. Rev. B 92, 094301 (2015),
// doi:10.1103/PhysRevB.92.094301), and the centroid stress is the same tensor with all nine
// components.
void PairForcemap::add_virial(const forcemap::Site& site, double factor) {
  for (std::size_t k = 0; k < site.count; k++) {
    const double x = site.x[k], y = site.y[k], z = site.z[k];
    const double fx = -factor * site.gx[k];
    const double fy = -factor * site.gy[k];
    const double fz = -factor * site.gz[k];
    if (vflag_global || vflag_atom) {
      const double v[6] = {x * fx,
                           y * fy,
                           z * fz,
                           0.5 * (x * fy + y * fx),
                           0.5 * (x * fz + z * fx),
                           0.5 * (y * fz + z * fy)};
      if (vflag_global)
        for (int c = 0; c < 6; c++) virial[c] += v[c];
      if (vflag_atom)
        for (int c = 0; c < 6; c++) vatom[site.index[k]][c] += v[c];
    }
    if (cvflag_atom) {
      const double v[9] = {x * fx, y * fy, z * fz, x * fy, x * fz, y * fz, y * fx, z * fx, z * fy};
      for (int c = 0; c < 9; c++) cvatom[site.index[k]][c] += v[c];
    }
  }
}

void PairForcemap::stop_not_finite(int i, const forcemap::Site& site) const {
  const auto name = [this](int index) {
    return atom->tag_enable ? std::to_string(atom->tag[index]) : std::string("(no ID)");
  };
  int closest = -1;
  double distance = 0.0;
  for (std::size_t k = 0; k < site.count; k++) {
    const double r = std::hypot(site.x[k], site.y[k], site.z[k]);
    if (closest >= 0 && !(r < distance)) continue;
    closest = site.index[k];
    distance = r;
  }
  if (closest < 0)
    error->one(FLERR, "pair_style forcemap: the energy of atom {} is not a number", name(i));
  error->one(FLERR,
             "pair_style forcemap: the energy of atom {} is not a number; its closest neighbor, "
             "atom {}, is {:.6g} Angstrom away. Atoms in one place or a timestep too large?",
             name(i), name(closest), distance);
}

void PairForcemap::settings(int narg, char** arg) {
  if (narg > 0 && (narg != 2 || std::strcmp(arg[0], "grade") != 0))
    error->all(FLERR,
               "pair_style forcemap takes no arguments but 'grade N' or 'grade off', found '{}': "
               "the potential file and the elements belong to pair_coeff",
               utils::join_words(std::vector<std::string>(arg, arg + narg), " "));
  watch_every = 100;
  if (narg > 0) {
    const std::string every = arg[1];
    if (every != "off" && (!utils::is_integer(every) || every.size() > 9 || std::stoi(every) < 1))
      error->all(FLERR,
                 "pair_style forcemap grade {}: expected a number of steps (1 or more) or 'off'",
                 every);
    watch_every = every == "off" ? 0 : std::stoi(every);
  }
  require_units();
}

void PairForcemap::require_units() {
  const std::string units = update->unit_style;
  if (units == "metal")
    energy_unit = 1.0;
  else if (units == "real")
    energy_unit = utils::get_conversion_factor(utils::ENERGY, utils::METAL2REAL);
  else
    error->all(FLERR,
               "pair_style forcemap needs 'units metal' or 'units real', the input has 'units {}'",
               units);
}

void PairForcemap::coeff(int narg, char** arg) {
  const int types = atom->ntypes;
  if (narg < 3 || std::strcmp(arg[0], "*") != 0 || std::strcmp(arg[1], "*") != 0)
    error->all(FLERR,
               "pair_coeff for forcemap is 'pair_coeff * * FILE El1 El2 ...', with an element or "
               "NULL for each atom type");
  const std::string file = arg[2];
  if (narg - 3 != types)
    error->all(FLERR,
               "pair_coeff * * {}: found {} elements, expected {}: one (or NULL) for each atom "
               "type of the simulation box",
               file, narg - 3, types);

  const std::string bytes = shared_file(file);
  std::unique_ptr<Evaluator> read;
  std::string problem;
  try {
    read = std::make_unique<Evaluator>(forcemap::parse_potential(bytes.data(), bytes.size(), file),
                                       file);
  } catch (const forcemap::Error& fault) {
    problem = fault.what();
  } catch (const std::exception& fault) {
    problem = file + ": " + fault.what();
  }
  if (!problem.empty()) error->all(FLERR, "pair_coeff * * " + problem);

  std::vector<int> mapping(static_cast<std::size_t>(types) + 1, -1);
  for (int type = 1; type <= types; type++) {
    const std::string element = arg[2 + type];
    if (element == "NULL") continue;
    const int species = read->potential.species_of(forcemap::atomic_number(element));
    if (species < 0)
      error->all(FLERR, "pair_coeff * * {}: found element '{}' for atom type {}, the file has {}",
                 file, element, type, element_list(read->potential.numbers()));
    mapping[static_cast<std::size_t>(type)] = species;
  }
  if (std::all_of(mapping.begin(), mapping.end(), [](int species) { return species < 0; }))
    error->all(FLERR, "pair_coeff * * {}: found NULL for every atom type, expected an element",
               file);

  if (!allocated) allocate();
  doubts.clear();
  evaluator = std::move(read);
  watch = evaluator->potential.has_grade() ? std::make_unique<GradeWatch>(lmp, file) : nullptr;
  type_to_species = std::move(mapping);
  one_species = std::all_of(type_to_species.begin() + 1, type_to_species.end(),
                            [](int species) { return species == 0; });
  for (int i = 1; i <= types; i++)
    for (int j = i; j <= types; j++)
      setflag[i][j] = type_to_species[static_cast<std::size_t>(i)] >= 0 &&
                      type_to_species[static_cast<std::size_t>(j)] >= 0;

  if (comm->me == 0)
    utils::logmesg(lmp, "forcemap: {}: {}; cutoff {:.6g} Angstrom; {} instructions\n", file,
                   element_list(evaluator->potential.numbers()), evaluator->potential.cutoff(),
                   forcemap::Potential::instruction_set());
}

// The bytes of a potential file, found where LAMMPS looks for potentials (here, then in
// LAMMPS_POTENTIALS). One rank reads, so that a thousand do not ask the file system at once; it
// reports to the others whether it could, so that all stop together.
std::string PairForcemap::shared_file(const std::string& path) {
  std::string bytes, problem;
#ifdef FORCEMAP_NO_MPI
  const bool reads = true;
#else
  const bool reads = comm->me == 0;
#endif
  if (reads) {
    try {
      const std::string found = utils::get_potential_file_path(path);
      bytes = forcemap::read_bytes(found.empty() ? path : found);
    } catch (const std::exception& fault) {
      problem = fault.what();
      if (problem.empty()) problem = path + ": cannot be read";
    }
  }
#ifdef FORCEMAP_NO_MPI
  if (!problem.empty()) error->one(FLERR, "pair_coeff * * " + problem);
#else
  const auto share = [this](std::string& text) {
    bigint size = static_cast<bigint>(text.size());
    MPI_Bcast(&size, 1, MPI_LMP_BIGINT, 0, world);
    text.resize(static_cast<std::size_t>(size));
    constexpr bigint most = 1 << 30;  // MPI counts with int
    for (bigint begin = 0; begin < size; begin += most)
      MPI_Bcast(&text[static_cast<std::size_t>(begin)],
                static_cast<int>(std::min(most, size - begin)), MPI_CHAR, 0, world);
  };
  share(problem);
  if (!problem.empty()) error->all(FLERR, "pair_coeff * * " + problem);
  share(bytes);
#endif
  return bytes;
}

void PairForcemap::allocate() {
  const int n = atom->ntypes + 1;
  memory->create(setflag, n, n, "pair:setflag");
  memory->create(cutsq, n, n, "pair:cutsq");
  memory->create(scale, n, n, "pair:scale");
  for (int i = 0; i < n; i++)
    for (int j = 0; j < n; j++) {
      setflag[i][j] = 0;
      cutsq[i][j] = 0.0;
      scale[i][j] = 1.0;
    }
  allocated = 1;
}

void PairForcemap::init_style() {
  require_units();  // a restart file may have brought other units since pair_style
  if (force->newton_pair == 0)
    error->all(
        FLERR,
        "pair_style forcemap needs 'newton on': forces on an atom also come from the sites "
        "of its neighbors. Remove 'newton off' from the input (and '-pk gpu', which sets it)");
  if (comm->me == 0 && atom->nbonds > 0)
    for (int k = 1; k <= 3; k++)
      if (force->special_lj[k] == 0.0 && force->special_coul[k] == 0.0) {
        error->warning(FLERR,
                       "pair_style forcemap: special_bonds takes bonded neighbors out of the "
                       "neighbor list, so the potential does not see them. Use 'special_bonds "
                       "lj/coul 1.0 1.0 1.0'");
        break;
      }
  warn_of_doubts();
  if (watch) watch->report();  // of a run that did not come to its end
  neighbor->add_request(this, NeighConst::REQ_FULL);
}

// Once each, and not at every run.
void PairForcemap::warn_of_doubts() {
  if (comm->me != 0) return;
  std::vector<TypedElement> types;
  for (int type = 1; type <= atom->ntypes; type++) {
    const int species = type_to_species[static_cast<std::size_t>(type)];
    if (species < 0) continue;
    const std::size_t s = static_cast<std::size_t>(species);
    const bool known = atom->mass && atom->mass_setflag && atom->mass_setflag[type];
    types.push_back({type, evaluator->potential.numbers()[s], known ? atom->mass[type] : 0.0,
                     energy_unit * evaluator->potential.e0()[s]});
  }
  for (const std::string& text :
       {doubts_about_masses(types), doubts_about_reservoirs(*modify, types)})
    if (!text.empty() && doubts.insert(text).second) error->warning(FLERR, text);
}

double PairForcemap::init_one(int i, int j) {
  if (setflag[i][j] == 0)
    error->all(FLERR,
               "pair_coeff for forcemap maps atom type {} or {} to NULL: only in pair_style hybrid "
               "can another style act on it",
               i, j);
  scale[j][i] = scale[i][j];
  return evaluator->potential.cutoff();
}

// LAMMPS calls this at the end of its output about a run.
void PairForcemap::finish() {
  if (watch) watch->report();
}

// "scale" multiplies the energies of the sites whose centre has the type, and all forces that come
// from them: forces stay the derivative of the energy at any value. Only the diagonal is used.
//
// The flags are how fix pair asks for values per atom in the next evaluation of forces.
void* PairForcemap::extract(const char* name, int& dimensions) {
  const std::string what = name;
  if (what == "scale") {
    dimensions = 2;
    return scale;
  }
  dimensions = 0;
  if (what == "grade_flag") {
    if (evaluator) require_grade();
    return &grade_flag;
  }
  for (const char* deviation : deviation_names)
    if (what == std::string(deviation) + "_flag") {
      if (evaluator) require_draws();
      return &deviation_flag;
    }
  return nullptr;
}

void* PairForcemap::extract_peratom(const char* name, int& columns) {
  const std::string what = name;
  const auto room = static_cast<std::size_t>(atom->nlocal);
  if (what == "grade") {
    require_current("grade", per_atom->graded_step);
    columns = 0;
    per_atom->reserve_grades(room);
    return per_atom->grades.data();
  }
  for (std::size_t n = 0; n < std::size(deviation_names); n++)
    if (what == deviation_names[n]) {
      require_current(name, per_atom->deviated_step);
      columns = 0;
      per_atom->deviations.reserve(room);
      return n == 0 ? per_atom->deviations.norms() : per_atom->deviations.components(n - 1);
    }
  return nullptr;
}

void PairForcemap::require_grade() const {
  if (!evaluator->potential.has_grade())
    error->all(FLERR, "pair_style forcemap: {}", forcemap::without_grade(evaluator->file));
}

void PairForcemap::require_draws() const {
  if (evaluator->potential.draws() == 0)
    error->all(FLERR, "pair_style forcemap: {}", forcemap::without_draws(evaluator->file));
}

// In a run, that values are read in the step that they belong to.
void PairForcemap::require_current(const char* name, bigint step) const {
  if (update->whichflag != 0 && step != update->ntimestep)
    error->all(FLERR,
               "pair_style forcemap: '{0}' was not asked for in this step: with fix pair use "
               "'{0} 1', not '{0} 0'",
               name);
}

double PairForcemap::memory_usage() {
  double bytes = Pair::memory_usage();
  if (evaluator)
    bytes +=
        static_cast<double>(evaluator->potential.bytes() + evaluator->potential.bytes_of_draws());
  return bytes + static_cast<double>(sizeof(double) * per_atom->grades.capacity() +
                                     per_atom->deviations.bytes());
}

}  // namespace LAMMPS_NS

// Called by plugin.cpp, which finds it by name.
extern "C" __attribute__((visibility("default"))) void* forcemap_create_pair(void* lammps) {
  return static_cast<LAMMPS_NS::Pair*>(
      new LAMMPS_NS::PairForcemap(static_cast<LAMMPS_NS::LAMMPS*>(lammps)));
}
