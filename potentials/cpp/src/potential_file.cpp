#include "forcemap/potential_file.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <set>
#include <utility>

#include "forcemap/elements.hpp"
#include "forcemap/fail.hpp"
#include "forcemap/json.hpp"
#include "forcemap/safetensors.hpp"

// The format, version 1 (written by forcemap/potentials/model.py, which describes it in full): a
// safetensors file whose metadata are a "checksum" (checksum.hpp; may be absent) and "forcemap", a
// JSON document, here without the free members "provenance" and "mapping",
//   {"format": "forcemap.potential", "version": 1, "forcemap_version": "0.1.0",
//    "species": ["H", "O"], "units": {"energy": "eV", "length": "Å"},
//    "terms": [
//      {"kind": "two_body", "cutoff": 5.5, "intervals": 200, "tables": [["H", "H"], ...]},
//      {"kind": "three_body", "cutoff": 4.0, "leg_intervals": 60, "base_intervals": 120,
//       "tables": [["O", "H", "H"], ...]},
//      {"kind": "soap", "cutoff": 5.0, "intervals": 64, "n_max": 8, "l_max": 6, "channels": 2,
//       "zeta": 2, "centers": [{"species": "O", "count": 64, "constant": -0.1}, ...]},
//      {"kind": "embedding", "cutoff": 5.0, "intervals": 50, "tables": [["O", "H"], ...],
//       "centers": [{"species": "O", "intervals": 50, "range": 1.25}, ...]},
//      {"kind": "zbl", "pairs": [{"species": ["H", "H"], "inner": 0.4, "outer": 0.7}, ...]}]}
// and whose tensors, all F64, are "e0" (species) and, for each table, "terms.INDEX.A-B" (intervals
// + 3) or "terms.INDEX.C-A-B" (leg + 3, leg + 3, base + 3); for a soap term "terms.INDEX.radial"
// (intervals + 3, l_max + 1, n_max), ".self" (n_max), ".weights" (channels, species) and for each
// centre "terms.INDEX.A.vectors" (count, dimension) and "terms.INDEX.A.factors" (count); for an
// embedding term "terms.INDEX.A-B" (intervals + 3) of a neighbour B of a centre A, and for each
// centre "terms.INDEX.A" (its intervals + 3).

namespace forcemap {

namespace {

constexpr std::int64_t newest_version = 2;
constexpr std::uintmax_t max_file_bytes = std::uintmax_t{4} << 30;
constexpr std::int64_t max_intervals = 100000;
constexpr std::int64_t max_soap_channels = 128;  // also of radial functions
constexpr std::int64_t max_soap_vectors = 1000000;
constexpr double max_distance = 100.0;  // Å
constexpr double max_density = 1e9;
constexpr double symmetry_tolerance = 1e-9;  // of a table, relative to its largest coefficient

// Reads one file's document and collects the names of the tensors that it uses.
class Reader {
 public:
  Reader(const SafeTensors& tensors, std::string name)
      : tensors_(tensors), name_(std::move(name)) {}

  PotentialData read(const JsonView& root) {
    check_header(root);
    read_species(root.at("species"));
    data_.e0 = take("e0", {data_.numbers.size()});
    const JsonView terms = root.at("terms");
    if (terms.size() == 0) terms.reject("found an empty array, expected at least one term");
    for (std::size_t index = 0; index < terms.size(); ++index) read_term(terms.at(index), index);
    check_no_other_tensor();
    return std::move(data_);
  }

 private:
  void check_header(const JsonView& root) const {
    const std::string& format = root.at("format").string();
    if (format == "forcemap.model") {
      fail(name_, ": found a Gaussian-process model, expected its map; make it with: ",
           "forcemap map MODEL -o potential.forcemap");
    }
    if (format != "forcemap.potential") {
      root.at("format").reject("found ", quoted(format), ", expected \"forcemap.potential\"");
    }
    const std::int64_t version = root.at("version").integer(1, INT32_MAX);
    if (version > newest_version) {
      fail(name_, ": found format version ", version, ", expected at most ", newest_version,
           ": the file was written by a newer forcemap; upgrade forcemap");
    }
    root.allow_only({"format", "version", "forcemap_version", "species", "units", "terms", "columns",
                     "provenance", "mapping"});
    root.at("forcemap_version").string();
    for (const char* free : {"provenance", "mapping"}) {
      if (root.has(free)) root.at(free).members();
    }
    const JsonView units = root.at("units");
    units.allow_only({"energy", "length"});
    check_unit(units.at("energy"), "eV");
    check_unit(units.at("length"), "Å");
  }

