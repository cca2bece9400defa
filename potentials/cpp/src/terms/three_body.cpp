// 3-body terms: a spline of three distances for each species of centre and unordered pair of
// species of its neighbours. The site energy of atom i is the sum over unordered pairs of
// neighbours {j, k} of f(r_ij, r_ik, r_jk).
//
//   {"kind": "three_body", "cutoff": 4.0, "leg_intervals": 60, "base_intervals": 120,
//    "tables": [["O", "H", "H"], ...]}
//
// The intervals of r_ij and r_ik cover [0, cutoff], those of r_jk [0, 2 cutoff]. For each table, of
// a centre C and neighbours A and B, "C-A-B" (leg + 3, leg + 3, base + 3), eV, linear in
// the weights; of draws "C-A-B" (draws, count) of single precision, the coefficients of DrawnRows.
#include <cmath>
#include <limits>

#include "arena.hpp"
#include "sites.hpp"
#include "tables.hpp"
#include "term_reader.hpp"
#include "workspace.hpp"

namespace forcemap {

namespace {

constexpr double symmetry_tolerance = 1e-9;  // of a table, relative to its largest coefficient

// (legs, legs, base) row-major.
struct Shape {
  std::size_t legs, base;
  std::size_t at(std::size_t a, std::size_t b, std::size_t c) const {
    return (a * legs + b) * base + c;
  }
  std::size_t size() const { return legs * legs * base; }
};

void check_symmetry(const TermReader& reader, const std::string& name, const double* table,
                    const Shape& shape) {
  double largest = 0.0;
  for (std::size_t n = 0; n < shape.size(); ++n) largest = std::max(largest, std::abs(table[n]));
  for (std::size_t a = 0; a < shape.legs; ++a) {
    for (std::size_t b = 0; b < a; ++b) {
      for (std::size_t c = 0; c < shape.base; ++c) {
        const double ab = table[shape.at(a, b, c)], ba = table[shape.at(b, a, c)];
        if (std::abs(ab - ba) <= symmetry_tolerance * largest) continue;
        reader.reject_tensor(name, "found ", ab, " at (", a, ", ", b, ", ", c, ") and ", ba,
                             " at (", b, ", ", a, ", ", c,
                             "), expected them equal: the neighbours are of one species");
      }
    }
  }
}

// The coefficients of draws' tables, row after row along r_jk: of each row those alone whose
// splines some triangle reaches, and of rows (a, b) and (b, a) one, where the neighbours are of one
// species.
class DrawnRows {
 public:
  DrawnRows(std::size_t leg, std::size_t base, bool same) : leg_(leg), base_(base), same_(same) {}

  std::size_t legs() const { return leg_ + 3; }
  std::size_t rows() const { return same_ ? legs() * (legs() + 1) / 2 : legs() * legs(); }

  /// Coefficients of all rows.
  std::size_t count() const {
    std::size_t sum = 0;
    each([&](std::size_t, std::size_t, std::size_t first, std::size_t end) { sum += end - first; });
    return sum;
  }

  /// Before and after those that there are. The loops may touch them: rounding and atoms that are
  /// nowhere (NaN) make triangles that are none.
  std::size_t margin() const { return base_ + 3; }

  /// See RowPlaces. The caller sees to it that they can be counted with int.
  std::vector<int> places(std::size_t lanes) const {
    std::vector<int> found(legs() * legs());
    std::size_t at = margin();
    each([&](std::size_t a, std::size_t b, std::size_t first, std::size_t end) {
      found[a * legs() + b] = static_cast<int>((at - first) * lanes);
      if (same_) found[b * legs() + a] = found[a * legs() + b];
      at += end - first;
    });
    return found;
  }

 private:
  // (a, b, first, end) of all rows in the order of the file.
  template <typename Use>
  void each(const Use& use) const {
    for (std::size_t a = 0; a < legs(); ++a) {
      for (std::size_t b = same_ ? a : 0; b < legs(); ++b) {
        // In the spacing of the legs' knots: at least how far apart r_ij and r_ik are, their
        // largest sum. Whole numbers, so that every reader and writer finds the same.
        const std::size_t gap = std::max(apart(a, b), apart(b, a)), sum = high(a) + high(b);
        use(a, b, gap * base_ / (2 * leg_), (sum * base_ + 2 * leg_ - 1) / (2 * leg_) + 3);
      }
    }
  }
  // Coefficient a is that of a spline between these knots.
  static std::size_t low(std::size_t a) { return a > 3 ? a - 3 : 0; }
  std::size_t high(std::size_t a) const { return std::min(a + 1, leg_); }
  std::size_t apart(std::size_t a, std::size_t b) const {
    return low(b) > high(a) ? low(b) - high(a) : 0;
  }

