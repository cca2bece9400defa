// 2-body terms: a spline of each pair of species. The site energy of atom i is the sum of f(r_ij)
// over its neighbours j, so that a pair's energy is 2 f.
//
//   {"kind": "two_body", "cutoff": 5.5, "intervals": 200, "tables": [["H", "H"], ...]}
//
// For each table "A-B" (intervals + 3), eV, linear in the weights.
#include "sites.hpp"
#include "tables.hpp"
#include "term_reader.hpp"

namespace forcemap {

namespace {

class TwoBody final : public MappedTerm {
 public:
  explicit TwoBody(TermReader& reader) : tables_(reader.species() * reader.species()) {
    reader.json().allow_only({"kind", "cutoff", "intervals", "tables"});
    const double cutoff = reader.cutoff();  // f is zero there with its first derivative
    const std::size_t intervals = reader.intervals("intervals");
    for (const Species& pair : reader.tables(2, TermReader::Order::exchangeable)) {
      const double* table = tables_.keep(reader.take_weighted(reader.label(pair), {intervals + 3}));
      tables_.set(pair[0] * reader.species() + pair[1], table);
      tables_.set(pair[1] * reader.species() + pair[0], table);
    }
    const double count = static_cast<double>(intervals);
    view_ = {reader.species(), cutoff, count / cutoff, count - 1.0, tables_.data()};
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

}  // namespace

std::unique_ptr<MappedTerm> read_two_body(TermReader& reader) {
  return std::make_unique<TwoBody>(reader);
}

std::unique_ptr<DrawnTerm> draw_two_body(TermReader& reader) {
  return draw_one_by_one(reader, read_two_body);
}

}  // namespace forcemap
