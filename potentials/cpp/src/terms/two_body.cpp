// 2-body terms: a spline of each pair of species. The site energy of atom i is the sum of f(r_ij)
// over its neighbours j, so that a pair's energy is 2 f.
//
//   {"kind": "two_body", "cutoff": 5.5, "intervals": 200, "tables": [["H", "H"], ...]}
//
// For each table "A-B" (intervals + 3), eV, linear in the weights.
#include <algorithm>

#include "sites.hpp"
#include "tables.hpp"
#include "term_reader.hpp"

namespace forcemap {

namespace {

// The members of a term but its tables.
struct Members {
  std::size_t intervals;
  TwoBodyView view;

  explicit Members(TermReader& reader) {
    reader.json().allow_only({"kind", "cutoff", "intervals", "tables"});
    const double cutoff = reader.cutoff();  // f is zero there with its first derivative
    intervals = reader.intervals("intervals");
    const double count = static_cast<double>(intervals);
    view = {reader.species(), cutoff, count / cutoff, count - 1.0, nullptr};
  }
};

// Enters take(name of the table) for each pair of species, in both orders.
template <typename Take>
void read_tables(TermReader& reader, Tables& tables, const Take& take) {
  for (const Species& pair : reader.tables(2, TermReader::Order::exchangeable)) {
    const double* table = tables.keep(take(reader.label(pair)));
    tables.set(pair[0] * reader.species() + pair[1], table);
    tables.set(pair[1] * reader.species() + pair[0], table);
  }
}

class TwoBody final : public MappedTerm {
 public:
  explicit TwoBody(TermReader& reader) : tables_(reader.species() * reader.species()) {
    const Members members(reader);
    read_tables(reader, tables_, [&](const std::string& name) {
      return reader.take_weighted(name, {members.intervals + 3});
    });
    view_ = members.view;
    view_.tables = tables_.data();
  }

  double cutoff() const override { return view_.cutoff; }
  std::size_t bytes() const override { return tables_.bytes(); }

  void add(const Sites& sites, double* energies, Workspace&) const override {
    const TwoBodyFunction energy = site_kernels().two_body;
    add_each(sites, energies, [&](const SiteView& site) { return energy(view_, site); });
  }

 private:
  Tables tables_;
  TwoBodyView view_{};
};

class TwoBodyDraws final : public DrawnTerm {
 public:
  explicit TwoBodyDraws(TermReader& reader) : tables_(reader.species() * reader.species()) {
    const Members members(reader);
    const std::size_t draws = reader.draws(), padded = (draws + 7) / 8 * 8;
    const std::size_t rows = members.intervals + 3;
    read_tables(reader, tables_, [&](const std::string& name) {
      const std::vector<double> all = reader.take_draws(name, {rows});
      std::vector<double> table(rows * padded, 0.0);
      for (std::size_t k = 0; k < draws; ++k)
        for (std::size_t n = 0; n < rows; ++n) table[n * padded + k] = all[k * rows + n];
      return table;
    });
    view_ = {members.view};
    view_.term.tables = tables_.data();
  }

  double cutoff() const override { return view_.term.cutoff; }
  std::size_t bytes() const override { return tables_.bytes(); }

  void add(const SiteView& site, const DrawSums& sums, Workspace&) const override {
    site_kernels().two_body_draws(view_, site, sums);
  }

 private:
  Tables tables_;
  TwoBodyDrawsView view_{};
};

}  // namespace

std::unique_ptr<MappedTerm> read_two_body(TermReader& reader) {
  return std::make_unique<TwoBody>(reader);
}

std::unique_ptr<DrawnTerm> draw_two_body(TermReader& reader) {
  return std::make_unique<TwoBodyDraws>(reader);
}

}  // namespace forcemap