  std::size_t leg_, base_;
  bool same_;
};

// Coefficients of up to `lanes` draws side by side, from draw `first` on, between margins; zeros
// for those that are not there.
std::vector<float> draws_side_by_side(const std::vector<float>& tables, std::size_t size,
                                      std::size_t first, std::size_t lanes, std::size_t margin) {
  std::vector<float> result((size + 2 * margin) * lanes, 0.0F);
  for (std::size_t lane = 0; lane < lanes && (first + lane) * size < tables.size(); ++lane)
    for (std::size_t n = 0; n < size; ++n)
      result[(margin + n) * lanes + lane] = tables[(first + lane) * size + n];
  return result;
}

// Each row along r_jk and the next one along r_ik, coefficient by coefficient: the loops then load
// two rows with one instruction, and half as often.
std::vector<double> paired_rows(const std::vector<double>& table, const Shape& shape) {
  std::vector<double> result(shape.legs * (shape.legs - 1) * shape.base * 2);
  double* out = result.data();
  for (std::size_t a = 0; a < shape.legs; ++a)
    for (std::size_t b = 0; b + 1 < shape.legs; ++b)
      for (std::size_t c = 0; c < shape.base; ++c) {
        *out++ = table[shape.at(a, b, c)];
        *out++ = table[shape.at(a, b + 1, c)];
      }
  return result;
}

// The arrays of one site.
struct Scratch {
  Arena arena;
  ThreeBodyWork work{};
  std::size_t neighbors = 0, species = 0;

  // Two vectors more, which the loops may touch and nobody reads.
  std::size_t room() const { return (neighbors + 7 * species + 16 + 7) / 8 * 8; }

  const ThreeBodyWork& reserve(const SiteView& site, std::size_t species_of_term) {
    if (site.capacity <= neighbors && species_of_term <= species) return work;
    neighbors = std::max(neighbors, site.capacity);
    species = std::max(species, species_of_term);
    const std::size_t n = room();
    ThreeBodyWork& w = work;
    arena.lay_out([&](const auto& each) {
      for (double** p : {&w.tx, &w.ty, &w.tz, &w.tr, &w.hx, &w.hy, &w.hz, &w.row_start})
        each(*p, n);
      for (int** p : {&w.slot, &w.interval}) each(*p, n);
      for (double** p : {&w.weights, &w.derivatives}) each(*p, 4 * n);
      for (double** p : {&w.radial, &w.on_x, &w.on_y, &w.on_z}) each(*p, 4 * n);
      each(w.rows, 16 * n);
    });
    return work;
  }
};

// The members of a term but its tables: a view without tables, whose rows along r_jk are `columns`
// numbers for each coefficient.
struct Members {
  Shape shape;
  ThreeBodyView view;

  Members(TermReader& reader, std::size_t rows, std::size_t columns) {
    reader.json().allow_only({"kind", "cutoff", "leg_intervals", "base_intervals", "tables"});
    const double cutoff = reader.cutoff();  // of r_ij and r_ik; r_jk reaches twice as far
    const std::size_t leg = reader.intervals("leg_intervals");
    const std::size_t base = reader.intervals("base_intervals");
    shape = {leg + 3, base + 3};
    const double legs = static_cast<double>(leg), bases = static_cast<double>(base);
    view = {reader.species(),
            cutoff,
            legs / cutoff,
            legs - 1.0,
            bases / (2.0 * cutoff),
            bases - 1.0,
            static_cast<std::ptrdiff_t>((shape.legs - rows) * shape.base * columns),
            static_cast<std::ptrdiff_t>(shape.base * columns),
            nullptr};
    for (const Species& triplet : reader.tables(3, TermReader::Order::exchangeable)) {
      // The loops count coefficients of a plane with int.
      if (columns * shape.legs * shape.base >
          static_cast<std::size_t>(std::numeric_limits<int>::max()))
        reader.reject_tensor(reader.label(triplet),
                             "found more coefficients in a plane than can be counted");
    }
  }
};

class ThreeBody final : public MappedTerm {
 public:
  explicit ThreeBody(TermReader& reader)
      : tables_(reader.species() * reader.species() * reader.species()) {
    const Members members(reader, 1, 2);
    const std::size_t n = reader.species();
    for (const Species& triplet : reader.tables(3, TermReader::Order::exchangeable))
      tables_.set((triplet[0] * n + triplet[1]) * n + triplet[2],
                  read(reader, triplet, members.shape));
    view_ = members.view;
    view_.tables = tables_.data();
  }

  double cutoff() const override { return view_.cutoff; }
  std::size_t bytes() const override { return tables_.bytes(); }

