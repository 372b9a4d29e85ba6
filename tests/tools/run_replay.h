// `terrace replay` with a line of arguments, for tests.

#ifndef TERRACE_TESTS_TOOLS_RUN_REPLAY_H_
#define TERRACE_TESTS_TOOLS_RUN_REPLAY_H_

#include <algorithm>
#include <string>
#include <vector>

#include "tests/tools/run_command.h"
#include "tools/terrace/commands/replay_command.h"

namespace terrace::testing {

using tools::AddReplayCommand;

inline CommandOutcome RunReplay(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), "replay");
  return RunCommand(&AddReplayCommand, arguments);
}

inline CommandOutcome SmallReplay(const std::vector<std::string>& more = {}) {
  std::vector<std::string> arguments = {"--memory", "1GiB",      "--sequences",
                                        "8",        "--backend", "host"};
  if (std::find(more.begin(), more.end(), "--trace") == more.end()) {
    arguments.insert(arguments.end(), {"--requests", "12"});
  }
  arguments.insert(arguments.end(), more.begin(), more.end());
  return RunReplay(arguments);
}

}  // namespace terrace::testing

#endif  // TERRACE_TESTS_TOOLS_RUN_REPLAY_H_
