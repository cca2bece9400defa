#include "forcemap/safetensors.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

#include "forcemap/checksum.hpp"
#include "forcemap/content.hpp"
#include "forcemap/json.hpp"

namespace forcemap {

namespace {

static_assert(sizeof(double) == 8 && std::numeric_limits<double>::is_iec559);
static_assert(sizeof(float) == 4 && std::numeric_limits<float>::is_iec559);
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the numbers in the file are little-endian and copied as they are"
#endif

constexpr std::size_t length_bytes = 8;
constexpr std::int64_t largest_integer = std::numeric_limits<std::int64_t>::max();

// Bytes of one item; 0 if the type is not known.
std::size_t item_size(std::string_view dtype) {
  struct Size {
    std::string_view dtype;
    std::size_t bytes;
  };
  constexpr Size sizes[] = {{"F64", 8},     {"F32", 4},     {"F16", 2},  {"BF16", 2},
                            {"I64", 8},     {"U64", 8},     {"I32", 4},  {"U32", 4},
                            {"I16", 2},     {"U16", 2},     {"I8", 1},   {"U8", 1},
                            {"F8_E4M3", 1}, {"F8_E5M2", 1}, {"BOOL", 1}, {"C64", 8}};
  for (const Size& size : sizes) {
    if (size.dtype == dtype) return size.bytes;
  }
  return 0;
}

std::uint64_t read_length(std::string_view bytes) {
  std::uint64_t length = 0;
  for (std::size_t i = length_bytes; i-- > 0;) {
    length = length << 8 | static_cast<unsigned char>(bytes[i]);
  }
  return length;
}

template <typename Number>
Number number_at(const char* data, std::size_t n) {
  Number number;
  std::memcpy(&number, data + n * sizeof number, sizeof number);
  return number;
}

std::string shape_text(const std::vector<std::size_t>& shape) {
  std::string text = "(";
  for (std::size_t i = 0; i < shape.size(); ++i) {
    text += i == 0 ? "" : ", ";
    text += std::to_string(shape[i]);
  }
  return text + ")";
}

// One tensor of the header, `data` being all tensors' bytes.
TensorEntry read_entry(const JsonView& json, const std::string& name, std::string_view data) {
  json.allow_only({"dtype", "shape", "data_offsets"});
  TensorEntry entry{name, json.at("dtype").string(), {}, nullptr, 0};
  const std::size_t item = item_size(entry.dtype);
  if (item == 0) json.at("dtype").reject("found the unknown type ", quoted(entry.dtype));

  const JsonView shape = json.at("shape");
  std::size_t bytes = item;
  for (std::size_t i = 0; i < shape.size(); ++i) {
    const auto extent = static_cast<std::size_t>(shape.at(i).integer(0, largest_integer));
    if (extent != 0 && bytes > std::numeric_limits<std::size_t>::max() / extent) {
      shape.reject("found a tensor larger than any memory");
    }
    bytes *= extent;
    entry.shape.push_back(extent);
  }

  const JsonView offsets = json.at("data_offsets");
  if (offsets.size() != 2)
    offsets.reject("found ", offsets.description(), ", expected [begin, end]");
  const auto limit = static_cast<std::int64_t>(data.size());
  const std::int64_t begin = offsets.at(0).integer(0, limit);
  const std::int64_t end = offsets.at(1).integer(begin, limit);
  entry.data = data.data() + begin;
  entry.size = static_cast<std::size_t>(end - begin);
  if (entry.size != bytes) {
    offsets.reject("found ", entry.size, " bytes, expected ", bytes, " for type ", entry.dtype,
                   " and shape ", shape_text(entry.shape));
  }
  return entry;
}

/// The data of all tensors are the whole of `data`, one after the other.
void check_layout(const std::vector<TensorEntry>& tensors, std::string_view data,
                  const std::string& what) {
  std::vector<const TensorEntry*> in_file;
  for (const TensorEntry& tensor : tensors) in_file.push_back(&tensor);
  std::sort(in_file.begin(), in_file.end(), [](const TensorEntry* a, const TensorEntry* b) {
    return a->data != b->data ? a->data < b->data : a->size < b->size;
  });
  const char* end = data.data();
  for (const TensorEntry* tensor : in_file) {
    if (tensor->data != end) {
      fail(what, ": found the data of tensor ", quoted(tensor->name), " at byte ",
           tensor->data - data.data(), ", expected it at ", end - data.data(), " (",
           tensor->data < end ? "tensors overlap" : "a gap between tensors", ")");
    }
    end += tensor->size;
  }
  const auto used = static_cast<std::size_t>(end - data.data());
  if (used != data.size()) {
    fail(what, ": found ", data.size(), " bytes of data, expected ", used,
         ", the size of all tensors");
  }
}

}  // namespace

SafeTensors::SafeTensors(std::string_view bytes, std::string what) : what_(std::move(what)) {
  if (is_of_another_kind(bytes)) {
    fail(what_, ": is ", describe_content(bytes), ", expected a potential of forcemap");
  }
  if (bytes.size() < length_bytes) {
    fail(what_, ": found ", bytes.size(), " bytes, expected a safetensors file (at least ",
         length_bytes, " bytes)");
  }
  const std::uint64_t length = read_length(bytes);
  if (length > max_safetensors_header) {
    fail(what_, ": found a header of ", length, " bytes, expected at most ", max_safetensors_header,
         "; this is no safetensors file or it is damaged");
  }
  const std::string_view rest = bytes.substr(length_bytes);
  if (length > rest.size()) {
    fail(what_, ": found ", rest.size(), " bytes after the length, expected a header of ", length,
         "; the file is cut off");
  }
  const bool is_checked = check_checksum(bytes, what_);
  const std::string_view header = rest.substr(0, static_cast<std::size_t>(length));
  const std::string_view data = rest.substr(static_cast<std::size_t>(length));
  if (header.empty() || header.front() != '{') {
    fail(what_, ": found a header that does not begin with '{'; this is no safetensors file");
  }

  const std::string header_name = what_ + ", header";
  const Json document = parse_json(header, header_name);
  const JsonView root(document, header_name);
  for (const JsonMember& member : root.members()) {
    const JsonView value = root.of(member);
    if (member.name == "__metadata__") {
      for (const JsonMember& text : value.members()) {
        metadata_.emplace_back(text.name, value.of(text).string());
        if (text.name == "checksum" && !is_checked) {
          value.of(text).reject("found a checksum that does not stand there as forcemap writes it");
        }
      }
    } else {
      tensors_.push_back(read_entry(value, member.name, data));
    }
  }
  check_layout(tensors_, data, what_);
}

const TensorEntry* SafeTensors::find(std::string_view name) const {
  const auto tensor =
      std::lower_bound(tensors_.begin(), tensors_.end(), name,
                       [](const TensorEntry& t, std::string_view n) { return t.name < n; });
  return tensor == tensors_.end() || tensor->name != name ? nullptr : &*tensor;
}

bool SafeTensors::has(std::string_view name) const { return find(name) != nullptr; }

std::size_t SafeTensors::count(std::string_view name) const {
  const TensorEntry* tensor = find(name);
  return tensor ? tensor->size / item_size(tensor->dtype) : 0;
}

template <typename Number>
const TensorEntry& SafeTensors::checked(std::string_view name,
                                        const std::vector<std::size_t>& shape) const {
  constexpr const char* dtype = sizeof(Number) == sizeof(double) ? "F64" : "F32";
  const TensorEntry* tensor = find(name);
  if (!tensor) fail(what_, ": found no tensor ", quoted(name), ", which the document asks for");
  if (tensor->dtype != dtype) {
    fail(what_, ": tensor ", quoted(name), ": found the type ", tensor->dtype, ", expected ",
         dtype);
  }
  if (tensor->shape != shape) {
    fail(what_, ": tensor ", quoted(name), ": found the shape ", shape_text(tensor->shape),
         ", expected ", shape_text(shape));
  }
  for (std::size_t n = 0; n < tensor->size / sizeof(Number); ++n) {
    const auto number = number_at<Number>(tensor->data, n);
    if (!std::isfinite(number)) {
      fail(what_, ": tensor ", quoted(name), ": found ", number, " at item ", n,
           ", expected finite numbers");
    }
  }
  return *tensor;
}

template <typename Number>
std::vector<Number> SafeTensors::numbers(std::string_view name,
                                         const std::vector<std::size_t>& shape) const {
  const TensorEntry& tensor = checked<Number>(name, shape);
  std::vector<Number> copy(tensor.size / sizeof(Number));
  if (!copy.empty()) std::memcpy(copy.data(), tensor.data, tensor.size);
  return copy;
}

std::vector<double> SafeTensors::doubles(std::string_view name,
                                         const std::vector<std::size_t>& shape) const {
  return numbers<double>(name, shape);
}

std::vector<float> SafeTensors::floats(std::string_view name,
                                       const std::vector<std::size_t>& shape) const {
  return numbers<float>(name, shape);
}

void SafeTensors::check_doubles(std::string_view name,
                                const std::vector<std::size_t>& shape) const {
  checked<double>(name, shape);
}

}  // namespace forcemap
