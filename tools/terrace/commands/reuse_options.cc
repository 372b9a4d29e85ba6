#include "tools/terrace/commands/reuse_options.h"

#include <cstdint>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "tools/terrace/commands/numbers.h"

namespace terrace::tools {

absl::StatusOr<CheckpointPolicy> ParseCheckpointPolicy(const std::string& text) {
  constexpr char kEvery[] = "every:";
  if (text == "none") return CheckpointPolicy::None();
  if (text == "end") return CheckpointPolicy::EndOfPromptAndOutput();
  int32_t tokens = 0;
  if (absl::StartsWith(text, kEvery) &&
      absl::SimpleAtoi(text.substr(sizeof(kEvery) - 1), &tokens) && tokens > 0) {
    return CheckpointPolicy::EveryTokens(tokens);
  }
  return absl::InvalidArgumentError(
      absl::StrCat("\"", text, "\" is not one of none, end, every:N with N above 0"));
}

absl::Status CheckReuse(const PrefixOptions& prefix, const ModelSpec& model) {
  const CheckpointPolicy& policy = prefix.checkpoints;
  if (policy.kind != CheckpointPolicy::Kind::kEveryTokens ||
      policy.tokens % model.chunk_tokens == 0) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrFormat("--checkpoints every:%d is not a multiple of the %d tokens of a chunk",
                      policy.tokens, model.chunk_tokens));
}

void AddReuseOptions(CLI::App& command, ReplayOptions* options) {
  const std::string group = "Prefix reuse";
  PrefixOptions& prefix = options->prefix;
  RefeedLimits& refeed = options->scheduler.refeed;
  CLI::Option* const no_reuse = command.add_flag_callback(
      "--no-reuse", [&prefix] { prefix.enabled = false; }, "match and publish nothing");
  no_reuse->group(group);
  command
      .add_option_function<std::string>(
          "--checkpoints",
          [&prefix](const std::string& text) {
            const absl::StatusOr<CheckpointPolicy> policy = ParseCheckpointPolicy(text);
            if (!policy.ok()) {
              throw CLI::ValidationError("--checkpoints", std::string(policy.status().message()));
            }
            prefix.checkpoints = *policy;
          },
          "where sequences leave checkpoints: end (of prompt and output; default), none, every:N")
      ->type_name("POLICY")
      ->excludes(no_reuse)
      ->group(group);
  const auto add_tokens = [&](const std::string& name, int32_t* tokens, const std::string& help) {
    AddWholeOption(command, name, tokens, 0, RefeedLimits::kUnlimited, help)
        ->type_name("TOKENS")
        ->default_str("")
        ->excludes(no_reuse)
        ->group(group);
  };
  add_tokens("--replay-limit", &refeed.max_tokens,
             "most tokens to refeed for a match without checkpoint; default: no limit");
  add_tokens("--approximate-replay", &refeed.approximate_tokens,
             "refeed only so many where an exact refeed takes more; 0 = exact (default)");
  AddWholeOption(command, "--in-flight", &options->scheduler.in_flight, 0, 1024,
                 "plans that stay unretired: blocks drain until their plan has run")
      ->type_name("PLANS")
      ->group(group);
}

}  // namespace terrace::tools
