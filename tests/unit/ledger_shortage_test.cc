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
              HasSubstr("pool 1 (ratio 4) lacks 2 of the 6 blocks this step needs (4 free, 0 "
                        "evictable now, 0 returning as plans retire, 6 of others and 0 of its own "
                        "sequences; 10 in all): retry"));
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

TEST(LedgerShortageTest, EveryBlockIsSomewhere) {
  LedgerFixture f({.full_blocks = 10}, 3);
  const SequenceId a = f.Allocate(0), b = f.Allocate(0), c = f.Allocate(0);
  f.Append({{a, 512}, {b, 256}, {c, 1024}});
  f.Free(a);  // 2 drain, 1 is b's, 4 are c's, 3 are free
  const Shortage shortage = *ShortageOf(f.ledger->Append({{c, 1100}, {b, 700}}).status());
  EXPECT_EQ(shortage, (Shortage{.pool = PoolIndex(1),
                                .missing_blocks = 3,
                                .retry_later = false,
                                .needed_blocks = 8,
                                .free_blocks = 3,
                                .returning_blocks = 2,
                                .held_blocks = 5}))
      << "13 blocks of 10 never fit";
  EXPECT_EQ(*ShortageOf(f.ledger->Append({{b, 1100}}).status()), (Shortage{.pool = PoolIndex(1),
                                                                           .missing_blocks = 2,
                                                                           .retry_later = true,
                                                                           .needed_blocks = 5,
                                                                           .free_blocks = 3,
                                                                           .returning_blocks = 2,
                                                                           .preemptible_blocks = 4,
                                                                           .held_blocks = 1,
                                                                           .retire = PlanNumber(1),
                                                                           .retire_blocks = 2}));
  EXPECT_EQ(*ShortageOf(f.ledger->Append({{b, 1400}}).status()), (Shortage{.pool = PoolIndex(1),
                                                                           .missing_blocks = 3,
                                                                           .retry_later = true,
                                                                           .needed_blocks = 6,
                                                                           .free_blocks = 3,
                                                                           .returning_blocks = 2,
                                                                           .preemptible_blocks = 4,
                                                                           .held_blocks = 1}));
}

TEST(LedgerShortageTest, TheFirstPlanThatIsEnoughIsNamed) {
  LedgerFixture f({.full_blocks = 6}, 4);
  const SequenceId a = f.Allocate(0), b = f.Allocate(0), c = f.Allocate(0), d = f.Allocate(0);
  f.Append({{a, 256}, {b, 512}, {c, 512}, {d, 1}});  // plan 1: 6 chunks
  f.Free(a);                                         // 1 drains for plan 1
  f.Append({{d, 1}});
  f.Free(b);  // 2 for plan 2
  f.Append({{d, 1}});
  f.Free(c);  // 2 for plan 3
  const SequenceId e = f.Allocate(0);
  const uint64_t wanted[] = {1, 2, 2, 3, 3};
  const int32_t given[] = {1, 3, 3, 5, 5};
  for (int32_t chunks = 1; chunks <= 5; ++chunks) {
    const Shortage shortage = *ShortageOf(f.ledger->Append({{e, 256 * chunks}}).status());
    EXPECT_EQ(shortage.retire.value(), wanted[chunks - 1]) << chunks;
    EXPECT_EQ(shortage.retire_blocks, given[chunks - 1]) << chunks;
  }
  ASSERT_TRUE(f.ledger->Retire(PlanNumber(2)).ok());
  f.Append({{e, 256 * 3}});
}

TEST(LedgerShortageTest, WhatTheStepItselfReleasesComesBackWithTheLastPlan) {
  LedgerFixture f({.swa_block_tokens = 128, .window_blocks = 2}, 2);
  const SequenceId a = f.Allocate(0);
  f.Append({{a, 128}});
  f.Append({{a, 128}});
  ASSERT_TRUE(f.ledger->Retire(PlanNumber(1)).ok());
  const Shortage shortage = *ShortageOf(f.ledger->Append({{a, 1}}).status());
  EXPECT_EQ(shortage.pool, PoolIndex(0));
  EXPECT_EQ(shortage.held_blocks, 2);
  EXPECT_EQ(shortage.retire, PlanNumber(2));
  ASSERT_TRUE(f.ledger->Retire(PlanNumber(2)).ok());
  f.Append({{a, 1}});
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
  EXPECT_THAT(std::string(status.message()), HasSubstr("(0 free, 0 evictable now, 4 returning"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("Retire(1) gives 4 and is enough"));
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
