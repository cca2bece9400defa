// The bytes of small potential files, to be altered by tests.
#pragma once

#include <cstddef>
#include <cstring>
#include <stdexcept>
#include <string>
#include <vector>

namespace potential_bytes {

struct Tensor {
  std::string name;
  std::string dtype;
  std::string shape;  // JSON
  std::vector<double> numbers;

  std::size_t item_size() const { return dtype == "F32" ? sizeof(float) : sizeof(double); }
};

inline std::string replaced(std::string text, const std::string& from, const std::string& to) {
  const std::size_t at = text.find(from);
  if (at == std::string::npos) throw std::logic_error("test: no \"" + from + "\" in " + text);
  return text.replace(at, from.size(), to);
}

inline std::string escaped(const std::string& text) {
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
      const std::size_t end = offset + tensor.item_size() * tensor.numbers.size();
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
      bytes.resize(at + tensor.item_size() * tensor.numbers.size());
      const std::vector<float> single(tensor.numbers.begin(), tensor.numbers.end());
      const void* from = tensor.numbers.data();
      if (tensor.dtype == "F32") from = single.data();
      std::memcpy(&bytes[at], from, bytes.size() - at);
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
    add("e0", "[2]", 2);
    add("terms.0.radial", "[5,2,2]", 20);
    add("terms.0.self", "[2]", 2);
    add("terms.0.weights", "[1,2]", 2);
    add("terms.0.H.factors", "[1]", 1);
    add("terms.0.H.vectors", "[1,6]", 6);
    add("terms.0.O.factors", "[3]", 3);
    add("terms.0.O.vectors", "[3,6]", 18);
  }

  /// A tensor of `count` numbers.
  void add(const std::string& name, const std::string& shape, std::size_t count) {
    Tensor tensor{name, "F64", shape, {}};
    for (std::size_t n = 0; n < count; ++n)
      tensor.numbers.push_back(0.1 * static_cast<double>(n + 1 + tensors.size()));
    tensors.push_back(tensor);
  }

  Tensor& tensor(const std::string& name) {
    for (Tensor& found : tensors)
      if (found.name == name) return found;
    throw std::logic_error("test: no tensor " + name);
  }
};

// A file with one soap_contracted term: two radial functions, l up to 1, three channels in a row, a
// diagonal and a single pair.
struct ContractedFile : SoapFile {
  ContractedFile() {
    document = replaced(document, "\"kind\": \"soap\"", "\"kind\": \"soap_contracted\"");
    document = replaced(document, "\"intervals\": 2",
                        R"("intervals": 2, "degree": 5, "cosine_width": 1.5)");
    document = replaced(document, "\"channels\": 1, \"zeta\": 2",
                        R"("channels": 3, "pairs": 6, "zeta": 2.5)");
    tensors.resize(1);
    add("terms.0.radial", "[7,2,2]", 28);
    add("terms.0.mixing", "[2,2,3]", 12);
    add("terms.0.self", "[2,3]", 6);
    tensors.push_back({"terms.0.pairs", "F64", "[6,2]", {0, 0, 0, 1, 0, 2, 1, 1, 2, 2, 2, 1}});
    add("terms.0.pair_weights", "[6]", 6);
    add("terms.0.H.factors", "[1]", 1);
    add("terms.0.H.vectors", "[1,12]", 12);
    add("terms.0.O.factors", "[3]", 3);
    add("terms.0.O.vectors", "[3,12]", 36);
  }
};

// A file with one bispectrum term: two channels, l up to 1, products of one to four fields.
struct BispectrumFile : SoapFile {
  BispectrumFile() {
    document = replaced(document, "\"kind\": \"soap\"", "\"kind\": \"bispectrum\"");
    document =
        replaced(document, "\"channels\": 1, \"zeta\": 2", R"("offset": 0.5, "products": 5)");
    document = replaced(document, ", \"count\": 1, \"constant\": 0.25", "");
    document = replaced(document, ", \"count\": 3, \"constant\": -0.5", "");
    tensors.resize(1);
    add("terms.0.radial", "[2,5,2,2]", 40);
    tensors.push_back({"terms.0.products", "F64", "[5,4]", {0,  -1, -1, -1, 0, 1,  -1, -1, 2, 3,
                                                            -1, -1, 0,  0,  1, -1, 0,  1,  2, 3}});
    add("terms.0.H", "[5]", 5);
    add("terms.0.O", "[5]", 5);
  }
};

