// What the kinds of term read their part of a file with; the file is untrusted input.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "forcemap/draws.hpp"
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
  std::size_t columns;            // of weights in a file of version 2: the mean, and draws
  std::set<std::string> used;     // tensors that a term has taken
  std::set<std::string> claimed;  // see TermReader::claim

  std::vector<double> take(const std::string& tensor, const std::vector<std::size_t>& shape);
  /// The same of single precision.
  std::vector<float> take_single(const std::string& tensor, const std::vector<std::size_t>& shape);
  /// As `take` for numbers that are linear in the weights: a file of version 2 may hold those of
  /// draws beside them, which are checked only.
  std::vector<double> take_weighted(const std::string& tensor,
                                    const std::vector<std::size_t>& shape);
};

/// One term of a file: an object of its document, and the tensors whose names begin with
/// "terms.INDEX.", or "draws.INDEX." for the terms of draws. Everything throws Error that says what
/// was found and what was expected.
class TermReader {
 public:
  /// `draws`: how many of them the term is for; 0 for a term of the mean.
  TermReader(FileContent& file, JsonView json, std::size_t index, std::size_t draws = 0);

  std::size_t draws() const { return draws_; }
  /// A reader of one draw, as if it were a term of the mean but that `draws` stays.
  TermReader of_draw(std::size_t draw) const;

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

  /// Numbers that are linear in the weights: of the mean (see FileContent::take_weighted) or of the
  /// one draw that this reader is for.
  std::vector<double> take_weighted(const std::string& part, const std::vector<std::size_t>& shape);
  /// Those of all draws, (draws, shape).
  std::vector<double> take_draws(const std::string& part, const std::vector<std::size_t>& shape);
  /// The same of a kind whose draws are of single precision.
  std::vector<float> take_single_draws(const std::string& part,
                                       const std::vector<std::size_t>& shape);

  /// How many numbers a tensor has, of whatever shape; 0 if it is not there.
  std::size_t count(const std::string& part) const { return file_.tensors.count(prefix_ + part); }

  /// Throw Error about that tensor.
  template <typename... Parts>
  [[noreturn]] void reject_tensor(const std::string& part, const Parts&... parts) const {
    fail(file_.name, ": tensor ", quoted(prefix_ + part), ": ", parts...);
  }

  /// True when no term of the file has claimed `what` before: for what may be there once only.
  bool claim(const std::string& what) { return file_.claimed.insert(what).second; }

 private:
  std::size_t element(const JsonView& json) const;
  std::vector<std::size_t> of_all_draws(const std::vector<std::size_t>& shape) const;

  FileContent& file_;
  JsonView json_;
  std::string prefix_;
  std::size_t draws_, draw_ = 0;
};

struct TermKind {
  const char* name;
  std::unique_ptr<MappedTerm> (*read)(TermReader&);
  std::unique_ptr<DrawnTerm> (*draw)(TermReader&);
};

/// Read the term at `index` of a document with the kind that it names.
std::unique_ptr<MappedTerm> read_term(FileContent& file, const JsonView& json, std::size_t index);
/// The same of a term for so many draws.
std::unique_ptr<DrawnTerm> read_drawn_term(FileContent& file, const JsonView& json,
                                           std::size_t index, std::size_t draws);

/// A term for all draws from one term for each of them: for kinds with no loop of their own.
std::unique_ptr<DrawnTerm> draw_one_by_one(TermReader& reader,
                                           std::unique_ptr<MappedTerm> (*read)(TermReader&));

}  // namespace forcemap
