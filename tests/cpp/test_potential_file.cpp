// The reader of potential files: a valid file is read, every fault is reported, nothing crashes.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "check.hpp"
#include "forcemap/calculator.hpp"
#include "forcemap/checksum.hpp"
#include "forcemap/elements.hpp"
#include "forcemap/potential_file.hpp"
#include "forcemap/soap.hpp"
#include "forcemap/zbl.hpp"
#include "potential_bytes.hpp"

using forcemap::PotentialData;

namespace {

using potential_bytes::BispectrumFile;
using potential_bytes::ContractedFile;
using potential_bytes::File;
using potential_bytes::FullFile;
using potential_bytes::MomentsFile;
using potential_bytes::replaced;
using potential_bytes::SoapFile;

PotentialData parse(const std::string& bytes) {
  // A heap copy of exactly this size lets the address sanitizer see any read beyond the end.
  const std::vector<char> exact(bytes.begin(), bytes.end());
  return forcemap::parse_potential(exact.data(), exact.size(), "file");
}

// A file whose document has `from` replaced by `to`.
PotentialData parse_with(const std::string& from, const std::string& to) {
  File file;
  file.document = replaced(file.document, from, to);
  return parse(file.bytes());
}

PotentialData parse_soap_with(const std::string& from, const std::string& to) {
  SoapFile file;
  file.document = replaced(file.document, from, to);
  return parse(file.bytes());
}

// A soap file without the tensor `name`.
PotentialData parse_soap_without(const std::string& name) {
  SoapFile file;
  file.tensors.erase(file.tensors.begin() + (&file.tensor(name) - file.tensors.data()));
  return parse(file.bytes());
}

// A file whose header has `from` replaced by `to`.
PotentialData parse_header_with(const std::string& from, const std::string& to) {
  const File file;
  return parse(File::assemble(replaced(file.header(), from, to), file.data()));
}

// What was read can be evaluated: three atoms, at distances from a tenth of an Å up.
void evaluate(const PotentialData& data) {
  if (data.numbers.empty()) return;
  const int first = data.numbers.front(), last = data.numbers.back();
  const int numbers[3] = {first, last, first};
  const double cell[9] = {9, 0, 0, 0, 9, 0, 0, 0, 9};
  const bool pbc[3] = {false, false, false};
  const auto potential = std::make_shared<const forcemap::Potential>(data);
  forcemap::Calculator calculator(potential, 0.5, 1);
  std::vector<double> forces(9), grades(3);
  forcemap::ResultView result;
  result.forces = forces.data();
  if (potential->has_grade()) result.grades = grades.data();
  const std::size_t draws = potential->draws();
  std::vector<double> energies(draws), drawn(9 * draws), virials(9 * draws);
  for (const double d : {0.1, 1.0, 3.0}) {
    const double positions[9] = {0, 0, 0, d, 0, 0, 0, 1.5 * d, 0.1};
    try {
      calculator.compute({3, positions, numbers, cell, pbc}, result);
      if (draws > 0)
        calculator.compute_draws({3, positions, numbers, cell, pbc},
                                 {energies.data(), drawn.data(), virials.data()});
    } catch (const forcemap::Error&) {
      // Tables of damaged numbers may give an energy that is not finite, which is reported.
    }
  }
}

// True if `bytes` are read, false if they are refused by an Error that names the file. Any other
// exception, a crash or a sanitizer's report fails the test program.
bool accepted(const std::string& bytes) {
  try {
    const PotentialData data = parse(bytes);
    CHECK(data.e0.size() == data.numbers.size());
    evaluate(data);
    return true;
  } catch (const forcemap::Error& error) {
    CHECK(std::string(error.what()).rfind("file", 0) == 0);
    return false;
  }
}

}  // namespace

namespace {

// Weights of the four B-splines of the interval in which r lies.
struct Basis {
  std::size_t first;
  double weight[4];
  Basis(std::size_t intervals, double range, double r) {
    const double u = r / range * static_cast<double>(intervals);
    first = std::min(static_cast<std::size_t>(u), intervals - 1);
    const double t = u - static_cast<double>(first), s = 1.0 - t;
    weight[0] = s * s * s / 6.0;
    weight[1] = (3.0 * t * t * t - 6.0 * t * t + 4.0) / 6.0;
    weight[2] = (3.0 * s * s * s - 6.0 * s * s + 4.0) / 6.0;
    weight[3] = t * t * t / 6.0;
  }
};

double spline(const std::vector<double>& coefficients, double range, double r) {
  const Basis b(coefficients.size() - 3, range, r);
  double sum = 0.0;
  for (std::size_t a = 0; a < 4; ++a) sum += b.weight[a] * coefficients[b.first + a];
  return r < range ? sum : 0.0;
}

// Of (4, 4, 5) coefficients within the cutoff of 4 Å.
double triplet(const std::vector<double>& coefficients, double r1, double r2, double r3) {
  const Basis one(1, 4.0, r1), two(1, 4.0, r2), three(2, 8.0, r3);
  double sum = 0.0;
  for (std::size_t a = 0; a < 4; ++a)
    for (std::size_t b = 0; b < 4; ++b)
      for (std::size_t c = 0; c < 4; ++c)
        sum += one.weight[a] * two.weight[b] * three.weight[c] *
               coefficients[(a * 4 + b) * 5 + three.first + c];
  return r1 < 4.0 && r2 < 4.0 ? sum : 0.0;
}

// Site energies of the atoms at `positions`, without periodicity.
std::vector<double> site_energies(const PotentialData& data, const std::vector<int>& numbers,
                                  const std::vector<double>& positions) {
  const double cell[9] = {9, 0, 0, 0, 9, 0, 0, 0, 9};
  const bool pbc[3] = {false, false, false};
  forcemap::Calculator calculator(std::make_shared<const forcemap::Potential>(data), 0.5, 1);
  std::vector<double> energies(numbers.size());
  forcemap::ResultView result;
  result.energies = energies.data();
  calculator.compute({numbers.size(), positions.data(), numbers.data(), cell, pbc}, result);
  return energies;
}

bool close(double a, double b) { return std::abs(a - b) < 1e-11 * (1.0 + std::abs(b)); }

}  // namespace

