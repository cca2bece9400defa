// A fixed set of threads that run one function over [0, parts) and wait for the next.
#pragma once

#include <condition_variable>
#include <exception>
#include <functional>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

#include "forcemap/fail.hpp"

namespace forcemap {

/// `run` is for one caller at a time, in the process that made the pool (see Exclusive).
class ThreadPool {
 public:
  /// Throws Error if the system does not give that many threads.
  explicit ThreadPool(int threads) {
    try {
      for (int n = 1; n < threads; ++n) workers_.emplace_back([this, n] { work(n); });
    } catch (const std::system_error& error) {
      const std::size_t started = workers_.size() + 1;
      stop();
      fail("cannot start ", threads, " threads, only ", started, ": ", error.what());
    }
  }
  ~ThreadPool() { stop(); }
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int size() const { return static_cast<int>(workers_.size()) + 1; }

  /// Run task(thread) once on every thread, the caller's included; rethrows the first exception.
  void run(const std::function<void(int)>& task) {
    if (workers_.empty()) return task(0);
    {
      std::lock_guard<std::mutex> lock(mutex_);
      task_ = &task;
      fault_ = nullptr;
      running_ = static_cast<int>(workers_.size());
      ++generation_;
    }
    start_.notify_all();
    guarded(task, 0);
    std::unique_lock<std::mutex> lock(mutex_);
    done_.wait(lock, [this] { return running_ == 0; });
    if (fault_) std::rethrow_exception(fault_);
  }

 private:
  void stop() {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      stop_ = true;
    }
    start_.notify_all();
    for (std::thread& worker : workers_) worker.join();
    workers_.clear();
  }

  void guarded(const std::function<void(int)>& task, int thread) {
    try {
      task(thread);
    } catch (...) {
      std::lock_guard<std::mutex> lock(mutex_);
      if (!fault_) fault_ = std::current_exception();
    }
  }

  void work(int thread) {
    unsigned long seen = 0;
    for (;;) {
      const std::function<void(int)>* task = nullptr;
      {
        std::unique_lock<std::mutex> lock(mutex_);
        start_.wait(lock, [&] { return stop_ || generation_ != seen; });
        if (stop_) return;
        seen = generation_;
        task = task_;
      }
      guarded(*task, thread);
      std::lock_guard<std::mutex> lock(mutex_);
      if (--running_ == 0) done_.notify_one();
    }
  }

  std::vector<std::thread> workers_;
  std::mutex mutex_;
  std::condition_variable start_, done_;
  const std::function<void(int)>* task_ = nullptr;
  std::exception_ptr fault_;
  unsigned long generation_ = 0;
  int running_ = 0;
  bool stop_ = false;
};

}  // namespace forcemap
