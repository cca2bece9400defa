#include "setup_doubts.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <sstream>

#include "fix.h"
#include "forcemap/elements.hpp"
#include "modify.h"

namespace LAMMPS_NS {

namespace {

template <typename... Parts>
std::string words(const Parts&... parts) {
  std::ostringstream text;
  text.precision(8);
  (text << ... << parts);
  return text.str();
}

constexpr double isotopic = 0.1;  // most isotopes are nearer to their element's mass than that
constexpr double rounded = 0.01;  // so much for masses given with few digits

// Isotopes farther from their element's mass, with muonium, which is run as a light hydrogen.
struct Isotope {
  int number;
  double mass;
};
constexpr Isotope isotopes[] = {{1, 0.1134}, {1, 2.014},   {1, 3.016},   {2, 3.016},
                                {3, 6.015},  {4, 7.017},   {4, 10.014},  {6, 14.003},
                                {8, 17.999}, {16, 35.967}, {20, 45.954}, {20, 47.953}};

bool near(double mass, double expected, double tolerance) {
  return std::abs(mass / expected - 1.0) <= tolerance;
}

bool is_mass_of(int number, double mass, double tolerance) {
  return near(mass, forcemap::standard_mass(number), tolerance);
}

bool is_isotope(int number, double mass) {
  return is_mass_of(number, mass, isotopic) ||
         std::any_of(std::begin(isotopes), std::end(isotopes), [&](const Isotope& isotope) {
           return isotope.number == number && near(mass, isotope.mass, rounded);
         });
}

// Neighbours in the periodic table differ as little as isotopes do. But where a type has the mass
// of another's element, which itself has not, they were exchanged.
bool is_exchanged(const TypedElement& one, const std::vector<TypedElement>& types) {
  if (is_mass_of(one.number, one.mass, rounded)) return false;
  return std::any_of(types.begin(), types.end(), [&](const TypedElement& other) {
    return other.number != one.number && is_mass_of(other.number, one.mass, rounded) &&
           other.mass > 0.0 && !is_mass_of(other.number, other.mass, rounded);
  });
}

// The element of this mass; one of the simulation rather than another.
int element_of(double mass, const std::vector<TypedElement>& types) {
  for (const TypedElement& type : types)
    if (is_mass_of(type.number, mass, rounded)) return type.number;
  int best = 1;
  const auto distance = [mass](int number) {
    return std::abs(mass / forcemap::standard_mass(number) - 1.0);
  };
  for (int number = 2; number <= forcemap::max_atomic_number; number++)
    if (distance(number) < distance(best)) best = number;
  return distance(best) <= rounded ? best : 0;
}

}  // namespace

std::string doubts_about_masses(const std::vector<TypedElement>& types) {
  std::string list;
  for (const TypedElement& type : types) {
    if (!(type.mass > 0.0)) continue;
    if (is_isotope(type.number, type.mass) && !is_exchanged(type, types)) continue;
    const int found = element_of(type.mass, types);
    list += words(list.empty() ? "" : "; ", "mass ", type.mass, " of type ", type.type, " is ");
    if (found) list += words("that of ", forcemap::element_symbol(found), ", ");
    list += words("not that of ", forcemap::element_symbol(type.number), " (",
                  forcemap::standard_mass(type.number), ")");
  }
  if (list.empty()) return list;
  return "pair_style forcemap: " + list +
         ": is the order of elements in pair_coeff that of the types?";
}

std::string doubts_about_reservoirs(const Modify& modify, const std::vector<TypedElement>& types) {
  std::set<double> energies;
  std::set<int> listed;
  std::string e0;
  for (const TypedElement& type : types) {
    energies.insert(type.e0);
    if (!listed.insert(type.number).second) continue;
    e0 += words(e0.empty() ? "" : ", ", forcemap::element_symbol(type.number), " ", type.e0);
  }
  const bool inserted =
      std::any_of(energies.begin(), energies.end(), [](double e) { return e != 0.0; });
  std::string fixes;
  const auto add = [&](const char* style) {
    for (const Fix* fix : modify.get_fix_by_style(style))
      fixes += words(fixes.empty() ? "" : ", ", "fix ", fix->id, " ", fix->style);
  };
  if (inserted)
    for (const char* style : {"^gcmc", "^widom", "^charge/regulation"}) add(style);
  if (energies.size() > 1) add("^sgcmc");
  if (fixes.empty()) return fixes;
  return words("pair_style forcemap: ", fixes,
               ": the energy of an atom includes that of the isolated atom, e0 (", e0,
               "). Chemical potentials count from there: to insert from an ideal gas give mu + e0 "
               "(the keyword pressure leaves e0 out, which is right for e0 = 0 only), and take e0 "
               "from what fix widom gives. See lammps_plugin/README.md");
}

}  // namespace LAMMPS_NS