  static void check_unit(const JsonView& unit, const char* expected) {
    if (unit.string() != expected) unit.reject("found another unit, expected ", expected);
  }

  void read_species(const JsonView& species) {
    const std::size_t count = species.size();
    if (count < 1 || count > std::size_t{max_atomic_number}) {
      species.reject("found ", count, " species, expected 1 to ", max_atomic_number);
    }
    for (std::size_t i = 0; i < count; ++i) {
      const std::string& symbol = species.at(i).string();
      const int number = atomic_number(symbol);
      if (number == 0) species.at(i).reject("found ", quoted(symbol), ", expected an element");
      if (i > 0 && number <= data_.numbers.back()) {
        species.at(i).reject("found ", symbol, " after ", element_symbol(data_.numbers.back()),
                             ", expected increasing atomic numbers");
      }
      data_.numbers.push_back(number);
    }
  }

  void read_term(const JsonView& term, std::size_t index) {
    const std::string& kind = term.at("kind").string();
    if (kind == "two_body") {
      read_two_body(term, index);
    } else if (kind == "three_body") {
      read_three_body(term, index);
    } else if (kind == "soap") {
      read_soap(term, index);
    } else if (kind == "embedding") {
      read_embedding(term, index);
    } else if (kind == "zbl") {
      read_zbl(term);
    } else {
      term.at("kind").reject("found ", quoted(kind),
                             ", expected two_body, three_body, soap, embedding or zbl");
    }
  }

  void read_two_body(const JsonView& json, std::size_t index) {
    json.allow_only({"kind", "cutoff", "intervals", "tables"});
    TwoBodyTerm term{read_cutoff(json), read_intervals(json.at("intervals")), {}};
    for (const std::vector<std::size_t>& species : read_tables(json.at("tables"), 2)) {
      term.tables.push_back(
          {{species[0], species[1]}, take(tensor_name(index, species), {term.intervals + 3})});
    }
    data_.two_body.push_back(std::move(term));
  }

  void read_three_body(const JsonView& json, std::size_t index) {
    json.allow_only({"kind", "cutoff", "leg_intervals", "base_intervals", "tables"});
    ThreeBodyTerm term{read_cutoff(json),
                       read_intervals(json.at("leg_intervals")),
                       read_intervals(json.at("base_intervals")),
                       {}};
    const std::size_t legs = term.leg_intervals + 3;
    const std::size_t base = term.base_intervals + 3;
    for (const std::vector<std::size_t>& species : read_tables(json.at("tables"), 3)) {
      const std::string name = tensor_name(index, species);
      term.tables.push_back({{species[0], species[1], species[2]}, take(name, {legs, legs, base})});
      if (species[1] == species[2]) {
        check_symmetry(term.tables.back().coefficients, legs, base, name);
      }
    }
    data_.three_body.push_back(std::move(term));
  }

  void read_soap(const JsonView& json, std::size_t index) {
    json.allow_only(
        {"kind", "cutoff", "intervals", "n_max", "l_max", "channels", "zeta", "centers"});
    SoapTerm term{};
    SoapBasis& basis = term.basis;
    basis.cutoff = read_cutoff(json);
    basis.intervals = read_intervals(json.at("intervals"));
    basis.n_max = static_cast<std::size_t>(json.at("n_max").integer(1, max_soap_channels));
    basis.l_max = static_cast<std::size_t>(json.at("l_max").integer(0, std::int64_t{max_soap_l}));
    basis.channels = static_cast<std::size_t>(json.at("channels").integer(1, max_soap_channels));
    term.zeta = static_cast<int>(json.at("zeta").integer(1, max_soap_zeta));
    const std::string prefix = "terms." + std::to_string(index) + ".";
    basis.radial = take(prefix + "radial", {basis.intervals + 3, basis.l_max + 1, basis.n_max});
    basis.self = take(prefix + "self", {basis.n_max});
    basis.weights = take(prefix + "weights", {basis.channels, data_.numbers.size()});
    const JsonView centers = json.at("centers");
    if (centers.size() == 0) centers.reject("found an empty array, expected at least one center");
    std::set<std::size_t> seen;
    for (std::size_t i = 0; i < centers.size(); ++i) {
      const JsonView center = centers.at(i);
      center.allow_only({"species", "count", "constant"});
      const std::size_t species = read_element(center.at("species"));
      if (!seen.insert(species).second)
        center.at("species").reject("found a species that stands before");
      const auto count = static_cast<std::size_t>(center.at("count").integer(1, max_soap_vectors));
      const std::string name = prefix + element_symbol(data_.numbers[species]);
      term.centers.push_back({species, take(name + ".factors", {count}),
                              take(name + ".vectors", {count, basis.dimension()}),
                              center.at("constant").number()});
    }
    data_.soap.push_back(std::move(term));
  }

