// Says what a file is by its first bytes, for messages about a file given in place of another.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace forcemap {

/// Bytes from the beginning of a file that describe_content() needs; more are of no use to it.
constexpr std::size_t content_head = 4096;

/// What begins with `head`, with its article: "a potential of forcemap", "a file of frames (XYZ)",
/// "a text file", "a binary file", ... It is a guess for a message, not a check.
const char* describe_content(std::string_view head);

/// Whether `head` begins something known that is no safetensors file, damaged or not.
bool is_of_another_kind(std::string_view head);

}  // namespace forcemap