TEST(valid_file_is_read) {
  const File file;
  const PotentialData data = parse(file.bytes());
  CHECK(data.numbers == (std::vector<int>{1, 8}));
  CHECK(data.e0 == (std::vector<double>{-1.0, -2.0}));
  CHECK(data.metadata == file.document);
  CHECK(data.terms.size() == 4);
  const double cutoffs[] = {5.5, 4.0, 0.7, 4.5};
  for (std::size_t n = 0; n < 4; ++n) CHECK(data.terms[n]->cutoff() == cutoffs[n]);
  CHECK(data.terms[0]->bytes() == 10 * sizeof(double));
  CHECK(data.terms[1]->bytes() == 2 * 4 * 3 * 5 * 2 * sizeof(double));
  CHECK(data.terms[3]->bytes() == 16 * sizeof(double));
  const forcemap::Potential potential(data);
  CHECK(potential.cutoff() == 5.5 && potential.batch() == 1);
}

// O at the origin, H at r1 along x and at r2 along y. With r1 below 0.7 Å they have a core.
TEST(what_is_read_is_what_is_evaluated) {
  const File file;
  const auto& tensors = file.tensors;  // e0, H-H, H-O, O-H-H, O-H-O, densities O-H and H-H, F of O
  const forcemap::ZblFunction zbl(1, 8, 0.4, 0.7);
  for (const double r1 : {0.5, 0.9, 2.0, 3.9, 4.2}) {
    const double r2 = 1.2, r3 = std::sqrt(r1 * r1 + r2 * r2);
    const std::vector<double> found =
        site_energies(parse(file.bytes()), {8, 1, 1}, {0, 0, 0, r1, 0, 0, 0, r2, 0});
    const auto pair = [&](std::size_t tensor, double r) {
      return spline(tensors[tensor].numbers, 5.5, r);
    };
    double slope;
    const double core = r1 < 0.7 ? 0.5 * zbl.evaluate(r1, slope) : 0.0;
    const double rho = spline(tensors[5].numbers, 4.5, r1) + spline(tensors[5].numbers, 4.5, r2);
    // Beyond its range F goes on as a line; its slope there is that of a quadratic's end.
    const std::vector<double>& f = tensors[7].numbers;
    const double inside = std::min(rho, 1.25);
    const double at_end = (f[3] - f[1]) / 2.0 / 1.25;
    const double embedding = spline(f, std::nextafter(1.25, 2.0), inside) +
                             at_end * (rho - inside) - spline(f, 1.25, 0.0);
    CHECK(rho > 1.25 && inside == 1.25);
    CHECK(close(found[0], -2.0 + pair(2, r1) + pair(2, r2) + core + embedding +
                              triplet(tensors[3].numbers, r1, r2, r3)));
    CHECK(close(found[1], -1.0 + pair(2, r1) + pair(1, r3) + core));
    CHECK(close(found[2], -1.0 + pair(2, r2) + pair(1, r3)));
  }
}

TEST(unaligned_data_and_spaces_after_the_header) {
  for (int spaces = 0; spaces < 8; ++spaces) {
    const File file;
    const std::string header = file.header() + std::string(static_cast<std::size_t>(spaces), ' ');
    CHECK(parse(File::assemble(header, file.data())).e0[1] == -2.0);
  }
}

TEST(format_and_version) {
  CHECK_ERROR(parse_with("forcemap.potential", "forcemap.model"), "forcemap map MODEL");
  CHECK_ERROR(parse_with("forcemap.potential", "other"), "format: found \"other\"");
  CHECK_ERROR(
      parse_with("\"version\": 1", "\"version\": 4"),
      "found format version 4, expected at most 3: the file was written by a newer forcemap");
  CHECK_ERROR(parse_with("\"version\": 1", "\"version\": 0"), "version: found 0");
  CHECK_ERROR(parse_with("\"version\": 1", "\"version\": 1.0"), "version: found 1.0");
  CHECK_ERROR(parse_with("\"version\": 1, ", ""), "found no entry \"version\"");
  CHECK_ERROR(parse_with("\"species\"", "\"speices\""), "unknown entry \"speices\"");
  CHECK_ERROR(parse_with("\"eV\"", "\"Ry\""), "units.energy: found \"Ry\", expected \"eV\"");
  CHECK_ERROR(parse_with("{\"note\": \"test\"}", "3"), "provenance: found 3, expected an object");
}

namespace {

// `file` as version 2 with `columns`, and draws of the tensor `name` of the given shape.
template <typename AnyFile>
std::string with_draws(AnyFile file, const std::string& columns, const std::string& name,
                       const std::string& shape, const std::vector<double>& numbers) {
  file.document = replaced(file.document, "\"version\": 1", "\"version\": 2" + columns);
  if (!name.empty()) file.tensors.push_back({name + ".draws", "F64", shape, numbers});
  return file.bytes();
}

}  // namespace

TEST(version_2_has_room_for_draws) {
  const std::string three = ", \"columns\": 3";
  const auto read = [&](const std::string& name, const std::string& shape, std::size_t count) {
    return parse(with_draws(File(), three, name, shape, std::vector<double>(count, 1.5)));
  };
  const std::vector<int> atoms = {8, 1, 1};
  const std::vector<double> positions = {0, 0, 0, 0.9, 0, 0, 0, 1.2, 0};
  const std::vector<double> expected = site_energies(parse(File().bytes()), atoms, positions);
  CHECK(site_energies(parse(with_draws(File(), "", "", "", {})), atoms, positions) == expected);
  CHECK(site_energies(read("terms.0.H-O", "[2,5]", 10), atoms, positions) == expected);
  CHECK(site_energies(read("terms.1.O-H-H", "[2,4,4,5]", 160), atoms, positions) == expected);
  CHECK(site_energies(read("terms.3.O", "[2,4]", 8), atoms, positions) == expected);
  const auto soap = with_draws(SoapFile(), three, "terms.0.O.factors", "[2,3]", {1, 2, 3, 4, 5, 6});
  CHECK(site_energies(parse(soap), atoms, positions) ==
        site_energies(parse(SoapFile().bytes()), atoms, positions));
  // The memory is that of the mean.
  CHECK(read("terms.0.H-O", "[2,5]", 10).terms[0]->bytes() == 10 * sizeof(double));
}

