#include "tools/terrace/commands/capacity_command.h"

#include <cstdint>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/tools/capacity_fixture.h"
#include "tests/tools/command_outcome.h"

namespace terrace::testing {
namespace {

using ::testing::HasSubstr;

class CapacityCommandTest : public CapacityFixture {};

TEST_F(CapacityCommandTest, ATableForPeopleAndJsonForPrograms) {
  const CommandOutcome outcome = Terrace({"capacity", "--model", "deepseek-v4-flash", "--memory",
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

TEST_F(CapacityCommandTest, ADashWritesJsonAloneToStandardOutput) {
  const CommandOutcome outcome = Terrace({"capacity", "--memory", "4GiB", "--json", "-"});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_EQ(nlohmann::json::parse(outcome.out)["memory_bytes"], int64_t{4} << 30);
}

TEST_F(CapacityCommandTest, TheModelInTheJsonIsAModelFile) {
  const CommandOutcome first =
      Terrace({"capacity", "--memory", "4GiB", "--json", "-", "--swa-block", "128",
               "--latent-format", "mxfp8_v41", "--layout", "layer-major"});
  ASSERT_EQ(first.exit_code, 0) << first.err;
  const nlohmann::json plan = nlohmann::json::parse(first.out);
  EXPECT_EQ(plan["pools"][0]["entries_per_block"], 128);
  EXPECT_EQ(plan["pools"][0]["planes"][0]["format"], "mxfp8_v41");
  EXPECT_EQ(plan["pools"][0]["layout"], "layer-major");
  WriteFile(plan["model"].dump());
  const CommandOutcome second =
      Terrace({"capacity", "--model", path_, "--memory", "4GiB", "--json", "-"});
  EXPECT_EQ(second.out, first.out);
}

TEST_F(CapacityCommandTest, ALayeredModelFileTakesChangesFromTheCommandLine) {
  WriteFile(R"({"name": "tiny", "ratios": [0, 4, 128]})");
  const CommandOutcome outcome = Terrace(
      {"capacity", "--model", path_, "--memory", "4GiB", "--indexer-format", "indexer_mxfp4"});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("tiny: 3 layers"));
  EXPECT_THAT(outcome.out, HasSubstr("flashmla_v4 + indexer_mxfp4"));
}

TEST_F(CapacityCommandTest, PlanIsItsOtherName) {
  const std::vector<std::string> options = {"--memory", "4GiB", "--json", "-"};
  std::vector<std::string> capacity = options;
  capacity.insert(capacity.begin(), "capacity");
  std::vector<std::string> plan = options;
  plan.insert(plan.begin(), "plan");
  const CommandOutcome outcome = Terrace(plan);
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_EQ(outcome.out, Terrace(capacity).out);
  EXPECT_THAT(Terrace({"plan", "--memory", "100MiB"}).err, HasSubstr("terrace capacity: "));
}

TEST_F(CapacityCommandTest, HelpShowsExamples) {
  CLI::App app;
  int exit_code = -1;
  AddCapacityCommand(app, &exit_code);
  EXPECT_THAT(app.get_subcommand("capacity")->help(), HasSubstr("terrace capacity --model"));
}

}  // namespace
}  // namespace terrace::testing
