// Options that take a number, held to the range that makes sense.
// Errors: CLI::ValidationError that names the option, what was given and the range, so that the
// program exits with 2.

#ifndef TERRACE_TOOLS_TERRACE_COMMANDS_NUMBERS_H_
#define TERRACE_TOOLS_TERRACE_COMMANDS_NUMBERS_H_

#include <cstdint>
#include <string>

#include "CLI/CLI.hpp"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace terrace::tools {

// Whether `text` is a whole number, decimal or 0x and hexadecimal, that T holds.
template <typename T>
bool ReadWhole(const std::string& text, T* value) {
  const bool hex = absl::StartsWithIgnoreCase(text, "0x");
  return hex ? absl::SimpleHexAtoi(text, value) : absl::SimpleAtoi(text, value);
}

// A whole number from `least` to `most`. --help shows what *value is now as the default.
template <typename T>
CLI::Option* AddWholeOption(CLI::App& command, const std::string& name, T* value, T least, T most,
                            const std::string& help) {
  const auto read = [name, value, least, most](const std::string& text) {
    T number{};
    if (!ReadWhole(text, &number) || number < least || number > most) {
      throw CLI::ValidationError(
          name, absl::StrCat("\"", text, "\" is not a whole number from ", least, " to ", most));
    }
    *value = number;
  };
  return command.add_option_function<std::string>(name, read, help)
      ->type_name("N")
      ->default_str(absl::StrCat(*value));
}

// A number from `least` to `most`; never NaN or infinite.
CLI::Option* AddRealOption(CLI::App& command, const std::string& name, double* value, double least,
                           double most, const std::string& help);

}  // namespace terrace::tools

#endif  // TERRACE_TOOLS_TERRACE_COMMANDS_NUMBERS_H_
