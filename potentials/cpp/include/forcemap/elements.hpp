// Symbols and masses of the chemical elements.
#pragma once

#include <string_view>

namespace forcemap {

constexpr int max_atomic_number = 118;

/// Atomic number of an element's symbol ("Si" -> 14); 0 if there is no such element.
int atomic_number(std::string_view symbol);

/// Symbol of an atomic number (14 -> "Si"); "?" if there is no such element.
const char* element_symbol(int number);

/// Atomic weight of an element, in units of the atomic mass constant (14 -> 28.085); 0 if there is
/// no such element.
double standard_mass(int number);

}  // namespace forcemap
