#include "forcemap/zbl.hpp"

#include <cmath>

namespace forcemap {

namespace {

constexpr double kExponent = 0.23;
constexpr double kLength = 0.46850;     // Å
constexpr double kCoulomb = 14.399645;  // e^2/(4 pi eps0), eV Å
constexpr double kAmplitude[4] = {0.02817, 0.28022, 0.50986, 0.18175};
constexpr double kDecay[4] = {0.20162, 0.40290, 0.94229, 3.19980};
constexpr double kContact = 0.01;  // Å

struct Derivatives {
  double value, first, second;
};

void screen(const ZblFunction& f, double r, double screened[4]) {
  for (int a = 0; a < 4; ++a) screened[a] = std::exp(-f.screening[a] * r);
}

// Z1 Z2 e^2 / r * sum_a c_a exp(-d_a r / a)
Derivatives bare(const ZblFunction& f, double r, const double screened[4]) {
  double sum = 0.0, sum1 = 0.0, sum2 = 0.0;
  for (int a = 0; a < 4; ++a) {
    const double e = kAmplitude[a] * screened[a];
    sum += e;
    sum1 -= f.screening[a] * e;
    sum2 += f.screening[a] * f.screening[a] * e;
  }
  const double ir = 1.0 / r;
  return {f.prefactor * sum * ir, f.prefactor * (sum1 - sum * ir) * ir,
          f.prefactor * (sum2 - 2.0 * sum1 * ir + 2.0 * sum * ir * ir) * ir};
}

Derivatives bare(const ZblFunction& f, double r) {
  double screened[4];
  screen(f, r, screened);
  return bare(f, r, screened);
}

}  // namespace

ZblFunction::ZblFunction(int first_number, int second_number, double inner_, double outer_)
    : inner(inner_), outer(outer_) {
  prefactor = kCoulomb * first_number * second_number;
  const double scale =
      (std::pow(first_number, kExponent) + std::pow(second_number, kExponent)) / kLength;
  for (int a = 0; a < 4; ++a) screening[a] = kDecay[a] * scale;
  const Derivatives edge = bare(*this, outer);
  const double width = outer - inner;
  const double a = (-3.0 * edge.first + width * edge.second) / (width * width);
  const double b = (2.0 * edge.first - width * edge.second) / (width * width * width);
  cubic = a / 3.0;
  quartic = b / 4.0;
  shift = -edge.value + 0.5 * width * edge.first - width * width * edge.second / 12.0;
  // The switch is not yet on at contact unless the whole core is that small.
  const Derivatives at = bare(*this, kContact);
  contact[0] = at.value + shift;
  contact[1] = at.first;
  contact[2] = at.second;
}

double ZblFunction::evaluate(double r, double& derivative) const {
  double screened[4];
  screen(*this, r, screened);
  return evaluate(r, screened, derivative);
}

double ZblFunction::evaluate(double r, const double screened[4], double& derivative) const {
  if (r >= outer) {
    derivative = 0.0;
    return 0.0;
  }
  if (r < kContact) {
    const double d = r - kContact;
    derivative = contact[1] + d * contact[2];
    return contact[0] + d * (contact[1] + 0.5 * d * contact[2]);
  }
  const Derivatives v = bare(*this, r, screened);
  double energy = v.value + shift;
  derivative = v.first;
  if (r > inner) {
    const double t = r - inner;
    energy += t * t * t * (cubic + quartic * t);
    derivative += t * t * (3.0 * cubic + 4.0 * quartic * t);
  }
  return energy;
}

}  // namespace forcemap