// A file of version 3 with draws of every kind, a calibration and a grade by the soap term's
// features.
struct FullFile : SoapFile {
  FullFile() {
    const std::string basis =
        R"("cutoff": 4.5, "intervals": 2, "n_max": 2, "l_max": 1, "channels": 1)";
    document = replaced(document, "\"version\": 1", "\"version\": 3");
    document.pop_back();
    document +=
        R"(, "uncertainty": {"energy": {"factor": 2, "floor": 0.1, "noise": 0},)"
        R"( "force": {"factor": 3, "floor": 0, "noise": 0.1},)"
        R"( "stress": {"factor": 1, "floor": 0, "noise": 0}},)"
        R"( "draws": {"count": 3, "terms": [)"
        R"({"kind": "two_body", "cutoff": 4, "intervals": 2, "tables": [["H", "O"]]},)"
        R"( {"kind": "three_body", "cutoff": 4, "leg_intervals": 1, "base_intervals": 2,)"
        R"( "tables": [["O", "H", "H"]]},)"
        R"( {"kind": "embedding", "cutoff": 4.5, "intervals": 3, "tables": [["O", "H"]],)"
        R"( "centers": [{"species": "O", "intervals": 1, "range": 1.25}]}, {"kind": "soap", )" +
        basis + R"(, "zeta": 3, "centers": [{"species": "H", "count": 2}]},)" +
        R"( {"kind": "soap_quadratic", )" + basis +
        R"(, "centers": [{"species": "O", "rank": 2}]}]},)"
        R"( "grade": {"shortest": [{"species": ["H", "O"], "distance": 1.5}],)"
        R"( "centers": [{"species": "H", "features": 1}, {"species": "O", "features": 3}]}})";
    add("draws.e0", "[3,2]", 6);
    add("draws.0.H-O", "[3,5]", 15);
    add_single("draws.1.O-H-H", "[3,50]", 150);
    add("draws.2.O-H", "[6]", 6);
    add("draws.2.O", "[3,4]", 12);
    add_basis("draws.3.");
    add("draws.3.H.factors", "[3,2]", 6);
    add("draws.3.H.vectors", "[2,6]", 12);
    add_basis("draws.4.");
    tensors.push_back({"draws.4.O.spectrum", "F64", "[6]", {0, 1, 0, 0, 0, 0}});
    add("draws.4.O.lines", "[3,6]", 18);
    tensors.push_back({"draws.4.O.subspace", "F64", "[2,6]", {1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0}});
    tensors.push_back(
        {"draws.4.O.forms", "F64", "[3,2,2]", {1, 2, 2, 3, -1, 0, 0, 1, 2, -0.5, -0.5, 0}});
    add("grade.H.mean", "[1]", 1);
    add("grade.H.whitening", "[1,1]", 1);
    add("grade.O.mean", "[3]", 3);
    tensors.push_back({"grade.O.whitening", "F64", "[3,3]", {1, 0, 0, 2, 3, 0, 4, 5, 6}});
  }

 private:
  void add(const std::string& name, const std::string& shape, std::size_t count) {
    Tensor tensor{name, "F64", shape, {}};
    for (std::size_t n = 0; n < count; ++n)
      tensor.numbers.push_back(0.1 * static_cast<double>(n + 1 + tensors.size() % 3));
    tensors.push_back(tensor);
  }
  void add_single(const std::string& name, const std::string& shape, std::size_t count) {
    add(name, shape, count);
    tensors.back().dtype = "F32";
  }
  void add_basis(const std::string& prefix) {
    add(prefix + "radial", "[5,2,2]", 20);
    add(prefix + "self", "[2]", 2);
    add(prefix + "weights", "[1,2]", 2);
  }
};

// The same, graded by moments.
struct MomentsFile : FullFile {
  MomentsFile() {
    document = replaced(document, "\"features\": 1}, ", "\"features\": 8}, ");
    document = replaced(document, "\"features\": 3}]",
                        "\"features\": 8}], \"moments\": " +
                            std::string("{\"cutoff\": 4, \"radial\": 1, \"angular\": ") +
                            "{\"cutoff\": 3, \"radial\": 1}}");
    for (const char* symbol : {"H", "O"}) {
      tensor(std::string("grade.") + symbol + ".mean") = {
          std::string("grade.") + symbol + ".mean", "F64", "[8]", {1, 2, 3, 4, 5, 6, 7, 8}};
      Tensor whitening{std::string("grade.") + symbol + ".whitening", "F64", "[8,8]", {}};
      for (int a = 0; a < 8; ++a)
        for (int b = 0; b < 8; ++b) whitening.numbers.push_back(a == b ? 1 + a : a > b ? 0.5 : 0.0);
      tensor(whitening.name) = whitening;
    }
  }
};

// A file whose only term is one pair function of silicon.
struct PairFile : File {
  PairFile(const std::string& cutoff, const std::vector<double>& coefficients) {
    const std::size_t intervals = coefficients.size() - 3;
    document = R"({"format": "forcemap.potential", "version": 1, "forcemap_version": "0.1.0",)"
               R"( "species": ["Si"], "units": {"energy": "eV", "length": "Å"}, "terms": [)"
               R"({"kind": "two_body", "cutoff": )" +
               cutoff + ", \"intervals\": " + std::to_string(intervals) +
               R"(, "tables": [["Si", "Si"]]}]})";
    const std::string shape = "[" + std::to_string(coefficients.size()) + "]";
    tensors = {{"e0", "F64", "[1]", {-1.0}}, {"terms.0.Si-Si", "F64", shape, coefficients}};
  }
};

}  // namespace potential_bytes
