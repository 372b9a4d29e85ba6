#include "tools/terrace/commands/run_replay.h"

#include "absl/strings/str_cat.h"
#include "src/base/status_macros.h"
#include "tools/terrace/commands/options.h"
#include "tools/terrace/commands/output_files.h"
#include "tools/terrace/commands/reuse_options.h"
#include "tools/terrace/engine/layer_range.h"
#include "tools/terrace/report/plot.h"
#include "tools/terrace/trace/workload.h"

namespace terrace::tools {

absl::StatusOr<std::vector<TraceRequest>> PrepareReplay(ReplayArguments* arguments) {
  ReplayOptions& options = arguments->replay;
  TERRACE_ASSIGN_OR_RETURN(options.model, LoadModel(arguments->model));
  TERRACE_RETURN_IF_ERROR(CheckReuse(options.prefix, options.model));
  options.verifier.store_whole_chunk = options.store_whole_chunk;
  options.verifier.seed = arguments->workload.seed;
  if (!options.layers.empty()) {
    TERRACE_RETURN_IF_ERROR(ParseLayers(options.layers, options.model).status());
  }
  TERRACE_RETURN_IF_ERROR(
      CheckOutputs({{"--json", arguments->json_file}, {"--plot", arguments->plot_file}},
                   {{"--trace", arguments->trace_file}, {"--model", arguments->model.model}}));
  if (!arguments->plot_file.empty()) TERRACE_RETURN_IF_ERROR(CheckPlot(arguments->plot_file));
  if (arguments->trace_file.empty()) return MakeWorkload(arguments->workload);
  absl::StatusOr<std::vector<TraceRequest>> requests = ReadTrace(arguments->trace_file);
  // A file that cannot be read is a failure, not bad usage.
  if (!requests.ok()) return absl::DataLossError(requests.status().message());
  return requests;
}

absl::Status JudgeReplay(const ReplayResult& result) {
  if (result.verifier.corrupt_rows > 0) {
    return absl::DataLossError(absl::StrCat(result.verifier.corrupt_rows, " corrupt rows of ",
                                            result.verifier.verified_rows, " verified"));
  }
  if (result.leaked_blocks > 0) {
    return absl::InternalError(
        absl::StrCat(result.leaked_blocks, " blocks are lost after every sequence was freed"));
  }
  if (!result.ok()) {
    return absl::InternalError("the store skipped or mended rows; see store_counters in the JSON");
  }
  if (result.scheduler.interrupted) {
    return absl::CancelledError(absl::StrCat("interrupted after ", result.scheduler.completed,
                                             " of ", result.scheduler.requests, " requests"));
  }
  if (result.scheduler.completed == 0) {
    return absl::ResourceExhaustedError(
        "no request fits; give more --memory, or a trace of shorter requests");
  }
  return absl::OkStatus();
}

}  // namespace terrace::tools
