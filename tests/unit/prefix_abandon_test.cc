// Plans that were lost: nothing that they were to compute is found any more, and all else stays.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "tests/support/prefix_fixture.h"

namespace terrace::testing {
namespace {

using ::testing::HasSubstr;

constexpr int kOverlapPool = 3;
constexpr int kCsaState = 4;
const TestGeometryOptions kWithStates = {.overlap_blocks = 8, .state_blocks = 8};

std::vector<SequenceId> IdsOf(const Abandoned& abandoned) {
  std::vector<SequenceId> ids;
  for (const Admission& admission : abandoned.sequences) ids.push_back(admission.id);
  return ids;
}

TEST(PrefixAbandonTest, APromptWhoseStepWasLostIsNotMatched) {
  PrefixFixture f({});
  const SequenceId a = f.Start(Text(1, 1000));
  f.Append({{a, 1000}});
  f.Free(a);
  EXPECT_EQ(f.Probe({.tokens = Text(1, 1000)}).matched, 768);
  EXPECT_TRUE(f.Abandon(1).sequences.empty());  // none is alive
  EXPECT_EQ(f.Probe({.tokens = Text(1, 1000)}).matched, 0);
  EXPECT_EQ(f.figures().lost_chunks, 3);
  EXPECT_EQ(f.figures().lost_checkpoints, 1);
}

TEST(PrefixAbandonTest, OfAPromptFedInPiecesTheFirstPiecesThatRanStay) {
  PrefixFixture f({});
  const SequenceId a = f.Start(Text(1, 1000));
  f.Append({{a, 100}});
  f.Append({{a, 800}});  // lost
  f.Append({{a, 100}});  // refused: a plan is missing
  const Abandoned abandoned = f.Abandon(2);
  ASSERT_EQ(abandoned.sequences.size(), 1u);
  EXPECT_EQ(abandoned.sequences[0].id, a);
  EXPECT_EQ(abandoned.sequences[0].length, 0);
  f.Free(a);
  EXPECT_EQ(f.Probe({.tokens = Text(1, 1000)}).matched, 0);

  PrefixFixture g({});
  const SequenceId b = g.Start(Text(1, 1000));
  g.Append({{b, 300}});
  g.Append({{b, 700}});
  EXPECT_EQ(g.Abandon(2).sequences[0].match.matched, 256);
  g.Feed(b);
  g.Free(b);
  EXPECT_EQ(g.Probe({.tokens = Text(1, 1000)}).matched, 768);
}

TEST(PrefixAbandonTest, ALostDecodeStepGoesBackToTheRollingCheckpoint) {
  PrefixFixture f(kWithStates);
  const SequenceId a = f.Start(Text(1, 600));
  f.Feed(a);
  f.Decode(a, Text(2, 10));
  f.Commit(a, {7});
  const uint64_t last = f.ledger().last_plan().value();
  const Plan lost = f.Append({{a, 1}});
  const Abandoned abandoned = f.Abandon(last + 1);
  ASSERT_EQ(IdsOf(abandoned), std::vector{a});
  EXPECT_EQ(abandoned.sequences[0].length, 512);
  EXPECT_EQ(abandoned.sequences[0].match.resumed, 512);
  const SequenceInfo info = f.Info(a);
  EXPECT_EQ(info.known, 611);  // ids stay
  EXPECT_EQ(info.length, 512);

  const Plan next = f.Append({{a, 99}});
  EXPECT_EQ(next.header().generation, lost.header().generation + 1);
  EXPECT_EQ(next.number().value(), last + 2);
  ASSERT_EQ(next.restores().size(), 1u);
  EXPECT_EQ(next.restores()[0].position, 512);
  EXPECT_GE(next.restores()[0].overlap_block, 0);
}

TEST(PrefixAbandonTest, AStepThatCrossedAChunksEndGoesBackToWhatWasThereBefore) {
  PrefixFixture f(kWithStates);
  const SequenceId a = f.Start(Text(1, 511));
  f.Feed(a);
  f.Commit(a, {7});
  f.Append({{a, 1}});  // row 511: the second chunk, and its checkpoint
  EXPECT_TRUE(f.HasCheckpoint(Text(1, 511) + Tokens{7}));
  const Abandoned abandoned = f.Abandon(2);
  EXPECT_EQ(abandoned.sequences[0].match.matched, 256);
  EXPECT_FALSE(f.IsCached(Text(1, 511) + Tokens{7}));
}

TEST(PrefixAbandonTest, OthersKeepEveryRowAndPage) {
  PrefixFixture f(kWithStates);
  const SequenceId a = f.Start(Text(1, 600));
  const SequenceId b = f.Start(Text(2, 600));
  f.Append({{a, 600}, {b, 600}});
  f.Commit(b, {7});
  const SequenceInfo before = f.Info(a);
  f.Append({{b, 1}});
  EXPECT_EQ(IdsOf(f.Abandon(2)), std::vector{b});
  EXPECT_EQ(f.Info(a), before);
  f.Commit(a, {8});
  const Plan next = f.Append({{a, 1}});
  EXPECT_TRUE(next.patches().empty());
  EXPECT_TRUE(next.restores().empty());
}

TEST(PrefixAbandonTest, WhoeverAttachedWhatGoesStartsOverAlsoBeforeItsFirstStep) {
  PrefixFixture f(kWithStates);
  const SequenceId a = f.Start(Text(1, 600));
  f.Feed(a);
  const SequenceId b = f.Start(Text(1, 600));
  EXPECT_EQ(f.Info(b).length, 512);
  const Abandoned abandoned = f.Abandon(1);
  EXPECT_EQ(IdsOf(abandoned), (std::vector{a, b}));
  EXPECT_EQ(f.Info(b).length, 0);
  const Plan plan = f.Append({{a, 600}, {b, 600}});
  ASSERT_EQ(plan.restores().size(), 2u);
  EXPECT_EQ(plan.restores()[1].overlap_block, -1);
}

TEST(PrefixAbandonTest, WhatWasAttachedBeforeClearPrefixesIsStillKnown) {
  PrefixFixture f({});
  const SequenceId a = f.Start(Text(1, 600));
  f.Feed(a);
  const SequenceId b = f.Start(Text(1, 600));
  f.ClearPrefixes();
  const Abandoned abandoned = f.Abandon(1);
  EXPECT_EQ(IdsOf(abandoned), (std::vector{a, b}));
  EXPECT_EQ(f.Info(b).length, 0);
  EXPECT_EQ(f.Info(b).write_from, 0);
  f.Feed(b);
  EXPECT_EQ(f.Info(b).published, 0);
}

TEST(PrefixAbandonTest, AChunkThatWasAttachedWithoutACheckpointIsKnownToo) {
  LedgerOptions options{.geometry = MakeTestGeometry()};
  options.prefix.checkpoints = CheckpointPolicy::None();
  PrefixFixture f(options.geometry, options);
  const SequenceId a = f.Start(Text(1, 1000));
  f.Feed(a);
  const SequenceId b = f.Start(Text(1, 1000));
  EXPECT_EQ(f.Info(b).write_from, 768);
  f.ClearPrefixes();
  EXPECT_EQ(IdsOf(f.Abandon(1)), (std::vector{a, b}));
}

TEST(PrefixAbandonTest, AForkInheritsThePlanThatFedIt) {
  PrefixFixture f({});
  const SequenceId a = f.Start(Text(1, 300));
  f.Feed(a);
  const SequenceId early = f.Fork(a);
  f.Commit(a, {7});
  f.Append({{a, 1}});
  const SequenceId late = f.Fork(a);
  EXPECT_EQ(IdsOf(f.Abandon(2)), (std::vector{a, late}));
  EXPECT_EQ(f.Info(early).length, 300);
}

TEST(PrefixAbandonTest, ACaptureThatIsStillToBeMadeGoes) {
  PrefixFixture f(kWithStates);
  const SequenceId a = f.Start(Text(1, 254));
  const SequenceId b = f.Start(Text(2, 10));
  f.Append({{a, 254}});
  f.Commit(a, {7});
  f.Draft(a, {8, 9});
  f.Commit(a, {8, 9});  // the chunk, and a checkpoint that the next plan captures
  EXPECT_TRUE(f.HasCheckpoint(Text(1, 254) + Tokens{7, 8}));
  f.Free(a);  // its state is held for that
  EXPECT_EQ(f.Use(kCsaState).live, 1);
  f.Append({{b, 10}});
  EXPECT_TRUE(f.HasCheckpoint(Text(1, 254) + Tokens{7, 8}));

  PrefixFixture g(kWithStates);
  const SequenceId c = g.Start(Text(1, 254));
  g.Start(Text(2, 10));
  g.Append({{c, 254}});
  g.Commit(c, {7});
  g.Draft(c, {8, 9});
  g.Commit(c, {8, 9});
  g.Free(c);
  g.Abandon(2);
  EXPECT_FALSE(g.HasCheckpoint(Text(1, 254) + Tokens{7, 8}));
  EXPECT_EQ(g.Use(kCsaState).live, 0);
  EXPECT_EQ(g.Use(kOverlapPool).free, 8);
}

TEST(PrefixAbandonTest, ACheckpointIsAsLateAsItsCapture) {
  PrefixFixture f(kWithStates);
  const SequenceId a = f.Start(Text(1, 256));
  const SequenceId b = f.Start(Text(2, 10));
  f.Append({{a, 252}});
  f.Append({{a, 4}});   // plan 2
  f.Append({{b, 10}});  // plan 3
  EXPECT_TRUE(f.HasCheckpoint(Text(1, 256)));
  f.Abandon(3);  // of b alone
  EXPECT_TRUE(f.HasCheckpoint(Text(1, 256)));

  const SequenceId c = f.Start(Text(3, 254));
  f.Append({{c, 254}});  // plan 4
  f.Commit(c, {7});
  f.Draft(c, {8, 9});  // plan 5
  f.Commit(c, {8, 9});
  f.Append({{b, 10}});  // plan 6 captures
  const Tokens chunk = Text(3, 254) + Tokens{7, 8};
  EXPECT_TRUE(f.HasCheckpoint(chunk));
  EXPECT_EQ(IdsOf(f.Abandon(6)), std::vector{b});
  EXPECT_FALSE(f.HasCheckpoint(chunk));  // its rows are there, its overlap is not
  EXPECT_TRUE(f.IsCached(chunk));
  EXPECT_EQ(f.Info(c).length, 257);
}

// Who attached the checkpoint restores what the next plan captures, whatever becomes of the index.
TEST(PrefixAbandonTest, ACaptureThatASequenceRestoresIsMadeAlsoAfterClearPrefixes) {
  PrefixFixture f(kWithStates);
  const SequenceId a = f.Start(Text(1, 254));
  f.Feed(a);
  f.Commit(a, {7});
  f.Draft(a, {8, 9});
  f.Commit(a, {8, 9});
  const SequenceId b = f.Start(Text(1, 254) + Tokens{7, 8, 9});
  EXPECT_EQ(f.Info(b).length, 256);
  f.ClearPrefixes();
  const Plan plan = f.Append({{b, 1}});
  ASSERT_EQ(plan.checkpoints().size(), 1u);
  ASSERT_EQ(plan.restores().size(), 1u);
  EXPECT_EQ(plan.checkpoints()[0].overlap_block, plan.restores()[0].overlap_block);
  f.Free(a);
  f.Free(b);
  EXPECT_EQ(f.Use(kOverlapPool).free, 8);
}

TEST(PrefixAbandonTest, ACaptureWithoutACheckpointGoesToo) {
  PrefixFixture f(kWithStates);
  const SequenceId a = f.Start(Text(1, 254));
  f.Feed(a);
  f.Commit(a, {7});
  f.Draft(a, {8, 9});
  f.Commit(a, {8, 9});
  f.Start(Text(1, 254) + Tokens{7, 8, 9});
  f.ClearPrefixes();
  EXPECT_EQ(f.Abandon(2).sequences.size(), 2u);
  EXPECT_EQ(f.Use(kOverlapPool).free, 8);
  EXPECT_EQ(f.Use(kCsaState).live, 0);
}

TEST(PrefixAbandonTest, ACaptureThatASequenceRestoresGoesWithItsSource) {
  PrefixFixture f(kWithStates);
  const SequenceId a = f.Start(Text(1, 254));
  f.Feed(a);
  f.Commit(a, {7});
  f.Draft(a, {8, 9});
  f.Commit(a, {8, 9});
  const SequenceId b = f.Start(Text(1, 254) + Tokens{7, 8, 9});
  EXPECT_EQ(IdsOf(f.Distrust({{a, 257}})), (std::vector{a, b}));
  EXPECT_EQ(f.Use(kOverlapPool).free, 8);
  EXPECT_EQ(f.Use(kCsaState).live, 0);
  f.Feed(b);
}

TEST(PrefixAbandonTest, DraftsAndIdsThatComeLater) {
  PrefixFixture f({});
  const SequenceId a = f.Start(Text(1, 254));
  f.Feed(a);
  f.Commit(a, {7});
  f.Draft(a, {8, 9, 10});
  EXPECT_EQ(f.Info(a).undecided_drafts, 3);
  f.Abandon(2);
  EXPECT_EQ(f.Info(a).undecided_drafts, 0);
  EXPECT_EQ(f.Info(a).known, 255);
  f.Feed(a);
  f.Commit(a, {8});
  f.Append({{a, 1}});
  EXPECT_EQ(f.Info(a).published, 256);
}

TEST(PrefixAbandonTest, BlocksDrainWhilePlansMayStillName) {
  PrefixFixture f(MakeTestGeometry(), {.geometry = MakeTestGeometry(), .in_flight_plans = 2});
  const SequenceId a = f.Start(Text(1, 600));
  f.Feed(a);
  const int32_t live = f.Use(1).live;
  f.Abandon(1);
  EXPECT_EQ(f.Use(1).draining, live);
  f.Append({{a, 600}});
  EXPECT_EQ(f.ledger().Append({{{a, 1}}}).status().code(), absl::StatusCode::kFailedPrecondition)
      << "it retires nothing";
  f.Retire(1);
  EXPECT_EQ(f.Use(1).draining, 0);
}

TEST(PrefixAbandonTest, ItIsNeverShortOfBlocks) {
  PrefixFixture f({.window_blocks = 16, .full_blocks = 4});
  const SequenceId a = f.Start(Text(1, 1000));
  f.Feed(a);
  f.Abandon(1);
  f.Feed(a);
  EXPECT_EQ(f.Info(a).length, 1000);
}

TEST(PrefixAbandonTest, PlansThatWereNeverMadeAreNamed) {
  PrefixFixture f({});
  for (const uint64_t first : {0, 1}) {
    const absl::Status status = f.ledger().Abandon(PlanNumber(first)).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  }
  f.Run({.tokens = Text(1, 10)});
  const absl::Status status = f.ledger().Abandon(PlanNumber(2)).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("plan 2 cannot be abandoned"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("1..1"));
  EXPECT_EQ(f.ledger().Snapshot()->header().generation, 1u);
}

TEST(PrefixAbandonTest, NothingIsCountedAsALookup) {
  PrefixFixture f({});
  const SequenceId a = f.Start(Text(1, 600));
  f.Feed(a);
  f.Commit(a, {7});
  f.Append({{a, 1}});
  const PrefixFigures before = f.figures();
  EXPECT_GT(f.Abandon(2).sequences[0].match.matched, 0);
  PrefixFigures after = f.figures();
  EXPECT_EQ(after, before);
}

TEST(PrefixAbandonTest, WithoutReuseSequencesGoOnAtTheirFirstToken) {
  LedgerOptions options{.geometry = MakeTestGeometry()};
  options.prefix.enabled = false;
  PrefixFixture f(TestGeometryOptions{}, options);
  const SequenceId a = f.Start(Text(1, 600));
  const SequenceId b = f.Start(Text(2, 600));
  f.Feed(a);
  f.Feed(b);
  EXPECT_EQ(IdsOf(f.Abandon(2)), std::vector{b});
  EXPECT_EQ(f.Info(a).length, 600);
  EXPECT_EQ(f.Info(b).length, 0);
  f.Feed(b);
}

}  // namespace
}  // namespace terrace::testing
