// Ends a process that was asked to leave and cannot: its main thread is in a long call of LAPACK,
// say, so that Python never comes to run a signal's handler.
#include <nanobind/stl/string.h>
#include <pthread.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <mutex>
#include <set>
#include <string>
#include <system_error>
#include <thread>

#include "module.hpp"

namespace {

// What a process must not leave behind. Never destroyed: the watching thread may outlive `main`.
struct Leftovers {
  std::mutex mutex;
  std::set<std::string> paths;
  std::set<int> processes;
  std::string last_words;
};

Leftovers& leftovers() {
  static Leftovers* const all = new Leftovers;
  return *all;
}

[[noreturn]] void leave(int number) {
  std::string words;
  {
    Leftovers& all = leftovers();
    const std::lock_guard<std::mutex> guard(all.mutex);
    words = all.last_words;
    for (const int process : all.processes) kill(process, SIGKILL);
    std::error_code ignored;
    for (const std::string& path : all.paths) std::filesystem::remove_all(path, ignored);
  }
  // A progress bar may have hidden the cursor.
  if (isatty(STDERR_FILENO)) (void)!write(STDERR_FILENO, "\x1b[?25h\n", 7);
  if (!words.empty()) {
    words = (number == SIGINT ? "Interrupted. " : "Terminated. ") + words + "\n";
    (void)!write(STDERR_FILENO, words.data(), words.size());
  }
  _exit(128 + number);
}

// Reads numbers of signals, which Python writes within the signal itself, whatever the main thread
// does, and gives the process `grace` to leave by itself.
void watch(int pipe, std::chrono::duration<double> grace) {
  for (;;) {
    unsigned char number = 0;
    const ssize_t count = read(pipe, &number, 1);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return;
    if (number != SIGTERM && number != SIGINT) continue;
    std::this_thread::sleep_for(grace);
    leave(number);
  }
}

}  // namespace

void add_leaving(nb::module_& m) {
  m.def(
      "watch_signals",
      [](int pipe, double grace) {
        sigset_t all, before;
        sigfillset(&all);
        // The thread inherits this: signals are for the threads that Python knows.
        pthread_sigmask(SIG_SETMASK, &all, &before);
        std::thread(watch, pipe, std::chrono::duration<double>(grace)).detach();
        pthread_sigmask(SIG_SETMASK, &before, nullptr);
      },
      nb::arg("pipe"), nb::arg("grace"),
      "Read signals from the end of a pipe; a process that has not left `grace` seconds after a "
      "SIGTERM or SIGINT is ended, and what it would leave behind removed.");
  m.def(
      "set_last_words",
      [](const std::string& words) {
        const std::lock_guard<std::mutex> guard(leftovers().mutex);
        leftovers().last_words = words;
      },
      nb::arg("words"), "A line for stderr if the process is ended by force; \"\" for none.");
  m.def(
      "add_leftover",
      [](const std::string& path) {
        const std::lock_guard<std::mutex> guard(leftovers().mutex);
        leftovers().paths.insert(path);
      },
      nb::arg("path"), "A file or folder to be removed with all it holds if the process is ended.");
  m.def(
      "drop_leftover",
      [](const std::string& path) {
        const std::lock_guard<std::mutex> guard(leftovers().mutex);
        leftovers().paths.erase(path);
      },
      nb::arg("path"), "Take back `add_leftover`.");
  m.def(
      "add_process",
      [](int process) {
        const std::lock_guard<std::mutex> guard(leftovers().mutex);
        leftovers().processes.insert(process);
      },
      nb::arg("process"), "A process to be killed if this one is ended.");
  m.def(
      "drop_process",
      [](int process) {
        const std::lock_guard<std::mutex> guard(leftovers().mutex);
        leftovers().processes.erase(process);
      },
      nb::arg("process"), "Take back `add_process`.");
}
