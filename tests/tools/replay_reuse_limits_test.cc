// What limits reuse: options of checkpoints and of refeeding.

#include "gtest/gtest.h"
#include "terrace/prefix.h"
#include "tests/tools/reuse_fixture.h"
#include "tests/tools/reuse_replay.h"
#include "tools/terrace/engine/replay.h"

namespace terrace::testing {
namespace {

class ReuseLimitsTest : public ReuseFixture {};

TEST_F(ReuseLimitsTest, WithoutReuseNothingIsMatchedNorHeld) {
  ReplayOptions options = UnboundedOptions();
  options.prefix.enabled = false;
  const ReplayResult result = ReplayAll(Workload(), options);
  EXPECT_EQ(result.prefix.matched_tokens, 0);
  EXPECT_EQ(result.prefix.stored_chunks, 0);
  EXPECT_EQ(result.checkpoint_bytes_peak, 0);
}

TEST_F(ReuseLimitsTest, WithoutCheckpointsNothingIsResumed) {
  ReplayOptions options = UnboundedOptions();
  options.prefix.checkpoints = CheckpointPolicy::None();
  const ReplayResult result = ReplayAll(Workload(), options);
  EXPECT_EQ(result.prefix.resumed_tokens, 0);
  EXPECT_EQ(result.prefix.stored_checkpoints, 0);
  EXPECT_GT(result.prefix.skipped_tokens, 0);
}

TEST_F(ReuseLimitsTest, AMatchBeyondTheRefeedLimitFallsBackToACheckpoint) {
  ReplayOptions options = UnboundedOptions();
  options.scheduler.serial = true;
  options.scheduler.refeed.max_tokens = 0;
  options.scheduler.step_tokens = 131072;  // a prompt is one step
  const PrefixFigures with_checkpoints = ReplayAll(Workload(), options).prefix;
  EXPECT_GT(with_checkpoints.matched_tokens, 0);
  EXPECT_EQ(with_checkpoints.matched_tokens, with_checkpoints.resumed_tokens);
  options.prefix.checkpoints = CheckpointPolicy::None();
  EXPECT_EQ(ReplayAll(Workload(), options).prefix.matched_tokens, 0);
}

TEST_F(ReuseLimitsTest, ApproximateRefeedFeedsLess) {
  ReplayOptions options = UnboundedOptions();
  options.prefix.checkpoints = CheckpointPolicy::None();
  options.scheduler.serial = true;
  const ReplayResult exact = ReplayAll(Workload(), options);
  options.scheduler.refeed.approximate_tokens = 256;
  const ReplayResult approximate = ReplayAll(Workload(), options);
  EXPECT_LT(approximate.prefix.refed_tokens, exact.prefix.refed_tokens / 4);
  // What is approximate is not published.
  EXPECT_LT(approximate.prefix.stored_chunks, exact.prefix.stored_chunks);
}

}  // namespace
}  // namespace terrace::testing
