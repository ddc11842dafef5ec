// Errors of the native side. They are thrown and caught inside C++ only: the stream turns them into the error of a
// tensor, the binding into a JavaScript exception with the same code.
#pragma once
#include <stdexcept>
#include <string>
#include <utility>

namespace g2rpo {

/** `code` is one of the codes of lib/runtime/errors.ts. */
class Error : public std::runtime_error {
 public:
  Error(const char* code, const std::string& message) : std::runtime_error(message), code(code) {}
  const char* code;
};

}  // namespace g2rpo
