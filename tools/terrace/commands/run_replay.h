// What comes before a replay and after it, for whoever asks: the program or another front end.

#ifndef TERRACE_TOOLS_TERRACE_COMMANDS_RUN_REPLAY_H_
#define TERRACE_TOOLS_TERRACE_COMMANDS_RUN_REPLAY_H_

#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "tools/terrace/commands/replay_options.h"
#include "tools/terrace/engine/replay.h"
#include "tools/terrace/trace/trace.h"

namespace terrace::tools {

// Checks the arguments together, loads the model into them, and makes or reads the requests.
// Errors: InvalidArgument, NotFound; DataLoss for a trace that cannot be read.
absl::StatusOr<std::vector<TraceRequest>> PrepareReplay(ReplayArguments* arguments);

// Why a run that came to its end is a failure all the same.
absl::Status JudgeReplay(const ReplayResult& result);

}  // namespace terrace::tools

#endif  // TERRACE_TOOLS_TERRACE_COMMANDS_RUN_REPLAY_H_