  void read_embedding(const JsonView& json, std::size_t index) {
    json.allow_only({"kind", "cutoff", "intervals", "tables", "centers"});
    EmbeddingTerm term{read_cutoff(json), read_intervals(json.at("intervals")), {}, {}};
    for (const std::vector<std::size_t>& species : read_tables(json.at("tables"), 2, false)) {
      term.densities.push_back(
          {{species[0], species[1]}, take(tensor_name(index, species), {term.intervals + 3})});
    }
    const JsonView centers = json.at("centers");
    if (centers.size() == 0) centers.reject("found an empty array, expected at least one center");
    std::set<std::size_t> seen;
    for (std::size_t i = 0; i < centers.size(); ++i) {
      const JsonView center = centers.at(i);
      center.allow_only({"species", "intervals", "range"});
      const std::size_t species = read_element(center.at("species"));
      if (!seen.insert(species).second)
        center.at("species").reject("found a species that stands before");
      const double range = center.at("range").number();
      if (!(range > 1.0 / max_density && range <= max_density)) {
        center.at("range").reject("found ", range, ", expected ", 1.0 / max_density,
                                  " < range <= ", max_density);
      }
      const std::size_t intervals = read_intervals(center.at("intervals"));
      term.centers.push_back(
          {species, range, intervals, take(tensor_name(index, {species}), {intervals + 3})});
    }
    data_.embedding.push_back(std::move(term));
  }

  void read_zbl(const JsonView& json) {
    json.allow_only({"kind", "pairs"});
    const JsonView pairs = json.at("pairs");
    if (pairs.size() == 0) pairs.reject("found an empty array, expected at least one pair");
    for (std::size_t i = 0; i < pairs.size(); ++i) {
      const JsonView pair = pairs.at(i);
      pair.allow_only({"species", "inner", "outer"});
      const std::vector<std::size_t> species = read_table(pair.at("species"), 2);
      const ZblPair zbl{
          {species[0], species[1]}, pair.at("inner").number(), pair.at("outer").number()};
      if (!(zbl.inner >= 0.0 && zbl.inner < zbl.outer && zbl.outer <= max_distance)) {
        pair.reject("found inner ", zbl.inner, " and outer ", zbl.outer,
                    ", expected 0 <= inner < outer <= ", max_distance);
      }
      if (!zbl_pairs_.insert(zbl.species).second) {
        pair.at("species").reject("found a pair that has its core already");
      }
      data_.zbl.push_back(zbl);
    }
  }

  static double read_cutoff(const JsonView& term) {
    const double cutoff = term.at("cutoff").number();
    if (!(cutoff > 0.0 && cutoff <= max_distance)) {
      term.at("cutoff").reject("found ", cutoff, ", expected 0 < cutoff <= ", max_distance);
    }
    return cutoff;
  }

  static std::size_t read_intervals(const JsonView& json) {
    return static_cast<std::size_t>(json.integer(1, max_intervals));
  }

  // Species indices of all tables of a term, each `count` long; none twice. The last two are in
  // order unless they mean different things.
  std::vector<std::vector<std::size_t>> read_tables(const JsonView& json, std::size_t count,
                                                    bool ordered = true) const {
    if (json.size() == 0) json.reject("found an empty array, expected at least one table");
    std::vector<std::vector<std::size_t>> tables;
    std::set<std::vector<std::size_t>> seen;
    for (std::size_t i = 0; i < json.size(); ++i) {
      tables.push_back(read_table(json.at(i), count, ordered));
      if (!seen.insert(tables.back()).second) json.at(i).reject("found a table that stands before");
    }
    return tables;
  }

  std::vector<std::size_t> read_table(const JsonView& json, std::size_t count,
                                      bool ordered = true) const {
    if (json.size() != count) {
      json.reject("found ", json.description(), ", expected ", count, " species");
    }
    std::vector<std::size_t> species;
    for (std::size_t i = 0; i < count; ++i) species.push_back(read_element(json.at(i)));
    if (ordered && species[count - 2] > species[count - 1]) {
      json.reject("found ", label(species), ", expected the lower atomic number first");
    }
    return species;
  }

