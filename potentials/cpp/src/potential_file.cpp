#include "forcemap/potential_file.hpp"

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <utility>

#include "forcemap/elements.hpp"
#include "forcemap/fail.hpp"
#include "forcemap/json.hpp"
#include "forcemap/safetensors.hpp"
#include "terms/term_reader.hpp"
#include "uncertainty_file.hpp"

// The format, versions 1 to 3 (written by forcemap/potentials/file/potential_file.py, which
// describes it in full): a safetensors file whose metadata are a "checksum" (checksum.hpp; may be
// absent) and "forcemap", a JSON document, here without the free members "provenance" and
// "mapping",
//   {"format": "forcemap.potential", "version": 1, "forcemap_version": "0.1.0",
//    "species": ["H", "O"], "units": {"energy": "eV", "length": "Å"},
//    "terms": [{"kind": "two_body", "cutoff": 5.5, ...}, ...]}
// and whose tensors, F64, are "e0" (species) and those of the terms, "terms.INDEX.PART". The
// members and parts of each kind of term stand on top of its file in terms/.
//
// Version 3 may have the members "uncertainty", "draws" and "grade" (uncertainty_file.hpp), with
// tensors of the same names, some of which are F32.
//
// Version 2 left room for draws of another form. The document may have the member "columns" (1 to
// 4096; 1 where it is missing: the mean alone). With more than one, each tensor that is linear in
// the weights of the fit, "e0" or "terms.INDEX.PART", may be accompanied by another with ".draws"
// after its name, of shape (columns - 1, and that of the tensor). They are checked and not used.

namespace forcemap {

namespace {

constexpr std::int64_t newest_version = 3;
constexpr std::int64_t max_columns = 4096;
constexpr std::uintmax_t max_file_bytes = std::uintmax_t{4} << 30;

// Reads one file's document and collects the names of the tensors that it uses.
class Reader {
 public:
  Reader(const SafeTensors& tensors, std::string name)
      : file_{tensors, std::move(name), {}, 1, {}, {}} {}

  PotentialData read(const JsonView& root) {
    read_columns(root, check_header(root));
    read_species(root.at("species"));
    PotentialData data;
    data.numbers = file_.numbers;
    data.e0 = file_.take_weighted("e0", {file_.numbers.size()});
    const JsonView terms = root.at("terms");
    if (terms.size() == 0) terms.reject("found an empty array, expected at least one term");
    for (std::size_t index = 0; index < terms.size(); ++index)
      data.terms.push_back(read_term(file_, terms.at(index), index));
    if (root.has("uncertainty")) data.uncertainty = read_uncertainty(root.at("uncertainty"));
    if (root.has("draws")) data.draws = read_draws(file_, root.at("draws"), data.terms);
    if (root.has("grade")) data.grade = read_grade(file_, root.at("grade"), data.terms);
    check_no_other_tensor();
    return data;
  }

 private:
  // Returns the version.
  std::int64_t check_header(const JsonView& root) const {
    const std::string& format = root.at("format").string();
    if (format == "forcemap.model") {
      fail(file_.name, ": found a Gaussian-process model, expected its map; make it with: ",
           "forcemap map MODEL -o potential.forcemap");
    }
    if (format != "forcemap.potential") {
      root.at("format").reject("found ", quoted(format), ", expected \"forcemap.potential\"");
    }
    const std::int64_t version = root.at("version").integer(1, INT32_MAX);
    if (version > newest_version) {
      fail(file_.name, ": found format version ", version, ", expected at most ", newest_version,
           ": the file was written by a newer forcemap; upgrade forcemap");
    }
    const bool newest = version >= 3;
    root.allow_only({"format", "version", "forcemap_version", "species", "units", "terms",
                     "provenance", "mapping", version == 2 ? "columns" : "version",
                     newest ? "uncertainty" : "version", newest ? "draws" : "version",
                     newest ? "grade" : "version"});
    root.at("forcemap_version").string();
    for (const char* free : {"provenance", "mapping"}) {
      if (root.has(free)) root.at(free).members();
    }
    const JsonView units = root.at("units");
    units.allow_only({"energy", "length"});
    check_unit(units.at("energy"), "eV");
    check_unit(units.at("length"), "Å");
    return version;
  }

  void read_columns(const JsonView& root, std::int64_t version) {
    if (version != 2 || !root.has("columns")) return;
    file_.columns = static_cast<std::size_t>(root.at("columns").integer(1, max_columns));
  }

  static void check_unit(const JsonView& unit, const char* expected) {
    if (unit.string() == expected) return;
    unit.reject("found ", quoted(unit.string()), ", expected \"", expected, "\"");
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
      if (i > 0 && number <= file_.numbers.back()) {
        species.at(i).reject("found ", symbol, " after ", element_symbol(file_.numbers.back()),
                             ", expected increasing atomic numbers");
      }
      file_.numbers.push_back(number);
    }
  }

  void check_no_other_tensor() const {
    for (const TensorEntry& tensor : file_.tensors.tensors()) {
      if (file_.used.count(tensor.name) == 0) {
        fail(file_.name, ": found the tensor ", quoted(tensor.name), ", which no term uses");
      }
    }
  }

  FileContent file_;
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
