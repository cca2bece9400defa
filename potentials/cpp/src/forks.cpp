#include "forks.hpp"

#include <pthread.h>

#include <atomic>

namespace forcemap {

namespace {

std::atomic<unsigned long> forks{0};

// Runs in the child, before fork() returns there.
void count_fork() { forks.fetch_add(1, std::memory_order_relaxed); }

[[maybe_unused]] const int registered = pthread_atfork(nullptr, nullptr, &count_fork);

}  // namespace

unsigned long fork_count() { return forks.load(std::memory_order_relaxed); }

}  // namespace forcemap
