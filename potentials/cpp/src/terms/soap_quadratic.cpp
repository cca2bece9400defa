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

#include "clones.hpp"
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

void add_product(double factor, const double* a, std::size_t size, double* sum) {
  for (std::size_t n = 0; n < size; ++n) sum[n] += factor * a[n];
}

// c (rows, columns) = a (rows, inner) times b (inner, columns), four rows of b at a time.
FORCEMAP_CLONES void multiply(const double* a, const double* b, std::size_t rows, std::size_t inner,
                              std::size_t columns, double* c) {
  std::fill_n(c, rows * columns, 0.0);
  constexpr std::size_t step = 4;
  for (std::size_t row = 0; row < rows; ++row) {
    double* const sum = c + row * columns;
    const double* const factors = a + row * inner;
    std::size_t k = 0;
    for (; k + step <= inner; k += step) {
      const double f0 = factors[k], f1 = factors[k + 1], f2 = factors[k + 2], f3 = factors[k + 3];
      const double *const b0 = b + k * columns, *const b1 = b0 + columns, *const b2 = b1 + columns,
                          *const b3 = b2 + columns;
      FORCEMAP_INDEPENDENT
      for (std::size_t n = 0; n < columns; ++n)
        sum[n] += f0 * b0[n] + f1 * b1[n] + f2 * b2[n] + f3 * b3[n];
    }
    for (; k < inner; ++k) add_product(factors[k], b + k * columns, columns, sum);
  }
}

// What a file has of one centre species; `sets` of weights, the draws' or the mean's.
struct Forms {
  std::size_t sets, dimension, rank;
  std::vector<double> spectrum, subspace;  // q; S, (rank, dimension)
  std::vector<double> lines, forms;        // (sets, dimension) and (sets, rank, rank)
  std::vector<double> along;               // (sets) l . q

  Forms(TermReader& reader, const TermReader::Center& center, std::size_t size)
      : sets(std::max<std::size_t>(reader.draws(), 1)),
        dimension(size),
        rank(static_cast<std::size_t>(center.json.at("rank").integer(1, max_rank))) {
    const std::string name = reader.label({center.species});
    const auto weighted = [&](const std::string& part, const std::vector<std::size_t>& shape) {
      return reader.draws() ? reader.take_draws(name + part, shape)
                            : reader.take_weighted(name + part, shape);
    };
    spectrum = reader.take(name + ".spectrum", {dimension});
    subspace = reader.take(name + ".subspace", {rank, dimension});
    check_directions(reader, name);
    lines = weighted(".lines", {dimension});
    for (std::size_t k = 0; k < sets; ++k)
      along.push_back(dot(&lines[k * dimension], spectrum.data(), dimension));
    forms = weighted(".forms", {rank, rank});
    check_symmetry(reader, name + ".forms");
  }

  // F_k y (rank), or S^T y (dimension).
  void image(std::size_t k, const double* y, double* out) const {
    for (std::size_t n = 0; n < rank; ++n) out[n] = dot(&forms[(k * rank + n) * rank], y, rank);
  }
  void lift(const double* y, double* out) const {
    std::fill_n(out, dimension, 0.0);
    for (std::size_t n = 0; n < rank; ++n)
      add_product(y[n], &subspace[n * dimension], dimension, out);
  }

 private:
  void check_directions(const TermReader& reader, const std::string& name) const {
    const double length = std::sqrt(dot(spectrum.data(), spectrum.data(), dimension));
    if (!(std::abs(length - 1.0) <= tolerance))
      reader.reject_tensor(name + ".spectrum", "found the length ", length, ", expected 1");
    for (std::size_t row = 0; row < rank; ++row) {
      const double product = dot(&subspace[row * dimension], spectrum.data(), dimension);
      if (!(std::abs(product) <= tolerance))
        reader.reject_tensor(name + ".subspace", "found the product ", product, " of row ", row,
                             " with the spectrum, expected 0");
    }
  }

  void check_symmetry(const TermReader& reader, const std::string& name) const {
    double largest = 0.0;
    for (const double f : forms) largest = std::max(largest, std::abs(f));
    for (std::size_t k = 0; k < sets; ++k)
      for (std::size_t a = 0; a < rank; ++a)
        for (std::size_t b = 0; b < a; ++b) {
          const double* form = &forms[k * rank * rank];
          const double ab = form[a * rank + b], ba = form[b * rank + a];
          if (!(std::abs(ab - ba) <= tolerance * largest))
            reader.reject_tensor(name, "found ", ab, " at (", a, ", ", b, ") and ", ba, " at (", b,
                                 ", ", a, "), expected a symmetric form");
        }
  }
};