  // Index of one of the file's species.
  std::size_t read_element(const JsonView& json) const {
    const std::string& symbol = json.string();
    const auto place = std::find(data_.numbers.begin(), data_.numbers.end(), atomic_number(symbol));
    if (place == data_.numbers.end()) {
      json.reject("found ", quoted(symbol), ", expected one of the file's species");
    }
    return static_cast<std::size_t>(place - data_.numbers.begin());
  }

  // "O-H-H"
  std::string label(const std::vector<std::size_t>& species) const {
    std::string text;
    for (const std::size_t s : species) {
      text += text.empty() ? "" : "-";
      text += element_symbol(data_.numbers[s]);
    }
    return text;
  }

  std::string tensor_name(std::size_t index, const std::vector<std::size_t>& species) const {
    return "terms." + std::to_string(index) + "." + label(species);
  }

  std::vector<double> take(const std::string& name, const std::vector<std::size_t>& shape) {
    used_.insert(name);
    return tensors_.doubles(name, shape);
  }

  void check_symmetry(const std::vector<double>& table, std::size_t legs, std::size_t base,
                      const std::string& name) const {
    double largest = 0.0;
    for (const double c : table) largest = std::max(largest, std::abs(c));
    for (std::size_t a = 0; a < legs; ++a) {
      for (std::size_t b = 0; b < a; ++b) {
        for (std::size_t c = 0; c < base; ++c) {
          const double ab = table[(a * legs + b) * base + c];
          const double ba = table[(b * legs + a) * base + c];
          if (std::abs(ab - ba) <= symmetry_tolerance * largest) continue;
          fail(name_, ": tensor ", quoted(name), ": found ", ab, " at (", a, ", ", b, ", ", c,
               ") and ", ba, " at (", b, ", ", a, ", ", c,
               "), expected them equal: the neighbours are of one species");
        }
      }
    }
  }

  void check_no_other_tensor() const {
    for (const TensorEntry& tensor : tensors_.tensors()) {
      if (used_.count(tensor.name) == 0) {
        fail(name_, ": found the tensor ", quoted(tensor.name), ", which no term uses");
      }
    }
  }

  const SafeTensors& tensors_;
  std::string name_;
  PotentialData data_;
  std::set<std::string> used_;
  std::set<std::array<std::size_t, 2>> zbl_pairs_;
};

// The JSON document of the container.
const std::string& document_of(const SafeTensors& tensors, const std::string& name) {
  const std::string* document = nullptr;
  for (const auto& [entry, text] : tensors.metadata()) {
    if (entry == "forcemap") {
      document = &text;
    } else if (entry != "checksum") {
      fail(name, ": found the metadata entry ", quoted(entry),
           ", expected only \"forcemap\" and \"checksum\"");
    }
  }
  if (document == nullptr) fail(name, ": found no metadata, expected the entry \"forcemap\"");
  return *document;
}

}  // namespace

PotentialData parse_potential(const char* bytes, std::size_t size, const std::string& name) {
  const SafeTensors tensors({bytes, size}, name);
  const std::string& text = document_of(tensors, name);
  const std::string document_name = name + ", document";
  const Json document = parse_json(text, document_name);
  PotentialData data = Reader(tensors, name).read(JsonView(document, document_name));
  data.metadata = text;
  return data;
}

std::string read_bytes(const std::string& path) {
  std::error_code code;
  const std::filesystem::file_status status = std::filesystem::status(path, code);
  if (!std::filesystem::exists(status)) {
    fail(path, ": ", code ? code.message() : "there is no such file");
  }
  if (!std::filesystem::is_regular_file(status)) fail(path, ": this is not a regular file");
  const std::uintmax_t size = std::filesystem::file_size(path, code);
  if (code) fail(path, ": ", code.message());
  if (size > max_file_bytes) {
    fail(path, ": found a file of ", size, " bytes, expected at most ", max_file_bytes);
  }
  std::ifstream file(path, std::ios::binary);
  if (!file) fail(path, ": the file cannot be opened for reading");
  std::string bytes(static_cast<std::size_t>(size), '\0');
  file.read(bytes.data(), static_cast<std::streamsize>(size));
  const auto count = static_cast<std::size_t>(file.gcount());
  if (count != bytes.size()) {
    fail(path, ": found ", count, " bytes where the file system says ", size,
         "; the file changed while it was read or the disk failed");
  }
  return bytes;
}

PotentialData read_potential(const std::string& path) {
  const std::string bytes = read_bytes(path);
  return parse_potential(bytes.data(), bytes.size(), path);
}

}  // namespace forcemap
