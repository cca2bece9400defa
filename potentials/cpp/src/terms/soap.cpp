// SOAP terms: the site energy of a centre of one species is sum_k factors[k] (vectors[k] . p)^zeta
// - constant, p the normalised power spectrum in the order of soap_loops.ipp. The constant is the
// sum for the isolated atom.
//
//   {"kind": "soap", "cutoff": 5.0, "intervals": 64, "n_max": 8, "l_max": 6, "channels": 2,
//    "zeta": 2, "centers": [{"species": "O", "count": 64, "constant": -0.1}, ...],
//    "precision": "single"}
//
// The basis (SoapBasis) is "radial" (intervals + degree, l_max + 1, n_max), "self" (n_max) and
// "weights" (channels, species); "degree" and "cosine_width" may be absent (see soap_parts.hpp);
// for each centre there are "A.vectors" (count, dimension) and "A.factors" (count), eV, linear in
// the weights; with "species_tables", their number, each species has radial functions of its own.
// Draws have no "constant": it is what makes the isolated atom's energy zero. The
// features of a site are its projections on the first vectors. "precision", which may be absent,
// says what the term is evaluated in: "double" or "single".
#include "forcemap/soap.hpp"

#include <algorithm>

#include "soap_parts.hpp"
#include "soap_sums.hpp"
#include "term_reader.hpp"

namespace forcemap {

namespace {

constexpr std::int64_t max_vectors = 1000000;

SoapPower checked_power(const TermReader& reader) {
  reader.json().allow_only({"kind", "cutoff", "intervals", "degree", "cosine_width", "n_max",
                            "l_max", "channels", "species_tables", "zeta", "centers", "precision"});
  return read_power(reader.json());
}

// The power spectrum of the channels that the expansion has.
template <typename Number>
class PowerSpectrum final : public Spectrum<Number> {
 public:
  explicit PowerSpectrum(SoapExpansion expansion) : tables_(std::move(expansion)) {}
  const SoapViewOf<Number>& view() const override { return tables_.view(); }
  std::size_t bytes() const override { return tables_.bytes(); }
  void density(const SiteView& site, SoapWorkOf<Number>& work) const override {
    spectrum_kernels<Number>().density(view(), site, work);
  }
  void forces(const SiteView& site, SoapWorkOf<Number>& work) const override {
    spectrum_kernels<Number>().forces(view(), site, work);
  }

 private:
  SpectrumTables<Number> tables_;
};

template <typename Number>
std::unique_ptr<MappedTerm> read_sums(TermReader& reader) {
  std::unique_ptr<const Spectrum<Number>> spectrum =
      std::make_unique<PowerSpectrum<Number>>(read_soap_expansion(reader));
  return read_spectrum_sums(reader, std::move(spectrum));
}

// One centre species for all draws: they share the vectors.
class FactorDraws final : public SpectrumDraws {
 public:
  FactorDraws(TermReader& reader, const TermReader::Center& center, const SoapPower& power,
              const SoapView& expansion)
      : power_(power),
        draws_(reader.draws()),
        dimension_(expansion.dimension),
        size_(expansion.padded_dimension) {
    const auto count = static_cast<std::size_t>(center.json.at("count").integer(1, max_vectors));
    const std::string name = reader.label({center.species});
    count_ = (count + 3) / 4 * 4;
    const std::vector<double> given = reader.take_draws(name + ".factors", {count});
    factors_.assign(draws_ * count_, 0.0);
    for (std::size_t k = 0; k < draws_; ++k)
      std::copy_n(&given[k * count], count, &factors_[k * count_]);
    vectors_ = padded_rows(reader.take(name + ".vectors", {count, expansion.dimension}), count_,
                           expansion);
  }

  std::size_t bytes() const override {
    return (vectors_.size() + factors_.size()) * sizeof(double);
  }
  std::size_t spare(std::size_t padded_draws) const override {
    return count_ + padded_draws * (count_ + size_);
  }

  // In doubles but for the slopes: weights of many sparse points cancel.
  void evaluate(const SpectrumAnswer& answer) const override {
    for (std::size_t n = 0; n < answer.sites; ++n) evaluate(answer, n);
  }

 private:
  void evaluate(const SpectrumAnswer& answer, std::size_t site) const {
    const std::size_t draws = answer.padded_draws, panels = in_panels(dimension_);
    double *const y = answer.spare, *const factors = y + count_,
                  *const sums = factors + draws * count_;
    site_kernels().soap.products(vectors_.data(), count_, size_, answer.spectra[site], y);
    std::fill_n(factors, draws * count_, 0.0);
    for (std::size_t k = 0; k < draws_; ++k) {
      double energy = 0.0;
      for (std::size_t v = 0; v < count_; ++v) {
        const double power = factors_[k * count_ + v] * power_below(power_, y[v]);
        energy += power * y[v];
        factors[k * count_ + v] = power_.zeta * power;
      }
      answer.energies[site * draws + k] = energy;
    }
    site_kernels().soap.sums({draws, count_, size_, factors, vectors_.data(), sums});
    for (std::size_t k = 0; k < draws; ++k) {
      float* const slopes = answer.slopes + (site * draws + k) * panels;
      std::fill_n(slopes, panels, 0.0F);
      std::copy_n(sums + k * size_, dimension_, slopes);
    }
  }

  SoapPower power_;
  std::size_t draws_, dimension_, size_, count_ = 0;
  std::vector<double> vectors_, factors_;
};

}  // namespace

std::unique_ptr<MappedTerm> read_soap(TermReader& reader) {
  checked_power(reader);
  return in_single_precision(reader) ? read_sums<float>(reader) : read_sums<double>(reader);
}

std::unique_ptr<DrawnTerm> draw_soap(TermReader& reader) {
  const SoapPower power = checked_power(reader);
  return draw_spectrum_term(reader, {"species", "count"},
                            [power](TermReader& of, const TermReader::Center& center,
                                    const SoapView& expansion) -> std::unique_ptr<SpectrumDraws> {
                              return std::make_unique<FactorDraws>(of, center, power, expansion);
                            });
}

}  // namespace forcemap
