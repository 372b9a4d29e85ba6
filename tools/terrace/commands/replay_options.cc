#include "tools/terrace/commands/replay_options.h"

#include <limits>
#include <map>

#include "terrace/geometry.h"
#include "tools/terrace/commands/numbers.h"
#include "tools/terrace/commands/reuse_options.h"

namespace terrace::tools {
namespace {

// Beyond these a clock or a memory would run out, whatever the trace.
constexpr int32_t kMostRequests = 10'000'000;
constexpr double kLowestRate = 1e-6;  // requests a second
constexpr double kHighestRate = 1e9;
constexpr double kLongestStepMs = 3.6e6;
constexpr double kLowestSpeed = 1e-3;  // tokens a second
constexpr double kHighestSpeed = 1e12;

void AddWorkloadOptions(CLI::App& command, ReplayArguments* arguments) {
  WorkloadOptions& workload = arguments->workload;
  const std::string group = "Workload";
  CLI::Option* const trace =
      AddTextOption(command, "--trace", &arguments->trace_file,
                    "Mooncake JSONL or Azure CSV; without it a synthetic workload");
  trace->type_name("FILE")->group(group);
  AddWholeOption(command, "--requests", &workload.requests, 1, kMostRequests,
                 "of the synthetic workload")
      ->excludes(trace)
      ->group(group);
  AddRealOption(command, "--rate", &workload.requests_per_second, kLowestRate, kHighestRate,
                "of the synthetic workload, a second")
      ->excludes(trace)
      ->group(group);
  AddWholeOption(command, "--seed", &workload.seed, uint64_t{0},
                 std::numeric_limits<uint64_t>::max(), "of the synthetic workload and the samples")
      ->group(group);
}

void AddSchedulerOptions(CLI::App& command, SchedulerOptions* scheduler) {
  const std::string group = "Scheduler";
  const auto add_whole = [&](const std::string& name, int32_t* value, int32_t least, int32_t most,
                             const std::string& help) {
    AddWholeOption(command, name, value, least, most, help)->group(group);
  };
  const auto add_real = [&](const std::string& name, double* value, double least, double most,
                            const std::string& help) {
    AddRealOption(command, name, value, least, most, help)->group(group);
  };
  add_whole("--sequences", &scheduler->sequences, 1, kMaxSequences, "running at one time");
  add_whole("--step-tokens", &scheduler->step_tokens, 1, kMaxStepTokens, "most tokens of a step");
  add_real("--step-ms", &scheduler->step_ms, 0, kLongestStepMs, "fixed part of a step's time");
  add_real("--tokens-per-second", &scheduler->tokens_per_second, kLowestSpeed, kHighestSpeed,
           "of a step's other part");
  add_whole("--drafts", &scheduler->drafts, 0, 64, "speculative tokens of a decode step");
  add_real("--acceptance", &scheduler->acceptance, 0, 1, "chance that a draft is accepted");
  add_whole("--check", &scheduler->check_every, 0, std::numeric_limits<int32_t>::max(),
            "check all invariants every N steps; 0 = at the end");
  command.add_flag("--serial", scheduler->serial, "one request at a time")
      ->excludes(command.get_option("--sequences"))
      ->group(group);
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
  AddTextOption(command, "--layers", &replay.layers,
                "that carry data: N, A-B or all; default: cuda all, host the shortest run with "
                "one of each kind")
      ->type_name("L")
      ->group(group);
  command
      .add_flag("--compress", replay.compress,
                "the store makes the entries, of raw rows; for models that keep state")
      ->group(group);
  AddRealOption(command, "--verify", &replay.verifier.rate, 0, 1,
                "share of the steps after which rows are read back and compared")
      ->group(group);
  AddWholeOption(command, "--threads", &replay.backend.host_threads, 0, 1024,
                 "of the host backend; 0 = one a core")
      ->group(group);
  command
      .add_flag("--whole-chunk", replay.store_whole_chunk,
                "store every window row of a prefill piece until the next step")
      ->group(group);
}

}  // namespace

void AddReplayOptions(CLI::App& command, ReplayArguments* arguments) {
  AddModelOptions(command, &arguments->model);
  AddBytesOption(command, "--memory", &arguments->replay.memory_bytes,
                 "of all pools, all layers, e.g. 40GiB")
      ->required();
  AddWorkloadOptions(command, arguments);
  AddSchedulerOptions(command, &arguments->replay.scheduler);
  AddReuseOptions(command, &arguments->replay);
  AddStoreOptions(command, arguments);
  AddTextOption(command, "--json", &arguments->json_file,
                "write the figures as JSON; - = to standard output, without the table")
      ->type_name("FILE");
  AddTextOption(command, "--plot", &arguments->plot_file,
                "draw how full every pool was: .svg or .png")
      ->type_name("FILE");
}

void CheckReplayOptions(const CLI::App& command) {
  const auto given = [&](const char* name) { return command.get_option(name)->count() > 0; };
  if (given("--data") && command.get_option("--data")->as<std::string>() == "none") {
    for (const char* name : {"--layers", "--verify"}) {
      if (given(name)) throw CLI::ValidationError(name, "with --data none there are no rows");
    }
  }
}

}  // namespace terrace::tools
