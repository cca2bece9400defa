// Working memory of one thread for the terms of a potential.
#pragma once

#include <memory>
#include <utility>
#include <vector>

namespace forcemap {

/// Holds one object of every type that was asked for. Terms of one kind share theirs: nothing stays
/// in it from one call to the next but its memory.
class Workspace {
 public:
  template <typename T>
  T& of() {
    for (const auto& [type, object] : held_)
      if (type == &tag<T>) return *static_cast<T*>(object.get());
    held_.emplace_back(&tag<T>, Object(new T, [](void* p) { delete static_cast<T*>(p); }));
    return *static_cast<T*>(held_.back().second.get());
  }

 private:
  using Object = std::unique_ptr<void, void (*)(void*)>;
  template <typename T>
  static constexpr char tag = 0;
  std::vector<std::pair<const char*, Object>> held_;
};

}  // namespace forcemap
