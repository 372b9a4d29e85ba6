// How limits, checkpoints and state show in what `terrace capacity` says.

#include <cstdint>

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

}  // namespace
}  // namespace terrace::testing
