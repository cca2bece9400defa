// The plain content of a potential file: what the reader returns and the evaluator is built from.
#pragma once

#include <array>
#include <cstddef>
#include <string>
#include <vector>

namespace forcemap {

// All functions of one distance are cubic splines on n uniform intervals of width h = range/n over
// [0, range], stored as n + 3 B-spline coefficients: for r in interval m, t = r/h - m,
//   f(r) = sum_{a=0..3} B_a(t) c[m + a],
//   B_0 = (1-t)^3/6, B_1 = (3t^3-6t^2+4)/6, B_2 = (-3t^3+3t^2+3t+1)/6, B_3 = t^3/6.
// Functions of three distances are the tensor product of such bases.

/// Spline of one pair of species; the site energy of atom i is the sum of f(r_ij) over neighbours j
/// (so a pair's energy is 2 f).
struct TwoBodyTable {
  std::array<std::size_t, 2> species;  // indices into PotentialData::numbers, first <= second
  std::vector<double> coefficients;    // (intervals + 3), eV
};

struct TwoBodyTerm {
  double cutoff;          // Å; f is zero there with its first derivative
  std::size_t intervals;  // over [0, cutoff]
  std::vector<TwoBodyTable> tables;
};

/// Spline of one centre species and one unordered pair of neighbour species; the site energy of
/// atom i is the sum over unordered neighbour pairs {j, k} of f(r_ij, r_ik, r_jk).
struct ThreeBodyTable {
  std::array<std::size_t, 3> species;  // centre, then neighbours j <= k
  std::vector<double> coefficients;    // (legs + 3, legs + 3, base + 3) row-major, eV
};

struct ThreeBodyTerm {
  double cutoff;               // Å, of r_ij and r_ik; r_jk reaches 2 cutoff
  std::size_t leg_intervals;   // over [0, cutoff], for r_ij and r_ik
  std::size_t base_intervals;  // over [0, 2 cutoff], for r_jk
  std::vector<ThreeBodyTable> tables;
};

/// Switched ZBL repulsion of one pair of species, in the form of LAMMPS' pair_style zbl.
struct ZblPair {
  std::array<std::size_t, 2> species;  // first <= second
  double inner;                        // Å; full ZBL below
  double outer;                        // Å; zero beyond, with two derivatives
};

struct PotentialData {
  std::vector<int> numbers;  // atomic numbers, increasing
  std::vector<double> e0;    // (numbers.size()), energy of the isolated atom, eV
  std::vector<TwoBodyTerm> two_body;
  std::vector<ThreeBodyTerm> three_body;
  std::vector<ZblPair> zbl;
  std::string metadata;  // the file's JSON document, for people and Python
};

}  // namespace forcemap