TEST(draws_are_checked) {
  const auto read = [&](const std::string& columns, const std::string& name,
                        const std::string& shape, const std::vector<double>& numbers) {
    return parse(with_draws(File(), columns, name, shape, numbers));
  };
  const std::vector<double> ten(10, 1.5);
  const std::string two = ", \"columns\": 2", three = ", \"columns\": 3";
  CHECK_ERROR(read(two, "terms.0.H-O", "[2,5]", ten),
              "tensor \"terms.0.H-O.draws\": found the shape (2, 5), expected (1, 5)");
  CHECK_ERROR(read(three, "terms.0.H-O", "[10]", ten), "found the shape (10), expected (2, 5)");
  std::vector<double> bad = ten;
  bad[7] = std::numeric_limits<double>::infinity();
  CHECK_ERROR(read(three, "terms.0.H-O", "[2,5]", bad), "found inf at item 7, expected finite");
  // The density is no function of the weights; nor are there draws of a mean alone.
  CHECK_ERROR(read(three, "terms.3.O-H", "[2,6]", std::vector<double>(12, 1.0)),
              "found the tensor \"terms.3.O-H.draws\", which no term uses");
  CHECK_ERROR(read("", "terms.0.H-O", "[2,5]", ten), "which no term uses");
  CHECK_ERROR(read(", \"columns\": 0", "", "", {}), "columns: found 0, expected an integer from 1");
  CHECK_ERROR(read(", \"columns\": 4097", "", "", {}), "columns: found 4097");
  CHECK_ERROR(read(", \"columns\": 2.0", "", "", {}), "columns: found 2.0");
  CHECK_ERROR(parse_with("\"version\": 1", "\"version\": 1, \"columns\": 1"),
              "found the unknown entry \"columns\"");
}

TEST(draws_calibration_and_grade_are_read) {
  for (const std::string& bytes : {FullFile().bytes(), MomentsFile().bytes()}) {
    CHECK(accepted(bytes));
    const PotentialData data = parse(bytes);
    CHECK(data.draws && data.draws->count == 3 && data.draws->terms.size() == 5);
    CHECK(data.uncertainty && data.uncertainty->force.factor == 3.0);
    CHECK(data.grade && data.grade->longest_shortest == 1.5);
  }
  CHECK(parse(MomentsFile().bytes()).grade->moments.has_value());
}

TEST(every_tensor_of_draws_and_grade_is_checked) {
  const FullFile whole;
  for (std::size_t n = 0; n < whole.tensors.size(); ++n) {
    const std::string quoted = "tensor \"" + whole.tensors[n].name + "\"";
    FullFile gone, longer, nan;
    gone.tensors.erase(gone.tensors.begin() + static_cast<std::ptrdiff_t>(n));
    CHECK_ERROR(parse(gone.bytes()), "found no " + quoted);
    longer.tensors[n].shape = "[1," + longer.tensors[n].shape.substr(1);
    CHECK_ERROR(parse(longer.bytes()), quoted + ": found the shape (1, ");
    nan.tensors[n].numbers.back() = std::nan("");
    CHECK_ERROR(parse(nan.bytes()), quoted + ": found nan at item ");
  }
}

// Tables of triplets alone, and of each only what triangles reach; see potential_file.py.
TEST(draws_of_triplets_are_of_single_precision) {
  const std::string name = "draws.1.O-H-H";
  FullFile twice;
  twice.tensor(name).dtype = "F64";
  CHECK_ERROR(parse(twice.bytes()), "\"" + name + "\": found the type F64, expected F32");
  FullFile single;
  single.tensor("draws.0.H-O").dtype = "F32";
  CHECK_ERROR(parse(single.bytes()), "\"draws.0.H-O\": found the type F32, expected F64");
  FullFile large;
  large.tensor(name).numbers[7] = 1e39;
  CHECK_ERROR(parse(large.bytes()), "\"" + name + "\": found inf at item 7, expected finite");
  const auto with_intervals = [](const char* legs) {
    FullFile file;
    file.document = replaced(file.document, "\"leg_intervals\": 1", legs);
    return file.bytes();
  };
  CHECK_ERROR(parse(with_intervals("\"leg_intervals\": 2")),
              "found the shape (3, 50), expected (3, 74)");
  CHECK_ERROR(parse(with_intervals("\"leg_intervals\": 100000")),
              "found 150 numbers, expected at least 3 x 5000350006 with so many intervals");
}

// The draws of three atoms by their definition: differences of their energies are their forces.
TEST(forces_of_draws_are_derivatives_of_their_energies) {
  const auto potential = std::make_shared<const forcemap::Potential>(parse(FullFile().bytes()));
  const int numbers[] = {8, 1, 1};
  const double cell[9] = {};
  const bool pbc[3] = {};
  std::vector<double> x = {0.1, 0, 0, 1.3, 0.2, -0.1, 0.2, 1.5, 0.3};
  forcemap::Calculator calculator(potential, 0.5, 1);
  std::vector<double> energies(3), forces(27), virials(27), ends[2], unused(27);
  const auto draw = [&](std::vector<double>& to, std::vector<double>& pulls) {
    to.resize(3);
    calculator.compute_draws({3, x.data(), numbers, cell, pbc},
                             {to.data(), pulls.data(), virials.data()});
  };
  draw(energies, forces);
  // Draws of three atoms are in single precision: a step over which rounding counts little, and
  // what is left of the third derivative.
  const double h = 2e-3;
  for (std::size_t n = 0; n < 9; ++n) {
    for (int side = 0; side < 2; ++side) {
      x[n] += side ? -2.0 * h : h;
      draw(ends[side], unused);
    }
    x[n] += h;
    for (std::size_t k = 0; k < 3; ++k) {
      const double force = forces[9 * k + n];
      CHECK(std::abs((ends[0][k] - ends[1][k]) / (2.0 * h) + force) <
            1e-3 * (1.0 + std::abs(force)));
    }
  }
}

