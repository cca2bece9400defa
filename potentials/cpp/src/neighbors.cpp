#include "forcemap/neighbors.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "forcemap/fail.hpp"
#include "loops/site_kernels.hpp"

namespace forcemap {

namespace {

using Vec3 = std::array<double, 3>;

Vec3 cross(const Vec3& a, const Vec3& b) {
  return {a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]};
}
double dot(const Vec3& a, const Vec3& b) { return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]; }
double norm(const Vec3& a) { return std::sqrt(dot(a, a)); }

// Of the unit vectors, the one most nearly normal to `a`.
Vec3 least_aligned(const Vec3& a) {
  std::size_t best = 0;
  for (std::size_t d = 1; d < 3; ++d)
    if (std::fabs(a[d]) < std::fabs(a[best])) best = d;
  Vec3 e{};
  e[best] = 1.0;
  return e;
}

Vec3 unit(const Vec3& a) {
  const double n = norm(a);
  return {a[0] / n, a[1] / n, a[2] / n};
}

// Atoms and images sorted into boxes with edges of at least the range.
class Boxes {
 public:
  Boxes(const std::vector<double>& placed, double range) : placed_(placed) {
    const std::size_t n = placed.size() / 3;
    for (std::size_t d = 0; d < 3; ++d) {
      double lo = std::numeric_limits<double>::max(), hi = -lo;
      for (std::size_t e = 0; e < n; ++e) {
        lo = std::min(lo, placed[3 * e + d]);
        hi = std::max(hi, placed[3 * e + d]);
      }
      low_[d] = lo;
      // No more boxes along an edge than atoms: a molecule in a huge box stays cheap.
      const double wanted = std::floor((hi - lo) / range);
      count_[d] = static_cast<std::size_t>(
          std::clamp(wanted, 1.0, std::min(512.0, std::cbrt(static_cast<double>(n)) * 4.0 + 1.0)));
      scale_[d] = hi > lo ? static_cast<double>(count_[d]) / (hi - lo) : 0.0;
    }
    begin_.assign(count_[0] * count_[1] * count_[2] + 1, 0);
    std::vector<std::size_t> box(n);
    for (std::size_t e = 0; e < n; ++e) {
      box[e] = flat(where(e));
      ++begin_[box[e] + 1];
    }
    for (std::size_t b = 1; b < begin_.size(); ++b) begin_[b] += begin_[b - 1];
    entries_.resize(n);
    std::vector<std::size_t> next(begin_.begin(), begin_.end() - 1);
    for (std::size_t e = 0; e < n; ++e) entries_[next[box[e]]++] = static_cast<int>(e);
    entries_.resize(n + 8);
    for (std::size_t d = 0; d < 3; ++d) {
      sorted_[d].resize(n + 8);
      for (std::size_t m = 0; m < n; ++m)
        sorted_[d][m] = placed[3 * static_cast<std::size_t>(entries_[m]) + d];
    }
  }

  void append_neighbors(std::size_t i, double range2, std::vector<int>& out) {
    const std::array<std::size_t, 3> at = where(i);
    const Candidates candidates{sorted_[0].data(), sorted_[1].data(), sorted_[2].data(),
                                entries_.data()};
    const NearFunction near = site_kernels().near;
    const std::size_t lo2 = at[2] ? at[2] - 1 : 0, hi2 = std::min(at[2] + 1, count_[2] - 1);
    std::size_t found = 0;
    for (std::size_t a = at[0] ? at[0] - 1 : 0; a <= std::min(at[0] + 1, count_[0] - 1); ++a)
      for (std::size_t b = at[1] ? at[1] - 1 : 0; b <= std::min(at[1] + 1, count_[1] - 1); ++b) {
        const std::size_t from = begin_[flat({a, b, lo2})], to = begin_[flat({a, b, hi2}) + 1];
        if (found_.size() < found + (to - from) + 8) found_.resize(2 * (found + (to - from) + 8));
        found += near(candidates, from, to, &placed_[3 * i], range2, static_cast<int>(i),
                      found_.data() + found);
      }
    out.insert(out.end(), found_.begin(), found_.begin() + static_cast<std::ptrdiff_t>(found));
  }

 private:
  std::array<std::size_t, 3> where(std::size_t e) const {
    std::array<std::size_t, 3> box;
    for (std::size_t d = 0; d < 3; ++d)
      box[d] = std::min(static_cast<std::size_t>((placed_[3 * e + d] - low_[d]) * scale_[d]),
                        count_[d] - 1);
    return box;
  }
  std::size_t flat(const std::array<std::size_t, 3>& box) const {
    return (box[0] * count_[1] + box[1]) * count_[2] + box[2];
  }

  const std::vector<double>& placed_;
  Vec3 low_{}, scale_{};
  std::array<std::size_t, 3> count_{};
  std::vector<std::size_t> begin_;
  std::vector<int> entries_;
  std::array<std::vector<double>, 3> sorted_;
  std::vector<int> found_;
};

/// Images of the atoms within `margin` (fractions of the cell) about the cell.
void append_images(const bool* pbc, const Vec3& margin, const std::vector<Vec3>& fraction,
                   NeighborList& list) {
  for (std::size_t i = 0; i < fraction.size(); ++i) {
    std::array<int, 3> lo{}, hi{};
    for (std::size_t d = 0; d < 3; ++d) {
      if (!pbc[d]) continue;
      lo[d] = static_cast<int>(std::ceil(-margin[d] - fraction[i][d]));
      hi[d] = static_cast<int>(std::floor(1.0 + margin[d] - fraction[i][d]));
    }
    const std::array<int, 3> home = list.shift[i];
    for (int a = lo[0]; a <= hi[0]; ++a)
      for (int b = lo[1]; b <= hi[1]; ++b)
        for (int c = lo[2]; c <= hi[2]; ++c) {
          if (a == 0 && b == 0 && c == 0) continue;
          list.owner.push_back(static_cast<int>(i));
          list.shift.push_back({home[0] + a, home[1] + b, home[2] + c});
        }
  }
}

}  // namespace

