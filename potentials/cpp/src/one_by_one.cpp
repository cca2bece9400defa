// Draws of a kind of term that has no loop of its own for them.
#include <algorithm>

#include "sites.hpp"
#include "terms/term_reader.hpp"

namespace forcemap {

namespace {

class OneByOne final : public DrawnTerm {
 public:
  explicit OneByOne(std::vector<std::unique_ptr<MappedTerm>> terms) : terms_(std::move(terms)) {}

  double cutoff() const override { return terms_.front()->cutoff(); }

  std::size_t bytes() const override {
    std::size_t sum = 0;
    for (const auto& term : terms_) sum += term->bytes();
    return sum;
  }

  void add(const SiteView& site, const DrawSums& sums, Workspace& space) const override {
    const SiteView* const sites[] = {&site};
    double* const own[] = {site.gx, site.gy, site.gz};
    for (std::size_t draw = 0; draw < terms_.size(); ++draw) {
      for (double* g : own) std::fill_n(g, site.padded, 0.0);
      terms_[draw]->add({1, sites}, sums.energies + draw, space);
      for (std::size_t n = 0; n < site.count; ++n)
        for (std::size_t d = 0; d < 3; ++d)
          sums.gradients[(3 * n + d) * sums.width + draw] += own[d][n];
    }
  }

 private:
  std::vector<std::unique_ptr<MappedTerm>> terms_;
};

}  // namespace

std::unique_ptr<DrawnTerm> draw_one_by_one(TermReader& reader,
                                           std::unique_ptr<MappedTerm> (*read)(TermReader&)) {
  std::vector<std::unique_ptr<MappedTerm>> terms;
  for (std::size_t draw = 0; draw < reader.draws(); ++draw) {
    TermReader one = reader.of_draw(draw);
    terms.push_back(read(one));
  }
  return std::make_unique<OneByOne>(std::move(terms));
}

}  // namespace forcemap