TEST(species) {
  CHECK_ERROR(parse_with("[\"H\", \"O\"]", "[\"O\", \"H\"]"),
              "species[1]: found H after O, expected increasing");
  CHECK_ERROR(parse_with("[\"H\", \"O\"]", "[\"H\", \"H\"]"), "expected increasing");
  CHECK_ERROR(parse_with("[\"H\", \"O\"]", "[\"H\", \"Oo\"]"), "found \"Oo\", expected an element");
  CHECK_ERROR(parse_with("[\"H\", \"O\"]", "[]"), "species: found 0 species, expected 1 to 118");
  CHECK_ERROR(parse_with("[\"H\", \"O\"]", "\"H\""), "species: found the string \"H\"");
  CHECK_ERROR(parse_with("[\"H\", \"O\"]", "[\"H\", \"He\", \"O\"]"),
              "tensor \"e0\": found the shape (2), expected (3)");
}

TEST(terms) {
  CHECK_ERROR(parse_with("\"two_body\"", "\"four_body\""),
              "terms[0].kind: found \"four_body\", "
              "expected two_body, three_body, three_body_kernel, soap, soap_contracted, "
              "soap_quadratic, bispectrum, embedding or zbl");
  CHECK_ERROR(parse_with("\"cutoff\": 5.5", "\"cutoff\": 0"), "terms[0].cutoff: found 0");
  CHECK_ERROR(parse_with("\"cutoff\": 5.5", "\"cutoff\": 100.5"), "0 < cutoff <= 100");
  CHECK_ERROR(parse_with("\"cutoff\": 5.5", "\"cutoff\": NaN"), "document, byte ");
  CHECK_ERROR(parse_with("\"intervals\": 2", "\"intervals\": 0"), "terms[0].intervals: found 0");
  CHECK_ERROR(parse_with("\"intervals\": 2", "\"intervals\": 100001"), "from 1 to 100000");
  CHECK_ERROR(parse_with("\"intervals\": 2", "\"intervals\": 3"),
              "found the shape (5), expected (6)");
  CHECK_ERROR(parse_with("\"leg_intervals\": 1", "\"leg_intervals\": 100000"),
              "found the shape (4, 4, 5), expected (100003, 100003, 5)");
  CHECK_ERROR(parse_with("\"intervals\": 2", "\"intervals\": 2, \"scale\": 2"),
              "terms[0]: found the unknown entry \"scale\"");
  CHECK_ERROR(parse_with("[[\"H\", \"H\"], [\"H\", \"O\"]]", "[]"), "expected at least one table");
  CHECK_ERROR(parse_with("[\"H\", \"H\"], [", "[\"H\", \"O\"], ["),
              "tables[1]: found a table that");
  CHECK_ERROR(parse_with("[\"O\", \"H\", \"O\"]", "[\"O\", \"O\", \"H\"]"),
              "terms[1].tables[1]: found O-O-H, expected the lower atomic number first");
  CHECK_ERROR(parse_with("[\"O\", \"H\", \"O\"]", "[\"O\", \"H\"]"), "expected 3 species");
  CHECK_ERROR(parse_with("[\"O\", \"H\", \"O\"]", "[\"O\", \"H\", \"C\"]"),
              "expected one of the file's species");
  CHECK_ERROR(parse_with("[\"O\", \"H\", \"O\"]", "[\"H\", \"H\", \"O\"]"),
              "found no tensor \"terms.1.H-H-O\"");
  CHECK_ERROR(parse_with(", [\"O\", \"H\", \"O\"]", ""), "\"terms.1.O-H-O\", which no term uses");
}

TEST(valid_soap_file_is_read) {
  SoapFile file;
  const PotentialData data = parse(file.bytes());
  CHECK(data.terms.size() == 1);
  CHECK(data.terms[0]->cutoff() == 4.5);
  CHECK(data.terms[0]->sites_at_once() == 8);
  // The energy from the power spectra of the process, sum_k f_k (v_k . p)^2 - constant.
  const auto numbers = [&](const std::string& name) {
    return file.tensor("terms.0." + name).numbers;
  };
  const forcemap::SoapBasis basis{
      4.5, 2, 1, 2, numbers("radial"), numbers("self"), 1, numbers("weights")};
  const forcemap::SoapExpansion expansion(basis, 2);
  const std::vector<int> atoms = {1, 8, 1};
  const std::vector<double> positions = {0, 0, 0, 1.1, 0, 0, 0, 1.7, 0.1};
  const double cell[9] = {9, 0, 0, 0, 9, 0, 0, 0, 9};
  const bool pbc[3] = {false, false, false};
  const forcemap::Environments environments(3, positions.data(), atoms.data(), cell, pbc, 4.5);
  const std::vector<double> found = site_energies(data, atoms, positions);
  for (const int center : {1, 8}) {
    const forcemap::SoapDescriptors descriptors(expansion, {1, 8}, environments, center);
    const std::string symbol = center == 1 ? "H" : "O";
    const std::vector<double> factors = numbers(symbol + ".factors");
    const std::vector<double> vectors = numbers(symbol + ".vectors");
    std::vector<double> spectra(descriptors.centers().size() * 6);
    descriptors.spectra(spectra.data());
    for (std::size_t n = 0; n < descriptors.centers().size(); ++n) {
      double energy = center == 1 ? 0.1 - 0.25 : 0.2 + 0.5;  // e0 - constant
      for (std::size_t k = 0; k < factors.size(); ++k) {
        double product = 0.0;
        for (std::size_t d = 0; d < 6; ++d) product += vectors[6 * k + d] * spectra[6 * n + d];
        energy += factors[k] * product * product;
      }
      CHECK(close(found[descriptors.centers()[n]], energy));
    }
  }
}

