#include "forcemap/json.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <system_error>
#include <utility>

namespace forcemap {

namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }

void append_utf8(std::string& out, std::uint32_t point) {
  auto byte = [&out](std::uint32_t b) { out.push_back(static_cast<char>(b)); };
  if (point < 0x80) {
    byte(point);
  } else if (point < 0x800) {
    byte(0xC0 | point >> 6);
    byte(0x80 | (point & 0x3F));
  } else if (point < 0x10000) {
    byte(0xE0 | point >> 12);
    byte(0x80 | (point >> 6 & 0x3F));
    byte(0x80 | (point & 0x3F));
  } else {
    byte(0xF0 | point >> 18);
    byte(0x80 | (point >> 12 & 0x3F));
    byte(0x80 | (point >> 6 & 0x3F));
    byte(0x80 | (point & 0x3F));
  }
}

// Length of the well-formed UTF-8 sequence that `text` starts with; 0 if there is none (Unicode,
// table 3-7: no overlong forms, no surrogates, nothing above U+10FFFF).
std::size_t utf8_length(std::string_view text) {
  auto at = [text](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  auto tail = [&](std::size_t i) { return i < text.size() && at(i) >= 0x80 && at(i) <= 0xBF; };
  const unsigned first = at(0);
  if (first < 0x80) return 1;
  if (first >= 0xC2 && first <= 0xDF) return tail(1) ? 2 : 0;
  if (first >= 0xE0 && first <= 0xEF) {
    if (!tail(1) || !tail(2)) return 0;
    if (first == 0xE0 && at(1) < 0xA0) return 0;
    if (first == 0xED && at(1) > 0x9F) return 0;
    return 3;
  }
  if (first >= 0xF0 && first <= 0xF4) {
    if (!tail(1) || !tail(2) || !tail(3)) return 0;
    if (first == 0xF0 && at(1) < 0x90) return 0;
    if (first == 0xF4 && at(1) > 0x8F) return 0;
    return 4;
  }
  return 0;
}

// Whether a terminal shows one UTF-8 character as it stands: no control character (C0, DEL, C1), no
// mark that turns the direction of text, hides, or ends a line.
bool is_visible(std::string_view character) {
  auto at = [character](std::size_t i) { return static_cast<unsigned char>(character[i]); };
  if (character.size() == 1) return at(0) >= 0x20 && at(0) != 0x7F;
  if (character.size() == 2) return !(at(0) == 0xC2 && at(1) < 0xA0);
  if (character.size() != 3) return true;
  const bool marks = at(0) == 0xE2 && at(1) == 0x80 &&
                     ((at(2) >= 0x8B && at(2) <= 0x8F) || (at(2) >= 0xA8 && at(2) <= 0xAE));
  const bool isolates = at(0) == 0xE2 && at(1) == 0x81 && at(2) >= 0xA0 && at(2) <= 0xAF;
  return !marks && !isolates && character != "\xEF\xBB\xBF";
}

// Bytes as a programmer writes them: \n, \x1b.
void append_escape(std::string& out, std::string_view bytes) {
  constexpr char digits[] = "0123456789abcdef";
  for (const char c : bytes) {
    if (c == '\n' || c == '\r' || c == '\t') {
      out += c == '\n' ? "\\n" : c == '\r' ? "\\r" : "\\t";
      continue;
    }
    const auto byte = static_cast<unsigned char>(c);
    out += "\\x";
    out += digits[byte >> 4];
    out += digits[byte & 0xF];
  }
}

class Parser {
 public:
  Parser(std::string_view text, const std::string& what, const JsonLimits& limits)
      : text_(text), what_(what), limits_(limits) {}

  Json document() {
    Json value = parse_value(0);
    skip_space();
    if (position_ != text_.size()) unexpected("the end of the document");
    return value;
  }

 private:
  std::string found() const {
    if (position_ >= text_.size()) return "the end of the text";
    return quoted(text_.substr(position_, 1));
  }

  template <typename... Parts>
  [[noreturn]] void error(std::size_t at, const Parts&... parts) const {
    fail(what_, ", byte ", at, ": ", parts...);
  }

  [[noreturn]] void unexpected(const char* expected) const {
    error(position_, "found ", found(), ", expected ", expected);
  }

  bool next_is(char c) const { return position_ < text_.size() && text_[position_] == c; }

  bool accept(char c) {
    if (!next_is(c)) return false;
    ++position_;
    return true;
  }

  void skip_space() {
    while (position_ < text_.size()) {
      const char c = text_[position_];
      if (c != ' ' && c != '\t' && c != '\n' && c != '\r') break;
      ++position_;
    }
  }

  Json parse_value(std::size_t depth) {
    skip_space();
    if (++values_ > limits_.values) error(position_, "found more than ", limits_.values, " values");
    if (position_ >= text_.size()) unexpected("a value");
    switch (text_[position_]) {
      case '{':
        return {parse_object(depth + 1)};
      case '[':
        return {parse_array(depth + 1)};
      case '"':
        return {parse_string()};
      case 't':
        parse_word("true");
        return {true};
      case 'f':
        parse_word("false");
        return {false};
      case 'n':
        parse_word("null");
        return {nullptr};
      default:
        return parse_number();
    }
  }

  void check_depth(std::size_t depth) const {
    if (depth > limits_.depth) {
      error(position_, "found more than ", limits_.depth, " arrays and objects within each other");
    }
  }

  Json::Array parse_array(std::size_t depth) {
    check_depth(depth);
    ++position_;
    Json::Array items;
    skip_space();
    if (accept(']')) return items;
    while (true) {
      items.push_back(parse_value(depth));
      skip_space();
      if (accept(']')) return items;
      if (!accept(',')) unexpected("',' or ']'");
    }
  }

  Json::Object parse_object(std::size_t depth) {
    check_depth(depth);
    const std::size_t start = position_++;
    Json::Object members;
    skip_space();
    if (accept('}')) return members;
    while (true) {
      skip_space();
      if (!next_is('"')) unexpected("a name in quotes");
      std::string name = parse_string();
      skip_space();
      if (!accept(':')) unexpected("':'");
      members.push_back({std::move(name), parse_value(depth)});
      skip_space();
      if (accept('}')) break;
      if (!accept(',')) unexpected("',' or '}'");
    }
    std::sort(members.begin(), members.end(),
              [](const JsonMember& a, const JsonMember& b) { return a.name < b.name; });
    const auto twin =
        std::adjacent_find(members.begin(), members.end(),
                           [](const auto& a, const auto& b) { return a.name == b.name; });
    if (twin != members.end()) {
      error(start, "found the name ", quoted(twin->name), " twice in one object");
    }
    return members;
  }

  void parse_word(std::string_view word) {
    if (text_.substr(position_, word.size()) != word) unexpected("a value");
    position_ += word.size();
  }

  Json parse_number() {
    const std::size_t start = position_;
    bool integer = true;
    accept('-');
    if (!accept('0')) digits(position_ == start ? "a value" : "a digit");
    if (accept('.')) {
      integer = false;
      digits("a digit");
    }
    if (next_is('e') || next_is('E')) {
      integer = false;
      ++position_;
      if (!accept('+')) accept('-');
      digits("a digit");
    }
    const char* first = text_.data() + start;
    const char* last = text_.data() + position_;
    std::int64_t whole = 0;
    if (integer && std::from_chars(first, last, whole).ec == std::errc()) return {whole};
    double real = 0.0;
    const std::from_chars_result result = std::from_chars(first, last, real);
    if (result.ec != std::errc() || result.ptr != last || !std::isfinite(real)) {
      error(start, "found the number ", quoted(text_.substr(start, position_ - start)),
            ", expected one that fits in double precision");
    }
    return {real};
  }

  // One or more digits.
  void digits(const char* expected) {
    if (position_ >= text_.size() || !is_digit(text_[position_])) unexpected(expected);
    while (position_ < text_.size() && is_digit(text_[position_])) ++position_;
  }

  std::string parse_string() {
    const std::size_t start = position_++;
    std::string out;
    while (true) {
      if (position_ >= text_.size()) error(start, "found a string that does not end");
      const char c = text_[position_];
      if (c == '"') break;
      if (c == '\\') {
        parse_escape(out);
        continue;
      }
      if (static_cast<unsigned char>(c) < 0x20) unexpected("no control character in a string");
      const std::size_t length = utf8_length(text_.substr(position_));
      if (length == 0) unexpected("UTF-8");
      out.append(text_, position_, length);
      position_ += length;
    }
    ++position_;
    return out;
  }

  void parse_escape(std::string& out) {
    const std::size_t start = position_++;
    if (position_ >= text_.size()) error(start, "found an escape that does not end");
    const char c = text_[position_++];
    switch (c) {
      case '"':
      case '\\':
      case '/':
        out.push_back(c);
        return;
      case 'b':
        out.push_back('\b');
        return;
      case 'f':
        out.push_back('\f');
        return;
      case 'n':
        out.push_back('\n');
        return;
      case 'r':
        out.push_back('\r');
        return;
      case 't':
        out.push_back('\t');
        return;
      case 'u':
        break;
      default:
        error(start, "found an unknown escape, backslash and ", quoted({&c, 1}));
    }
    std::uint32_t point = hex4(start);
    if (point >= 0xDC00 && point <= 0xDFFF) error(start, "found half a surrogate pair");
    if (point >= 0xD800 && point <= 0xDBFF) {
      if (text_.substr(position_, 2) != "\\u") error(start, "found half a surrogate pair");
      position_ += 2;
      const std::uint32_t low = hex4(start);
      if (low < 0xDC00 || low > 0xDFFF) error(start, "found half a surrogate pair");
      point = 0x10000 + ((point - 0xD800) << 10) + (low - 0xDC00);
    }
    append_utf8(out, point);
  }

  std::uint32_t hex4(std::size_t start) {
    const std::string_view digits = text_.substr(position_, 4);
    std::uint32_t point = 0;
    const char* last = digits.data() + digits.size();
    const std::from_chars_result result = std::from_chars(digits.data(), last, point, 16);
    if (digits.size() != 4 || result.ec != std::errc() || result.ptr != last) {
      error(start, "found ", quoted(digits), " after \\u, expected four hexadecimal digits");
    }
    position_ += 4;
    return point;
  }

  std::string_view text_;
  const std::string& what_;
  JsonLimits limits_;
  std::size_t position_ = 0;
  std::size_t values_ = 0;
};

}  // namespace

