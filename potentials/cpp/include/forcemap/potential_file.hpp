// Reads a potential file (safetensors with a JSON document); the file is untrusted input.
#pragma once

#include <cstddef>
#include <string>

#include "forcemap/potential_data.hpp"

namespace forcemap {

/// Parse the bytes of a potential file. `name` is used in messages only. Throws Error that says
/// which part of the file is wrong, what was found and what was expected.
PotentialData parse_potential(const char* bytes, std::size_t size, const std::string& name);

/// The bytes of a file. Throws Error when it cannot be read or is larger than the reader accepts.
std::string read_bytes(const std::string& path);

/// parse_potential(read_bytes(path)).
PotentialData read_potential(const std::string& path);

}  // namespace forcemap