TEST(soap_terms) {
  const std::string head = "terms[0].";
  CHECK_ERROR(parse_soap_with("4.5", "0"), head + "cutoff: found 0");
  CHECK_ERROR(parse_soap_with("4.5", "100.5"), "0 < cutoff <= 100");
  CHECK_ERROR(parse_soap_with("\"intervals\": 2", "\"intervals\": 0"), head + "intervals: found 0");
  CHECK_ERROR(parse_soap_with("\"intervals\": 2", "\"intervals\": 100000"),
              "found the shape (5, 2, 2), expected (100003, 2, 2)");
  CHECK_ERROR(parse_soap_with("\"n_max\": 2", "\"n_max\": 0"), head + "n_max: found 0");
  CHECK_ERROR(parse_soap_with("\"n_max\": 2", "\"n_max\": 129"), head + "n_max: found 129");
  CHECK_ERROR(parse_soap_with("\"n_max\": 2", "\"n_max\": 4294967298"), head + "n_max: found");
  CHECK_ERROR(parse_soap_with("\"n_max\": 2", "\"n_max\": 128"),
              "found the shape (5, 2, 2), expected (5, 2, 128)");
  CHECK_ERROR(parse_soap_with("\"n_max\": 2", "\"n_max\": 2.0"), head + "n_max: found 2.0");
  CHECK_ERROR(parse_soap_with("\"l_max\": 1", "\"l_max\": -1"), head + "l_max: found -1");
  CHECK_ERROR(parse_soap_with("\"l_max\": 1", "\"l_max\": 21"), head + "l_max: found 21");
  CHECK_ERROR(parse_soap_with("\"channels\": 1", "\"channels\": 0"), head + "channels: found 0");
  CHECK_ERROR(parse_soap_with("\"channels\": 1", "\"channels\": 2"),
              "found the shape (1, 2), expected (2, 2)");
  CHECK_ERROR(parse_soap_with("\"zeta\": 2", "\"zeta\": 0"), head + "zeta: found 0");
  CHECK_ERROR(parse_soap_with("\"zeta\": 2", "\"zeta\": 101"), head + "zeta: found 101");
  CHECK_ERROR(parse_soap_with("\"zeta\": 2", "\"zeta\": 2, \"rank\": 1"),
              "terms[0]: found the unknown entry \"rank\"");
  CHECK_ERROR(parse_soap_with(", \"zeta\": 2", ""), "found no entry \"zeta\"");
  CHECK_ERROR(
      parse_soap_with("{\"species\": \"O\", \"count\": 3", "{\"species\": \"H\", \"count\": 1"),
      "centers[1].species: found a species that stands before");
  CHECK_ERROR(parse_soap_with("\"species\": \"O\"", "\"species\": \"C\""),
              "centers[1].species: found \"C\", expected one of the file's species");
  CHECK_ERROR(parse_soap_with("\"count\": 3", "\"count\": 0"), "centers[1].count: found 0");
  CHECK_ERROR(parse_soap_with("\"count\": 3", "\"count\": 1000001"), "count: found 1000001");
  CHECK_ERROR(parse_soap_with("\"count\": 3", "\"count\": 1000000"),
              "found the shape (3), expected (1000000)");
  CHECK_ERROR(parse_soap_with("-0.5", "\"x\""), "centers[1].constant: found the string \"x\"");
  CHECK_ERROR(parse_soap_with("-0.5", "1e999"), "document, byte ");
  CHECK_ERROR(parse_soap_with(", {\"species\": \"O\", \"count\": 3, \"constant\": -0.5}", ""),
              "which no term uses");
  CHECK_ERROR(parse_soap_with("[{\"species\": \"H\", \"count\": 1, \"constant\": 0.25},"
                              " {\"species\": \"O\", \"count\": 3, \"constant\": -0.5}]",
                              "[]"),
              "expected at least one center");
}

TEST(soap_tensors) {
  for (const std::string name : {"radial", "self", "weights", "H.factors", "O.vectors"})
    CHECK_ERROR(parse_soap_without("terms.0." + name), "found no tensor \"terms.0." + name + "\"");
  const std::vector<std::pair<std::string, std::string>> shapes = {
      {"radial", "[20]"}, {"self", "[2,1]"}, {"weights", "[2,1]"}, {"O.vectors", "[6,3]"}};
  for (const auto& [name, shape] : shapes) {
    SoapFile file;
    file.tensor("terms.0." + name).shape = shape;
    CHECK_ERROR(parse(file.bytes()), "tensor \"terms.0." + name + "\": found the shape");
  }
  for (const std::string name : {"radial", "self", "weights", "H.factors", "O.vectors"}) {
    SoapFile file;
    file.tensor("terms.0." + name).numbers[0] = std::numeric_limits<double>::quiet_NaN();
    CHECK_ERROR(parse(file.bytes()), "expected finite numbers");
  }
}

TEST(bispectrum) {
  const auto with = [](const std::string& from, const std::string& to) {
    BispectrumFile file;
    file.document = replaced(file.document, from, to);
    return parse(file.bytes());
  };
  const std::string head = "terms[0].";
  CHECK(parse(BispectrumFile().bytes()).terms.size() == 1);
  CHECK_ERROR(with("4.5", "0"), head + "cutoff: found 0");
  CHECK_ERROR(with("\"intervals\": 2", "\"intervals\": 0"), head + "intervals: found 0");
  CHECK_ERROR(with("\"intervals\": 2", "\"intervals\": 3"),
              "found the shape (2, 5, 2, 2), expected (2, 6, 2, 2)");
  CHECK_ERROR(with("\"n_max\": 2", "\"n_max\": 0"), head + "n_max: found 0");
  CHECK_ERROR(with("\"n_max\": 2", "\"n_max\": 129"), head + "n_max: found 129");
  CHECK_ERROR(with("\"l_max\": 1", "\"l_max\": -1"), head + "l_max: found -1");
  CHECK_ERROR(with("\"l_max\": 1", "\"l_max\": 9"),
              head + "l_max: found 9, expected an integer from 0 to 8");
  CHECK_ERROR(with("0.5", "0"), head + "offset: found 0, expected > 0");
  CHECK_ERROR(with("0.5", "-0.5"), head + "offset: found -0.5, expected > 0");
  CHECK_ERROR(with("0.5", "\"x\""), head + "offset: found the string \"x\"");
  CHECK_ERROR(with("\"products\": 5", "\"products\": 0"), head + "products: found 0");
  CHECK_ERROR(with("\"products\": 5", "\"products\": 100001"),
              head + "products: found 100001, expected an integer from 1 to 100000");
  CHECK_ERROR(with("\"products\": 5", "\"products\": 6"),
              "tensor \"terms.0.products\": found the shape (5, 4), expected (6, 4)");
  CHECK_ERROR(with("\"n_max\": 2", "\"n_max\": 2, \"degree\": 5"),
              "terms[0]: found the unknown entry \"degree\"");
  for (const std::string name : {"offset", "products", "centers", "cutoff", "n_max", "l_max"})
    CHECK_ERROR(with("\"" + name + "\"", "\"X\""), "unknown entry \"X\"");
  CHECK_ERROR(with("\"offset\": 0.5, ", ""), "found no entry \"offset\"");
  CHECK_ERROR(with(", \"products\": 5", ""), "found no entry \"products\"");
  CHECK_ERROR(with("{\"species\": \"H\"}, {\"species\": \"O\"}", ""),
              "expected at least one center");
  CHECK_ERROR(with("{\"species\": \"O\"}", "{\"species\": \"H\"}"),
              "found a species that stands before");
  CHECK_ERROR(with("{\"species\": \"O\"}", "{\"species\": \"C\"}"),
              "expected one of the file's species");
  CHECK_ERROR(with("{\"species\": \"O\"}", "{\"species\": \"O\", \"count\": 1}"),
              "found the unknown entry \"count\"");
  CHECK_ERROR(with(", {\"species\": \"O\"}", ""),
              "found the tensor \"terms.0.O\", which no term uses");
  BispectrumFile many;  // the tables are as they should be
  many.document = replaced(many.document, "\"n_max\": 2", "\"n_max\": 33");
  many.tensor("terms.0.radial") = {"terms.0.radial", "F64", "[2,5,2,33]",
                                   std::vector<double>(660, 0.1)};
  CHECK_ERROR(parse(many.bytes()), head + "n_max: found 33, expected no more than 64 fields");
}

