// How a command ends: its JSON file and its exit code.

#ifndef TERRACE_TOOLS_TERRACE_COMMANDS_OUTCOME_H_
#define TERRACE_TOOLS_TERRACE_COMMANDS_OUTCOME_H_

#include <string>

#include "absl/status/status.h"
#include "nlohmann/json.hpp"

namespace terrace::tools {

// Writes `json` to the file `name`, or for "-" to standard output.   Errors: Unavailable.
absl::Status WriteJson(const nlohmann::ordered_json& json, const std::string& name);

// 0 for Ok; 2 for InvalidArgument and NotFound, which are bad usage; 130 for Cancelled, as shells
// say of Ctrl-C; 1 for the rest. An error is one line on standard error that names the command.
int ExitCode(const std::string& command, const absl::Status& status);

}  // namespace terrace::tools

#endif  // TERRACE_TOOLS_TERRACE_COMMANDS_OUTCOME_H_
