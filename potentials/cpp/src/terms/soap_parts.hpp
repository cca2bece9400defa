// What the kinds of term that depend on a power spectrum have in common.
#pragma once

#include <cstddef>
#include <functional>
#include <initializer_list>
#include <memory>
#include <string_view>
#include <vector>

#include "forcemap/soap.hpp"
#include "loops/site_kernels.hpp"
#include "term_reader.hpp"

namespace forcemap {

/// The density expansion of a term: what read_radial reads, the members "channels" and, where it is
/// there, "species_tables", the tensors "self" and "weights". With it, "radial" and "self" have the
/// species as their first index, and "channels" is 1.
SoapExpansion read_soap_expansion(TermReader& reader);

/// The radial functions of an expansion: members "cutoff", "intervals", "n_max", "l_max", the
/// tensor "radial" (intervals + degree, l_max + 1, n_max); where they are there, "degree" (3 or 5)
/// of the splines and "cosine_width", Å, of a factor 1/2 (1 + cos) that ends them at the cutoff.
void read_radial(TermReader& reader, SoapBasis& basis);

/// The loops for terms in numbers of one type.
template <typename Number>
const SpectrumKernels<Number>& spectrum_kernels();
template <>
inline const SpectrumKernels<double>& spectrum_kernels<double>() {
  return site_kernels().soap.exact;
}
template <>
inline const SpectrumKernels<float>& spectrum_kernels<float>() {
  return site_kernels().soap.single;
}

/// An expansion in numbers of one type, whose tables are those of a SoapExpansion.
template <typename Number>
class SpectrumTables {
 public:
  explicit SpectrumTables(SoapExpansion expansion);
  SpectrumTables(const SpectrumTables&) = delete;
  SpectrumTables& operator=(const SpectrumTables&) = delete;
  const SoapViewOf<Number>& view() const { return view_; }
  const SoapView& exact() const { return expansion_.view(); }
  std::size_t bytes() const {
    return expansion_.bytes() + (radial_.size() + self_.size() + harmonic_.size()) * sizeof(Number);
  }

 private:
  SoapExpansion expansion_;
  std::vector<Number> radial_, self_, harmonic_;  // empty where those of the expansion serve
  SoapViewOf<Number> view_{};
};

/// Whether a term is to be evaluated in single precision: its member "precision", "double" or
/// "single". Draws have none.
bool in_single_precision(const TermReader& reader);

/// An isolated atom as the loops round it.
SoapWork& isolated_atom(const SoapView& expansion, int species, SoapWorkspace& space);

/// `given` (., dimension) as rows that are padded for the loops, (rows, padded_dimension).
template <typename Number>
std::vector<Number> padded_rows(const std::vector<double>& given, std::size_t rows,
                                const SoapViewOf<Number>& expansion) {
  const std::size_t size = expansion.dimension, padded = expansion.padded_dimension;
  std::vector<Number> result(rows * padded, 0);
  for (std::size_t k = 0; k * size < given.size(); ++k)
    for (std::size_t n = 0; n < size; ++n)
      result[k * padded + n] = static_cast<Number>(given[k * size + n]);
  return result;
}

/// `count` up to a multiple of kSoapPanel.
inline std::size_t in_panels(std::size_t count) {
  return (count + kSoapPanel - 1) / kSoapPanel * kSoapPanel;
}

/// The same as panels for the loops: `given` (rows, columns) with zeros up to multiples of
/// kSoapPanel.
std::vector<float> panels_of(const std::vector<double>& given, std::size_t rows,
                             std::size_t columns);

/// What the functions of a spectrum give for all draws, at up to kFormSites sites.
struct SpectrumAnswer {
  std::size_t sites;
  const double* const* spectra;  // (sites) normalised, (padded_dimension)
  std::size_t padded_draws;      // a multiple of kDrawsAtOnce
  double* energies;              // (kFormSites, padded_draws) eV, to be filled
  float* slopes;                 // (kFormSites, padded_draws, size) dE/d(spectrum), to be filled
  double* spare;                 // for whatever
};

/// Functions of the spectrum of one species of centre, one for each draw. Immutable.
class SpectrumDraws {
 public:
  virtual ~SpectrumDraws() = default;
  virtual std::size_t bytes() const = 0;
  /// Doubles that `evaluate` needs, aligned as vectors.
  virtual std::size_t spare(std::size_t padded_draws) const = 0;
  virtual void evaluate(const SpectrumAnswer& answer) const = 0;
};

using ReadSpectrumDraws = std::function<std::unique_ptr<SpectrumDraws>(
    TermReader& reader, const TermReader::Center& center, const SoapView& expansion)>;

/// A term of such functions, whose centers have the members `names`. An isolated atom has no
/// energy.
std::unique_ptr<DrawnTerm> draw_spectrum_term(TermReader& reader,
                                              std::initializer_list<std::string_view> names,
                                              const ReadSpectrumDraws& read);

}  // namespace forcemap