TEST(bispectrum_tensors) {
  for (const std::string name : {"radial", "products", "H", "O"}) {
    BispectrumFile without, shape, number;
    without.tensors.erase(without.tensors.begin() +
                          (&without.tensor("terms.0." + name) - without.tensors.data()));
    CHECK_ERROR(parse(without.bytes()), "found no tensor \"terms.0." + name + "\"");
    shape.tensor("terms.0." + name).shape.insert(1, "1,");
    CHECK_ERROR(parse(shape.bytes()), "tensor \"terms.0." + name + "\": found the shape (1, ");
    number.tensor("terms.0." + name).numbers[1] = std::numeric_limits<double>::quiet_NaN();
    CHECK_ERROR(parse(number.bytes()), "expected finite numbers");
  }
  const auto with = [](std::size_t at, double field) {
    BispectrumFile file;
    file.tensor("terms.0.products").numbers[at] = field;
    return parse(file.bytes());
  };
  const std::string head = "tensor \"terms.0.products\": ";
  CHECK_ERROR(with(4, 0.5), head + "found 0.5, expected the number of a field");
  CHECK_ERROR(with(4, 1e300), head + "found 1e+300, expected the number of a field");
  CHECK_ERROR(with(4, -1e300), head + "found -1e+300, expected the number of a field");
  CHECK_ERROR(with(0, 4), head + "found the field 4 of a product, expected 0 to 3, or -1 behind");
  CHECK_ERROR(with(1, -2), head + "found the field -2 of a product");
  CHECK_ERROR(with(2, 0), head + "found the field 0 of a product, expected 0 to 3, or -1 behind");
  CHECK_ERROR(with(0, -1), head + "found a product whose fields are not in order, or without any");
  CHECK_ERROR(with(17, 3), head + "found a product whose fields are not in order, or without any");
  CHECK_ERROR(with(9, -1), head + "found a product whose angular numbers have the odd sum 1");
}

TEST(zbl_pairs) {
  CHECK_ERROR(parse_with("\"inner\": 0.4", "\"inner\": 0.7"), "expected 0 <= inner < outer <= 100");
  CHECK_ERROR(parse_with("\"inner\": 0.4", "\"inner\": -1"), "terms[2].pairs[0]: found inner -1");
  CHECK_ERROR(parse_with("\"outer\": 0.7", "\"outer\": 101"), "outer 101");
  CHECK_ERROR(parse_with("\"outer\": 0.7", "\"Outer\": 0.7"), "unknown entry \"Outer\"");
  CHECK_ERROR(parse_with("[{\"species\": [\"H\", \"O\"], \"inner\": 0.4, \"outer\": 0.7}]", "[]"),
              "expected at least one pair");
  const std::string pair = "{\"species\": [\"H\", \"O\"], \"inner\": 0.4, \"outer\": 0.7}";
  CHECK_ERROR(parse_with(pair, pair + "," + pair), "has its core already");
  const std::string term = "{\"kind\": \"zbl\", \"pairs\": [" + pair + "]}";
  CHECK_ERROR(parse_with(term, term + "," + term),
              "terms[3].pairs[0].species: found a pair that has its core already");
}

TEST(embedding) {
  const std::string tables = "[[\"O\", \"H\"], [\"H\", \"H\"]]";
  const std::string center = "{\"species\": \"O\", \"intervals\": 1, \"range\": 1.25}";
  CHECK_ERROR(parse_with("\"cutoff\": 4.5", "\"cutoff\": 0"), "terms[3].cutoff: found 0");
  CHECK_ERROR(parse_with("\"intervals\": 3", "\"intervals\": 0"), "terms[3].intervals: found 0");
  CHECK_ERROR(parse_with("\"intervals\": 3", "\"intervals\": 3, \"scale\": 1"),
              "terms[3]: found the unknown entry \"scale\"");
  CHECK_ERROR(parse_with(tables, "[]"), "expected at least one table");
  CHECK_ERROR(parse_with(tables, "[[\"O\", \"H\"], [\"O\", \"H\"]]"),
              "tables[1]: found a table that stands before");
  CHECK_ERROR(parse_with(tables, "[[\"H\", \"O\"], [\"H\", \"H\"]]"),
              "found no tensor \"terms.3.H-O\"");
  CHECK_ERROR(parse_with(tables, "[[\"O\", \"C\"], [\"H\", \"H\"]]"),
              "expected one of the file's species");
  CHECK_ERROR(parse_with("[" + center + "]", "[]"), "expected at least one center");
  CHECK_ERROR(parse_with(center, center + ", " + center), "found a species that stands before");
  CHECK_ERROR(parse_with("\"species\": \"O\"", "\"species\": \"H\""),
              "found no tensor \"terms.3.H\"");
  CHECK_ERROR(parse_with("\"range\": 1.25", "\"range\": 0"), "centers[0].range: found 0");
  CHECK_ERROR(parse_with("\"range\": 1.25", "\"range\": 1e10"), "range <= ");
  CHECK_ERROR(parse_with("\"intervals\": 1,", "\"intervals\": 2,"),
              "found the shape (4), expected (5)");
}

