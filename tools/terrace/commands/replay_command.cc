#include "tools/terrace/commands/replay_command.h"

#include <unistd.h>

#include <cstdio>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "src/base/status_macros.h"
#include "tools/terrace/commands/interrupt.h"
#include "tools/terrace/commands/option_names.h"
#include "tools/terrace/commands/outcome.h"
#include "tools/terrace/commands/replay_options.h"
#include "tools/terrace/commands/run_replay.h"
#include "tools/terrace/engine/replay.h"
#include "tools/terrace/report/plot.h"
#include "tools/terrace/report/progress.h"
#include "tools/terrace/report/report.h"
#include "tools/terrace/report/terminal.h"
#include "tools/terrace/trace/trace.h"

namespace terrace::tools {
namespace {

constexpr char kFooter[] =
    R"(A step of the simulated clock takes --step-ms plus its tokens / --tokens-per-second.
Exit code: 0; 1 if a row was wrong, a block leaked, no request completed or something failed;
2 for bad usage; 130 after Ctrl-C, which prints the figures so far. Requests that can never fit the memory are counted as failed and reported.

Examples:
  terrace replay --model deepseek-v4-flash --memory 40GiB
  terrace replay --trace mooncake_conversation.jsonl --memory 40GiB --plot pools.svg --json run.json
  terrace replay --trace azure_conv.csv --memory 6GiB --backend host --layers 1-3
  terrace replay --trace mooncake_conversation.jsonl --memory 10TiB --sequences 1024 --data none
  terrace replay --memory 1GiB --requests 100 --serial --verify 1
  terrace replay --memory 8GiB --data none --checkpoints none --replay-limit 4096
  terrace replay --memory 8GiB --requests 100 --compress --drafts 3 --in-flight 2)";

absl::Status WriteResult(const ReplayResult& result, const ReplayArguments& arguments) {
  absl::Status status;
  if (arguments.json_file != "-") {
    std::cout << ReplayTable(result, TerminalColumns(STDOUT_FILENO)) << std::flush;
    if (!std::cout) status = absl::UnavailableError("cannot write to standard output");
  }
  if (!arguments.json_file.empty()) {
    status.Update(WriteJson(ReplayJson(result), arguments.json_file));
  }
  if (!arguments.plot_file.empty()) status.Update(PlotOccupancy(result, arguments.plot_file));
  return status;
}

absl::Status Run(ReplayArguments& arguments) {
  const Interrupt interrupt;
  TERRACE_ASSIGN_OR_RETURN(const std::vector<TraceRequest> requests, PrepareReplay(&arguments));
  int64_t tokens = 0;
  for (const TraceRequest& request : requests) {
    tokens += int64_t{request.input_length} + request.output_length;
  }
  Progress progress(
      stderr, [] { return TerminalColumns(STDERR_FILENO); }, static_cast<int64_t>(requests.size()),
      tokens);
  arguments.replay.stop = [&interrupt] { return interrupt.noted(); };
  arguments.replay.on_step = [&progress](const SchedulerStats& stats) { progress.Update(stats); };
  const absl::StatusOr<ReplayResult> result = Replay(requests, arguments.replay);
  progress.Finish();
  if (!result.ok()) return NameOptions(result.status());

  absl::Status status = WriteResult(*result, arguments);
  for (const std::string& line : result->verifier.first_corrupt) {
    std::cerr << "corrupt row: " << line << "\n";
  }
  const absl::Status judged = JudgeReplay(*result);
  if (judged.ok() && result->scheduler.failed > 0) {
    std::cerr << "terrace replay: " << result->scheduler.failed
              << " requests can never fit; they were skipped\n";
  }
  status.Update(judged);
  return status;
}

}  // namespace

void AddReplayCommand(CLI::App& app, int* exit_code) {
  CLI::App& command = *app.add_subcommand(
      "replay", "Serve a trace of requests, write and read back rows, and count every wrong one");
  command.footer(kFooter);
  const auto arguments = std::make_shared<ReplayArguments>();
  AddReplayOptions(command, arguments.get());
  command.callback([&command, arguments, exit_code] {
    CheckReplayOptions(command);
    *exit_code = ExitCode("replay", Run(*arguments));
  });
}

}  // namespace terrace::tools
