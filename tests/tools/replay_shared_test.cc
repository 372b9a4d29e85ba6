// Replays whose requests share prefixes.

#include <cstdint>

#include "absl/types/span.h"
#include "gtest/gtest.h"
#include "terrace/backend.h"
#include "terrace/chunk_digest.h"
#include "terrace/prefix.h"
#include "terrace/units.h"
#include "tests/tools/replay_fixture.h"
#include "tools/terrace/engine/replay.h"
#include "tools/terrace/verify/expected_rows.h"

namespace terrace::testing {
namespace {

using tools::RowClass;

class ReplaySharedTest : public ReplayFixture {};

INSTANTIATE_TEST_SUITE_P(Backends, ReplaySharedTest,
                         ::testing::Values(BackendKind::kHost, BackendKind::kCuda),
                         ReplayBackendName);

TEST_P(ReplaySharedTest, RowsThatOthersWroteAreRight) {
  const CheckpointPolicy policies[] = {CheckpointPolicy::EndOfPromptAndOutput(),
                                       CheckpointPolicy::EveryTokens(512),
                                       CheckpointPolicy::None()};
  for (const CheckpointPolicy& policy : policies) {
    SCOPED_TRACE(static_cast<int>(policy.kind));
    ReplayOptions options = Options();
    options.prefix.checkpoints = policy;
    options.scheduler.in_flight = 2;
    options.scheduler.step_tokens = 512;  // prompts meet while they are fed
    options.verifier.rate = 0.25;
    const ReplayResult result = Run(options);
    ExpectRight(result);
    EXPECT_GT(result.prefix.matched_tokens, 0);
    EXPECT_EQ(result.prefix.resumed_tokens > 0, policy != CheckpointPolicy::None());
    const auto& by_class = result.verifier.verified_by_class;
    EXPECT_GT(by_class[static_cast<int>(RowClass::kShared)], 1000);
  }
}

TEST_P(ReplaySharedTest, CollidingDigestsShareNothingThatDiffers) {
  ReplayOptions options = Options();
  options.prefix.hash = [](const ChunkDigest&, absl::Span<const int32_t>) { return ChunkDigest{}; };
  const ReplayResult result = Run(options);
  ExpectRight(result);
  EXPECT_EQ(result.prefix.matched_tokens, Run(Options()).prefix.matched_tokens);
}

TEST_P(ReplaySharedTest, AnApproximateRefeedWritesRowsThatAreRight) {
  ReplayOptions options = Options();
  options.prefix.checkpoints = CheckpointPolicy::None();
  options.scheduler.refeed.approximate_tokens = 128;
  const ReplayResult result = Run(options);
  ExpectRight(result);
  EXPECT_GT(result.prefix.skipped_tokens, 0);
}

TEST_P(ReplaySharedTest, SharedBlocksThatAreEvictedAndTakenAgainReadNothingStale) {
  ReplayOptions options = Options();
  options.memory_bytes = 330 * kMiB;
  options.verifier.rate = 0.25;
  const ReplayResult result = Run(options, /*requests=*/60);
  ExpectRight(result);
  EXPECT_GT(result.prefix.evicted_chunks, 0);
  EXPECT_GT(result.prefix.matched_tokens, 0);
}

}  // namespace
}  // namespace terrace::testing
