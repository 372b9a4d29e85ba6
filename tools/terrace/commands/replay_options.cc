#include "tools/terrace/commands/replay_options.h"

#include <map>

#include "tools/terrace/commands/reuse_options.h"

namespace terrace::tools {
namespace {

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
  command
      .add_option("--json", arguments->json_file,
                  "write the figures as JSON; - = to standard output, without the table")
      ->type_name("FILE");
  command.add_option("--plot", arguments->plot_file, "draw how full every pool was: .svg or .png")
      ->type_name("FILE");
}

}  // namespace terrace::tools
