// One block of memory for many arrays.
#pragma once

#include <cstddef>
#include <cstring>
#include <new>
#include <type_traits>

namespace forcemap {

/// Arrays that begin at multiples of 64 bytes; filled with zeros.
class Arena {
 public:
  ~Arena() { release(); }
  Arena() = default;
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  /// Calls layout(each), which calls each(pointer, count) for every array: once for the sizes, once
  /// to place them. What was there is lost.
  template <typename Layout>
  void lay_out(const Layout& layout) {
    std::size_t total = 0;
    layout([&](auto& pointer, std::size_t count) { total += rounded(count * sizeof(*pointer)); });
    release();
    begin_ = static_cast<char*>(::operator new(total, std::align_val_t(alignment)));
    std::memset(begin_, 0, total);
    char* next = begin_;
    layout([&](auto& pointer, std::size_t count) {
      pointer = reinterpret_cast<std::remove_reference_t<decltype(pointer)>>(next);
      next += rounded(count * sizeof(*pointer));
    });
  }

 private:
  static constexpr std::size_t alignment = 64;
  static std::size_t rounded(std::size_t bytes) {
    return (bytes + alignment - 1) / alignment * alignment;
  }
  void release() {
    if (begin_) ::operator delete(begin_, std::align_val_t(alignment));
    begin_ = nullptr;
  }
  char* begin_ = nullptr;
};

}  // namespace forcemap
