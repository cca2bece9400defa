#include "class_layout.h"

#include <dlfcn.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>

#include "pair.h"

namespace LAMMPS_NS {
namespace {

// A Pair whose members are seen from here, at the places that the headers give them.
class Probe : public Pair {
 public:
  explicit Probe(LAMMPS* lmp) : Pair(lmp) {}
  void compute(int, int) override {}
  void settings(int, char**) override {}
  void coeff(int, char**) override {}

  // Functions of LAMMPS that are compiled there, and whose effect on members is their purpose.
  bool members_agree() {
    int* const flags[] = {&evflag,       &eflag_either, &eflag_global, &eflag_atom,
                          &vflag_either, &vflag_global, &vflag_atom};
    for (int* flag : flags) *flag = 7;
    const int before = trim_flag, after = ncoultablebits;
    trim_flag = ncoultablebits = 7;
    ev_unset();
    bool agree = trim_flag == 7 && ncoultablebits == 7;
    for (const int* flag : flags) agree = agree && *flag == 0;
    trim_flag = before;
    ncoultablebits = after;

    const int mixing = mix_flag;  // one of the last members
    mix_flag = ARITHMETIC;
    agree = agree && mix_distance(1.0, 3.0) == 2.0;
    mix_flag = mixing;
    return agree;
  }
};

// Where the compiler finds a virtual function in the table of its class (Itanium C++ ABI, 2.3).
template <typename Function>
std::size_t slot(Function function) {
  struct {
    std::intptr_t pointer, adjustment;
  } bits;
  static_assert(sizeof(bits) == sizeof(function), "a pointer to member of another ABI");
  std::memcpy(&bits, &function, sizeof(bits));
#if defined(__aarch64__) || defined(__arm__)
  return static_cast<std::size_t>(bits.pointer) / sizeof(void*);
#else
  return static_cast<std::size_t>(bits.pointer - 1) / sizeof(void*);
#endif
}

// The functions at the places that the headers give them, in LAMMPS' own table. Functions that are
// added or removed shift those that are declared later; the last ones are among these.
bool functions_agree() {
  void* const symbol = dlsym(RTLD_DEFAULT, "_ZTVN9LAMMPS_NS4PairE");
  if (!symbol) return true;  // a LAMMPS that hides it; the members have to do
  void* const* const table = static_cast<void* const*>(symbol) + 2;
  const struct {
    std::size_t slot;
    const char* name;
  } functions[] = {
      {slot(&Pair::init_style), "_ZN9LAMMPS_NS4Pair10init_styleEv"},
      {slot(&Pair::free_disp_tables), "_ZN9LAMMPS_NS4Pair16free_disp_tablesEv"},
      {slot(&Pair::memory_usage), "_ZN9LAMMPS_NS4Pair12memory_usageEv"},
      {slot(&Pair::add_tally_callback), "_ZN9LAMMPS_NS4Pair18add_tally_callbackEPNS_7ComputeE"},
      {slot(&Pair::del_tally_callback), "_ZN9LAMMPS_NS4Pair18del_tally_callbackEPNS_7ComputeE"},
  };
  // The table of a LAMMPS with fewer functions is shorter; what is read beyond its end is other
  // constant data of the library, and no such function.
  for (const auto& [slot, name] : functions) {
    void* const function = dlsym(RTLD_DEFAULT, name);
    if (function && table[slot] != function) return false;
  }
  return true;
}

}  // namespace

const char* pair_difference(LAMMPS* lmp) {
  if (!functions_agree()) return "its class Pair has other virtual functions";
  // LAMMPS' constructor may fill more than the headers' size.
  constexpr std::size_t slack = 4096;
  void* const memory = ::operator new(sizeof(Probe) + slack, std::align_val_t(alignof(Probe)));
  std::memset(memory, 0, sizeof(Probe) + slack);
  auto* const probe = new (memory) Probe(lmp);
  // Left alone where members differ: its destructor would free what is no pointer.
  if (!probe->members_agree()) return "the members of its class Pair have other places";
  probe->~Probe();
  ::operator delete(memory, std::align_val_t(alignof(Probe)));
  return nullptr;
}

}  // namespace LAMMPS_NS

extern "C" __attribute__((visibility("default"))) const char* forcemap_pair_difference(void* lmp) {
  return LAMMPS_NS::pair_difference(static_cast<LAMMPS_NS::LAMMPS*>(lmp));
}
