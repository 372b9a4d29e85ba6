// A client goes away before a step of its sequence, while one runs, or after one: what is kept for
// others, what is dropped, and that nobody reads a row that was not computed. docs/guide.md quotes
// it.

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "terrace/cache.h"
#include "tests/support/small_cache.h"

namespace terrace::testing {
namespace {

using ::testing::Each;
using CancellationTest = SmallCacheTest;

TEST_F(CancellationTest, BeforeAnyStepNothingIsHeld) {
  Make();
  const SequenceId id = Allocate(1000).id;
  ASSERT_TRUE(cache_->FreeSequence(id).ok());
  EXPECT_EQ(cache_->num_sequences(), 0);
  for (int pool = 0; pool < 4; ++pool) EXPECT_EQ(cache_->Use(PoolIndex(pool))->live, 0);
  EXPECT_EQ(Allocate(1000).match.matched, 0);
}

TEST_F(CancellationTest, BetweenTwoStepsWholeChunksStayAndACheckpointBehindThem) {
  Make();
  const SequenceId id = Allocate(1000).id;
  Run(Append(id, 600), kOne);
  ASSERT_TRUE(cache_->FreeSequence(id).ok());
  const Admission again = Allocate(1000);
  EXPECT_EQ(again.match.matched, 512);
  EXPECT_EQ(again.match.resumed, 512);
  Run(Append(again.id, 488), kOne);
  EXPECT_THAT(Read(), Each(kOne));
}

// The step of two sequences has begun when the client of one goes away.
TEST_F(CancellationTest, WhileAStepRunsItGoesOnAndWhatItComputesIsKept) {
  for (const int32_t in_flight : {0, 2}) {
    Make(MatchPolicy::kAppended, in_flight);
    const SequenceId cancelled = Allocate(500, "x").id;
    const SequenceId other = Allocate(500).id;
    auto plan = cache_->Append({{cancelled, 500}, {other, 500}});
    ASSERT_TRUE(plan.ok()) << plan.status();
    Begin(*plan);
    WriteLayer(0, kOne);
    ASSERT_TRUE(cache_->FreeSequence(cancelled).ok());
    WriteLayer(1, kOne);
    WriteLayer(2, kOne);
    // Blocks that went are still being written to: they wait for Retire, or for stream order.
    const int32_t draining =
        cache_->Use(PoolIndex(0))->draining + cache_->Use(PoolIndex(1))->draining;
    EXPECT_EQ(draining > 0, in_flight > 0);
    if (in_flight > 0) {
      ASSERT_TRUE(cache_->Retire(plan->number()).ok());
    }
    EXPECT_EQ(cache_->Use(PoolIndex(0))->draining, 0);

    const Admission again = Allocate(1000, "x");
    EXPECT_EQ(again.match.matched, 256);
    Run(Append(again.id, 1000 - again.length), kOne);
    EXPECT_THAT(Read(), Each(kOne));
  }
}

// Whoever stops a step gives up its whole batch.
absl::Status StopStep(Cache& cache, PlanNumber step, Stream stream, std::vector<Admission>& back) {
  absl::StatusOr<Abandoned> abandoned = cache.Abandon(step);
  if (!abandoned.ok()) return abandoned.status();
  back = abandoned->sequences;  // each goes on at its `length`
  absl::StatusOr<Plan> snapshot = cache.Snapshot();
  if (!snapshot.ok()) return snapshot.status();
  return cache.Begin(*snapshot, stream);
}

TEST_F(CancellationTest, AStepThatIsStoppedLeavesNothing) {
  Make();
  const SequenceId other = Allocate(1000).id;
  Run(Append(other, 600), kOne);
  const SequenceId cancelled = Allocate(300, "x").id;
  auto plan = cache_->Append({{cancelled, 300}, {other, 400}});
  ASSERT_TRUE(plan.ok()) << plan.status();
  Begin(*plan);
  WriteLayer(0, k256);  // and no more

  ASSERT_TRUE(cache_->FreeSequence(cancelled).ok());
  std::vector<Admission> back;
  const absl::Status stopped = StopStep(*cache_, plan->number(), Stream{}, back);
  ASSERT_TRUE(stopped.ok()) << stopped;
  ASSERT_EQ(back.size(), 1u);
  EXPECT_EQ(back[0].id, other);
  EXPECT_EQ(back[0].match.matched, 512);  // what the step before it left
  EXPECT_EQ(Allocate(300, "x").match.matched, 0);
  Run(Append(other, 1000 - back[0].length), kOne);
  EXPECT_THAT(Read(), Each(kOne));
}

// The client saw three tokens of the answer. The step that ended fed two of them, and two drafts.
TEST_F(CancellationTest, AfterAStepWhatWasCommittedIsKept) {
  for (const bool commit : {false, true}) {
    Make();
    const SequenceId id = Allocate(510).id;
    Run(Append(id, 510), kOne);
    ASSERT_TRUE(cache_->Commit(id, {510}).ok());
    auto plan = cache_->Append({{id, 4, 3}});
    ASSERT_TRUE(plan.ok()) << plan.status();
    Run(*plan, kOne);
    const std::vector<int32_t> seen = {511, 512, 513};
    if (commit) {
      ASSERT_TRUE(cache_->Commit(id, seen).ok());
    }
    ASSERT_TRUE(cache_->FreeSequence(id).ok());  // drafts that nobody decided are dropped

    const Admission again = Allocate(1000);  // the conversation comes back
    EXPECT_EQ(again.match.matched, commit ? 512 : 256);
    Run(Append(again.id, 1000 - again.length), kOne);
    EXPECT_THAT(Read(), Each(kOne));
  }
}

}  // namespace
}  // namespace terrace::testing
