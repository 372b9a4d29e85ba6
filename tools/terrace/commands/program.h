// The program `terrace` without main(), so that tests can call it.

#ifndef TERRACE_TOOLS_TERRACE_COMMANDS_PROGRAM_H_
#define TERRACE_TOOLS_TERRACE_COMMANDS_PROGRAM_H_

#include <string>

namespace terrace::tools {

// Runs one command line and returns the exit code: 0, 1 if the command failed, 2 for bad usage.
// Errors go to standard error, one line each. Memory that runs out is an error of exit code 1.
int RunProgram(int argc, const char* const* argv, const std::string& version);

}  // namespace terrace::tools

#endif  // TERRACE_TOOLS_TERRACE_COMMANDS_PROGRAM_H_