TEST(tensors) {
  const double bad[] = {std::numeric_limits<double>::quiet_NaN(),
                        std::numeric_limits<double>::infinity()};
  for (const double number : bad) {
    File file;
    file.tensors[2].numbers[3] = number;
    CHECK_ERROR(parse(file.bytes()), "at item 3, expected finite numbers");
  }
  File asymmetric;
  asymmetric.tensors[3].numbers[5] += 1e-6;
  CHECK_ERROR(parse(asymmetric.bytes()), "expected them equal: the neighbours are of one species");
  File type;
  type.tensors[2].dtype = "I64";
  CHECK_ERROR(parse(type.bytes()), "tensor \"terms.0.H-O\": found the type I64, expected F64");
  File extra;
  extra.tensors.push_back({"more", "F64", "[1]", {1.0}});
  CHECK_ERROR(parse(extra.bytes()), "found the tensor \"more\", which no term uses");
  File twice;
  twice.tensors.push_back(twice.tensors[0]);
  CHECK_ERROR(parse(twice.bytes()), "found the name \"e0\" twice");
}

TEST(container) {
  const File file;
  CHECK_ERROR(parse(""), "is an empty file, expected a potential of forcemap");
  CHECK_ERROR(parse("1234567"), "is a file of frames (XYZ), expected a potential of forcemap");
  CHECK_ERROR(parse(std::string(7, '\xFE')), "found 7 bytes, expected a safetensors file");
  CHECK_ERROR(parse(std::string(8, '\xFF')), "found a header of 18446744073709551615 bytes");
  CHECK_ERROR(parse(File::assemble("", "")), "this is no safetensors file");
  CHECK_ERROR(parse(File::assemble("[]", "")), "does not begin with '{'");
  CHECK_ERROR(parse(File::assemble("{}", "")), "found no metadata");
  CHECK_ERROR(parse(file.bytes().substr(0, 100)), "the file is cut off");
  CHECK_ERROR(parse(file.bytes() + "x"), "bytes of data, expected ");
  CHECK_ERROR(parse(file.bytes().substr(0, file.bytes().size() - 1)), "data_offsets");
  File name;
  name.metadata_name = "other";
  CHECK_ERROR(parse(name.bytes()),
              "found the metadata entry \"other\", expected only \"forcemap\" and ");
  CHECK_ERROR(parse_header_with("[0,16]", "[0,8]"), "found 8 bytes, expected 16 for type F64");
  CHECK_ERROR(parse_header_with("[0,16]", "[16,0]"), "expected an integer from 16 to ");
  CHECK_ERROR(parse_header_with("[0,16]", "[-8,8]"), "found -8, expected an integer from 0");
  CHECK_ERROR(parse_header_with("[0,16]", "[0,16,32]"), "expected [begin, end]");
  CHECK_ERROR(parse_header_with("[0,16]", "[8,24]"), "(a gap between tensors)");
  CHECK_ERROR(parse_header_with("[16,56]", "[0,40]"), "(tensors overlap)");
  CHECK_ERROR(parse_header_with("[0,16]", "[0,18446744073709551615]"), "expected an integer");
  CHECK_ERROR(parse_header_with("\"shape\":[2]", "\"shape\":[4294967296,4294967296,4294967296]"),
              "larger than any memory");
  CHECK_ERROR(parse_header_with("\"shape\":[2]", "\"shape\":[-2]"), "found -2");
  CHECK_ERROR(parse_header_with("\"shape\":[2]", "\"shape\":[2305843009213693954]"),
              "larger than any memory");
  CHECK_ERROR(parse_header_with("\"shape\":[2]", "\"shape\":2"), "expected an array");
  CHECK_ERROR(parse_header_with("\"dtype\":\"F64\"", "\"dtype\":\"F65\""), "unknown type \"F65\"");
  CHECK_ERROR(parse_header_with("\"dtype\":\"F64\",", ""), "found no entry \"dtype\"");
  CHECK_ERROR(parse_header_with("\"dtype\":\"F64\"", "\"dtype\":\"F64\",\"x\":1"),
              "unknown entry \"x\"");
}

TEST(files_on_disk) {
  const std::string path = "test_potential_file.tmp";
  const std::string bytes = File().bytes();
  std::ofstream(path, std::ios::binary) << bytes;
  CHECK(forcemap::read_bytes(path) == bytes);
  CHECK(forcemap::read_potential(path).numbers.size() == 2);
  std::ofstream(path, std::ios::binary | std::ios::trunc) << "x";
  CHECK_ERROR(forcemap::read_potential(path), path + ": is a text file, expected");
  std::remove(path.c_str());
  CHECK_ERROR(forcemap::read_bytes(path), path + ": ");
  CHECK_ERROR(forcemap::read_bytes("."), ".: this is not a regular file");
  CHECK_ERROR(forcemap::read_bytes("/dev/null"), "this is not a regular file");
}

TEST(element_symbols) {
  CHECK(forcemap::atomic_number("H") == 1);
  CHECK(forcemap::atomic_number("Si") == 14);
  CHECK(forcemap::atomic_number("Og") == 118);
  CHECK(forcemap::atomic_number("si") == 0 && forcemap::atomic_number("") == 0);
  CHECK(forcemap::element_symbol(14) == std::string("Si"));
  CHECK(forcemap::element_symbol(0) == std::string("?"));
  CHECK(forcemap::element_symbol(119) == std::string("?"));
}

TEST(element_masses) {
  CHECK(forcemap::standard_mass(1) == 1.008 && forcemap::standard_mass(14) == 28.085);
  CHECK(forcemap::standard_mass(79) == 196.966569 && forcemap::standard_mass(92) == 238.02891);
  CHECK(forcemap::standard_mass(0) == 0.0 && forcemap::standard_mass(119) == 0.0);
  for (int number = 2; number <= 118; ++number) {  // in order, but for some neighbours
    const double ratio = forcemap::standard_mass(number) / forcemap::standard_mass(number - 1);
    CHECK(ratio > 0.95 && ratio < (number == 2 ? 4.0 : 1.8));
  }
}

