// The checksum in a container's header, by which damage is noticed before numbers are used.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace forcemap {

// A container (see safetensors.hpp) holds in its metadata, in this very form,
//   "checksum":"0123456789abcdef",
// the CRC-64 of the whole file (length, header, data) with these 16 digits taken as zeros. A CRC,
// since it is to find accidents, not forgers, who could write a new one anyway: it misses no
// flipped bit, no burst of up to 64 bits, and of other damage one case in 2^64; and it is read at
// gigabytes a second by a few lines, where SHA-256 without special instructions takes ten times as
// long.

/// CRC-64/XZ (ECMA-182, reflected) of `bytes`, going on from `before`, that of what precedes them.
std::uint64_t crc64(std::string_view bytes, std::uint64_t before = 0);

/// Throws Error if `container` holds a checksum that is not its own; returns whether it holds one.
/// It reads the bytes as they stand, so that damage is reported as such before the header is
/// parsed.
bool check_checksum(std::string_view container, const std::string& what);

}  // namespace forcemap
