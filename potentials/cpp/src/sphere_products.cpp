#include "forcemap/sphere_products.hpp"

#include <algorithm>
#include <cmath>

#include "forcemap/fail.hpp"
#include "loops/site_kernels.hpp"

namespace forcemap {

namespace {

constexpr double pi = 3.14159265358979323846;

struct Node {
  double z, weight;
};

// Gauss-Legendre nodes on [-1, 1] by Newton's method.
std::vector<Node> gauss_legendre(std::size_t count) {
  std::vector<Node> nodes;
  const double n = static_cast<double>(count);
  for (std::size_t k = 0; k < count; ++k) {
    double z = std::cos(pi * (static_cast<double>(k) + 0.75) / (n + 0.5)), slope = 1.0;
    if (2 * k + 1 == count) z = 0.0;
    for (int iteration = 0; iteration < 100; ++iteration) {
      double before = 1.0, here = z;
      for (std::size_t l = 2; l <= count; ++l) {
        const double el = static_cast<double>(l);
        const double next = ((2.0 * el - 1.0) * z * here - (el - 1.0) * before) / el;
        before = here;
        here = next;
      }
      if (count == 1) before = 1.0;
      slope = n * (z * here - before) / (z * z - 1.0);
      const double step = here / slope;
      if (2 * k + 1 == count) break;
      z -= step;
      if (std::abs(step) < 1e-16) break;
    }
    nodes.push_back({z, 2.0 / ((1.0 - z * z) * slope * slope)});
  }
  return nodes;
}

// A point of the sphere and its weight, of weights that add up to 4 pi.
struct Point {
  double unit[3], weight;
};

// One of each pair of opposite points.
bool is_kept(double x, double y, double z) {
  return z > 0.0 || (z == 0.0 && (y > 0.0 || (y == 0.0 && x > 0.0)));
}

// Gauss-Legendre points in z, equal steps around: any degree.
std::vector<Point> rings_of_points(std::size_t degree) {
  // An odd number of rings, so that the equator is one, and an even number of points on each: the
  // opposite of a point is a point.
  const std::size_t half = (degree + 2) / 2, rings = half % 2 == 0 ? half + 1 : half;
  const std::size_t around = degree / 2 * 2 + 2;
  std::vector<Point> points;
  for (const Node& node : gauss_legendre(rings)) {
    if (node.z < 0.0) continue;
    const std::size_t some = node.z > 0.0 ? around : around / 2;
    const double radius = std::sqrt(1.0 - node.z * node.z);
    for (std::size_t n = 0; n < some; ++n) {
      const double angle = 2.0 * pi * static_cast<double>(n) / static_cast<double>(around);
      const double weight = 2.0 * node.weight * 2.0 * pi / static_cast<double>(around);
      points.push_back({{radius * std::cos(angle), radius * std::sin(angle), node.z}, weight});
    }
  }
  return points;
}

// The 50 points of the octahedral group that are exact up to degree 11 (Lebedev, USSR Comput. Math.
// Math. Phys. 16, 10 (1976), DOI 10.1016/0041-5553(76)90100-2): those of one kind have the
// coordinates x, y and z in any order and with any signs.
constexpr std::size_t most_octahedral = 11;

std::vector<Point> octahedral_points() {
  const struct {
    double x, y, z, weight;
  } kinds[] = {{0.0, 0.0, 1.0, 4.0 / 315.0},
               {0.0, 1.0, 1.0, 64.0 / 2835.0},
               {1.0, 1.0, 1.0, 27.0 / 1280.0},
               {1.0, 1.0, 3.0, 14641.0 / 725760.0}};
  std::vector<Point> points;
  for (const auto& kind : kinds) {
    const double length = std::sqrt(kind.x * kind.x + kind.y * kind.y + kind.z * kind.z);
    double of[3] = {kind.x / length, kind.y / length, kind.z / length};
    do
      for (int signs = 0; signs < 8; ++signs) {
        double unit[3];
        bool repeats = false;
        for (int k = 0; k < 3; ++k) {
          const bool turned = (signs >> k & 1) != 0;
          unit[k] = turned ? -of[k] : of[k];
          repeats |= turned && of[k] == 0.0;
        }
        if (!repeats && is_kept(unit[0], unit[1], unit[2]))
          points.push_back({{unit[0], unit[1], unit[2]}, 2.0 * 4.0 * pi * kind.weight});
      }
    while (std::next_permutation(of, of + 3));
  }
  return points;
}

// Fewest points that are exact for even functions up to a degree.
std::vector<Point> points_of_degree(std::size_t degree) {
  std::vector<Point> points = rings_of_points(degree);
  if (degree > most_octahedral) return points;
  std::vector<Point> others = octahedral_points();
  return others.size() < points.size() ? others : points;
}

// Real harmonics of a unit vector as solid_parts (soap_loops.ipp) has them.
void harmonics_at(const SoapView& view, const double* unit, std::size_t stride, double* out) {
  double cosine = 1.0, sine = 0.0, diagonal = 1.0;
  for (std::size_t m = 0; m <= view.l_max; ++m) {
    double before = 0.0, here = diagonal;
    for (std::size_t l = m; l <= view.l_max; ++l) {
      const double* const numbers = view.harmonic + kHarmonicNumbers * (l * (l + 1) / 2 + m);
      if (l > m) {
        const double next = l == m + 1 ? static_cast<double>(2 * m + 1) * unit[2] * here
                                       : numbers[2] * unit[2] * here - numbers[3] * before;
        before = here;
        here = next;
      }
      const double part = numbers[0] * here;
      if (m > 0) out[(l * l + l - m) * stride] = part * sine;
      out[(l * l + l + m) * stride] = part * cosine;
    }
    diagonal *= static_cast<double>(2 * m + 1);
    const double next = unit[0] * cosine - unit[1] * sine;
    sine = unit[0] * sine + unit[1] * cosine;
    cosine = next;
  }
}

}  // namespace

std::size_t factors_of(const FieldProduct& product) {
  std::size_t count = 0;
  while (count < most_factors && product[count] >= 0) ++count;
  return count;
}

void check_products(const std::vector<FieldProduct>& products, std::size_t channels,
                    std::size_t l_max) {
  const auto fields = static_cast<int>(channels * (l_max + 1));
  for (const FieldProduct& product : products) {
    const std::size_t count = factors_of(product);
    std::size_t sum = 0;
    for (std::size_t n = 0; n < most_factors; ++n) {
      if (product[n] >= fields || product[n] < -1 || (n >= count && product[n] != -1))
        fail("found the field ", product[n], " of a product, expected 0 to ", fields - 1,
             ", or -1 behind the others");
      if (n < count) sum += static_cast<std::size_t>(product[n]) / channels;
    }
    if (count == 0 || !std::is_sorted(product.begin(), product.begin() + count))
      fail("found a product whose fields are not in order, or without any");
    if (sum % 2 != 0) fail("found a product whose angular numbers have the odd sum ", sum);
  }
}

std::size_t degree_of(const std::vector<FieldProduct>& products, std::size_t channels) {
  std::size_t degree = 0;
  for (const FieldProduct& product : products) {
    std::size_t sum = 0;
    for (std::size_t n = 0; n < factors_of(product); ++n)
      sum += static_cast<std::size_t>(product[n]) / channels;
    degree = std::max(degree, sum);
  }
  return degree;
}

SpherePoints::SpherePoints(const SoapView& view, std::size_t degree) : count(0), padded(0) {
  const std::vector<Point> points = points_of_degree(degree);
  for (const Point& point : points) weights.push_back(point.weight);
  count = points.size();
  const std::size_t together = kPointVectors * site_kernels().soap.lanes;
  padded = (count + together - 1) / together * together;
  weights.resize(padded, 0.0);
  harmonics.assign((view.l_max + 1) * (view.l_max + 1) * padded, 0.0);
  for (std::size_t n = 0; n < count; ++n) harmonics_at(view, points[n].unit, padded, &harmonics[n]);
}

}  // namespace forcemap