TEST(every_truncation_is_an_error) {
  for (const std::string& bytes : {File().bytes(), SoapFile().bytes(), ContractedFile().bytes(),
                                   BispectrumFile().bytes(), FullFile().bytes()}) {
    CHECK(accepted(bytes));
    for (std::size_t length = 0; length < bytes.size(); ++length) {
      if (accepted(bytes.substr(0, length))) {
        check::report(__FILE__, __LINE__, "accepted when cut to " + std::to_string(length));
      }
    }
  }
}

namespace {

void flip_bytes_of(const File& file) {
  const std::string bytes = file.bytes();
  const std::size_t header_end = 8 + file.header().size();
  std::mt19937 random(20240607);
  std::size_t refused = 0;
  auto flip = [&](std::size_t at, int value) {
    std::string damaged = bytes;
    damaged[at] = static_cast<char>(damaged[at] ^ value);
    if (!accepted(damaged)) ++refused;
  };
  for (std::size_t at = 0; at < header_end; ++at) {
    for (int bit = 0; bit < 8; ++bit) flip(at, 1 << bit);
    flip(at, 1 + static_cast<int>(random() % 255));
  }
  CHECK(refused > 4 * header_end);  // not all: some bytes are free text, numbers or spaces
  for (int round = 0; round < 3000; ++round) {
    flip(header_end + random() % (bytes.size() - header_end), 1 + static_cast<int>(random() % 255));
  }
}

}  // namespace

namespace {

// The file with a checksum: its own, unless others are given.
std::string sealed(const File& file, std::string digits = "") {
  const std::string opening = "{\"__metadata__\":{";
  const auto with = [&](const std::string& sum) {
    return File::assemble(
        replaced(file.header(), opening, opening + "\"checksum\":\"" + sum + "\","), file.data());
  };
  if (digits.empty()) {
    char text[17];
    const std::uint64_t sum = forcemap::crc64(with(std::string(16, '0')));
    std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(sum));
    digits = text;
  }
  return with(digits);
}

}  // namespace

TEST(checksums) {
  CHECK(forcemap::crc64("123456789") == 0x995DC9BBDF1939FA);  // of the catalogues
  const std::string text(100, 'x');
  for (std::size_t cut = 0; cut <= text.size(); ++cut) {
    CHECK(forcemap::crc64(text.substr(cut), forcemap::crc64(text.substr(0, cut))) ==
          forcemap::crc64(text));
  }
  const std::string other =
      "file: its checksum does not match its content: the file is damaged; "
      "copy it again or fit anew";
  CHECK(!forcemap::check_checksum(File().bytes(), "file"));
  CHECK_ERROR(parse(sealed(File(), std::string(16, '0'))), other);
  CHECK_ERROR(parse(sealed(File(), "12")), other);
  CHECK_ERROR(parse(sealed(File()) + "x"), other);
  CHECK_ERROR(parse(replaced(sealed(File()), "\"checksum\":", "\"checksum\": ")), "");
  for (const std::string& bytes : {sealed(File()), sealed(SoapFile())}) {
    CHECK(accepted(bytes));
    CHECK(forcemap::check_checksum(bytes, "file"));
    for (std::size_t at = 0; at < bytes.size(); ++at) {
      for (int bit = 0; bit < 8; ++bit) {
        std::string damaged = bytes;
        damaged[at] = static_cast<char>(damaged[at] ^ 1 << bit);
        if (accepted(damaged)) {
          check::report(__FILE__, __LINE__, "accepted with a flip at " + std::to_string(at));
        }
      }
    }
    for (std::size_t length = 0; length < bytes.size(); ++length) {
      CHECK(!accepted(bytes.substr(0, length)));
    }
  }
}

TEST(flipped_bytes_never_crash) {
  flip_bytes_of(File());
  flip_bytes_of(SoapFile());
  flip_bytes_of(ContractedFile());
  flip_bytes_of(BispectrumFile());
  flip_bytes_of(FullFile());
}

TEST(spliced_files_never_crash) {
  const std::string files[] = {File().bytes(),           SoapFile().bytes(),
                               FullFile().bytes(),       MomentsFile().bytes(),
                               ContractedFile().bytes(), BispectrumFile().bytes()};
  std::mt19937 random(5);
  for (int round = 0; round < 5000; ++round) {
    std::string damaged = files[round % 6];
    const std::size_t edits = 1 + random() % 4;
    for (std::size_t edit = 0; edit < edits; ++edit) {
      const std::size_t from = random() % damaged.size();
      const std::size_t length = random() % std::min<std::size_t>(64, damaged.size() - from + 1);
      const std::string piece = damaged.substr(from, length);
      switch (random() % 3) {
        case 0:
          damaged.erase(from, length);
          break;
        case 1:
          damaged.insert(random() % (damaged.size() + 1), piece);
          break;
        default:
          damaged.replace(random() % (damaged.size() - length + 1), length, piece);
      }
      if (damaged.empty()) break;
    }
    // Half of them with a header length that fits again, so that the damage is met further in.
    if (random() % 2 == 0 && damaged.size() >= 8) {
      const std::size_t brace = damaged.rfind("]}}");
      if (brace != std::string::npos && brace > 8) {
        const std::string header = damaged.substr(8, brace + 3 - 8);
        damaged = File::assemble(header, damaged.substr(brace + 3));
      }
    }
    accepted(damaged);
  }
}

TEST(garbage_is_an_error) {
  std::mt19937 random(11);
  for (int round = 0; round < 2000; ++round) {
    std::string bytes(random() % 300, '\0');
    for (char& byte : bytes) byte = static_cast<char>(random() & 0xFF);
    // A small length in front, or else every one of them would end there.
    if (bytes.size() > 8 && random() % 2 == 0) {
      for (std::size_t i = 0; i < 8; ++i) bytes[i] = '\0';
      bytes[0] = static_cast<char>(random() % 128);
      bytes[8] = '{';
    }
    CHECK(!accepted(bytes));
  }
}

int main() { return check::run_all(); }
