#include "tools/terrace/commands/capacity_command.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/tools/run_command.h"
#include "tools/terrace/commands/model_json.h"

namespace terrace::testing {
namespace {

using tools::AddPlanCommand;
using tools::ModelToJson;

using ::testing::HasSubstr;

CommandOutcome Terrace(const std::vector<std::string>& arguments) {
  return RunCommand(&AddPlanCommand, arguments);
}

class CliPlanCommandTest : public ::testing::Test {
 protected:
  ~CliPlanCommandTest() override { std::remove(path_.c_str()); }

  void WriteFile(const std::string& text) { std::ofstream(path_) << text; }
  nlohmann::json ReadJson() { return nlohmann::json::parse(std::ifstream(path_)); }

  const std::string path_ =
      ::testing::TempDir() + "terrace_plan_" + std::to_string(getpid()) + ".json";
};

TEST_F(CliPlanCommandTest, ATableForPeopleAndJsonForPrograms) {
  const CommandOutcome outcome = Terrace({"plan", "--model", "deepseek-v4-flash", "--memory",
                                          "40GiB", "--sequences", "64", "--json", path_});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("3850.25 B"));
  const nlohmann::json plan = ReadJson();
  EXPECT_EQ(plan["useful_bytes_per_token"], 3850.25);
  EXPECT_EQ(plan["limits"]["max_sequences"], 64);
  EXPECT_EQ(plan["pools"][1]["block_bytes"], 962496);
  int64_t bytes = plan["table_bytes"].get<int64_t>() + plan["unused_bytes"].get<int64_t>();
  for (const nlohmann::json& pool : plan["pools"]) {
    bytes += pool["capacity_blocks"].get<int64_t>() * pool["block_bytes"].get<int64_t>();
  }
  EXPECT_EQ(bytes, int64_t{40} << 30);
  EXPECT_EQ(plan["memory_bytes"], bytes);
}

TEST_F(CliPlanCommandTest, ADashWritesJsonAloneToStandardOutput) {
  const CommandOutcome outcome = Terrace({"plan", "--memory", "4GiB", "--json", "-"});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_EQ(nlohmann::json::parse(outcome.out)["memory_bytes"], int64_t{4} << 30);
}

TEST_F(CliPlanCommandTest, TheModelOfAPlanIsAModelFile) {
  const CommandOutcome first =
      Terrace({"plan", "--memory", "4GiB", "--json", "-", "--swa-block", "128", "--latent-format",
               "mxfp8_v41", "--layout", "layer-major"});
  ASSERT_EQ(first.exit_code, 0) << first.err;
  const nlohmann::json plan = nlohmann::json::parse(first.out);
  EXPECT_EQ(plan["pools"][0]["entries_per_block"], 128);
  EXPECT_EQ(plan["pools"][0]["planes"][0]["format"], "mxfp8_v41");
  EXPECT_EQ(plan["pools"][0]["layout"], "layer-major");
  WriteFile(plan["model"].dump());
  const CommandOutcome second =
      Terrace({"plan", "--model", path_, "--memory", "4GiB", "--json", "-"});
  EXPECT_EQ(second.out, first.out);
}

TEST_F(CliPlanCommandTest, EveryLimitReachesThePlan) {
  const CommandOutcome outcome = Terrace({"plan",
                                          "--memory",
                                          "4GiB",
                                          "--json",
                                          "-",
                                          "--sequences",
                                          "10",
                                          "--prefill-sequences",
                                          "3",
                                          "--drafts",
                                          "2",
                                          "--step-tokens",
                                          "512",
                                          "--context",
                                          "9000",
                                          "--whole-chunk",
                                          "--in-flight",
                                          "3",
                                          "--checkpoint-count",
                                          "77"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  const nlohmann::json plan = nlohmann::json::parse(outcome.out);
  EXPECT_EQ(plan["checkpoints"], 77);
  EXPECT_EQ(plan["prefix_reuse"], true);
  const nlohmann::json limits = plan["limits"];
  EXPECT_EQ(limits["in_flight_plans"], 3);
  EXPECT_EQ(limits["max_sequences"], 10);
  EXPECT_EQ(limits["prefill_sequences"], 3);
  EXPECT_EQ(limits["max_drafts"], 2);
  EXPECT_EQ(limits["max_step_tokens"], 512);
  EXPECT_EQ(limits["max_context_tokens"], 9000);
  EXPECT_EQ(limits["store_whole_chunk"], true);
}

TEST_F(CliPlanCommandTest, CheckpointsAreShownWithTheirBytes) {
  const nlohmann::json plan =
      nlohmann::json::parse(Terrace({"plan", "--memory", "40GiB", "--json", "-"}).out);
  const nlohmann::json overlap = plan["pools"][3];
  EXPECT_EQ(overlap["kind"], "overlap");
  EXPECT_EQ(overlap["opaque_bytes"], 20480);
  EXPECT_EQ(overlap["planes"].size(), 0u);
  EXPECT_EQ(plan["checkpoint_bytes"], 2 * plan["pools"][0]["block_bytes"].get<int64_t>() +
                                          overlap["block_bytes"].get<int64_t>());
  EXPECT_GT(plan["checkpoints"], 1000);
  EXPECT_THAT(Terrace({"plan", "--memory", "40GiB"}).out, HasSubstr("one more checkpoint"));

  const CommandOutcome without =
      Terrace({"plan", "--memory", "40GiB", "--no-reuse", "--json", "-"});
  const nlohmann::json bare = nlohmann::json::parse(without.out);
  EXPECT_EQ(bare["prefix_reuse"], false);
  EXPECT_EQ(bare["checkpoints"], 0);
  EXPECT_EQ(bare["pools"][3]["capacity_blocks"], 0);
}

TEST_F(CliPlanCommandTest, NamedModelsKeepCompressorStateUnlessToldNotTo) {
  const nlohmann::json plan =
      nlohmann::json::parse(Terrace({"plan", "--memory", "40GiB", "--json", "-"}).out);
  ASSERT_EQ(plan["pools"].size(), 6u);
  EXPECT_EQ(plan["pools"][4]["kind"], "state");
  EXPECT_EQ(plan["state_bytes_per_sequence"], 21 * 61440 + 20 * 12320);
  const nlohmann::json without = nlohmann::json::parse(
      Terrace({"plan", "--memory", "40GiB", "--no-state", "--json", "-"}).out);
  EXPECT_EQ(without["pools"].size(), 4u);
  EXPECT_EQ(without["state_bytes_per_sequence"], 0);
  EXPECT_GT(without["max_tokens"], plan["max_tokens"]);

  WriteFile(plan["model"].dump());
  const CommandOutcome listed =
      Terrace({"plan", "--model", path_, "--memory", "4GiB", "--no-state"});
  EXPECT_EQ(listed.exit_code, 2);
  EXPECT_THAT(listed.err, HasSubstr("lists its pools"));
}

TEST_F(CliPlanCommandTest, ALayeredModelFileTakesChangesFromTheCommandLine) {
  WriteFile(R"({"name": "tiny", "ratios": [0, 4, 128]})");
  const CommandOutcome outcome =
      Terrace({"plan", "--model", path_, "--memory", "4GiB", "--indexer-format", "indexer_mxfp4"});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("tiny: 3 layers"));
  EXPECT_THAT(outcome.out, HasSubstr("flashmla_v4 + indexer_mxfp4"));
}

TEST_F(CliPlanCommandTest, BadUsageExitsWith2AndOneLineThatSaysWhatToDo) {
  const std::vector<std::pair<std::vector<std::string>, std::string>> cases = {
      {{}, "--memory is required"},
      {{"--memory", "4x"}, "write for example 40GiB"},
      {{"--memory", "1GiB", "--model", "nope"}, "known are deepseek-v4-flash"},
      {{"--memory", "1GiB", "--latent-format", "fp7"}, "flashmla_v4"},
      {{"--memory", "1GiB", "--layout", "diagonal"}, "block-major or layer-major"},
      {{"--memory", "1GiB", "--sequences", "0"}, "max_sequences is 0"},
      {{"--memory", "1GiB", "--sequences", "x"}, "--sequences"},
      {{"--memory", "1GiB", "--checkpoint-count", "-2"}, "checkpoints is -2"},
      {{"--memory", "1GiB", "--in-flight", "-1"}, "in_flight_plans is -1"},
      {{"--memory", "1GiB", "--swa-block", "48"}, "not a power of two"},
      {{"--memory", "1GiB", "--no-such-flag"}, "--no-such-flag"},
  };
  for (const auto& [arguments, message] : cases) {
    std::vector<std::string> all = {"plan"};
    all.insert(all.end(), arguments.begin(), arguments.end());
    const CommandOutcome outcome = Terrace(all);
    EXPECT_EQ(outcome.exit_code, 2) << message;
    EXPECT_THAT(outcome.err, HasSubstr(message));
    EXPECT_EQ(outcome.out, "");
  }
}

TEST_F(CliPlanCommandTest, ABadModelFileIsAnErrorThatNamesTheFileAndTheKey) {
  WriteFile(R"({"ratios": [4], "topk": 3})");
  const CommandOutcome unknown_key = Terrace({"plan", "--model", path_, "--memory", "1GiB"});
  EXPECT_EQ(unknown_key.exit_code, 2);
  EXPECT_THAT(unknown_key.err, HasSubstr(path_ + ": unknown key \"topk\""));
  WriteFile("");
  EXPECT_THAT(Terrace({"plan", "--model", path_, "--memory", "1GiB"}).err, HasSubstr("empty"));
  WriteFile(ModelToJson(DeepSeekV4Flash()).dump());
  EXPECT_THAT(
      Terrace({"plan", "--model", path_, "--memory", "1GiB", "--layout", "layer-major"}).err,
      HasSubstr("lists its pools"));
}

TEST_F(CliPlanCommandTest, MemoryThatIsTooSmallExitsWith1AndSaysHowMuchItTakes) {
  const CommandOutcome outcome = Terrace({"plan", "--memory", "100MiB"});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(outcome.err, HasSubstr("give at least"));
  EXPECT_EQ(std::count(outcome.err.begin(), outcome.err.end(), '\n'), 1);
}

TEST_F(CliPlanCommandTest, AFileThatCannotBeWrittenExitsWith1) {
  const CommandOutcome outcome =
      Terrace({"plan", "--memory", "4GiB", "--json", "/no/such/folder/plan"});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(outcome.err, HasSubstr("cannot write /no/such/folder/plan"));
}

TEST_F(CliPlanCommandTest, HelpShowsExamples) {
  CLI::App app;
  int exit_code = -1;
  AddPlanCommand(app, &exit_code);
  EXPECT_THAT(app.get_subcommand("plan")->help(), HasSubstr("terrace plan --model"));
}

}  // namespace
}  // namespace terrace::testing
