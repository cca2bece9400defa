// The reader of potential files: a valid file is read, every fault is reported, nothing crashes.
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

using forcemap::PotentialData;

namespace {

struct Tensor {
  std::string name;
  std::string dtype;
  std::string shape;  // JSON
  std::vector<double> numbers;
};

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  const std::size_t at = text.find(from);
  if (at == std::string::npos) throw std::logic_error("test: no \"" + from + "\" in " + text);
  return text.replace(at, from.size(), to);
}

std::string escaped(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '"' || c == '\\') out.push_back('\\');
    out.push_back(c);
  }
  return out;
}

// The parts of a potential file, to be altered before `bytes`.
struct File {
  std::string document =
      R"({"format": "forcemap.potential", "version": 1, "forcemap_version": "0.1.0",)"
      R"( "species": ["H", "O"], "units": {"energy": "eV", "length": "Å"}, "terms": [)"
      R"({"kind": "two_body", "cutoff": 5.5, "intervals": 2, "tables": [["H", "H"], ["H", "O"]]},)"
      R"( {"kind": "three_body", "cutoff": 4, "leg_intervals": 1, "base_intervals": 2,)"
      R"( "tables": [["O", "H", "H"], ["O", "H", "O"]]},)"
      R"( {"kind": "zbl", "pairs": [{"species": ["H", "O"], "inner": 0.4, "outer": 0.7}]},)"
      R"( {"kind": "embedding", "cutoff": 4.5, "intervals": 3, "tables": [["O", "H"], ["H", "H"]],)"
      R"( "centers": [{"species": "O", "intervals": 1, "range": 1.25}]}],)"
      R"( "provenance": {"note": "test"}})";
  std::vector<Tensor> tensors;
  std::string metadata_name = "forcemap";

  File() {
    tensors.push_back({"e0", "F64", "[2]", {-1.0, -2.0}});
    tensors.push_back({"terms.0.H-H", "F64", "[5]", {1, 2, 3, 4, 5}});
    tensors.push_back({"terms.0.H-O", "F64", "[5]", {5, 4, 3, 2, 1}});
    Tensor symmetric{"terms.1.O-H-H", "F64", "[4,4,5]", {}};
    Tensor other{"terms.1.O-H-O", "F64", "[4,4,5]", {}};
    for (int a = 0; a < 4; ++a) {
      for (int b = 0; b < 4; ++b) {
        for (int c = 0; c < 5; ++c) {
          symmetric.numbers.push_back(a * b + 0.1 * c);
          other.numbers.push_back(a + 0.5 * b + 0.1 * c);
        }
      }
    }
    tensors.push_back(symmetric);
    tensors.push_back(other);
    tensors.push_back({"terms.3.O-H", "F64", "[6]", {1, 2, 3, 4, 5, 6}});
    tensors.push_back({"terms.3.H-H", "F64", "[6]", {6, 5, 4, 3, 2, 1}});
    tensors.push_back({"terms.3.O", "F64", "[4]", {0, -1, 1, 2}});
  }

  // The header as safetensors wants it, offsets from the tensors' sizes.
  std::string header() const {
    std::string text =
        "{\"__metadata__\":{\"" + metadata_name + "\":\"" + escaped(document) + "\"}";
    std::size_t offset = 0;
    for (const Tensor& tensor : tensors) {
      const std::size_t end = offset + 8 * tensor.numbers.size();
      text += ",\"" + tensor.name + "\":{\"dtype\":\"" + tensor.dtype +
              "\",\"shape\":" + tensor.shape + ",\"data_offsets\":[" + std::to_string(offset) +
              "," + std::to_string(end) + "]}";
      offset = end;
    }
    return text + "}";
  }

  std::string data() const {
    std::string bytes;
    for (const Tensor& tensor : tensors) {
      const std::size_t at = bytes.size();
      bytes.resize(at + 8 * tensor.numbers.size());
      std::memcpy(&bytes[at], tensor.numbers.data(), 8 * tensor.numbers.size());
    }
    return bytes;
  }

  std::string bytes() const { return assemble(header(), data()); }

