#include "tools/terrace/commands/capacity_command.h"

#include <unistd.h>

#include <cstdint>
#include <iostream>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "src/base/status_macros.h"
#include "terrace/capacity.h"
#include "terrace/geometry.h"
#include "tools/terrace/commands/capacity_fits.h"
#include "tools/terrace/commands/capacity_json.h"
#include "tools/terrace/commands/numbers.h"
#include "tools/terrace/commands/option_names.h"
#include "tools/terrace/commands/options.h"
#include "tools/terrace/commands/outcome.h"
#include "tools/terrace/commands/output_files.h"
#include "tools/terrace/report/terminal.h"

namespace terrace::tools {
namespace {

constexpr char kExamples[] = R"(Examples:
  terrace capacity --model deepseek-v4-flash --memory 40GiB --sequences 64
  terrace capacity --model deepseek-v4-pro --memory 80GB --sequences 256 --drafts 3
  terrace capacity --memory 40GiB --sequences 64 --checkpoint-count 500
  terrace capacity --memory 40GiB --latent-format mxfp8_v41 --indexer-format indexer_mxfp4
  terrace capacity --memory 40GiB --layers 0-21,22-42
  terrace capacity --memory 40GiB --json - | jq .model > model.json
  terrace capacity --model model.json --memory 40GiB --json capacity.json)";

struct CapacityArguments {
  ModelArguments model;
  CapacityRequest request;
  std::string layers;     // of the workers of a pipeline
  std::string json_file;  // "-": standard output, and no table
};

void AddLimits(CLI::App& command, CapacityRequest* request) {
  constexpr int32_t kMostInFlight = 1024;
  constexpr int32_t kLongestContext = 1 << 30;
  Limits& limits = request->limits;
  AddWholeOption(command, "--sequences", &limits.max_sequences, 1, kMaxSequences,
                 "sequences that are live at one time");
  AddWholeOption(command, "--prefill-sequences", &request->prefill_sequences, 0, kMaxSequences,
                 "of them, those whose last step may be a prefill piece; 0 = all");
  AddWholeOption(command, "--drafts", &limits.max_drafts, 0, kMaxStepTokens - 1,
                 "speculative tokens of one sequence in one step");
  AddWholeOption(command, "--step-tokens", &limits.max_step_tokens, 1, kMaxStepTokens,
                 "tokens of one step, all sequences");
  AddWholeOption(command, "--context", &limits.max_context_tokens, 0, kLongestContext,
                 "longest context of one sequence; 0 = the model's");
  AddWholeOption(command, "--checkpoint-count", &request->checkpoints, -1,
                 std::numeric_limits<int32_t>::max(),
                 "checkpoints to keep of prefixes that no sequence uses; -1 = an eighth of the "
                 "memory");
  AddWholeOption(command, "--in-flight", &request->in_flight_plans, 0, kMostInFlight,
                 "plans that may run before they are retired");
}

// An error of too little memory, with the --sequences that it does for.
absl::Status WithWhatFits(const absl::Status& status, const CapacityRequest& request) {
  if (!absl::IsOutOfRange(status)) return status;
  const absl::StatusOr<int32_t> most = MostSequences(request, /*context_tokens=*/1);
  if (!most.ok() || *most == 0) return status;
  return absl::OutOfRangeError(absl::StrCat(status.message(), ": --sequences ", *most, " fit"));
}

absl::Status Run(CapacityArguments& arguments) {
  TERRACE_RETURN_IF_ERROR(
      CheckOutputs({{"--json", arguments.json_file}}, {{"--model", arguments.model.model}}));
  TERRACE_ASSIGN_OR_RETURN(arguments.request.model, LoadModel(arguments.model));
  const absl::StatusOr<CapacityPlan> plan = PlanCapacity(arguments.request);
  if (!plan.ok()) return NameOptions(WithWhatFits(plan.status(), arguments.request));
  TERRACE_ASSIGN_OR_RETURN(const std::vector<ContextFit> fits, FitContexts(arguments.request));
  std::vector<WorkerShare> workers;
  if (!arguments.layers.empty()) {
    TERRACE_ASSIGN_OR_RETURN(workers, ShareLayers(*plan, arguments.layers));
  }
  if (arguments.json_file != "-") {
    const int columns = TerminalColumns(STDOUT_FILENO);
    std::cout << ToTable(*plan, columns, /*with_fits=*/false) << FitTable(fits, columns) << "\n"
              << ChoiceTable(fits, columns);
    if (!workers.empty()) std::cout << "\n" << WorkerTable(*plan, workers, columns);
    std::cout << std::flush;
  }
  if (!std::cout) return absl::UnavailableError("cannot write to standard output");
  if (arguments.json_file.empty()) return absl::OkStatus();
  return WriteJson(CapacityToJson(*plan, fits, workers), arguments.json_file);
}

}  // namespace

void AddCapacityCommand(CLI::App& app, int* exit_code) {
  CLI::App& command = *app.add_subcommand(
      "capacity", "Divide a byte budget over a model's pools and say what it holds");
  command.alias("plan");
  command.footer(kExamples);
  const auto arguments = std::make_shared<CapacityArguments>();
  AddModelOptions(command, &arguments->model);
  AddBytesOption(command, "--memory", &arguments->request.memory_bytes,
                 "what to divide, e.g. 40GiB or 80GB")
      ->required();
  AddLimits(command, &arguments->request);
  command
      .add_flag("!--no-reuse", arguments->request.prefix_reuse, "charge nothing for checkpoints")
      ->excludes(command.get_option("--checkpoint-count"));
  command.add_flag("--whole-chunk", arguments->request.limits.store_whole_chunk,
                   "store every window row of a prefill piece until the next step");
  AddTextOption(command, "--layers", &arguments->layers,
                "what the workers of a pipeline take of the memory, which is that of all layers: "
                "ranges of layers, e.g. 0-21,22-42")
      ->type_name("L,L");
  AddTextOption(command, "--json", &arguments->json_file,
                "write it as JSON too; - = to standard output, without the table")
      ->type_name("FILE");

  command.callback([arguments, exit_code] { *exit_code = ExitCode("capacity", Run(*arguments)); });
}

}  // namespace terrace::tools
