// Quadratic forms of the power spectrum about its mean. With the normalised spectrum p of a centre,
// its unit vector q ("A.spectrum"), a = q . p and y = S p the energy is
//
//   2 a (l . p) - a^2 (l . q) + y . F y
//
// less that of an isolated atom: the form p . W p with l = W q, but that the part orthogonal to q
// is taken in a subspace, whose rows S are orthonormal and orthogonal to q.
//
//   {"kind": "soap_quadratic", "cutoff": 5.0, "intervals": 64, "n_max": 8, "l_max": 6,
//    "channels": 2, "centers": [{"species": "O", "rank": 64}, ...]}
//
// The basis is that of soap terms. For each centre there are "A.spectrum" (dimension) and
// "A.subspace" (rank, dimension), and, linear in the weights, "A.lines" (dimension) and "A.forms"
// (rank, rank), eV.
#include <algorithm>
#include <cmath>

#include "arena.hpp"
#include "sites.hpp"
#include "soap_parts.hpp"
#include "term_reader.hpp"
#include "workspace.hpp"

namespace forcemap {

namespace {

constexpr std::int64_t max_rank = 4096;
constexpr double tolerance = 1e-6;  // of the length of q, its products with S, the forms' symmetry

double dot(const double* a, const double* b, std::size_t size) {
  double sum = 0.0;
  for (std::size_t n = 0; n < size; ++n) sum += a[n] * b[n];
  return sum;
}

// The forms of one centre species, for all draws.
class Forms final : public SpectrumDraws {
 public:
  Forms(TermReader& reader, const TermReader::Center& center, const SoapView& expansion)
      : draws_(std::max<std::size_t>(reader.draws(), 1)), size_(expansion.padded_dimension) {
    const std::size_t dimension = expansion.dimension;
    rank_ = static_cast<std::size_t>(center.json.at("rank").integer(1, max_rank));
    padded_rank_ = (rank_ + 7) / 8 * 8;
    const std::string name = reader.label({center.species});
    const auto weighted = [&](const std::string& part, const std::vector<std::size_t>& shape) {
      return reader.draws() ? reader.take_draws(name + part, shape)
                            : reader.take_weighted(name + part, shape);
    };
    const std::vector<double> q = reader.take(name + ".spectrum", {dimension});
    const std::vector<double> s = reader.take(name + ".subspace", {rank_, dimension});
    check_directions(reader, name, q, s);
    shared_ = padded_rows(q, 1, expansion);
    const std::vector<double> rows = padded_rows(s, rank_, expansion);
    shared_.insert(shared_.end(), rows.begin(), rows.end());
    shared_.resize((rank_ + 4) / 4 * 4 * size_, 0.0);
    lines_ = padded_rows(weighted(".lines", {dimension}), (draws_ + 3) / 4 * 4, expansion);
    for (std::size_t k = 0; k < draws_; ++k)
      along_.push_back(dot(&lines_[k * size_], shared_.data(), size_));
    const std::vector<double> given = weighted(".forms", {rank_, rank_});
    check_symmetry(reader, name + ".forms", given);
    forms_.assign(draws_ * padded_rank_ * padded_rank_, 0.0);
    for (std::size_t row = 0; row < draws_ * rank_; ++row)
      std::copy_n(&given[row * rank_], rank_,
                  &forms_[(row / rank_ * padded_rank_ + row % rank_) * padded_rank_]);
  }

  std::size_t bytes() const override {
    return (shared_.size() + lines_.size() + forms_.size()) * sizeof(double);
  }

  std::size_t spare(std::size_t padded_draws) const override {
    return shared_count() + 8 + padded_rank_ + padded_draws * (1 + padded_rank_ + rank_ + 1);
  }

  void evaluate(const SpectrumAnswer& answer) const override {
    const SoapKernels& loops = site_kernels().soap;
    // a and y; y once more, padded; l . p; F y; the factors of q and S
    double* const a = answer.spare;
    double* const y = a + (shared_count() + 7) / 8 * 8;
    double* const on_lines = y + padded_rank_;
    double* const fy = on_lines + answer.padded_draws;
    double* const factors = fy + answer.padded_draws * padded_rank_;
    loops.products(shared_.data(), shared_count(), size_, answer.spectrum, a);
    std::fill_n(y, padded_rank_, 0.0);
    std::copy_n(a + 1, rank_, y);
    loops.products(lines_.data(), (draws_ + 3) / 4 * 4, size_, answer.spectrum, on_lines);
    loops.products(forms_.data(), draws_ * padded_rank_, padded_rank_, y, fy);
    std::fill_n(factors, answer.padded_draws * (rank_ + 1), 0.0);
    for (std::size_t k = 0; k < draws_; ++k) {
      const double* const f = fy + k * padded_rank_;
      const double on_line = on_lines[k];
      double* const c = factors + k * (rank_ + 1);
      answer.energies[k] = 2.0 * *a * on_line - *a * *a * along_[k] + dot(f, y, rank_);
      c[0] = 2.0 * (on_line - *a * along_[k]);
      for (std::size_t n = 0; n < rank_; ++n) c[1 + n] = 2.0 * f[n];
    }
    loops.sums({answer.padded_draws, rank_ + 1, size_, factors, shared_.data(), answer.slopes});
    for (std::size_t k = 0; k < draws_; ++k)
      for (std::size_t n = 0; n < size_; ++n)
        answer.slopes[k * size_ + n] += 2.0 * *a * lines_[k * size_ + n];
  }

