// Steps that were lost, with a store: what queries then read was computed, for every sequence.

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "terrace/cache.h"
#include "terrace/units.h"
#include "tests/support/compress_fixture.h"
#include "tests/support/compress_traffic.h"
#include "tests/support/small_cache.h"

namespace terrace::testing {
namespace {

using ::testing::Each;
using ::testing::HasSubstr;

#ifdef TERRACE_SANITIZED
constexpr int kSeeds = 2;
#else
constexpr int kSeeds = 8;
#endif

TEST_P(CompressTest, TrafficThatLosesStepsMakesTheBytesOfOnePass) {
  CompressTraffic::Figures sum;
  for (int seed = 100; seed < 100 + kSeeds; ++seed) {
    SCOPED_TRACE(absl::StrCat("seed ", seed));
    CompressTraffic traffic({.in_flight_plans = seed % 3}, backend_, seed, /*lossy=*/true);
    for (int i = 0; i < 200; ++i) {
      traffic.Act();
      ASSERT_FALSE(HasFatalFailure()) << "act " << i;
      traffic.ledger().CheckInvariants();
    }
    traffic.FreeAll();
    ASSERT_FALSE(HasFatalFailure());
    sum.lost_steps += traffic.figures().lost_steps;
    sum.started_over += traffic.figures().started_over;
    sum.recovered += traffic.figures().recovered;
    sum.checks += traffic.figures().checks;
    sum.window_rows += traffic.figures().window_rows;
    sum.lost_stores += traffic.figures().lost_stores;
    EXPECT_EQ(traffic.counters().nonfinite_values, 0);
  }
  EXPECT_GT(sum.window_rows, 50'000 * kSeeds);
  EXPECT_GT(sum.lost_stores, kSeeds / 2);
  EXPECT_GT(sum.lost_steps, 5 * kSeeds);
  EXPECT_GT(sum.recovered, kSeeds);
  EXPECT_GT(sum.started_over, sum.recovered);
  EXPECT_GT(sum.checks, 20 * kSeeds);
}

INSTANTIATE_TEST_SUITE_P(Backends, CompressTest, kEveryBackend, NameOfBackend);

using AbandonTest = SmallCacheTest;

TEST_F(AbandonTest, AStepThatBeganAndWroteNothing) {
  Make();
  const SequenceId lost = Allocate(1000).id;
  Begin(Append(lost, 1000));
  ASSERT_TRUE(cache_->FreeSequence(lost).ok());
  Recover(1);
  const Admission again = Allocate(1000);
  EXPECT_EQ(again.match.matched, 0);
  Run(Append(again.id, 1000), kOne);
  EXPECT_THAT(Read(), Each(kOne));
}

TEST_F(AbandonTest, AStepThatAStoreMissedAndTheOneBehindIt) {
  Make();
  const SequenceId lost = Allocate(1000).id;
  Run(Append(lost, 100), kTwo);
  Append(lost, 800);
  const Plan behind = Append(lost, 100);
  EXPECT_EQ(cache_->Begin(behind, {}).code(), absl::StatusCode::kFailedPrecondition);
  Recover(2);
  ASSERT_TRUE(cache_->FreeSequence(lost).ok());
  const Admission again = Allocate(1000);
  EXPECT_EQ(again.match.matched, 0);
  Run(Append(again.id, 1000), kOne);
  EXPECT_THAT(Read(), Each(kOne));
}

TEST_F(AbandonTest, ATenantNeverReadsAnothersRows) {
  for (const MatchPolicy match : {MatchPolicy::kAppended, MatchPolicy::kRetired}) {
    Make(match);
    const SequenceId x = Allocate(1000, "x").id;
    Run(Append(x, 1000), k256);
    ASSERT_TRUE(cache_->FreeSequence(x).ok());
    cache_->ClearPrefixes();
    const SequenceId y = Allocate(1000, "y").id;
    Begin(Append(y, 1000));
    ASSERT_TRUE(cache_->FreeSequence(y).ok());
    if (match == MatchPolicy::kAppended) Recover(2);
    const Admission again = Allocate(1000, "y");
    EXPECT_EQ(again.match.matched, 0);
    Run(Append(again.id, 1000), kOne);
    EXPECT_THAT(Read(), Each(kOne));
  }
}

TEST_F(AbandonTest, AStoreRefusesPlansOfAnotherGeneration) {
  Make();
  const SequenceId id = Allocate(1000).id;
  Run(Append(id, 100), kOne);
  const Plan lost = Append(id, 100);
  const Plan old_snapshot = *cache_->Snapshot();
  const auto abandoned = cache_->Abandon(PlanNumber(2));
  ASSERT_TRUE(abandoned.ok());
  EXPECT_EQ(abandoned->sequences.size(), 1u);
  const Plan snapshot = *cache_->Snapshot();
  const Plan next = Append(id, 100);
  EXPECT_EQ(next.number().value(), 3u);
  const auto refuses = [&](const Plan& plan) {
    const absl::Status status = cache_->Begin(plan, {});
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr("begin a snapshot"));
  };
  refuses(next);  // the store ran all but plan 2
  Begin(snapshot);
  refuses(lost);  // it has the snapshot's number
  refuses(old_snapshot);
  Run(next, kOne);
}

TEST_F(AbandonTest, DistrustedRowsAreComputedAgainWithoutASnapshot) {
  Make();
  const SequenceId id = Allocate(1000).id;
  Run(Append(id, 1000), k256);
  const auto distrusted = cache_->Distrust({{{id, 0}}});
  ASSERT_TRUE(distrusted.ok()) << distrusted.status();
  EXPECT_EQ(distrusted->sequences[0].length, 0);
  Run(Append(id, 1000), kOne);
  EXPECT_THAT(Read(), Each(kOne));
}

}  // namespace
}  // namespace terrace::testing
