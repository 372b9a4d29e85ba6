// Options of `terrace replay`, but for those of prefix reuse (reuse_options.h).

#ifndef TERRACE_TOOLS_TERRACE_COMMANDS_REPLAY_OPTIONS_H_
#define TERRACE_TOOLS_TERRACE_COMMANDS_REPLAY_OPTIONS_H_

#include <string>

#include "CLI/CLI.hpp"
#include "tools/terrace/commands/options.h"
#include "tools/terrace/engine/replay.h"
#include "tools/terrace/trace/workload.h"

namespace terrace::tools {

struct ReplayArguments {
  std::string trace_file;
  ModelArguments model;
  WorkloadOptions workload;
  ReplayOptions replay;
  std::string json_file;  // "-": standard output, and no table
  std::string plot_file;
};

// All options, in the order in which --help shows them.
void AddReplayOptions(CLI::App& command, ReplayArguments* arguments);

// Errors: CLI::ValidationError for parsed options that contradict each other.
void CheckReplayOptions(const CLI::App& command);

}  // namespace terrace::tools

#endif  // TERRACE_TOOLS_TERRACE_COMMANDS_REPLAY_OPTIONS_H_
