// Tables of terms in the memory of a potential, looked up by species.
#pragma once

#include <cstddef>
#include <deque>
#include <utility>
#include <vector>

namespace forcemap {

// All functions of one distance are cubic splines on n uniform intervals of width h = range/n over
// [0, range], stored as n + 3 B-spline coefficients: for r in interval m, t = r/h - m,
//   f(r) = sum_{a=0..3} B_a(t) c[m + a],
//   B_0 = (1-t)^3/6, B_1 = (3t^3-6t^2+4)/6, B_2 = (-3t^3+3t^2+3t+1)/6, B_3 = t^3/6.
// Functions of three distances are the tensor product of such bases.

/// Coefficients by place, such as (centre * species + neighbour); null where there are none.
template <typename Number>
class TablesOf {
 public:
  explicit TablesOf(std::size_t places) : at_(places, nullptr) {}

  /// Keep a table and return it.
  const Number* keep(std::vector<Number> table) {
    bytes_ += table.size() * sizeof(Number);
    kept_.push_back(std::move(table));
    return kept_.back().data();
  }
  void set(std::size_t place, const Number* table) { at_[place] = table; }

  const Number* const* data() const { return at_.data(); }
  std::size_t bytes() const { return bytes_; }

 private:
  std::vector<const Number*> at_;
  std::deque<std::vector<Number>> kept_;
  std::size_t bytes_ = 0;
};

using Tables = TablesOf<double>;

}  // namespace forcemap