 private:
  std::size_t shared_count() const { return (rank_ + 4) / 4 * 4; }

  void check_directions(const TermReader& reader, const std::string& name,
                        const std::vector<double>& q, const std::vector<double>& s) const {
    const double length = std::sqrt(dot(q.data(), q.data(), q.size()));
    if (!(std::abs(length - 1.0) <= tolerance))
      reader.reject_tensor(name + ".spectrum", "found the length ", length, ", expected 1");
    for (std::size_t row = 0; row < rank_; ++row) {
      const double along = dot(&s[row * q.size()], q.data(), q.size());
      if (!(std::abs(along) <= tolerance))
        reader.reject_tensor(name + ".subspace", "found the product ", along, " of row ", row,
                             " with the spectrum, expected 0");
    }
  }

  void check_symmetry(const TermReader& reader, const std::string& name,
                      const std::vector<double>& forms) const {
    double largest = 0.0;
    for (const double f : forms) largest = std::max(largest, std::abs(f));
    for (std::size_t k = 0; k < draws_; ++k)
      for (std::size_t a = 0; a < rank_; ++a)
        for (std::size_t b = 0; b < a; ++b) {
          const double* form = &forms[k * rank_ * rank_];
          const double ab = form[a * rank_ + b], ba = form[b * rank_ + a];
          if (!(std::abs(ab - ba) <= tolerance * largest))
            reader.reject_tensor(name, "found ", ab, " at (", a, ", ", b, ") and ", ba, " at (", b,
                                 ", ", a, "), expected a symmetric form");
        }
  }

  std::size_t draws_, size_, rank_ = 0, padded_rank_ = 0;
  std::vector<double> shared_;  // q and S, (1 + rank, size) up to a multiple of 4
  std::vector<double> lines_;   // (draws up to a multiple of 4, size)
  std::vector<double> along_;   // (draws) l . q
  std::vector<double> forms_;   // (draws, padded_rank, padded_rank)
};

std::unique_ptr<DrawnTerm> read(TermReader& reader) {
  reader.json().allow_only({"kind", "cutoff", "intervals", "degree", "cosine_width", "n_max",
                            "l_max", "channels", "species_tables", "centers"});
  return draw_spectrum_term(reader, {"species", "rank"},
                            [](TermReader& of, const TermReader::Center& center,
                               const SoapView& expansion) -> std::unique_ptr<SpectrumDraws> {
                              return std::make_unique<Forms>(of, center, expansion);
                            });
}

// The gradients of one set of weights.
struct Gradients {
  Arena arena;
  double* at = nullptr;  // (neighbours, 3)
  std::size_t neighbors = 0;
};

// One set of weights, the mean, is one draw.
class Mean final : public MappedTerm {
 public:
  explicit Mean(TermReader& reader) : one_(read(reader)) {}
  double cutoff() const override { return one_->cutoff(); }
  std::size_t bytes() const override { return one_->bytes(); }

  void add(const Sites& sites, double* energies, Workspace& space) const override {
    Gradients& g = space.of<Gradients>();
    add_each(sites, energies, [&](const SiteView& site) {
      if (site.capacity > g.neighbors) {
        g.neighbors = site.capacity;
        g.arena.lay_out([&](const auto& each) { each(g.at, 3 * g.neighbors); });
      }
      std::fill_n(g.at, 3 * site.count, 0.0);
      double energy = 0.0;
      one_->add(site, {&energy, g.at, 1}, space);
      double* const own[] = {site.gx, site.gy, site.gz};
      for (std::size_t d = 0; d < 3; ++d)
        for (std::size_t n = 0; n < site.count; ++n) own[d][n] += g.at[3 * n + d];
      return energy;
    });
  }

 private:
  std::unique_ptr<DrawnTerm> one_;
};

}  // namespace

std::unique_ptr<MappedTerm> read_soap_quadratic(TermReader& reader) {
  return std::make_unique<Mean>(reader);
}

std::unique_ptr<DrawnTerm> draw_soap_quadratic(TermReader& reader) { return read(reader); }

}  // namespace forcemap