// The forms of all draws in single precision: y . F y, which the lines are not part of, is small.
class DrawnForms final : public SpectrumDraws {
 public:
  explicit DrawnForms(const Forms& given)
      : draws_(given.sets),
        dimension_(given.dimension),
        spectrum_(given.spectrum),
        lines_(given.lines),
        along_(given.along) {
    view_.draws = draws_;
    view_.size = view_.rank = in_panels(dimension_);
    const std::vector<double> columns = transposed(given);
    if (through_subspace(given.rank)) {
      const std::size_t rank = given.rank;
      view_.rank = in_panels(rank);
      up_ = panels_of(given.subspace, rank, dimension_);
      down_ = panels_of(columns, dimension_, rank);
      view_.up = up_.data();
      view_.down = down_.data();
    }
    for (std::size_t k = 0; k < draws_; ++k) {
      const std::vector<float> panels = view_.down ? form(given, k) : whole(given, columns, k);
      forms_.insert(forms_.end(), panels.begin(), panels.end());
    }
    single_lines_.assign((draws_ + 1) * view_.size, 0.0F);
    for (std::size_t n = 0; n < dimension_; ++n) {
      single_lines_[n] = static_cast<float>(spectrum_[n]);
      for (std::size_t k = 0; k < draws_; ++k)
        single_lines_[(1 + k) * view_.size + n] = static_cast<float>(lines_[k * dimension_ + n]);
    }
    view_.forms = forms_.data();
    view_.spectrum = single_lines_.data();
    view_.lines = single_lines_.data() + view_.size;
  }
  DrawnForms(const DrawnForms&) = delete;
  DrawnForms& operator=(const DrawnForms&) = delete;

  std::size_t bytes() const override {
    return (up_.size() + down_.size() + forms_.size() + single_lines_.size()) * sizeof(float) +
           (spectrum_.size() + lines_.size()) * sizeof(double);
  }

  std::size_t spare(std::size_t padded_draws) const override {
    const std::size_t of_site = 1 + padded_draws + view_.size / 2 + view_.rank;
    return dimension_ + kFormSites * of_site;
  }

  void evaluate(const SpectrumAnswer& answer) const override {
    const std::size_t draws = answer.padded_draws;
    double *const apart = answer.spare, *const along = apart + dimension_;
    double* const across = along + kFormSites;
    float* const singles = reinterpret_cast<float*>(across + kFormSites * draws);
    float* const y = singles + kFormSites * view_.size;
    std::fill_n(answer.energies, answer.sites * draws, 0.0);
    std::fill_n(across, answer.sites * draws, 0.0);
    for (std::size_t s = 0; s < answer.sites; ++s) {
      const double* const p = answer.spectra[s];
      const double a = along[s] = dot(spectrum_.data(), p, dimension_);
      std::copy_n(p, dimension_, apart);
      add_product(-a, spectrum_.data(), dimension_, apart);
      std::fill_n(std::copy_n(apart, dimension_, singles + s * view_.size), view_.size - dimension_,
                  0.0F);
      for (std::size_t k = 0; k < draws_; ++k) {
        const double on_line = dot(&lines_[k * dimension_], p, dimension_);
        answer.energies[s * draws + k] = a * (2.0 * on_line - a * along_[k]);
        across[s * draws + k] = on_line - a * along_[k];
      }
    }
    site_kernels().soap.forms(view_, {answer.sites, draws, singles, along, across, y,
                                      y + kFormSites * view_.rank, answer.energies, answer.slopes});
  }

 private:
  // Whether a form in the coordinates costs less than one of the whole spectrum.
  bool through_subspace(std::size_t rank) const {
    return draws_ * rank * (rank + dimension_) + rank * dimension_ <
           draws_ * dimension_ * dimension_;
  }

  static std::vector<double> transposed(const Forms& given) {
    std::vector<double> columns(given.subspace.size());
    for (std::size_t row = 0; row < given.rank; ++row)
      for (std::size_t n = 0; n < given.dimension; ++n)
        columns[n * given.rank + row] = given.subspace[row * given.dimension + n];
    return columns;
  }

  static std::vector<float> form(const Forms& given, std::size_t k) {
    const std::size_t count = given.rank * given.rank;
    const double* const begin = &given.forms[k * count];
    return panels_of({begin, begin + count}, given.rank, given.rank);
  }

