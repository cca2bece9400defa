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

/// Expansion of the neighbours' density about an atom; c[lm][(alpha, n)] is the sum over neighbours
/// j of weights[alpha][species of j] R_nl(r_j) Y_lm(r_j), and the centre's own share for l = 0.
struct SoapBasis {
  double cutoff;                // Å
  std::size_t n_max;            // radial functions
  std::size_t l_max;            // at most max_soap_l
  std::size_t intervals;        // of the splines over [0, cutoff]
  std::vector<double> radial;   // (intervals + 3, l_max + 1, n_max) of R_nl, cutoff factor included
  std::vector<double> self;     // (n_max) of the centre itself
  std::size_t channels;         // alpha
  std::vector<double> weights;  // (channels, species)

  /// Numbers of the power spectrum.
  std::size_t dimension() const {
    const std::size_t n = channels * n_max;
    return (l_max + 1) * (n * (n + 1) / 2);
  }
};

constexpr std::size_t max_soap_l = 20;
constexpr int max_soap_zeta = 4;

/// Site energy of one centre species: sum_k factors[k] (vectors[k] . p)^zeta - constant, p the
/// normalised power spectrum in the order of soap_loops.ipp.
struct SoapCenter {
  std::size_t species;
  std::vector<double> factors;  // (count), eV
  std::vector<double> vectors;  // (count, dimension)
  double constant;              // eV; the sum for the isolated atom
};

struct SoapTerm {
  SoapBasis basis;
  int zeta;  // 1 to max_soap_zeta
  std::vector<SoapCenter> centers;
};

/// Density that an atom of the second species adds at one of the first; the order matters.
struct DensityTable {
  std::array<std::size_t, 2> species;  // centre, neighbour
  std::vector<double> coefficients;    // (intervals + 3), no unit
};

/// Site energy F(rho) - F(0) of one centre species; a spline on uniform intervals over [0, range],
/// continued linearly on both sides.
struct EmbeddingCenter {
  std::size_t species;
  double range;  // of the density
  std::size_t intervals;
  std::vector<double> coefficients;  // (intervals + 3), eV
};

/// Energies of the density rho_i = sum_j phi(r_ij) of the neighbours.
struct EmbeddingTerm {
  double cutoff;          // Å; phi is zero there with its first derivative
  std::size_t intervals;  // of phi over [0, cutoff]
  std::vector<DensityTable> densities;
  std::vector<EmbeddingCenter> centers;
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
  std::vector<SoapTerm> soap;
  std::vector<EmbeddingTerm> embedding;
  std::vector<ZblPair> zbl;
  std::string metadata;  // the file's JSON document, for people and Python
};

}  // namespace forcemap
