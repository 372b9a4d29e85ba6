// How limits, checkpoints and state show in what `terrace capacity` says.

#include <cstdint>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/tools/capacity_fixture.h"
#include "tests/tools/command_outcome.h"

namespace terrace::testing {
namespace {

using ::testing::HasSubstr;

class CapacityLimitsTest : public CapacityFixture {};

TEST_F(CapacityLimitsTest, EveryLimitReachesThePlan) {
  const CommandOutcome outcome = Terrace({"capacity",
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

TEST_F(CapacityLimitsTest, CheckpointsAreShownWithTheirBytes) {
  const nlohmann::json plan =
      nlohmann::json::parse(Terrace({"capacity", "--memory", "40GiB", "--json", "-"}).out);
  const nlohmann::json overlap = plan["pools"][3];
  EXPECT_EQ(overlap["kind"], "overlap");
  EXPECT_EQ(overlap["opaque_bytes"], 20480);
  EXPECT_EQ(overlap["planes"].size(), 0u);
  EXPECT_EQ(plan["checkpoint_bytes"], 2 * plan["pools"][0]["block_bytes"].get<int64_t>() +
                                          overlap["block_bytes"].get<int64_t>());
  EXPECT_GT(plan["checkpoints"], 1000);
  EXPECT_THAT(Terrace({"capacity", "--memory", "40GiB"}).out, HasSubstr("one more checkpoint"));

  const CommandOutcome without =
      Terrace({"capacity", "--memory", "40GiB", "--no-reuse", "--json", "-"});
  const nlohmann::json bare = nlohmann::json::parse(without.out);
  EXPECT_EQ(bare["prefix_reuse"], false);
  EXPECT_EQ(bare["checkpoints"], 0);
  EXPECT_EQ(bare["pools"][3]["capacity_blocks"], 0);
}

TEST_F(CapacityLimitsTest, NamedModelsKeepCompressorStateUnlessToldNotTo) {
  const nlohmann::json plan =
      nlohmann::json::parse(Terrace({"capacity", "--memory", "40GiB", "--json", "-"}).out);
  ASSERT_EQ(plan["pools"].size(), 6u);
  EXPECT_EQ(plan["pools"][4]["kind"], "state");
  EXPECT_EQ(plan["state_bytes_per_sequence"], 21 * 61440 + 20 * 12320);
  const nlohmann::json without = nlohmann::json::parse(
      Terrace({"capacity", "--memory", "40GiB", "--no-state", "--json", "-"}).out);
  EXPECT_EQ(without["pools"].size(), 4u);
  EXPECT_EQ(without["state_bytes_per_sequence"], 0);
  EXPECT_GT(without["max_tokens"], plan["max_tokens"]);

  WriteFile(plan["model"].dump());
  const CommandOutcome listed =
      Terrace({"capacity", "--model", path_, "--memory", "4GiB", "--no-state"});
  EXPECT_EQ(listed.exit_code, 2);
  EXPECT_THAT(listed.err, HasSubstr("lists its pools"));
}

TEST_F(CapacityLimitsTest, TheMostIsSaidWithTheSettingThatGivesIt) {
  const auto fit_of_4k = [](const std::vector<std::string>& more) {
    std::vector<std::string> arguments = {"capacity", "--memory", "8GiB", "--json", "-"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return nlohmann::json::parse(Terrace(arguments).out)["sequences_that_fit"][0];
  };
  const nlohmann::json asked = fit_of_4k({"--sequences", "256", "--prefill-sequences", "256"});
  EXPECT_EQ(asked["held_back_by"], "memory");
  EXPECT_EQ(asked["choices"][0]["setting"], "max_sequences");
  EXPECT_EQ(asked["choices"][1]["setting"], "prefill_sequences");
  EXPECT_GT(asked["choices"][1]["sequences"], 256);
  EXPECT_GT(asked["most_sequences"], asked["choices"][1]["sequences"]);
  // What is said is what another call gets.
  const std::string most = std::to_string(asked["choices"][1]["sequences"].get<int>());
  const nlohmann::json again = fit_of_4k({"--sequences", most, "--prefill-sequences", "1"});
  EXPECT_EQ(again["sequences"], asked["choices"][1]["sequences"]);
  EXPECT_EQ(again["held_back_by"], "max_sequences");

  const std::string table = Terrace({"capacity", "--memory", "8GiB", "--sequences", "256"}).out;
  for (const char* text : {"held back by", "--prefill-sequences 1", "--no-reuse", "all of these"}) {
    EXPECT_THAT(table, HasSubstr(text));
  }
}

TEST_F(CapacityLimitsTest, TheContextThatIsAskedHasItsLine) {
  const std::vector<std::string> arguments = {"capacity", "--memory", "8GiB", "--context", "40000"};
  EXPECT_THAT(Terrace(arguments).out, HasSubstr("\n40,000 "));
  EXPECT_THAT(Terrace(arguments).out, HasSubstr("--context"));
  std::vector<std::string> json = arguments;
  json.insert(json.end(), {"--json", "-"});
  const nlohmann::json fits = nlohmann::json::parse(Terrace(json).out)["sequences_that_fit"];
  ASSERT_EQ(fits.size(), 5u);
  EXPECT_EQ(fits[2]["context_tokens"], 40000);
  EXPECT_GT(fits[2]["sequences"], 0);
  EXPECT_EQ(fits[3]["held_back_by"], "max_context_tokens");
}

TEST_F(CapacityLimitsTest, WorkersOfAPipelineSeeTheirShare) {
  const std::vector<std::string> arguments = {"capacity", "--memory", "8GiB", "--layers",
                                              "0-21,22-42"};
  EXPECT_THAT(Terrace(arguments).out, HasSubstr("worker of layers"));
  std::vector<std::string> json = arguments;
  json.insert(json.end(), {"--json", "-"});
  const nlohmann::json plan = nlohmann::json::parse(Terrace(json).out);
  ASSERT_EQ(plan["workers"].size(), 2u);
  EXPECT_EQ(plan["workers"][1]["first_layer"], 22);
  EXPECT_EQ(plan["workers"][1]["num_layers"], 21);
  const int64_t bytes = plan["workers"][0]["memory_bytes"].get<int64_t>() +
                        plan["workers"][1]["memory_bytes"].get<int64_t>();
  // Each has all tables, and blocks of its own to round up.
  EXPECT_GT(bytes, int64_t{8} << 30);
  EXPECT_LT(bytes, (int64_t{8} << 30) * 1.01);
  for (const char* bad : {"0-43", "x", "0-21,", "5-3"}) {
    const CommandOutcome outcome = Terrace({"capacity", "--memory", "8GiB", "--layers", bad});
    EXPECT_EQ(outcome.exit_code, 2) << bad;
    EXPECT_THAT(outcome.err, HasSubstr("--layers"));
  }
}

}  // namespace
}  // namespace terrace::testing
