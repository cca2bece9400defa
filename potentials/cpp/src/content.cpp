#include "forcemap/content.hpp"

#include <algorithm>
#include <array>
#include <cstdint>

#include "forcemap/safetensors.hpp"

namespace forcemap {

namespace {

using namespace std::string_view_literals;

struct Mark {
  std::string_view bytes;
  const char* name;
};

constexpr std::array marks{
    Mark{"\x1f\x8b"sv, "a file compressed by gzip"},
    Mark{"BZh"sv, "a file compressed by bzip2"},
    Mark{"\xfd"
         "7zXZ\0"sv,
         "a file compressed by xz"},
    Mark{"\x28\xb5\x2f\xfd"sv, "a file compressed by zstd"},
    Mark{"PK\x03\x04"sv, "a zip archive"},
    Mark{"SQLite format 3\0"sv, "an SQLite database"},
    Mark{"- of UlmASE-Trajectory"sv, "a trajectory of ASE"},
    Mark{"- of Ulm"sv, "a file of ASE or GPAW (ulm)"},
    Mark{"AFFormat"sv, "a file of ASE or GPAW (ulm)"},
    Mark{"\x89HDF"sv, "an HDF5 file"},
    Mark{"CDF"sv, "a netCDF file"},
    Mark{"%PDF"sv, "a PDF file"},
    Mark{"\x89PNG"sv, "a picture (PNG)"},
    Mark{"\x7f"
         "ELF"sv,
         "a program"},
    Mark{"\xff\xfe"sv, "text in UTF-16"},
    Mark{"\xfe\xff"sv, "text in UTF-16"},
};

bool starts_with(std::string_view text, std::string_view begin) {
  return text.substr(0, begin.size()) == begin;
}

bool contains(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

// Whether a safetensors header may begin here: its length, then a JSON object.
bool is_container(std::string_view head) {
  if (head.size() < 9 || head[8] != '{') return false;
  std::uint64_t length = 0;
  for (std::size_t i = 8; i-- > 0;) length = length << 8 | static_cast<unsigned char>(head[i]);
  return length <= max_safetensors_header;
}

// No control characters, and no byte that neither UTF-8 nor a word in Latin-1 has.
bool is_text(std::string_view head) {
  return std::none_of(head.begin(), head.end(), [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return (byte < 0x20 && (byte < 0x07 || byte > 0x0d) && byte != 0x1b) || byte == 0x7f ||
           byte >= 0xfe;
  });
}

std::string_view first_line(std::string_view text) {
  std::string_view line = text.substr(0, text.find_first_of("\r\n"));
  constexpr std::string_view blanks = " \t";
  const std::size_t begin = std::min(line.find_first_not_of(blanks), line.size());
  line.remove_prefix(begin);
  return line.substr(0, line.find_last_not_of(blanks) + 1);
}

bool has_line(std::string_view text, std::string_view begin) {
  for (std::size_t at = text.find(begin); at != std::string_view::npos;
       at = text.find(begin, at + 1)) {
    if (at == 0 || text[at - 1] == '\n' || text[at - 1] == '\r') return true;
  }
  return false;
}

constexpr const char* unknown_bytes = "a binary file";

}  // namespace

bool is_of_another_kind(std::string_view head) {
  return !is_container(head) && describe_content(head) != std::string_view(unknown_bytes);
}

const char* describe_content(std::string_view head) {
  head = head.substr(0, content_head);
  if (head.empty()) return "an empty file";
  // Before the marks: a header's length may begin with the bytes of any of them.
  if (is_container(head)) {
    if (contains(head, "forcemap.potential")) return "a potential of forcemap";
    if (contains(head, "forcemap.model")) return "a Gaussian-process model of forcemap";
    return "a safetensors file";
  }
  for (const Mark& mark : marks) {
    if (starts_with(head, mark.bytes)) return mark.name;
  }
  if (!is_text(head)) return unknown_bytes;
  if (starts_with(head, "\xef\xbb\xbf")) head.remove_prefix(3);
  const std::string_view line = first_line(head);
  if (starts_with(line, "<")) return "an XML file";
  if (!line.empty() && line.find_first_not_of("0123456789") == std::string_view::npos) {
    return "a file of frames (XYZ)";
  }
  if (has_line(head, "data:") || has_line(head, "terms:")) return "a settings file (YAML)";
  return "a text file";
}

}  // namespace forcemap
