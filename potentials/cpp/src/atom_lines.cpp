#include "forcemap/atom_lines.hpp"

#include <algorithm>
#include <charconv>
#include <system_error>

#include "forcemap/elements.hpp"

namespace forcemap {

namespace {

bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\v' || c == '\f'; }

bool is_digit(char c) { return c >= '0' && c <= '9'; }

bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

// Walks through the words of the lines.
class Words {
 public:
  explicit Words(std::string_view text) : at_(text.data()), end_(text.data() + text.size()) {}

  // The next word of this line; empty at its end.
  std::string_view next() {
    skip_blanks();
    const char* first = at_;
    while (at_ != end_ && !is_blank(*at_) && *at_ != '\n') ++at_;
    return {first, static_cast<std::size_t>(at_ - first)};
  }

  // Steps over the end of a line; false if a word stands before it.
  bool end_line() {
    skip_blanks();
    if (at_ == end_) return true;
    return *at_++ == '\n';
  }

  bool at_end() const { return at_ == end_; }

 private:
  void skip_blanks() {
    while (at_ != end_ && is_blank(*at_)) ++at_;
  }

  const char* at_;
  const char* end_;
};

// Atomic number of a symbol in upper or lower case; 0 if there is no such element.
int element_of(std::string_view word) {
  if (word.empty() || word.size() > 2 || !std::all_of(word.begin(), word.end(), is_letter)) {
    return 0;
  }
  char symbol[2] = {static_cast<char>(word[0] & ~0x20), '\0'};
  if (word.size() == 2) symbol[1] = static_cast<char>(word[1] | 0x20);
  return atomic_number({symbol, word.size()});
}

bool parse_real(std::string_view word, double& value) {
  const bool plus = word[0] == '+';  // std::from_chars reads none
  if (plus) word.remove_prefix(1);
  // Neither nan nor inf, nor a second sign.
  const std::size_t digit = !plus && word[0] == '-' ? 1 : 0;
  if (word.size() <= digit || (!is_digit(word[digit]) && word[digit] != '.')) return false;
  const char* last = word.data() + word.size();
  const std::from_chars_result result = std::from_chars(word.data(), last, value);
  return result.ec == std::errc() && result.ptr == last;
}

bool is_plain(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return byte < 0x7f && (byte >= 0x20 || c == '\n' || is_blank(c));
  });
}

}  // namespace

std::optional<AtomLines> parse_atom_lines(std::string_view text, std::size_t rows,
                                          std::string_view columns) {
  if (!is_plain(text) || rows > text.size()) return std::nullopt;
  AtomLines found;
  found.numbers.reserve(rows);
  const auto reals = static_cast<std::size_t>(std::count(columns.begin(), columns.end(), 'R'));
  found.reals.reserve(std::min(rows * reals, text.size()));
  Words words(text);
  std::string_view last_symbol;
  int number = 0;
  for (std::size_t row = 0; row < rows; ++row) {
    for (const char column : columns) {
      const std::string_view word = words.next();
      if (word.empty()) return std::nullopt;
      if (column == 'R') {
        double value = 0.0;
        if (!parse_real(word, value)) return std::nullopt;
        found.reals.push_back(value);
      } else if (column == 'E') {
        if (word != last_symbol) number = element_of(word);
        if (number == 0) return std::nullopt;
        last_symbol = word;
        found.numbers.push_back(number);
      }
    }
    if (!words.end_line()) return std::nullopt;
  }
  if (!words.at_end()) return std::nullopt;
  return found;
}

}  // namespace forcemap
