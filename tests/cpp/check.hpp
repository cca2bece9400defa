// Tests without a framework: TEST(name) { CHECK(…); CHECK_ERROR(…, "text of the message"); }
#pragma once

#include <cstdlib>
#include <iostream>
#include <string>
#include <vector>

#include "forcemap/fail.hpp"

namespace check {

struct Test {
  const char* name;
  void (*run)();
};

inline std::vector<Test>& tests() {
  static std::vector<Test> all;
  return all;
}

inline int& failures() {
  static int count = 0;
  return count;
}

inline int add_test(const char* name, void (*run)()) {
  tests().push_back({name, run});
  return 0;
}

inline void report(const char* file, int line, const std::string& message) {
  ++failures();
  std::cerr << file << ":" << line << ": " << message << "\n";
}

/// Runs `call`, which must throw forcemap::Error with `part` in its message.
template <typename Call>
void expect_error(const char* file, int line, const char* text, const std::string& part,
                  const Call& call) {
  try {
    call();
  } catch (const forcemap::Error& error) {
    const std::string message = error.what();
    if (message.find(part) == std::string::npos) {
      report(file, line, std::string(text) + ": expected \"" + part + "\" in \"" + message + "\"");
    }
    return;
  }
  report(file, line, std::string(text) + ": expected the error \"" + part + "\"");
}

/// Runs all tests; returns the program's exit code.
inline int run_all() {
  for (const Test& test : tests()) {
    const int before = failures();
    try {
      test.run();
    } catch (const std::exception& error) {
      report(test.name, 0, std::string("unexpected exception: ") + error.what());
    }
    std::cout << (failures() == before ? "passed " : "FAILED ") << test.name << "\n";
  }
  if (tests().empty()) report("run_all", 0, "found no test");
  return failures() == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

}  // namespace check

#define TEST(name)                                                     \
  static void test_##name();                                           \
  static const int added_##name = check::add_test(#name, test_##name); \
  static void test_##name()

#define CHECK(condition)                                             \
  do {                                                               \
    if (!(condition)) check::report(__FILE__, __LINE__, #condition); \
  } while (false)

#define CHECK_ERROR(expression, part) \
  check::expect_error(__FILE__, __LINE__, #expression, part, [&] { (void)(expression); })
