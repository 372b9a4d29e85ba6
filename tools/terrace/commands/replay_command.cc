#include "tools/terrace/commands/replay_command.h"

#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <iostream>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "tools/terrace/commands/options.h"
#include "tools/terrace/commands/reuse_options.h"
#include "tools/terrace/engine/layer_range.h"
#include "tools/terrace/engine/replay.h"
#include "tools/terrace/report/plot.h"
#include "tools/terrace/report/progress.h"
#include "tools/terrace/report/report.h"
#include "tools/terrace/trace/trace.h"
#include "tools/terrace/trace/workload.h"

namespace terrace::tools {
namespace {

constexpr char kFooter[] =
    R"(A step of the simulated clock takes --step-ms plus its tokens / --tokens-per-second.
Exit code: 0; 1 if a row was wrong, a block leaked, no request completed or something failed;
2 for bad usage. Requests that can never fit the memory are counted as failed and reported.

Examples:
  terrace replay --model deepseek-v4-flash --memory 40GiB
  terrace replay --trace mooncake_conversation.jsonl --memory 40GiB --plot pools.svg --json run.json
  terrace replay --trace azure_conv.csv --memory 6GiB --backend host --layers 1-3
  terrace replay --trace mooncake_conversation.jsonl --memory 10TiB --sequences 1024 --data none
  terrace replay --memory 1GiB --requests 100 --serial --verify 1
  terrace replay --memory 8GiB --data none --checkpoints none --replay-limit 4096
  terrace replay --memory 8GiB --requests 100 --compress --drafts 3 --in-flight 2)";

struct ReplayArguments {
  std::string trace_file;
  ModelArguments model;
  WorkloadOptions workload;
  ReplayOptions replay;
  std::string json_file;  // "-": standard output, and no table
  std::string plot_file;
};

absl::Status WriteJson(const ReplayResult& result, const std::string& name) {
  const std::string text = ReplayJson(result).dump(2);
  if (name == "-") {
    std::cout << text << std::endl;
    return std::cout ? absl::OkStatus() : absl::UnavailableError("cannot write to standard output");
  }
  std::ofstream file(name, std::ios::binary);
  file << text << std::endl;
  if (file) return absl::OkStatus();
  return absl::UnavailableError(
      absl::StrCat("cannot write ", name, "; check the folder and its rights"));
}

// Why a run that came to its end is a failure all the same.
absl::Status Judge(const ReplayResult& result) {
  if (result.verifier.corrupt_rows > 0) {
    for (const std::string& line : result.verifier.first_corrupt) {
      std::cerr << "corrupt row: " << line << "\n";
    }
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
  if (result.scheduler.completed == 0) {
    return absl::ResourceExhaustedError(
        "no request fits; give more --memory, or a trace of shorter requests");
  }
  if (result.scheduler.failed > 0) {
    std::cerr << "terrace replay: " << result.scheduler.failed
              << " requests can never fit; they were skipped\n";
  }
  return absl::OkStatus();
}

absl::Status Run(ReplayArguments& arguments) {
  ReplayOptions& options = arguments.replay;
  absl::StatusOr<ModelSpec> model = LoadModel(arguments.model);
  if (!model.ok()) return model.status();
  options.model = *std::move(model);
  if (absl::Status status = CheckReuse(options.prefix, options.model); !status.ok()) {
    return status;
  }
  options.verifier.store_whole_chunk = options.store_whole_chunk;
  options.verifier.seed = arguments.workload.seed;
  if (!options.layers.empty()) {
    if (auto layers = ParseLayers(options.layers, options.model); !layers.ok()) {
      return layers.status();
    }
  }
  if (!arguments.plot_file.empty()) {
    if (absl::Status status = CheckPlot(arguments.plot_file); !status.ok()) return status;
  }
  const absl::StatusOr<std::vector<TraceRequest>> requests = arguments.trace_file.empty()
                                                                 ? MakeWorkload(arguments.workload)
                                                                 : ReadTrace(arguments.trace_file);
  if (!requests.ok()) {
    // A file that cannot be read is a failure, not bad usage.
    if (arguments.trace_file.empty()) return requests.status();
    return absl::DataLossError(requests.status().message());
  }

  int64_t tokens = 0;
  for (const TraceRequest& request : *requests) {
    tokens += int64_t{request.input_length} + request.output_length;
  }
  Progress progress(stderr, isatty(STDERR_FILENO) != 0, static_cast<int64_t>(requests->size()),
                    tokens);
  options.on_step = [&progress](const SchedulerStats& stats) { progress.Update(stats); };
  const absl::StatusOr<ReplayResult> result = Replay(*requests, options);
  progress.Finish();
  if (!result.ok()) return result.status();

  if (arguments.json_file != "-") std::cout << ReplayTable(*result) << std::flush;
  if (!arguments.json_file.empty()) {
    if (absl::Status status = WriteJson(*result, arguments.json_file); !status.ok()) return status;
  }
  if (!arguments.plot_file.empty()) {
    absl::Status status = PlotOccupancy(*result, arguments.plot_file);
    if (!status.ok()) return status;
  }
  return Judge(*result);
}

void AddWorkloadOptions(CLI::App& command, ReplayArguments* arguments) {
  WorkloadOptions& workload = arguments->workload;
  const std::string group = "Workload";
  command
      .add_option("--trace", arguments->trace_file,
                  "Mooncake JSONL or Azure CSV; without it a synthetic workload")
      ->type_name("FILE")
      ->group(group);
  command.add_option("--requests", workload.requests, "of the synthetic workload")
      ->check(CLI::PositiveNumber)
      ->group(group)
      ->capture_default_str();
  command.add_option("--rate", workload.requests_per_second, "of the synthetic workload, a second")
      ->check(CLI::PositiveNumber)
      ->group(group)
      ->capture_default_str();
  command.add_option("--seed", workload.seed, "of the synthetic workload and the samples")
      ->group(group)
      ->capture_default_str();
}

void AddSchedulerOptions(CLI::App& command, SchedulerOptions* scheduler) {
  const std::string group = "Scheduler";
  const auto add = [&](const std::string& name, auto* value, const std::string& help,
                       const CLI::Validator& check) {
    command.add_option(name, *value, help)->check(check)->group(group)->capture_default_str();
  };
  add("--sequences", &scheduler->sequences, "running at one time", CLI::PositiveNumber);
  add("--step-tokens", &scheduler->step_tokens, "most tokens of a step", CLI::PositiveNumber);
  add("--step-ms", &scheduler->step_ms, "fixed part of a step's time", CLI::NonNegativeNumber);
  add("--tokens-per-second", &scheduler->tokens_per_second, "of a step's other part",
      CLI::PositiveNumber);
  add("--drafts", &scheduler->drafts, "speculative tokens of a decode step", CLI::Range(0, 64));
  add("--acceptance", &scheduler->acceptance, "chance that a draft is accepted",
      CLI::Range(0.0, 1.0));
  add("--check", &scheduler->check_every, "check all invariants every N steps; 0 = at the end",
      CLI::NonNegativeNumber);
  command.add_flag("--serial", scheduler->serial, "one request at a time")->group(group);
}

void AddStoreOptions(CLI::App& command, ReplayArguments* arguments) {
  ReplayOptions& replay = arguments->replay;
  const std::string group = "Store";
  const std::map<std::string, BackendKind> backends = {
      {"auto", BackendKind::kAuto}, {"host", BackendKind::kHost}, {"cuda", BackendKind::kCuda}};
  command
      .add_option_function<std::string>(
          "--backend",
          [&replay, backends](const std::string& name) {
            const auto found = backends.find(name);
            if (found == backends.end()) {
              throw CLI::ValidationError("--backend", name + " is not one of auto, host, cuda");
            }
            replay.backend.kind = found->second;
          },
          "auto (cuda where a GPU is usable), host or cuda")
      ->type_name("NAME")
      ->group(group);
  command
      .add_option_function<std::string>(
          "--data",
          [&replay](const std::string& name) {
            if (name != "rows" && name != "none") {
              throw CLI::ValidationError("--data", name + " is not one of rows, none");
            }
            replay.with_data = name == "rows";
          },
          "rows, or none: the ledger alone, at any --memory")
      ->type_name("NAME")
      ->group(group);
  command
      .add_option("--layers", replay.layers,
                  "that carry data: N, A-B or all; default: cuda all, host the shortest run with "
                  "one of each kind")
      ->type_name("L")
      ->group(group);
  command
      .add_flag("--compress", replay.compress,
                "the store makes the entries, of raw rows; for models that keep state")
      ->group(group);
  command
      .add_option("--verify", replay.verifier.rate,
                  "share of the steps after which rows are read back and compared")
      ->check(CLI::Range(0.0, 1.0))
      ->group(group)
      ->capture_default_str();
  command
      .add_option("--threads", replay.backend.host_threads, "of the host backend; 0 = one a core")
      ->check(CLI::Range(0, 1024))
      ->group(group);
  command
      .add_flag("--whole-chunk", replay.store_whole_chunk,
                "store every window row of a prefill chunk until the next step")
      ->group(group);
}

}  // namespace

void AddReplayCommand(CLI::App& app, int* exit_code) {
  CLI::App& command = *app.add_subcommand(
      "replay", "Serve a trace of requests, write and read back rows, and count every wrong one");
  command.footer(kFooter);
  const auto arguments = std::make_shared<ReplayArguments>();
  AddModelOptions(command, &arguments->model);
  AddBytesOption(command, "--memory", &arguments->replay.memory_bytes,
                 "of all pools, all layers, e.g. 40GiB")
      ->required();
  AddWorkloadOptions(command, arguments.get());
  AddSchedulerOptions(command, &arguments->replay.scheduler);
  AddReuseOptions(command, &arguments->replay);
  AddStoreOptions(command, arguments.get());
  command
      .add_option("--json", arguments->json_file,
                  "write the figures as JSON; - = to standard output, without the table")
      ->type_name("FILE");
  command.add_option("--plot", arguments->plot_file, "draw how full every pool was: .svg or .png")
      ->type_name("FILE");

  command.callback([arguments, exit_code] {
    const absl::Status status = Run(*arguments);
    if (status.ok()) {
      *exit_code = 0;
      return;
    }
    std::cerr << "terrace replay: " << std::string(status.message()) << std::endl;
    const bool bad_usage = absl::IsInvalidArgument(status) || absl::IsNotFound(status);
    *exit_code = bad_usage ? 2 : 1;
  });
}

}  // namespace terrace::tools
