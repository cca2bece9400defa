#include "forcemap/checksum.hpp"

#include <algorithm>
#include <array>
#include <cstddef>

#include "forcemap/fail.hpp"

namespace forcemap {

namespace {

constexpr std::uint64_t polynomial = 0xC96C5795D7870F42;  // of ECMA-182, bits reversed
constexpr std::size_t width = 16;                         // bytes taken at once
constexpr std::size_t digits = 16;                        // of the checksum
constexpr std::string_view opening = "\"checksum\":\"";   // no text within a JSON string has it
constexpr std::size_t length_bytes = 8;

using Tables = std::array<std::array<std::uint64_t, 256>, width>;

// tables[k][b]: the remainder of byte b followed by k zero bytes.
const Tables& tables() {
  static const Tables made = [] {
    Tables t{};
    for (std::uint64_t b = 0; b < 256; ++b) {
      std::uint64_t rest = b;
      for (int bit = 0; bit < 8; ++bit) rest = rest >> 1 ^ (rest & 1 ? polynomial : 0);
      t[0][b] = rest;
    }
    for (std::size_t k = 1; k < width; ++k) {
      for (std::size_t b = 0; b < 256; ++b) t[k][b] = t[k - 1][b] >> 8 ^ t[0][t[k - 1][b] & 0xFF];
    }
    return t;
  }();
  return made;
}

std::uint64_t little_endian(const char* bytes) {
  std::uint64_t value = 0;
  for (std::size_t i = 8; i-- > 0;) value = value << 8 | static_cast<unsigned char>(bytes[i]);
  return value;
}

std::string hexadecimal(std::uint64_t value) {
  std::string text(digits, '0');
  for (std::size_t i = digits; i-- > 0; value >>= 4) text[i] = "0123456789abcdef"[value & 0xF];
  return text;
}

}  // namespace

// Sixteen bytes at a time, each with a table of its own, as in "slicing-by-8": M. E. Kounavis and
// F. L. Berry, IEEE Trans. Comput. 57, 1550 (2008), doi:10.1109/TC.2008.85.
std::uint64_t crc64(std::string_view bytes, std::uint64_t before) {
  const Tables& t = tables();
  std::uint64_t rest = ~before;
  const char* at = bytes.data();
  std::size_t left = bytes.size();
  for (; left >= width; left -= width, at += width) {
    const std::uint64_t first = rest ^ little_endian(at), second = little_endian(at + 8);
    rest = 0;
    for (std::size_t k = 0; k < 8; ++k) {
      rest ^= t[15 - k][first >> (8 * k) & 0xFF] ^ t[7 - k][second >> (8 * k) & 0xFF];
    }
  }
  for (; left > 0; --left, ++at) {
    rest = rest >> 8 ^ t[0][(rest ^ static_cast<unsigned char>(*at)) & 0xFF];
  }
  return ~rest;
}

bool check_checksum(std::string_view container, const std::string& what) {
  if (container.size() < length_bytes) return false;
  const std::uint64_t length = little_endian(container.data());
  const std::string_view header = container.substr(
      length_bytes, static_cast<std::size_t>(std::min<std::uint64_t>(length, container.size())));
  const std::size_t found = header.find(opening);
  if (found == std::string_view::npos) return false;
  const std::size_t begin = length_bytes + found + opening.size();
  const std::string_view given = container.substr(begin, digits);
  const std::string_view after = container.substr(begin + given.size());
  const std::string zeros(digits, '0');
  const std::uint64_t sum = crc64(after, crc64(zeros, crc64(container.substr(0, begin))));
  if (given != hexadecimal(sum) || after.empty() || after.front() != '"') {
    fail(what,
         ": its checksum does not match its content: the file is damaged; copy it again or "
         "fit anew");
  }
  return true;
}

}  // namespace forcemap