Json parse_json(std::string_view text, const std::string& what, const JsonLimits& limits) {
  return Parser(text, what, limits).document();
}

std::string quoted(std::string_view text) {
  constexpr std::size_t longest = 60;
  std::string out = "\"";
  std::size_t at = 0;
  for (std::size_t shown = 0; at < text.size() && shown < longest; ++shown) {
    const std::size_t length = utf8_length(text.substr(at));
    const std::string_view character = text.substr(at, std::max<std::size_t>(length, 1));
    if (length != 0 && is_visible(character)) {
      out += character;
    } else {
      append_escape(out, character);
    }
    at += character.size();
  }
  out += at < text.size() ? "…\"" : "\"";
  return out;
}

const std::string& JsonView::string() const {
  if (const auto* text = std::get_if<std::string>(&json_->value)) return *text;
  reject("found ", description(), ", expected a string");
}

double JsonView::number() const {
  if (const auto* real = std::get_if<double>(&json_->value)) return *real;
  if (const auto* whole = std::get_if<std::int64_t>(&json_->value)) {
    return static_cast<double>(*whole);
  }
  reject("found ", description(), ", expected a number");
}

std::int64_t JsonView::integer(std::int64_t smallest, std::int64_t largest) const {
  const auto* whole = std::get_if<std::int64_t>(&json_->value);
  if (whole == nullptr || *whole < smallest || *whole > largest) {
    reject("found ", description(), ", expected an integer from ", smallest, " to ", largest);
  }
  return *whole;
}

