// Options of `terrace replay` that say how prefixes are reused.
// Errors: CLI::ValidationError that names the option, so that the program exits with 2.

#ifndef TERRACE_TOOLS_TERRACE_COMMANDS_REUSE_OPTIONS_H_
#define TERRACE_TOOLS_TERRACE_COMMANDS_REUSE_OPTIONS_H_

#include <string>

#include "CLI/CLI.hpp"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "terrace/prefix.h"
#include "tools/terrace/engine/replay.h"

namespace terrace::tools {

// --no-reuse, --checkpoints, --replay-limit, --approximate-replay, --in-flight.
void AddReuseOptions(CLI::App& command, ReplayOptions* options);

// "none", "end" or "every:N".   Errors: InvalidArgument that says what is known.
absl::StatusOr<CheckpointPolicy> ParseCheckpointPolicy(const std::string& text);

// Errors: InvalidArgument for checkpoints that are not at chunk borders of `model`.
absl::Status CheckReuse(const PrefixOptions& prefix, const ModelSpec& model);

}  // namespace terrace::tools

#endif  // TERRACE_TOOLS_TERRACE_COMMANDS_REUSE_OPTIONS_H_