  static std::string assemble(const std::string& header, const std::string& data) {
    std::string bytes;
    for (int i = 0; i < 8; ++i) bytes.push_back(static_cast<char>(header.size() >> (8 * i) & 0xFF));
    return bytes + header + data;
  }
};

// A file with one soap term: two radial functions, l up to 1, one channel for both elements.
struct SoapFile : File {
  SoapFile() {
    document =
        R"({"format": "forcemap.potential", "version": 1, "forcemap_version": "0.1.0",)"
        R"( "species": ["H", "O"], "units": {"energy": "eV", "length": "Å"}, "terms": [)"
        R"({"kind": "soap", "cutoff": 4.5, "intervals": 2, "n_max": 2, "l_max": 1,)"
        R"( "channels": 1, "zeta": 2, "centers": [{"species": "H", "count": 1, "constant": 0.25},)"
        R"( {"species": "O", "count": 3, "constant": -0.5}]}], "provenance": {"note": "test"}})";
    tensors.clear();
    const auto add = [&](const std::string& name, const std::string& shape, std::size_t count) {
      Tensor tensor{name, "F64", shape, {}};
      for (std::size_t n = 0; n < count; ++n)
        tensor.numbers.push_back(0.1 * static_cast<double>(n + 1 + tensors.size()));
      tensors.push_back(tensor);
    };
    add("e0", "[2]", 2);
    add("terms.0.radial", "[5,2,2]", 20);
    add("terms.0.self", "[2]", 2);
    add("terms.0.weights", "[1,2]", 2);
    add("terms.0.H.factors", "[1]", 1);
    add("terms.0.H.vectors", "[1,6]", 6);
    add("terms.0.O.factors", "[3]", 3);
    add("terms.0.O.vectors", "[3,6]", 18);
  }

