// Replays over every backend that the machine has.

#include "tools/terrace/engine/replay.h"

#include <cstdint>
#include <numeric>

#include "gtest/gtest.h"
#include "terrace/backend.h"
#include "terrace/units.h"
#include "tests/tools/replay_fixture.h"
#include "tools/terrace/verify/expected_rows.h"
#include "tools/terrace/verify/verifier.h"

namespace terrace::testing {
namespace {

using tools::RowClass;
using tools::VerifierStats;

class ReplayTest : public ReplayFixture {};

INSTANTIATE_TEST_SUITE_P(Backends, ReplayTest,
                         ::testing::Values(BackendKind::kHost, BackendKind::kCuda),
                         ReplayBackendName);

TEST_P(ReplayTest, NoRowIsWrongAndNoBlockIsLost) {
  const ReplayResult result = Run(Options());
  ExpectRight(result);
  EXPECT_EQ(result.backend, GetParam() == BackendKind::kCuda ? "cuda" : "host");
  EXPECT_EQ(result.layers.count, 5);
  EXPECT_GT(result.verifier.absent_rows, 0);
}

TEST_P(ReplayTest, ATenthOfTheRowsIsOnBordersOfEveryClass) {
  const VerifierStats stats = Run(Options()).verifier;
  const auto& by_class = stats.verified_by_class;
  EXPECT_EQ(std::accumulate(by_class.begin(), by_class.end(), int64_t{0}), stats.verified_rows);
  for (int64_t rows : by_class) EXPECT_GT(rows, 0);
  const int64_t inside = by_class[static_cast<int>(RowClass::kInterior)];
  EXPECT_GE(stats.verified_rows - inside, stats.verified_rows / 10);
}

TEST_P(ReplayTest, PreemptedRequestsReadNothingStale) {
  ReplayOptions options = Options();
  options.memory_bytes = 325 * kMiB;
  const ReplayResult result = Run(options);
  ExpectRight(result);
  EXPECT_GT(result.scheduler.preemptions, 0);
}

TEST_P(ReplayTest, EveryDraftRejectedReadsNothingStale) {
  ReplayOptions options = Options();
  options.scheduler.drafts = 5;
  options.scheduler.acceptance = 0.2;
  const ReplayResult result = Run(options);
  ExpectRight(result);
  EXPECT_GT(result.scheduler.rejected_drafts, result.scheduler.drafts / 2);
}

TEST_P(ReplayTest, TheLedgerAloneTakesTheSameSteps) {
  ReplayOptions options = Options();
  options.verifier.rate = 0;
  const ReplayResult with_data = Run(options);
  options.with_data = false;
  const ReplayResult alone = Run(options);
  EXPECT_EQ(alone.backend, "none");
  EXPECT_EQ(alone.verifier.verified_rows, 0);
  EXPECT_EQ(alone.scheduler.steps, with_data.scheduler.steps);
  EXPECT_EQ(alone.scheduler.sequence_steps, with_data.scheduler.sequence_steps);
  EXPECT_EQ(alone.scheduler.rejected_drafts, with_data.scheduler.rejected_drafts);
  EXPECT_EQ(alone.occupancy.peak(), with_data.occupancy.peak());
}

}  // namespace
}  // namespace terrace::testing
