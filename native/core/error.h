// An error with a stable code ("HK_SHAPE"); the addon turns it into a JavaScript error, lib/binding into a HubertkitError.
#pragma once
#include <stdexcept>
#include <string>

namespace hk {

class Error : public std::runtime_error {
 public:
  Error(std::string code, const std::string& message) : std::runtime_error(message), code_(std::move(code)) {}
  const std::string& code() const { return code_; }

 private:
  std::string code_;
};

}  // namespace hk
