// CommandOutcome is what the program did with a line of arguments.

#ifndef TERRACE_TESTS_TOOLS_COMMAND_OUTCOME_H_
#define TERRACE_TESTS_TOOLS_COMMAND_OUTCOME_H_

#include <string>

namespace terrace::testing {

struct CommandOutcome {
  int exit_code = -1;
  std::string out;
  std::string err;
};

}  // namespace terrace::testing

#endif  // TERRACE_TESTS_TOOLS_COMMAND_OUTCOME_H_
