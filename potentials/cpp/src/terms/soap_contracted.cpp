// SOAP terms of contracted channels (Darby, Kermode and Csanyi, DOI 10.1038/s41524-022-00847-y;
// Darby et al., DOI 10.1103/PhysRevLett.131.028001). Channels are sums of the species' radial
// functions,
//
//   c[l m, q] = self[A][q] (for l = 0) + sum_j sum_n mixing[species of j][n][q] R_nl(r_j)
//   Y_lm(r_j),
//
// the spectrum is made of chosen pairs of them,
//
//   p[l, (a, b)] = weight (2 l + 1)^-1/2 sum_m c[l m, a] c[l m, b],
//
// normalised, and the energy of a centre is sum_k factors[k] (vectors[k] . p)^zeta - constant.
//
//   {"kind": "soap_contracted", "cutoff": 5.0, "intervals": 64, "n_max": 8, "l_max": 6,
//    "channels": 10, "pairs": 25, "zeta": 4,
//    "centers": [{"species": "O", "count": 64, "constant": -0.1}, ...]}
//
// Tensors: "radial" as of soap terms, "mixing" (species, n_max, channels), "self" (species,
// channels), "pairs" (pairs, 2), whole numbers, "pair_weights" (pairs), and for each centre
// "A.vectors" (count, (l_max + 1) pairs), pairs in turn for each l, and "A.factors" (count), eV.
#include <algorithm>
#include <cmath>

#include "soap_parts.hpp"
#include "soap_sums.hpp"
#include "term_reader.hpp"

namespace forcemap {

namespace {

constexpr std::int64_t max_channels = 4096;
constexpr std::int64_t max_pairs = 100000;

std::size_t rounded(std::size_t n, std::size_t to) { return (n + to - 1) / to * to; }

template <typename Number>
class Contraction final : public Spectrum<Number> {
 public:
  explicit Contraction(TermReader& reader) : radial_(radial(reader)), view_(radial_.view()) {
    const JsonView& json = reader.json();
    json.allow_only({"kind", "cutoff", "intervals", "degree", "cosine_width", "n_max", "l_max",
                     "channels", "pairs", "zeta", "centers", "precision"});
    const auto channels = static_cast<std::size_t>(json.at("channels").integer(1, max_channels));
    const std::size_t lanes = spectrum_kernels<Number>().lanes;
    view_.width = rounded(channels, lanes) + lanes;
    read_pairs(reader, channels, static_cast<std::size_t>(json.at("pairs").integer(1, max_pairs)));
    read_mixing(reader, channels);
    contraction_ = {mixing_.data(), back_.data(), begin_.data(), end_.data(),
                    self_.data(),   runs_.data(), runs_.size(),  scale_.data()};
  }
  Contraction(const Contraction&) = delete;
  Contraction& operator=(const Contraction&) = delete;

  const SoapViewOf<Number>& view() const override { return view_; }

  std::size_t bytes() const override {
    return radial_.bytes() + runs_.size() * sizeof(SoapRun) +
           (mixing_.size() + back_.size() + self_.size() + scale_.size()) * sizeof(Number);
  }

  void density(const SiteView& site, SoapWorkOf<Number>& work) const override {
    spectrum_kernels<Number>().contracted_density(view_, contraction_, site, work);
  }

  void forces(const SiteView& site, SoapWorkOf<Number>& work) const override {
    spectrum_kernels<Number>().contracted_forces(view_, contraction_, site, work);
  }

 private:
  // The radial functions alone: no channel has a weight.
  static SoapExpansion radial(TermReader& reader) {
    SoapBasis basis{};
    read_radial(reader, basis);
    basis.channels = 1;
    basis.self.assign(basis.n_max, 0.0);
    basis.weights.assign(reader.species(), 0.0);
    return {basis, reader.species()};
  }

