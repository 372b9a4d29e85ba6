// RunCommand: what the program does with a line of arguments, for tests of its commands.

#ifndef TERRACE_TESTS_TOOLS_RUN_COMMAND_H_
#define TERRACE_TESTS_TOOLS_RUN_COMMAND_H_

#include <algorithm>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "gtest/gtest.h"
#include "tests/tools/command_outcome.h"

namespace terrace::testing {

// `add` adds the command to an app, as AddCapacityCommand does; the first argument is its name.
// Words that CLI11 refuses exit with 2.
inline CommandOutcome RunCommand(void (*add)(CLI::App& app, int* exit_code),
                                 std::vector<std::string> arguments) {
  CLI::App app;
  CommandOutcome outcome;
  add(app, &outcome.exit_code);
  ::testing::internal::CaptureStdout();
  ::testing::internal::CaptureStderr();
  std::reverse(arguments.begin(), arguments.end());  // as CLI11 wants a vector
  std::string refused;
  try {
    app.parse(arguments);
  } catch (const CLI::ParseError& error) {
    outcome.exit_code = error.get_exit_code() == 0 ? 0 : 2;
    refused = error.what();
  }
  outcome.out = ::testing::internal::GetCapturedStdout();
  outcome.err = ::testing::internal::GetCapturedStderr() + refused;
  return outcome;
}

}  // namespace terrace::testing

#endif  // TERRACE_TESTS_TOOLS_RUN_COMMAND_H_