  Tensor& tensor(const std::string& name) {
    for (Tensor& found : tensors)
      if (found.name == name) return found;
    throw std::logic_error("test: no tensor " + name);
  }
};

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
  std::vector<double> forces(9);
  forcemap::ResultView result;
  result.forces = forces.data();
  for (const double d : {0.1, 1.0, 3.0}) {
    const double positions[9] = {0, 0, 0, d, 0, 0, 0, 1.5 * d, 0.1};
    try {
      calculator.compute({3, positions, numbers, cell, pbc}, result);
    } catch (const forcemap::Error&) {
      // Tables of damaged numbers may give an energy that is not finite, which is told.
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

TEST(valid_file_is_read) {
  const File file;
  const PotentialData data = parse(file.bytes());
  CHECK(data.numbers == (std::vector<int>{1, 8}));
  CHECK(data.e0 == (std::vector<double>{-1.0, -2.0}));
  CHECK(data.two_body.size() == 1);
  CHECK(data.two_body[0].cutoff == 5.5);
  CHECK(data.two_body[0].intervals == 2);
  CHECK(data.two_body[0].tables.size() == 2);
  CHECK(data.two_body[0].tables[1].species == (std::array<std::size_t, 2>{0, 1}));
  CHECK(data.two_body[0].tables[1].coefficients == file.tensors[2].numbers);
  CHECK(data.three_body.size() == 1);
  CHECK(data.three_body[0].cutoff == 4.0);
  CHECK(data.three_body[0].leg_intervals == 1);
  CHECK(data.three_body[0].base_intervals == 2);
  CHECK(data.three_body[0].tables[0].species == (std::array<std::size_t, 3>{1, 0, 0}));
  CHECK(data.three_body[0].tables[1].species == (std::array<std::size_t, 3>{1, 0, 1}));
  CHECK(data.three_body[0].tables[1].coefficients == file.tensors[4].numbers);
  CHECK(data.zbl.size() == 1);
  CHECK(data.zbl[0].species == (std::array<std::size_t, 2>{0, 1}));
  CHECK(data.zbl[0].inner == 0.4 && data.zbl[0].outer == 0.7);
  CHECK(data.embedding.size() == 1);
  CHECK(data.embedding[0].cutoff == 4.5);
  CHECK(data.embedding[0].intervals == 3);
  CHECK(data.embedding[0].densities.size() == 2);
  CHECK(data.embedding[0].densities[0].species == (std::array<std::size_t, 2>{1, 0}));
  CHECK(data.embedding[0].densities[1].coefficients == file.tensors[6].numbers);
  CHECK(data.embedding[0].centers.size() == 1);
  CHECK(data.embedding[0].centers[0].species == 1);
  CHECK(data.embedding[0].centers[0].range == 1.25);
  CHECK(data.embedding[0].centers[0].intervals == 1);
  CHECK(data.embedding[0].centers[0].coefficients == file.tensors[7].numbers);
  CHECK(data.metadata == file.document);
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
  CHECK_ERROR(parse_with("\"version\": 1", "\"version\": 2"), "written by a newer forcemap");
  CHECK_ERROR(parse_with("\"version\": 1", "\"version\": 0"), "version: found 0");
  CHECK_ERROR(parse_with("\"version\": 1", "\"version\": 1.0"), "version: found 1.0");
  CHECK_ERROR(parse_with("\"version\": 1, ", ""), "found no entry \"version\"");
  CHECK_ERROR(parse_with("\"species\"", "\"speices\""), "unknown entry \"speices\"");
  CHECK_ERROR(parse_with("\"eV\"", "\"Ry\""), "units.energy: found another unit, expected eV");
  CHECK_ERROR(parse_with("{\"note\": \"test\"}", "3"), "provenance: found 3, expected an object");
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
  CHECK_ERROR(parse_with("\"two_body\"", "\"four_body\""), "terms[0].kind: found \"four_body\"");
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
  CHECK(data.soap.size() == 1);
  const auto& term = data.soap[0];
  CHECK(term.zeta == 2 && term.basis.cutoff == 4.5 && term.basis.intervals == 2);
  CHECK(term.basis.n_max == 2 && term.basis.l_max == 1 && term.basis.channels == 1);
  CHECK(term.basis.dimension() == 6);
  CHECK(term.basis.radial == file.tensor("terms.0.radial").numbers);
  CHECK(term.basis.self == file.tensor("terms.0.self").numbers);
  CHECK(term.basis.weights == file.tensor("terms.0.weights").numbers);
  CHECK(term.centers.size() == 2);
  CHECK(term.centers[1].species == 1 && term.centers[1].constant == -0.5);
  CHECK(term.centers[1].factors == file.tensor("terms.0.O.factors").numbers);
  CHECK(term.centers[1].vectors == file.tensor("terms.0.O.vectors").numbers);
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
  CHECK_ERROR(parse_soap_with("\"zeta\": 2", "\"zeta\": 5"), head + "zeta: found 5");
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

TEST(zbl_pairs) {
  CHECK_ERROR(parse_with("\"inner\": 0.4", "\"inner\": 0.7"), "expected 0 <= inner < outer <= 100");
  CHECK_ERROR(parse_with("\"inner\": 0.4", "\"inner\": -1"), "terms[2].pairs[0]: found inner -1");
  CHECK_ERROR(parse_with("\"outer\": 0.7", "\"outer\": 101"), "outer 101");
  CHECK_ERROR(parse_with("\"outer\": 0.7", "\"Outer\": 0.7"), "unknown entry \"Outer\"");
  CHECK_ERROR(parse_with("[{\"species\": [\"H\", \"O\"], \"inner\": 0.4, \"outer\": 0.7}]", "[]"),
              "expected at least one pair");
  const std::string pair = "{\"species\": [\"H\", \"O\"], \"inner\": 0.4, \"outer\": 0.7}";
  CHECK_ERROR(parse_with(pair, pair + "," + pair), "has its core already");
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
  for (const std::string& bytes : {File().bytes(), SoapFile().bytes()}) {
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
}

TEST(spliced_files_never_crash) {
  const std::string files[] = {File().bytes(), SoapFile().bytes()};
  std::mt19937 random(5);
  for (int round = 0; round < 5000; ++round) {
    std::string damaged = files[round % 2];
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