  void read_pairs(TermReader& reader, std::size_t channels, std::size_t count) {
    const std::vector<double> given = reader.take("pairs", {count, 2});
    const std::vector<double> weights = reader.take("pair_weights", {count});
    for (const double channel : given)
      if (!(channel >= 0.0) || channel >= static_cast<double>(channels) ||
          channel != std::floor(channel))
        reader.reject_tensor("pairs", "found ", channel, ", expected a channel from 0 to ",
                             channels - 1);
    std::size_t longest = 0;
    for (std::size_t n = 0; n < count; ++n) {
      const auto a = static_cast<std::size_t>(given[2 * n]);
      const auto b = static_cast<std::size_t>(given[2 * n + 1]);
      if (runs_.empty() || !continues(runs_.back(), a, b)) runs_.push_back({a, b, 0, 0});
      SoapRun& run = runs_.back();
      if (run.length == 1) run.step = a - run.a;
      longest = std::max(longest, ++run.length);
    }
    const std::size_t lanes = spectrum_kernels<Number>().lanes, orders = view_.l_max + 1;
    view_.dimension = orders * count;
    view_.padded_dimension = rounded(view_.dimension, lanes);
    view_.square = longest + lanes;
    scale_.assign(view_.padded_dimension + lanes, 0);
    for (std::size_t l = 0; l < orders; ++l)
      for (std::size_t n = 0; n < count; ++n)
        scale_[l * count + n] =
            static_cast<Number>(weights[n] / std::sqrt(static_cast<double>(2 * l + 1)));
  }

  // Along a row of pairs, or along a diagonal.
  static bool continues(const SoapRun& run, std::size_t a, std::size_t b) {
    if (b != run.b + run.length) return false;
    if (run.length == 1) return a == run.a || a == run.a + 1;
    return a == run.a + run.step * run.length;
  }

  void read_mixing(TermReader& reader, std::size_t channels) {
    const std::size_t species = reader.species(), n_max = view_.n_max, width = view_.width;
    const std::size_t lanes = spectrum_kernels<Number>().lanes;
    const std::vector<double> given = reader.take("mixing", {species, n_max, channels});
    const std::vector<double> self = reader.take("self", {species, channels});
    mixing_.assign(species * n_max * width, 0);
    back_.assign(species * width * view_.n_padded, 0);
    self_.assign(species * width, 0);
    for (std::size_t s = 0; s < species; ++s) {
      for (std::size_t q = 0; q < channels; ++q)
        self_[s * width + q] = static_cast<Number>(self[s * channels + q]);
      std::size_t first = channels, last = 0;
      for (std::size_t n = 0; n < n_max; ++n)
        for (std::size_t q = 0; q < channels; ++q) {
          const auto share = static_cast<Number>(given[(s * n_max + n) * channels + q]);
          if (share == 0.0) continue;
          mixing_[(s * n_max + n) * width + q] = share;
          back_[(s * width + q) * view_.n_padded + n] = share;
          first = std::min(first, q);
          last = std::max(last, q + 1);
        }
      begin_.push_back(std::min(first, last) / lanes * lanes);
      end_.push_back(rounded(last, lanes));
    }
  }

  SpectrumTables<Number> radial_;
  SoapViewOf<Number> view_;
  std::vector<Number> mixing_, back_, self_, scale_;
  std::vector<std::size_t> begin_, end_;  // (species)
  std::vector<SoapRun> runs_;
  SoapContractionViewOf<Number> contraction_{};
};

template <typename Number>
std::unique_ptr<MappedTerm> read_sums(TermReader& reader) {
  std::unique_ptr<const Spectrum<Number>> spectrum = std::make_unique<Contraction<Number>>(reader);
  return read_spectrum_sums(reader, std::move(spectrum));
}

}  // namespace

std::unique_ptr<MappedTerm> read_soap_contracted(TermReader& reader) {
  return in_single_precision(reader) ? read_sums<float>(reader) : read_sums<double>(reader);
}

std::unique_ptr<DrawnTerm> draw_soap_contracted(TermReader& reader) {
  return draw_one_by_one(reader, read_soap_contracted);
}

}  // namespace forcemap
