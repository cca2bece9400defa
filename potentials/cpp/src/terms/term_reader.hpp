// What the kinds of term read their part of a file with; the file is untrusted input.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "forcemap/json.hpp"
#include "forcemap/mapped_term.hpp"
#include "forcemap/safetensors.hpp"

namespace forcemap {

constexpr std::int64_t max_intervals = 100000;
constexpr double max_distance = 100.0;  // Å

/// Indices of species among those of the file.
using Species = std::vector<std::size_t>;

/// What all terms of a file share while it is read.
struct FileContent {
  const SafeTensors& tensors;
  std::string name;               // for messages
  std::vector<int> numbers;       // atomic numbers, increasing
  std::size_t columns;            // of weights: the mean, and draws
  std::set<std::string> used;     // tensors that a term has taken
  std::set<std::string> claimed;  // see TermReader::claim

  std::vector<double> take(const std::string& tensor, const std::vector<std::size_t>& shape);
  /// The same for numbers that are linear in the weights: a file with draws may hold those of the
  /// draws, which are checked only.
  std::vector<double> take_weighted(const std::string& tensor,
                                    const std::vector<std::size_t>& shape);
};

/// One term of a file: an object of its document, and the tensors whose names begin with
/// "terms.INDEX.". Everything throws Error that says what was found and what was expected.
class TermReader {
 public:
  TermReader(FileContent& file, JsonView json, std::size_t index);

  const JsonView& json() const { return json_; }
  const std::vector<int>& numbers() const { return file_.numbers; }
  std::size_t species() const { return file_.numbers.size(); }

  /// The member "cutoff", Å.
  double cutoff() const;
  /// A number of spline intervals.
  std::size_t intervals(const char* name) const { return intervals(json_, name); }
  static std::size_t intervals(const JsonView& object, const char* name);

  /// Are tables named with the lower species first, as their last two are exchangeable?
  enum class Order { exchangeable, as_given };
  /// The member "tables": species of all tables of a term, each `count` long; none twice.
  std::vector<Species> tables(std::size_t count, Order order) const;
  Species table(const JsonView& json, std::size_t count, Order order) const;

  /// An object that is about one species of centre.
  struct Center {
    JsonView json;
    std::size_t species;
  };
  /// The member "centers": at least one, each with the members `names`, no species twice.
  std::vector<Center> centers(std::initializer_list<std::string_view> names) const;

  /// "O-H-H"
  std::string label(const Species& species) const;

  /// The numbers of tensor "terms.INDEX.`part`".
  std::vector<double> take(const std::string& part, const std::vector<std::size_t>& shape);

  /// See FileContent::take_weighted.
  std::vector<double> take_weighted(const std::string& part, const std::vector<std::size_t>& shape);

  /// Throw Error about that tensor.
  template <typename... Parts>
  [[noreturn]] void reject_tensor(const std::string& part, const Parts&... parts) const {
    fail(file_.name, ": tensor ", quoted(prefix_ + part), ": ", parts...);
  }

  /// True when no term of the file has claimed `what` before: for what may be there once only.
  bool claim(const std::string& what) { return file_.claimed.insert(what).second; }

 private:
  std::size_t element(const JsonView& json) const;

  FileContent& file_;
  JsonView json_;
  std::string prefix_;
};

struct TermKind {
  const char* name;
  std::unique_ptr<MappedTerm> (*read)(TermReader&);
};

/// Read the term at `index` of a document with the kind that it names.
std::unique_ptr<MappedTerm> read_term(FileContent& file, const JsonView& json, std::size_t index);

}  // namespace forcemap