std::size_t JsonView::size() const {
  if (const auto* items = std::get_if<Json::Array>(&json_->value)) return items->size();
  reject("found ", description(), ", expected an array");
}

const Json::Object& JsonView::members() const {
  if (const auto* members = std::get_if<Json::Object>(&json_->value)) return *members;
  reject("found ", description(), ", expected an object");
}

JsonView JsonView::at(std::size_t index) const {
  const std::size_t count = size();
  if (index >= count) reject("found an array of ", count, ", expected an item ", index);
  return {std::get<Json::Array>(json_->value)[index], what_,
          path_ + "[" + std::to_string(index) + "]"};
}

const Json* JsonView::find(std::string_view name) const {
  const Json::Object& all = members();
  const auto place = std::lower_bound(
      all.begin(), all.end(), name,
      [](const JsonMember& member, std::string_view n) { return member.name < n; });
  return place != all.end() && place->name == name ? &place->value : nullptr;
}

JsonView JsonView::at(std::string_view name) const {
  const Json* value = find(name);
  if (value == nullptr) reject("found no entry ", quoted(name), ", which is required");
  return {*value, what_, path_.empty() ? std::string(name) : path_ + "." + std::string(name)};
}

bool JsonView::has(std::string_view name) const { return find(name) != nullptr; }

JsonView JsonView::of(const JsonMember& member) const {
  const std::string name = quoted(member.name);
  return {member.value, what_, path_.empty() ? name : path_ + "." + name};
}

void JsonView::allow_only(std::initializer_list<std::string_view> names) const {
  for (const JsonMember& member : members()) {
    if (std::find(names.begin(), names.end(), member.name) != names.end()) continue;
    std::string known;
    for (const std::string_view name : names) {
      known += known.empty() ? "" : ", ";
      known += name;
    }
    reject("found the unknown entry ", quoted(member.name), ", expected only ", known);
  }
}

std::string JsonView::description() const {
  struct Describe {
    std::string operator()(std::nullptr_t) const { return "null"; }
    std::string operator()(bool flag) const { return flag ? "true" : "false"; }
    std::string operator()(std::int64_t whole) const { return std::to_string(whole); }
    std::string operator()(double real) const {
      char digits[32];
      const std::string text(digits, std::to_chars(digits, digits + sizeof digits, real).ptr);
      return text.find_first_of(".e") == std::string::npos ? text + ".0" : text;
    }
    std::string operator()(const std::string& text) const { return "the string " + quoted(text); }
    std::string operator()(const Json::Array& items) const {
      return "an array of " + std::to_string(items.size());
    }
    std::string operator()(const Json::Object&) const { return "an object"; }
  };
  return std::visit(Describe{}, json_->value);
}

}  // namespace forcemap
