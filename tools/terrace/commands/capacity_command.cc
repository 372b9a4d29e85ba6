#include "tools/terrace/commands/capacity_command.h"

#include <iostream>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "src/base/status_macros.h"
#include "terrace/capacity.h"
#include "tools/terrace/commands/capacity_json.h"
#include "tools/terrace/commands/options.h"
#include "tools/terrace/commands/outcome.h"

namespace terrace::tools {
namespace {

constexpr char kExamples[] = R"(Examples:
  terrace capacity --model deepseek-v4-flash --memory 40GiB --sequences 64
  terrace capacity --model deepseek-v4-pro --memory 80GB --sequences 256 --drafts 3
  terrace capacity --memory 40GiB --sequences 64 --checkpoint-count 500
  terrace capacity --memory 40GiB --latent-format mxfp8_v41 --indexer-format indexer_mxfp4
  terrace capacity --memory 40GiB --json - | jq .model > model.json
  terrace capacity --model model.json --memory 40GiB --json capacity.json)";

struct CapacityArguments {
  ModelArguments model;
  CapacityRequest request;
  std::string json_file;  // "-": standard output, and no table
};

absl::Status Run(CapacityArguments& arguments) {
  TERRACE_ASSIGN_OR_RETURN(arguments.request.model, LoadModel(arguments.model));
  TERRACE_ASSIGN_OR_RETURN(const CapacityPlan plan, PlanCapacity(arguments.request));
  if (arguments.json_file != "-") std::cout << ToTable(plan) << std::flush;
  if (!std::cout) return absl::UnavailableError("cannot write to standard output");
  if (arguments.json_file.empty()) return absl::OkStatus();
  return WriteJson(CapacityToJson(plan), arguments.json_file);
}

}  // namespace

void AddCapacityCommand(CLI::App& app, int* exit_code) {
  CLI::App& command = *app.add_subcommand(
      "capacity", "Divide a byte budget over a model's pools and say what it holds");
  command.alias("plan");
  command.footer(kExamples);
  const auto arguments = std::make_shared<CapacityArguments>();
  Limits& limits = arguments->request.limits;
  AddModelOptions(command, &arguments->model);
  AddBytesOption(command, "--memory", &arguments->request.memory_bytes,
                 "what to divide, e.g. 40GiB or 80GB")
      ->required();
  const auto add_count = [&](const std::string& name, int32_t* value, const std::string& help) {
    command.add_option(name, *value, help)->type_name("N")->capture_default_str();
  };
  add_count("--sequences", &limits.max_sequences, "sequences that are live at one time");
  add_count("--prefill-sequences", &arguments->request.prefill_sequences,
            "of them, those whose last step may be a prefill piece; 0 = all");
  add_count("--drafts", &limits.max_drafts, "speculative tokens of one sequence in one step");
  add_count("--step-tokens", &limits.max_step_tokens, "tokens of one step, all sequences");
  add_count("--context", &limits.max_context_tokens,
            "longest context of one sequence; 0 = the model's");
  add_count("--checkpoint-count", &arguments->request.checkpoints,
            "checkpoints to keep of prefixes that no sequence uses; -1 = an eighth of the memory");
  add_count("--in-flight", &arguments->request.in_flight_plans,
            "plans that may run before they are retired");
  command.add_flag("!--no-reuse", arguments->request.prefix_reuse,
                   "charge nothing for checkpoints");
  command.add_flag("--whole-chunk", limits.store_whole_chunk,
                   "store every window row of a prefill piece until the next step");
  command
      .add_option("--json", arguments->json_file,
                  "write it as JSON too; - = to standard output, without the table")
      ->type_name("FILE");

  command.callback([arguments, exit_code] { *exit_code = ExitCode("capacity", Run(*arguments)); });
}

}  // namespace terrace::tools
