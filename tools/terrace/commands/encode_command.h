// `terrace encode` and `terrace decode`: rows to pages and back, for checking the bytes of another
// engine against Terrace's.

#ifndef TERRACE_TOOLS_TERRACE_COMMANDS_ENCODE_COMMAND_H_
#define TERRACE_TOOLS_TERRACE_COMMANDS_ENCODE_COMMAND_H_

#include "CLI/CLI.hpp"

namespace terrace::tools {

// Adds the command to `app`. When it is chosen it runs within app.parse(): *exit_code becomes 0, or
// 1 after one line on standard error if a file cannot be read, does not fit or cannot be written.
// Errors: CLI::ValidationError for options that make no sense, so that the program exits with 2.
// REQUIRES: `exit_code` outlives `app`.
void AddEncodeCommand(CLI::App& app, int* exit_code);
void AddDecodeCommand(CLI::App& app, int* exit_code);

}  // namespace terrace::tools

#endif  // TERRACE_TOOLS_TERRACE_COMMANDS_ENCODE_COMMAND_H_
