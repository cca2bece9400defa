// The one way the core reports an error: fail("reading ", path, ": ", why).
#pragma once

#include <sstream>
#include <stdexcept>
#include <string>

namespace forcemap {

/// A fault in what the user gave (a file, an option, a structure); its text is shown as it is.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Throw Error with the arguments written one after the other.
template <typename... Parts>
[[noreturn]] __attribute__((cold)) void fail(const Parts&... parts) {
  std::ostringstream text;
  text.precision(10);
  (text << ... << parts);
  throw Error(text.str());
}

}  // namespace forcemap
