#include "tools/terrace/commands/replay_command.h"

#include <cstdint>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/tools/command_outcome.h"
#include "tests/tools/run_replay.h"
#include "tests/tools/temp_file.h"

namespace terrace::testing {
namespace {

using ::testing::HasSubstr;

using nlohmann::json;

TEST(ReplayCommandTest, TheSummarySaysThatNoRowIsWrong) {
  const CommandOutcome outcome = SmallReplay();
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("completed 12, failed 0"));
  EXPECT_THAT(outcome.out, HasSubstr(", corrupt 0"));
  EXPECT_THAT(outcome.out, HasSubstr("layers 1 to 3 of 43"));
  for (const char* pool : {"swa", "csa", "hca"}) EXPECT_THAT(outcome.out, HasSubstr(pool));
}

TEST(ReplayCommandTest, TheJsonHasEveryPromisedKey) {
  const CommandOutcome outcome = SmallReplay({"--json", "-"});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  const json result = json::parse(outcome.out);
  for (const char* key : {"requests",
                          "completed",
                          "failed",
                          "preemptions",
                          "steps",
                          "sequence_steps",
                          "prompt_tokens",
                          "decode_tokens",
                          "ledger_decode_ns_per_sequence_step",
                          "ledger_prefill_ns_per_token",
                          "wall_seconds",
                          "verified_rows",
                          "corrupt_rows",
                          "verified_entries",
                          "largest_entry_error",
                          "leaked_blocks",
                          "verified_by_class",
                          "peak_memory_bytes",
                          "matched_tokens",
                          "resumed_tokens",
                          "replayed_tokens",
                          "saved_tokens",
                          "checkpoint_bytes_peak",
                          "evicted_chunks",
                          "prefix"}) {
    EXPECT_TRUE(result.contains(key)) << key;
  }
  EXPECT_EQ(result["requests"], 12);
  EXPECT_EQ(result["completed"], 12);
  EXPECT_EQ(result["corrupt_rows"], 0);
  EXPECT_EQ(result["leaked_blocks"], 0);
  EXPECT_GT(result["verified_rows"], 1000);
  EXPECT_EQ(result["verified_entries"], 0);
  EXPECT_GT(result["ledger_decode_ns_per_sequence_step"], 0);
  EXPECT_GT(result["ledger_prefill_ns_per_token"], 0);
  EXPECT_GT(result["matched_tokens"], 0);
  EXPECT_EQ(result["prefix"]["matched_tokens"], result["matched_tokens"]);
  EXPECT_GT(result["checkpoint_bytes_peak"], 0);
  ASSERT_EQ(result["pools"].size(), 6);
  int64_t bytes = 0;
  for (const json& pool : result["pools"]) {
    EXPECT_LE(pool["peak_live_blocks"], pool["capacity_blocks"]);
    EXPECT_GT(pool["peak_live_blocks"].get<int>() + pool["peak_cached_blocks"].get<int>(), 0);
    bytes += pool["capacity_blocks"].get<int64_t>() * pool["block_bytes"].get<int64_t>();
  }
  EXPECT_EQ(result["pools"][1]["name"], "csa");
  EXPECT_LE(bytes, int64_t{1} << 30);
  EXPECT_GT(bytes, int64_t{1000} << 20);
}

TEST(ReplayCommandTest, CompressedEntriesAreCountedWithTheirLargestError) {
  const TempFile model("_state.json");
  model.Write("{\"ratios\": [0, 4, 128], \"state\": true}");
  const TempFile figures("_compress.json");
  const CommandOutcome outcome =
      RunReplay({"--memory", "1GiB", "--requests", "4", "--sequences", "8", "--backend", "host",
                 "--compress", "--drafts", "3", "--json", figures.path()});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("largest error 0."));
  EXPECT_THAT(outcome.out, HasSubstr("csa_state"));
  const json result = json::parse(figures.Read());
  EXPECT_GT(result["verified_entries"], 100);
  EXPECT_LT(result["verified_entries"], result["verified_rows"]);
  EXPECT_LE(result["largest_entry_error"], 1);
  EXPECT_EQ(result["corrupt_rows"], 0);
}

TEST(ReplayCommandTest, ATraceIsServedFromItsFile) {
  const TempFile trace(".jsonl");
  trace.Write(
      "{\"timestamp\": 0, \"input_length\": 600, \"output_length\": 7, \"hash_ids\": [0, 1]}\n"
      "{\"timestamp\": 50, \"input_length\": 40, \"output_length\": 30, \"hash_ids\": [0]}\n");
  const CommandOutcome outcome = SmallReplay({"--trace", trace.path(), "--json", "-"});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  const json result = json::parse(outcome.out);
  EXPECT_EQ(result["prompt_tokens"], 640);
  EXPECT_EQ(result["decode_tokens"], 37);
}

TEST(ReplayCommandTest, TheSummarySaysWhatWasReused) {
  const CommandOutcome outcome = SmallReplay({"--data", "none"});
  EXPECT_THAT(outcome.out, HasSubstr("prefix         matched "));
  EXPECT_THAT(outcome.out, HasSubstr("checkpoints "));
  const CommandOutcome without = SmallReplay({"--data", "none", "--no-reuse"});
  EXPECT_EQ(without.exit_code, 0) << without.err;
  EXPECT_THAT(without.out, ::testing::Not(HasSubstr("matched")));
}

TEST(ReplayCommandTest, OptionsOfReuseReachTheRun) {
  const auto prefix = [](const std::vector<std::string>& more) {
    std::vector<std::string> arguments = {"--data", "none",          "--json",
                                          "-",      "--step-tokens", "90000"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const CommandOutcome outcome = SmallReplay(arguments);
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    return json::parse(outcome.out)["prefix"];
  };
  EXPECT_GT(prefix({})["resumed_tokens"], 0);
  EXPECT_EQ(prefix({"--checkpoints", "none"})["stored_checkpoints"], 0);
  EXPECT_GT(prefix({"--checkpoints", "every:512"})["stored_checkpoints"],
            prefix({})["stored_checkpoints"]);
  EXPECT_EQ(prefix({"--checkpoints", "none", "--replay-limit", "0"})["matched_tokens"], 0);
  EXPECT_LT(prefix({"--checkpoints", "none", "--approximate-replay", "128"})["replayed_tokens"],
            prefix({"--checkpoints", "none"})["replayed_tokens"]);
  EXPECT_GT(prefix({"--in-flight", "3"})["matched_tokens"], 0);
}

}  // namespace
}  // namespace terrace::testing