std::array<double, 9> inverse3(const double* m) {
  const Vec3 a{m[0], m[1], m[2]}, b{m[3], m[4], m[5]}, c{m[6], m[7], m[8]};
  const Vec3 bc = cross(b, c), ca = cross(c, a), ab = cross(a, b);
  const double det = dot(a, bc);
  return {bc[0] / det, ca[0] / det, ab[0] / det, bc[1] / det, ca[1] / det,
          ab[1] / det, bc[2] / det, ca[2] / det, ab[2] / det};
}

std::array<double, 9> completed_cell(const double* cell, const bool* pbc) {
  std::array<Vec3, 3> row;
  // Directions of either kind; not vectors, as this is called at every step.
  std::array<std::size_t, 3> periodic{}, open{};
  std::size_t n_periodic = 0, n_open = 0;
  for (std::size_t d = 0; d < 3; ++d) {
    row[d] = {cell[3 * d], cell[3 * d + 1], cell[3 * d + 2]};
    (pbc[d] ? periodic[n_periodic++] : open[n_open++]) = d;
    if (!pbc[d]) continue;
    for (double v : row[d])
      if (!std::isfinite(v)) fail("cell vector ", d + 1, " is not finite");
    if (!(norm(row[d]) > 1e-6)) fail("cell vector ", d + 1, " is zero along a periodic direction");
  }
  if (n_open == 3) {
    for (std::size_t d = 0; d < 3; ++d)
      row[d] = Vec3{d == 0 ? 1.0 : 0.0, d == 1 ? 1.0 : 0.0, d == 2 ? 1.0 : 0.0};
  } else if (n_open == 2) {
    const Vec3 a = unit(row[periodic[0]]);
    row[open[0]] = unit(cross(a, least_aligned(a)));
    row[open[1]] = cross(a, row[open[0]]);
  } else if (n_open == 1) {
    const Vec3 normal = cross(row[periodic[0]], row[periodic[1]]);
    if (norm(normal) > 0.0) row[open[0]] = unit(normal);
  }
  double product = 1.0;
  for (const Vec3& r : row) product *= norm(r);
  const double volume = std::fabs(dot(row[0], cross(row[1], row[2])));
  if (!(volume > 1e-9 * product)) fail("the cell is singular: its periodic vectors span no volume");
  return {row[0][0], row[0][1], row[0][2], row[1][0], row[1][1],
          row[1][2], row[2][0], row[2][1], row[2][2]};
}

void NeighborList::place(const double* positions, const double* cell,
                         std::vector<double>& placed) const {
  placed.resize(3 * owner.size());
  for (std::size_t e = 0; e < owner.size(); ++e) {
    const double* p = positions + 3 * static_cast<std::size_t>(owner[e]);
    const std::array<int, 3>& s = shift[e];
    for (std::size_t d = 0; d < 3; ++d) {
      double value = p[d];
      // A direction without periodicity may carry any numbers in its row.
      for (std::size_t k = 0; k < 3; ++k)
        if (s[k] != 0) value += s[k] * cell[3 * k + d];
      placed[3 * e + d] = value;
    }
  }
}

NeighborList find_neighbors(std::size_t count, const double* positions, const double* cell,
                            const bool* pbc, double range) {
  const std::array<double, 9> full = completed_cell(cell, pbc);
  const std::array<double, 9> inverse = inverse3(full.data());
  NeighborList list;
  list.atoms = count;
  list.owner.resize(count);
  list.shift.resize(count);

  // Columns of the inverse are normal to the cell's faces: 1/length is the distance of the faces.
  Vec3 margin{};  // the range in fractions of the cell
  for (std::size_t d = 0; d < 3; ++d)
    margin[d] = range * norm({inverse[d], inverse[3 + d], inverse[6 + d]});

  std::vector<Vec3> fraction(count);
  for (std::size_t i = 0; i < count; ++i) {
    list.owner[i] = static_cast<int>(i);
    for (std::size_t d = 0; d < 3; ++d) {
      double f = 0.0;
      for (std::size_t k = 0; k < 3; ++k) f += positions[3 * i + k] * inverse[3 * k + d];
      if (!std::isfinite(f)) fail("position of atom ", i, " is not finite");
      const double whole = pbc[d] ? std::floor(f) : 0.0;
      if (std::fabs(whole) > 1e8) fail("atom ", i, " is ", whole, " cells away from the origin");
      list.shift[i][d] = -static_cast<int>(whole);
      fraction[i][d] = f - whole;
    }
  }
  double images = static_cast<double>(count);
  for (std::size_t d = 0; d < 3; ++d)
    if (pbc[d]) images *= 1.0 + 2.0 * margin[d];
  if (images > 2e9)
    fail("the cell is too small for the range of ", range, " Å: ", images, " images");

  append_images(pbc, margin, fraction, list);

  std::vector<double> placed;
  list.place(positions, cell, placed);
  list.first.assign(count + 1, 0);
  if (count == 0) return list;
  Boxes boxes(placed, range);
  list.neighbors.reserve(64 * count);
  for (std::size_t i = 0; i < count; ++i) {
    boxes.append_neighbors(i, range * range, list.neighbors);
    list.first[i + 1] = list.neighbors.size();
  }
  return list;
}

}  // namespace forcemap
