// State that the threads of a process use one at a time, and that a forked child makes anew.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <utility>

#include "forks.hpp"

namespace forcemap {

template <typename State>
class Exclusive {
 public:
  using Make = std::function<std::unique_ptr<State>()>;

  /// `make` makes the state, here and once more in each forked child that uses it.
  explicit Exclusive(Make make) : make_(std::move(make)), held_(new Held(make_())) {}
  ~Exclusive() {
    Held* held = held_.load();
    // The state of a parent cannot be taken apart in a child (see fork_count), so it is left.
    if (held->forks == fork_count()) delete held;
  }
  Exclusive(const Exclusive&) = delete;
  Exclusive& operator=(const Exclusive&) = delete;

  /// use(state), while no other thread does; other calls wait.
  template <typename Use>
  void use(const Use& use) {
    Held& held = own();
    const std::lock_guard<std::mutex> lock(held.mutex);
    use(*held.state);
  }

 private:
  struct Held {
    explicit Held(std::unique_ptr<State> s) : state(std::move(s)) {}
    std::unique_ptr<State> state;
    std::mutex mutex;
    const unsigned long forks = fork_count();
    const Held* inherited = nullptr;  // the parent's, kept in reach of leak checkers
  };

  Held& own() {
    Held* held = held_.load(std::memory_order_acquire);
    if (held->forks == fork_count()) return *held;
    // No lock can guard this: one made before the fork may be held for ever. Of several threads
    // the first to finish wins.
    std::unique_ptr<Held> made(new Held(make_()));
    made->inherited = held;
    if (held_.compare_exchange_strong(held, made.get(), std::memory_order_acq_rel))
      return *made.release();
    return *held;
  }

  const Make make_;
  std::atomic<Held*> held_;
};

}  // namespace forcemap
