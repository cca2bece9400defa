// Reads the safetensors container: named arrays and a few texts; the bytes are untrusted input.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace forcemap {

// The format (https://github.com/huggingface/safetensors): 8 bytes, the header's length as a
// little-endian unsigned integer; the header, a JSON object; the data. The header maps each
// tensor's name to {"dtype": "F64", "shape": [...], "data_offsets": [begin, end]}, offsets counted
// from the start of the data, and may hold "__metadata__", an object of strings. The tensors follow
// each other without overlap or gap and fill the data to the end of the file. A file with a
// checksum (checksum.hpp) is read only if it is the file's own.

constexpr std::size_t max_safetensors_header = std::size_t{64} << 20;  // bytes

struct TensorEntry {
  std::string name;
  std::string dtype;               // "F64", "I32", ...
  std::vector<std::size_t> shape;  // its product times the item size is `size`, checked
  const char* data;                // row-major items, little-endian; not aligned
  std::size_t size;                // bytes
};

/// A view of the bytes it was read from, which must outlive it.
class SafeTensors {
 public:
  /// Throws Error "`what`: …" unless `bytes` is a well-formed container from end to end.
  SafeTensors(std::string_view bytes, std::string what);

  const std::vector<TensorEntry>& tensors() const { return tensors_; }  // sorted by name

  /// The metadata's names and texts.
  const std::vector<std::pair<std::string, std::string>>& metadata() const { return metadata_; }

  /// A copy of the tensor's numbers. Throws Error if there is no such tensor, or if it is not F64
  /// of this shape, or if a number is not finite.
  std::vector<double> doubles(std::string_view name, const std::vector<std::size_t>& shape) const;

  /// The same of an F32 tensor.
  std::vector<float> floats(std::string_view name, const std::vector<std::size_t>& shape) const;

  /// The same checks without a copy.
  void check_doubles(std::string_view name, const std::vector<std::size_t>& shape) const;

  bool has(std::string_view name) const;

  /// How many numbers the tensor has, of whatever shape; 0 if there is no such tensor.
  std::size_t count(std::string_view name) const;

 private:
  const TensorEntry* find(std::string_view name) const;
  template <typename Number>
  const TensorEntry& checked(std::string_view name, const std::vector<std::size_t>& shape) const;
  template <typename Number>
  std::vector<Number> numbers(std::string_view name, const std::vector<std::size_t>& shape) const;

  std::string what_;
  std::vector<TensorEntry> tensors_;
  std::vector<std::pair<std::string, std::string>> metadata_;
};

}  // namespace forcemap