  void add(const Sites& sites, double* energies, Workspace& space) const override {
    const ThreeBodyFunction energy = site_kernels().three_body;
    Scratch& scratch = space.of<Scratch>();
    add_each(sites, energies, [&](const SiteView& site) {
      return energy(view_, site, scratch.reserve(site, view_.species));
    });
  }

 private:
  const double* read(TermReader& reader, const Species& triplet, const Shape& shape) {
    const std::string name = reader.label(triplet);
    const std::vector<double> table =
        reader.take_weighted(name, {shape.legs, shape.legs, shape.base});
    if (triplet[1] == triplet[2]) check_symmetry(reader, name, table.data(), shape);
    return tables_.keep(paired_rows(table, shape));
  }

  Tables tables_;
  ThreeBodyView view_{};
};

// Further arrays of one site for draws.
struct DrawsScratch {
  Arena arena;
  ThreeBodyDrawsWork work{};
  std::size_t room = 0;

  const ThreeBodyDrawsWork& reserve(std::size_t neighbors) {
    if (neighbors <= room) return work;
    room = neighbors;
    ThreeBodyDrawsWork& w = work;
    arena.lay_out([&](const auto& each) {
      for (float** p : {&w.legs, &w.base, &w.base_slopes}) each(*p, 4 * room);
      for (float** p : {&w.dx, &w.dy, &w.dz}) each(*p, room);
      each(w.cell, room);
      each(w.products, 16 * room);
      each(w.rows, 4 * kDrawnTogether * room);
      each(w.radial, kDrawnTogether * room);
      each(w.h, 3 * kDrawnTogether * room);
    });
    return work;
  }
};

class ThreeBodyDraws final : public DrawnTerm {
 public:
  explicit ThreeBodyDraws(TermReader& reader)
      : tables_((reader.draws() + kTogether - 1) / kTogether * reader.species() * reader.species() *
                reader.species()) {
    const Members members(reader, 1, 1);
    const std::size_t legs = members.shape.legs, n = reader.species();
    for (const Species& triplet : reader.tables(3, TermReader::Order::exchangeable)) {
      const bool same = triplet[1] == triplet[2];
      const DrawnRows rows(legs - 3, members.shape.base - 3, same);
      read(reader, triplet, rows, (triplet[0] * n + triplet[1]) * n + triplet[2]);
      std::vector<int>& places = same ? of_same_ : of_different_;
      if (places.empty()) places = rows.places(kTogether);
    }
    view_ = {reader.draws(),
             members.view,
             {legs, of_different_.data(), of_same_.data()},
             tables_.data()};
  }

  double cutoff() const override { return view_.term.cutoff; }
  std::size_t bytes() const override {
    return tables_.bytes() + (of_different_.size() + of_same_.size()) * sizeof(int);
  }

  void add(const SiteView& site, const DrawSums& sums, Workspace& space) const override {
    Scratch& scratch = space.of<Scratch>();
    const ThreeBodyWork& work = scratch.reserve(site, view_.term.species);
    site_kernels().three_body_draws(view_, site, work,
                                    space.of<DrawsScratch>().reserve(scratch.room()), sums);
  }

 private:
  void read(TermReader& reader, const Species& triplet, const DrawnRows& rows, std::size_t place) {
    const std::string name = reader.label(triplet);
    // No row is empty. The document may ask for more of them than can be walked through.
    const std::size_t found = reader.count(name), draws = reader.draws();
    if (found > 0 && found / draws < rows.rows())
      reader.reject_tensor(name, "found ", found, " numbers, expected at least ", draws, " x ",
                           rows.rows(), " with so many intervals");
    const std::size_t count = found > 0 ? rows.count() : rows.rows();
    const std::vector<float> all = reader.take_single_draws(name, {count});
    if ((count + 2 * rows.margin()) * kTogether >
        static_cast<std::size_t>(std::numeric_limits<int>::max()))
      reader.reject_tensor(name, "found more coefficients of a draw than can be counted");
    const std::size_t combinations = reader.species() * reader.species() * reader.species();
    for (std::size_t k = 0; k < draws; k += kTogether)
      tables_.set(k / kTogether * combinations + place,
                  tables_.keep(draws_side_by_side(all, count, k, kTogether, rows.margin())));
  }

  static constexpr std::size_t kTogether = kDrawnSideBySide;
  TablesOf<float> tables_;
  std::vector<int> of_different_, of_same_;
  ThreeBodyDrawsView view_{};
};

}  // namespace

std::unique_ptr<MappedTerm> read_three_body(TermReader& reader) {
  return std::make_unique<ThreeBody>(reader);
}

std::unique_ptr<DrawnTerm> draw_three_body(TermReader& reader) {
  return std::make_unique<ThreeBodyDraws>(reader);
}

}  // namespace forcemap