  // S^T F S; `columns`: S^T
  static std::vector<float> whole(const Forms& given, const std::vector<double>& columns,
                                  std::size_t k) {
    const std::size_t rank = given.rank, dimension = given.dimension;
    std::vector<double> half(rank * dimension), all(dimension * dimension);
    multiply(&given.forms[k * rank * rank], given.subspace.data(), rank, rank, dimension,
             half.data());
    multiply(columns.data(), half.data(), dimension, rank, dimension, all.data());
    return panels_of(all, dimension, dimension);
  }

  std::size_t draws_, dimension_;
  std::vector<double> spectrum_, lines_, along_;
  std::vector<float> up_, down_, forms_, single_lines_;
  SoapFormsView view_{};
};

void allow_members(const TermReader& reader) {
  reader.json().allow_only({"kind", "cutoff", "intervals", "degree", "cosine_width", "n_max",
                            "l_max", "channels", "species_tables", "centers"});
}

// The mean, in doubles.
class Mean final : public MappedTerm {
 public:
  explicit Mean(TermReader& reader)
      : expansion_(read_soap_expansion(reader)), centers_(reader.species()) {
    SoapWorkspace space;
    std::vector<double> image;
    for (const TermReader::Center& of : reader.centers({"species", "rank"})) {
      Center& center = centers_[of.species];
      center.form = std::make_unique<Forms>(reader, of, expansion_.dimension());
      SoapWork& isolated = isolated_atom(expansion_.view(), static_cast<int>(of.species), space);
      center.constant = energy(*center.form, isolated, image);
    }
  }

  double cutoff() const override { return expansion_.cutoff(); }

  std::size_t bytes() const override {
    std::size_t sum = expansion_.bytes();
    for (const Center& center : centers_)
      if (center.form)
        sum += (center.form->subspace.size() + center.form->forms.size()) * sizeof(double);
    return sum;
  }

  void add(const Sites& sites, double* energies, Workspace& space) const override {
    Scratch& scratch = space.of<Scratch>();
    const SpectrumKernels<double>& loops = site_kernels().soap.exact;
    const SoapView& view = expansion_.view();
    add_each(sites, energies, [&](const SiteView& site) {
      const Center& center = centers_[static_cast<std::size_t>(site.species)];
      if (!center.form) return 0.0;
      SoapWork& work = scratch.density.prepare(view, site.count);
      loops.density(view, site, work);
      const double own = energy(*center.form, work, scratch.image) - center.constant;
      loops.forces(view, site, work);
      return own;
    });
  }

 private:
  struct Center {
    std::unique_ptr<Forms> form;  // null: no energy
    double constant = 0.0;        // of the isolated atom, eV
  };

  struct Scratch {
    SoapWorkspace density;
    std::vector<double> image;
  };

  // With dE/dp of p before it is normalised in work.g.
  double energy(const Forms& form, const SoapWork& work, std::vector<double>& image) const {
    const std::size_t dimension = form.dimension, rank = form.rank;
    image.resize(2 * rank);
    double *const y = image.data(), *const fy = y + rank, *const g = work.g;
    const double* const p = work.p;
    const double a = dot(form.spectrum.data(), p, dimension);
    const double on_line = dot(form.lines.data(), p, dimension);
    for (std::size_t n = 0; n < rank; ++n) y[n] = dot(&form.subspace[n * dimension], p, dimension);
    form.image(0, y, fy);
    form.lift(fy, g);
    for (std::size_t n = 0; n < dimension; ++n)
      g[n] = 2.0 * (g[n] + a * form.lines[n] + (on_line - a * form.along[0]) * form.spectrum[n]);
    const double inverse = work.norm > 0.0 ? 1.0 / work.norm : 0.0;
    const double along = dot(g, p, dimension);
    for (std::size_t n = 0; n < dimension; ++n) g[n] = (g[n] - along * p[n]) * inverse;
    std::fill(g + dimension, g + expansion_.view().padded_dimension, 0.0);
    return a * (2.0 * on_line - a * form.along[0]) + dot(fy, y, rank);
  }

  SoapExpansion expansion_;
  std::vector<Center> centers_;  // (species)
};

}  // namespace

std::unique_ptr<MappedTerm> read_soap_quadratic(TermReader& reader) {
  allow_members(reader);
  return std::make_unique<Mean>(reader);
}

std::unique_ptr<DrawnTerm> draw_soap_quadratic(TermReader& reader) {
  allow_members(reader);
  return draw_spectrum_term(
      reader, {"species", "rank"},
      [](TermReader& of, const TermReader::Center& center,
         const SoapView& expansion) -> std::unique_ptr<SpectrumDraws> {
        return std::make_unique<DrawnForms>(Forms(of, center, expansion.dimension));
      });
}

}  // namespace forcemap
