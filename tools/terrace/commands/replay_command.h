// `terrace replay`: serves a trace with a whole Terrace and checks every row it reads.

#ifndef TERRACE_TOOLS_TERRACE_COMMANDS_REPLAY_COMMAND_H_
#define TERRACE_TOOLS_TERRACE_COMMANDS_REPLAY_COMMAND_H_

#include "CLI/CLI.hpp"

namespace terrace::tools {

// Adds the command to `app`. When it is chosen it runs within app.parse() and sets *exit_code: 0;
// 1 where the replay failed, a row was wrong, a block was lost or no request completed; 2 for
// arguments that make no sense.   REQUIRES: `exit_code` outlives `app`.
void AddReplayCommand(CLI::App& app, int* exit_code);

}  // namespace terrace::tools

#endif  // TERRACE_TOOLS_TERRACE_COMMANDS_REPLAY_COMMAND_H_
