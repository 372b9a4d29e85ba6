// Matching that waits until a plan has run.

#include <gtest/gtest.h>

#include "tests/support/prefix_fixture.h"

namespace terrace::testing {
namespace {

LedgerOptions Waiting(int32_t in_flight_plans) {
  LedgerOptions options{.geometry = MakeTestGeometry(), .in_flight_plans = in_flight_plans};
  options.prefix.match = MatchPolicy::kRetired;
  return options;
}

TEST(PrefixRetiredTest, WhatNoRetiredPlanComputedIsNotMatched) {
  for (const int32_t in_flight : {0, 3}) {
    PrefixFixture f(TestGeometryOptions{}, Waiting(in_flight));
    const SequenceId a = f.Start(Text(1, 1000));
    f.Append({{a, 300}});
    f.Append({{a, 700}});
    f.Free(a);
    EXPECT_EQ(f.Probe({.tokens = Text(1, 1000)}).matched, 0);
    f.Retire(1);
    EXPECT_EQ(f.Probe({.tokens = Text(1, 1000)}).matched, 256);
    f.Retire(2);
    EXPECT_EQ(f.Probe({.tokens = Text(1, 1000)}).matched, 768);
  }
}

TEST(PrefixRetiredTest, WithoutPlansInFlightRetireMovesOnlyMatchingOn) {
  PrefixFixture f(TestGeometryOptions{}, Waiting(0));
  const SequenceId a = f.Start(Text(1, 600));
  f.Feed(a);
  for (int i = 0; i < 5; ++i) f.Decode(a, {i});  // no Append waits for it
  const int32_t live = f.Use(1).live;
  f.Retire(2);
  EXPECT_EQ(f.Use(1).live, live);
  f.Free(a);
  EXPECT_EQ(f.Use(1).draining, 0);
  EXPECT_EQ(f.ledger().Retire(PlanNumber(2)).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(f.ledger().Retire(PlanNumber(7)).code(), absl::StatusCode::kInvalidArgument);
}

TEST(PrefixRetiredTest, ACheckpointWaitsForItsCapture) {
  PrefixFixture f({.overlap_blocks = 8, .state_blocks = 8}, Waiting(0));
  const SequenceId a = f.Start(Text(1, 254));
  const SequenceId b = f.Start(Text(2, 10));
  f.Append({{a, 254}});
  f.Commit(a, {7});
  f.Draft(a, {8, 9});
  f.Commit(a, {8, 9});
  f.Retire(2);
  const Tokens prompt = Text(1, 254) + Tokens{7, 8, 9, 10};
  EXPECT_TRUE(f.HasCheckpoint(Text(1, 254) + Tokens{7, 8}));
  EXPECT_EQ(f.Probe({.tokens = prompt}).matched, 256);
  EXPECT_EQ(f.Probe({.tokens = prompt}).resumed, 0);
  f.Append({{b, 10}});
  f.Retire(3);
  EXPECT_EQ(f.Probe({.tokens = prompt}).resumed, 256);
}

// A tenant's step that was appended and never ran is not matched, without any call.
TEST(PrefixRetiredTest, AStepThatNeverRunsIsNeverMatched) {
  PrefixFixture f(TestGeometryOptions{}, Waiting(0));
  f.Run({.tokens = Text(1, 600), .salt = "x"});
  f.Retire(1);
  f.ClearPrefixes();
  const SequenceId y = f.Allocate({.tokens = Text(2, 600), .salt = "y"}).id;
  f.Feed(y);
  f.Free(y);
  EXPECT_EQ(f.Probe({.tokens = Text(2, 600), .salt = "y"}).matched, 0);
}

TEST(PrefixRetiredTest, ExtendMatchWaitsToo) {
  PrefixFixture f(TestGeometryOptions{}, Waiting(0));
  const SequenceId a = f.Start(Text(1, 600));
  const SequenceId b = f.Start(Text(1, 600));
  f.Feed(a);
  EXPECT_EQ(f.Extend(b).matched, 0);
  f.Retire(1);
  EXPECT_EQ(f.Extend(b).matched, 512);
}

TEST(PrefixRetiredTest, APolicyThatIsNoneIsRefused) {
  LedgerOptions options{.geometry = MakeTestGeometry()};
  options.prefix.match = static_cast<MatchPolicy>(2);
  EXPECT_EQ(Ledger::Create(options).status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace terrace::testing
