// Running short of blocks, and plans in flight, whose blocks drain.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/support/ledger_testing.h"
#include "tests/support/use_of.h"

namespace terrace::testing {
namespace {

using absl::StatusCode;
using ::testing::HasSubstr;

TEST(LedgerShortageTest, AShortageNamesThePoolAndChangesNothing) {
  LedgerFixture f({.window_blocks = 50, .full_blocks = 10});
  const SequenceId a = f.Allocate(0);
  const SequenceId b = f.Allocate(0);
  const SequenceId c = f.Allocate(0);
  f.Append({{a, 1536}});  // 6 chunks
  const std::string before = f.Dump();
  const absl::Status status = f.ledger->Append({{b, 1}, {c, 1025}}).status();  // 1 and 5
  EXPECT_EQ(status.code(), StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("pool 1 (ratio 4) lacks 2 of the 6 blocks this step needs (4 free"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("retry"));
  const std::optional<Shortage> shortage = ShortageOf(status);
  ASSERT_TRUE(shortage.has_value());
  EXPECT_EQ(shortage->pool, PoolIndex(1));
  EXPECT_EQ(shortage->missing_blocks, 2);
  EXPECT_TRUE(shortage->retry_later);
  EXPECT_EQ(f.Dump(), before);
  f.Free(a);
  f.Append({{b, 1}, {c, 1025}});
}

TEST(LedgerShortageTest, AStepLargerThanThePoolNeverFits) {
  LedgerFixture f({.window_blocks = 50, .full_blocks = 10});
  const SequenceId a = f.Allocate(0);
  f.Append({{a, 2560}});
  const absl::Status status = f.ledger->Append({{a, 1}}).status();
  EXPECT_EQ(status.code(), StatusCode::kOutOfRange);
  EXPECT_THAT(std::string(status.message()), HasSubstr("larger than the pool"));
  const std::optional<Shortage> shortage = ShortageOf(status);
  ASSERT_TRUE(shortage.has_value());
  EXPECT_EQ(shortage->missing_blocks, 1);
  EXPECT_FALSE(shortage->retry_later);
}

TEST(LedgerShortageTest, AStepThatNeverFitsSaysSoWhicheverPoolIsShortFirst) {
  // The window pool is short for now; the full pools can never hold what is asked.
  LedgerFixture f({.window_blocks = 3, .full_blocks = 10});
  const SequenceId a = f.Allocate(0);
  const SequenceId b = f.Allocate(0);
  f.Append({{a, 128}});
  const std::optional<Shortage> shortage = ShortageOf(f.ledger->Append({{b, 11 * 256}}).status());
  ASSERT_TRUE(shortage.has_value());
  EXPECT_EQ(shortage->pool, PoolIndex(1));
  EXPECT_FALSE(shortage->retry_later);
}

TEST(LedgerShortageTest, AnErrorThatIsNoShortageHasNone) {
  EXPECT_FALSE(ShortageOf(absl::OkStatus()).has_value());
  EXPECT_FALSE(ShortageOf(absl::ResourceExhaustedError("of another kind")).has_value());
}

TEST(LedgerShortageTest, WithoutPlansInFlightABlockIsFreeAsSoonAsNobodyOwnsIt) {
  LedgerFixture f({});
  const SequenceId a = f.Allocate(0);
  f.Append({{a, 300}});
  f.Free(a);
  EXPECT_EQ(UseOf(*f.ledger, 1).draining, 0);
  EXPECT_EQ(f.ledger->Retire(PlanNumber(1)).code(), StatusCode::kFailedPrecondition);
}

TEST(LedgerShortageTest, AFreedSequencesBlocksDrainUntilTheLastPlanIsRetired) {
  LedgerFixture f({}, 3);
  const SequenceId a = f.Allocate(0);
  f.Append({{a, 300}});
  f.Append({{a, 1}});
  f.Free(a);
  EXPECT_EQ(UseOf(*f.ledger, 1).draining, 2);
  EXPECT_EQ(UseOf(*f.ledger, 1).live, 0);
  ASSERT_TRUE(f.ledger->Retire(PlanNumber(1)).ok());
  EXPECT_EQ(UseOf(*f.ledger, 1).draining, 2);  // plan 2 may still read them
  ASSERT_TRUE(f.ledger->Retire(PlanNumber(2)).ok());
  EXPECT_EQ(UseOf(*f.ledger, 1).draining, 0);
  EXPECT_EQ(UseOf(*f.ledger, 1).free, 100);
}

TEST(LedgerShortageTest, ABlockFreedWhenEveryPlanIsRetiredIsFreeAtOnce) {
  LedgerFixture f({}, 2);
  const SequenceId a = f.Allocate(0);
  f.Append({{a, 300}});
  ASSERT_TRUE(f.ledger->Retire(PlanNumber(1)).ok());
  f.Free(a);
  EXPECT_EQ(UseOf(*f.ledger, 1).free, 100);
}

TEST(LedgerShortageTest, TakenBackBlocksDrainToo) {
  LedgerFixture f({}, 2);
  const SequenceId a = f.Allocate(254);
  f.Append({{a, 254}});
  f.Append({{a, 3, 1}});
  f.Truncate(a, 256);
  EXPECT_EQ(UseOf(*f.ledger, 1).draining, 1);
  EXPECT_EQ(UseOf(*f.ledger, 0).draining, 1);
  ASSERT_TRUE(f.ledger->Retire(PlanNumber(2)).ok());
  EXPECT_EQ(UseOf(*f.ledger, 1).draining, 0);
}

TEST(LedgerShortageTest, DrainingBlocksAreShortOnlyUntilTheyAreRetired) {
  LedgerFixture f({.full_blocks = 4}, 2);
  const SequenceId a = f.Allocate(0);
  const SequenceId b = f.Allocate(0);
  f.Append({{a, 1024}});
  f.Free(a);
  const absl::Status status = f.ledger->Append({{b, 1}}).status();
  EXPECT_EQ(status.code(), StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(status.message()), HasSubstr("0 free, 0 cached and 4 draining of 4"));
  ASSERT_TRUE(f.ledger->Retire(PlanNumber(1)).ok());
  f.Append({{b, 1}});
}

TEST(LedgerShortageTest, MorePlansThanMayBeInFlightAreRefused) {
  LedgerFixture f({}, 2);
  const SequenceId a = f.Allocate(0);
  f.Append({{a, 1}});
  f.Append({{a, 1}});
  const absl::Status status = f.ledger->Append({{a, 1}}).status();
  EXPECT_EQ(status.code(), StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("2 plans are in flight"));
  ASSERT_TRUE(f.ledger->Retire(PlanNumber(1)).ok());
  f.Append({{a, 1}});
}

TEST(LedgerShortageTest, OnlyPlansInFlightAreRetired) {
  LedgerFixture f({}, 4);
  const SequenceId a = f.Allocate(0);
  for (int i = 0; i < 3; ++i) f.Append({{a, 1}});
  EXPECT_EQ(f.ledger->Retire(PlanNumber(0)).code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(f.ledger->Retire(PlanNumber(4)).code(), StatusCode::kInvalidArgument);
  ASSERT_TRUE(f.ledger->Retire(PlanNumber(2)).ok());
  EXPECT_EQ(f.ledger->Retire(PlanNumber(2)).code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(f.ledger->Retire(PlanNumber(1)).code(), StatusCode::kInvalidArgument);
  ASSERT_TRUE(f.ledger->Retire(PlanNumber(3)).ok());
}

}  // namespace
}  // namespace terrace::testing
