// A step of no sequence is a plan like any other: it counts, runs, retires and may be lost.

#include <gtest/gtest.h>

#include <vector>

#include "tests/support/prefix_fixture.h"

namespace terrace::testing {
namespace {

using absl::StatusCode;

constexpr int kWindow = 0;

TEST(EmptyStepTest, CountsAndChangesNoSequence) {
  PrefixFixture f({});
  const Plan first = f.Append({});  // before any sequence: graphs are warmed up with it
  EXPECT_EQ(first.number(), PlanNumber(1));
  const SequenceId a = f.Start(Text(1, 300));
  f.Feed(a);
  const SequenceInfo before = f.Info(a);
  const Plan empty = f.Append({});
  EXPECT_EQ(empty.number(), PlanNumber(3));
  EXPECT_EQ(f.ledger().last_plan(), PlanNumber(3));
  EXPECT_FALSE(empty.is_snapshot());
  EXPECT_EQ(empty.bytes().size(), sizeof(PlanHeader));
  EXPECT_EQ(empty.header().num_token_rows, 0);
  EXPECT_TRUE(Plan::Parse(empty.bytes(), f.ledger().geometry()).ok());
  EXPECT_EQ(f.Info(a), before);
  f.Decode(a, {7, 8});
}

TEST(EmptyStepTest, IsInFlightUntilItRetires) {
  LedgerOptions options = {};
  options.in_flight_plans = 2;
  PrefixFixture f(TestGeometryOptions{}, options);
  const SequenceId a = f.Start({});
  f.Append({{a, 20}});
  f.Append({});
  EXPECT_EQ(f.TryAppend({}).status().code(), StatusCode::kFailedPrecondition);
  f.Free(a);
  EXPECT_GT(f.Use(kWindow).draining, 0);  // the idle store may still run the step before
  f.Retire(1);
  EXPECT_GT(f.Use(kWindow).draining, 0);
  f.Append({});
  f.Retire(3);
  EXPECT_EQ(f.Use(kWindow).draining, 0);
}

TEST(EmptyStepTest, TakesTheCapturesThatAreDue) {
  PrefixFixture f({.overlap_blocks = 8, .state_blocks = 8});
  const SequenceId a = f.Start(Text(1, 254));
  f.Append({{a, 254}});
  f.Commit(a, {7});
  f.Draft(a, {8, 9});
  f.Commit(a, {8, 9});  // the chunk, and a checkpoint that the next plan captures
  const Plan empty = f.Append({});
  ASSERT_EQ(empty.checkpoints().size(), 1u);
  EXPECT_EQ(empty.num_settled_checkpoints(), 1);
  EXPECT_EQ(empty.checkpoints()[0].position, 256);
  EXPECT_TRUE(Plan::Parse(empty.bytes(), f.ledger().geometry()).ok());
  EXPECT_TRUE(f.Append({{a, 1}}).checkpoints().empty());
  const Tokens longer = Text(1, 254) + Tokens{7, 8, 9, 10};
  EXPECT_EQ(f.Allocate({.tokens = longer}).match.resumed, 256);
}

TEST(EmptyStepTest, MayBeAbandonedAlone) {
  PrefixFixture f({});
  const SequenceId a = f.Start(Text(1, 600));
  f.Feed(a);
  f.Append({});
  EXPECT_TRUE(f.Abandon(2).sequences.empty());
  EXPECT_EQ(f.Info(a).length, 600);
  EXPECT_EQ(f.Append({}).header().generation, 2u);
  EXPECT_EQ(f.Abandon(1).sequences.size(), 1u);
}

}  // namespace
}  // namespace terrace::testing
