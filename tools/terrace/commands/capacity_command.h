// `terrace capacity`: how a byte budget is divided, and how many tokens and sequences it holds.
// The command's other name is `plan`.

#ifndef TERRACE_TOOLS_TERRACE_COMMANDS_CAPACITY_COMMAND_H_
#define TERRACE_TOOLS_TERRACE_COMMANDS_CAPACITY_COMMAND_H_

#include "CLI/CLI.hpp"

namespace terrace::tools {

// Adds the command to `app`. When it is chosen it runs within app.parse() and sets *exit_code: 0; 1
// where the memory does not do or a file cannot be written; 2 for arguments that make no sense
// (words that cannot be read are CLI11's own errors, which also exit with 2).
// REQUIRES: `exit_code` outlives `app`.
void AddCapacityCommand(CLI::App& app, int* exit_code);

}  // namespace terrace::tools

#endif  // TERRACE_TOOLS_TERRACE_COMMANDS_CAPACITY_COMMAND_H_
