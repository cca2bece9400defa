// Terms that are sums of powers of a spectrum's products with vectors, whatever the spectrum is of.
#pragma once

#include <cstddef>
#include <memory>

#include "forcemap/soap.hpp"
#include "loops/site_kernels.hpp"
#include "term_reader.hpp"

namespace forcemap {

/// The exponent of a term, member "zeta": any number above 0.
SoapPower read_power(const JsonView& json);

/// How neighbours become a normalised spectrum, and slopes by it forces, in doubles or floats.
/// Immutable.
template <typename Number>
class Spectrum {
 public:
  virtual ~Spectrum() = default;
  /// Sizes of the work space and of the spectrum.
  virtual const SoapViewOf<Number>& view() const = 0;
  virtual std::size_t bytes() const = 0;  // of its tables
  /// Fills what `work` keeps of a site, p included.
  virtual void density(const SiteView& site, SoapWorkOf<Number>& work) const = 0;
  /// Adds dE/dr of the neighbours to the site's gx, gy, gz, from work.g = dE/dp.
  virtual void forces(const SiteView& site, SoapWorkOf<Number>& work) const = 0;
};

/// sum_k factors[k] (vectors[k] . p)^zeta - constant for each of the term's centers, which have the
/// members "species", "count" and "constant".
template <typename Number>
std::unique_ptr<MappedTerm> read_spectrum_sums(TermReader& reader,
                                               std::unique_ptr<const Spectrum<Number>> spectrum);

}  // namespace forcemap
