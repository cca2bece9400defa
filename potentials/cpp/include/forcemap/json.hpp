// A small strict JSON reader (RFC 8259) for untrusted documents, with errors that name the place.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "forcemap/fail.hpp"

namespace forcemap {

struct JsonMember;

/// One JSON value. Numbers without fraction and exponent that fit are integers, all others reals.
class Json {
 public:
  using Array = std::vector<Json>;
  using Object = std::vector<JsonMember>;  // sorted by name, names are unique
  std::variant<std::nullptr_t, bool, std::int64_t, double, std::string, Array, Object> value;
};

struct JsonMember {
  std::string name;
  Json value;
};

/// What the reader accepts; a document beyond it is an error.
struct JsonLimits {
  std::size_t depth = 64;        // arrays and objects within each other
  std::size_t values = 1000000;  // of any kind, in the whole document
};

/// Parse one document. Accepts only valid UTF-8, no duplicate names, no NaN or infinity, nothing
/// after the value. Throws Error "`what`, byte N: found …, expected …".
Json parse_json(std::string_view text, const std::string& what, const JsonLimits& limits = {});

/// `text` in quotes for a message, on one line: control characters and bytes that are no UTF-8 as
/// \x1b, at most 60 characters.
std::string quoted(std::string_view text);

/// A value and where it stands, for reading a document with messages such as
/// "`what`: terms[1].cutoff: found the string "4", expected a number". It refers to the Json, which
/// must outlive it.
class JsonView {
 public:
  JsonView(const Json& json, std::string what) : json_(&json), what_(std::move(what)) {}

  bool is_object() const { return std::holds_alternative<Json::Object>(json_->value); }

  // Each throws Error if the value is of another kind.
  const std::string& string() const;
  double number() const;  // finite
  std::int64_t integer(std::int64_t smallest, std::int64_t largest) const;
  std::size_t size() const;                  // of an array
  const Json::Object& members() const;       // of an object
  JsonView at(std::size_t index) const;      // index < size()
  JsonView at(std::string_view name) const;  // throws Error if there is no such member
  bool has(std::string_view name) const;
  JsonView of(const JsonMember& member) const;  // one of members()

  /// Throws Error unless this is an object with no member but `names`.
  void allow_only(std::initializer_list<std::string_view> names) const;

  /// What the value is, for a message: `the string "a"`, `3`, `an array of 2`.
  std::string description() const;

  /// "terms[1].cutoff"; "the document" at the root.
  std::string path() const { return path_.empty() ? "the document" : path_; }

  /// Throw Error with the place in front.
  template <typename... Parts>
  [[noreturn]] void reject(const Parts&... parts) const {
    fail(what_, ": ", path(), ": ", parts...);
  }

 private:
  JsonView(const Json& json, std::string what, std::string path)
      : json_(&json), what_(std::move(what)), path_(std::move(path)) {}
  const Json* find(std::string_view name) const;

  const Json* json_;
  std::string what_;
  std::string path_;
};

}  // namespace forcemap
