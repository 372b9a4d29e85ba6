// While steps run, no block that one of them names is handed out again, whatever made it unused.

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "src/model/state_pages.h"
#include "tests/support/prefix_fixture.h"

namespace terrace::testing {
namespace {

using absl::StatusCode;

LedgerOptions InFlight(int32_t plans) {
  LedgerOptions options = {};
  options.in_flight_plans = plans;
  return options;
}

// Blocks of `pool` that `plan` tells of.
std::set<int32_t> BlocksOf(const Plan& plan, int pool) {
  std::set<int32_t> blocks;
  for (const BlockPatch& patch : plan.patches()) {
    if (patch.pool == pool && patch.block >= 0) blocks.insert(patch.block);
  }
  return blocks;
}

bool Meet(const std::set<int32_t>& a, const std::set<int32_t>& b) {
  return std::any_of(a.begin(), a.end(), [&](int32_t block) { return b.contains(block); });
}

// The step waits for a plan, and says so.
void ExpectWaits(PrefixFixture& f, const std::vector<StepRequest>& batch) {
  const absl::Status status = f.TryAppend(batch).status();
  EXPECT_EQ(status.code(), StatusCode::kResourceExhausted) << status;
  ASSERT_TRUE(ShortageOf(status).has_value());
  EXPECT_TRUE(ShortageOf(status)->retry_later);
}

TEST(StepsInFlightTest, WhatAFreedSequenceHadDrainsUntilItsStepsHaveRun) {
  PrefixFixture f({.window_blocks = 6, .full_blocks = 3}, InFlight(4));
  const SequenceId a = f.Start(Text(1, 200));
  const Plan first = f.Append({{a, 150}});
  const Plan second = f.Append({{a, 50}});
  std::set<int32_t> window = BlocksOf(first, 0);
  window.merge(BlocksOf(second, 0));
  f.Free(a);
  EXPECT_EQ(f.Use(0).draining, 4);
  EXPECT_EQ(f.Use(1).draining, 1);
  const SequenceId b = f.Start(Text(2, 700));
  const Plan third = f.Append({{b, 128}});  // the free ones
  EXPECT_FALSE(Meet(BlocksOf(third, 0), window));
  EXPECT_FALSE(Meet(BlocksOf(third, 1), BlocksOf(first, 1)));
  ExpectWaits(f, {{b, 1}});
  f.Retire(1);
  EXPECT_EQ(f.Use(0).draining, 4);  // the second step of `a` may still run
  f.Retire(2);
  EXPECT_EQ(f.Use(0).draining, 0);
  EXPECT_EQ(f.Use(1).draining, 0);
  EXPECT_TRUE(Meet(BlocksOf(f.Append({{b, 1}}), 0), window));
}

TEST(StepsInFlightTest, WhatTheWindowLeftDrains) {
  PrefixFixture f({.window_blocks = 4}, InFlight(4));
  const SequenceId a = f.Start(Text(1, 300));
  f.Append({{a, 190}});  // rows from 63 on: blocks 0 .. 2
  f.Append({{a, 2}});    // query 190 sees row 63
  f.Append({{a, 1}});    // query 192 sees rows from 65 on; block 3
  EXPECT_EQ(f.Use(0).draining, 1);
  EXPECT_EQ(f.Use(0).free, 0);
  ExpectWaits(f, {{a, 64}});
  f.Retire(1);
  EXPECT_EQ(f.Use(0).draining, 1);
  f.Retire(2);
  EXPECT_EQ(f.Use(0).draining, 0);
  f.Append({{a, 64}});
}

TEST(StepsInFlightTest, WhatWasCopiedFromDrains) {
  PrefixFixture f(TestGeometryOptions{}, InFlight(4));
  const SequenceId a = f.Start(Text(1, 100));
  f.Feed(a);
  f.Retire(1);
  const SequenceId b = f.Fork(a);
  f.Commit(b, {7});
  const Plan copying = f.Append({{b, 1}});
  ASSERT_EQ(copying.copies().size(), 3u);
  f.Free(a);  // nobody has the sources any more, but the copy may not have run
  for (const int p : {0, 1, 2}) EXPECT_EQ(f.Use(p).draining, 1);
  f.Retire(2);
  for (const int p : {0, 1, 2}) EXPECT_EQ(f.Use(p).draining, 0);
}

TEST(StepsInFlightTest, WhatIsCachedIsEvictedOnlyWhenItsPlansHaveRun) {
  PrefixFixture f({.full_blocks = 4}, InFlight(4));
  f.Run({.tokens = Text(1, 513)});  // plan 1
  f.Retire(1);
  f.Run({.tokens = Text(2, 257)});  // plan 2
  EXPECT_EQ(f.Use(1).cached, 3);
  EXPECT_EQ(f.Use(1).draining, 1);
  const SequenceId a = f.Start(Text(3, 1000));
  ExpectWaits(f, {{a, 600}});  // 3 blocks: only the two of text 1 may go
  EXPECT_EQ(f.figures().evicted_chunks, 0);
  f.Append({{a, 512}});
  EXPECT_EQ(f.figures().evicted_chunks, 2);
  EXPECT_TRUE(f.IsCached(Text(2, 256)));
  f.Retire(2);
  f.Append({{a, 488}});
  EXPECT_EQ(f.figures().evicted_chunks, 3);
}

TEST(StepsInFlightTest, WhatIsUsedAgainByARunningPlanIsNotEvicted) {
  PrefixFixture f({.full_blocks = 3}, InFlight(4));
  f.Run({.tokens = Text(1, 513)});
  f.Retire(1);
  f.Run({.tokens = Text(1, 513)});  // plan 2 reads both chunks
  const SequenceId a = f.Start(Text(2, 600));
  ExpectWaits(f, {{a, 600}});
  f.Retire(2);
  f.Append({{a, 600}});
  EXPECT_EQ(f.figures().evicted_chunks, 2);
}

TEST(StepsInFlightTest, WhatExpiresOrIsClearedWhileAPlanRunsDrains) {
  for (const bool expires : {true, false}) {
    PrefixFixture f({.overlap_blocks = 2}, InFlight(4));
    f.Run({.tokens = Text(1, 513), .time_to_live_ms = 10});
    EXPECT_EQ(f.Use(1).cached, 2);
    EXPECT_EQ(f.Use(3).cached, 1);
    if (expires) {
      f.SetTime(10);
    } else {
      f.ClearPrefixes();
    }
    EXPECT_FALSE(f.IsCached(Text(1, 256)));
    EXPECT_EQ(f.Use(1).draining, 3);
    EXPECT_EQ(f.Use(3).draining, 1);
    EXPECT_EQ(f.Use(1).free, 97);
    f.Retire(1);
    for (int p = 0; p < 4; ++p) EXPECT_EQ(f.Use(p).free, f.Use(p).capacity);
  }
}

TEST(StepsInFlightTest, ACheckpointsBlocksDrainWhenItIsRolledOver) {
  PrefixFixture f({.overlap_blocks = 4}, InFlight(8));
  const SequenceId a = f.Allocate({.tokens = Text(1, 255), .ids_ahead = true}).id;
  f.Feed(a);
  f.Decode(a, Text(2, 1));  // plan 2 snapshots at 256
  f.Commit(a, Text(3, 512));
  f.Append({{a, 256}});  // plan 3: at 512 as well
  EXPECT_EQ(f.figures().rolled_checkpoints, 1);
  EXPECT_EQ(f.Use(3).draining, 1);
  f.Retire(2);
  EXPECT_EQ(f.Use(3).draining, 1);  // plan 3 may have been made while it was there
  f.Retire(3);
  EXPECT_EQ(f.Use(3).draining, 0);
}

TEST(StepsInFlightTest, AnIndexIsReusedWhileItsOldStepsRun) {
  PrefixFixture f(TestGeometryOptions{}, InFlight(4));
  const SequenceId a = f.Start(Text(1, 200));
  const Plan first = f.Append({{a, 200}});
  f.Free(a);
  EXPECT_EQ(f.ledger().FreeSequence(a).code(), StatusCode::kNotFound);
  const std::string before = f.Dump();
  EXPECT_EQ(f.ledger().FreeSequence(a).code(), StatusCode::kNotFound);
  EXPECT_EQ(f.Dump(), before);
  const SequenceId b = f.Start(Text(2, 200));
  ASSERT_EQ(b.index, a.index);
  const Plan second = f.Append({{b, 200}});
  for (const int p : {0, 1, 2}) EXPECT_FALSE(Meet(BlocksOf(first, p), BlocksOf(second, p)));
  EXPECT_EQ(f.ledger().FreeSequence(a).code(), StatusCode::kNotFound);
  EXPECT_EQ(f.Info(b).length, 200);
}

TEST(StepsInFlightTest, NoMorePlansRunThanAllowedAndEachRetiresOnce) {
  PrefixFixture f(TestGeometryOptions{}, InFlight(2));
  const SequenceId a = f.Start(Text(1, 200));
  EXPECT_EQ(f.ledger().Retire(PlanNumber(1)).code(), StatusCode::kInvalidArgument);
  f.Append({{a, 10}});
  f.Append({{a, 10}});
  const absl::Status status = f.TryAppend({{a, 10}}).status();
  EXPECT_EQ(status.code(), StatusCode::kFailedPrecondition);
  EXPECT_FALSE(ShortageOf(status).has_value());
  f.Retire(1);
  EXPECT_EQ(f.ledger().Retire(PlanNumber(1)).code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(f.ledger().Retire(PlanNumber(3)).code(), StatusCode::kInvalidArgument);
  f.Append({{a, 10}});
  f.Retire(3);  // and 2 with it
  f.Append({{a, 10}});
  f.Append({{a, 10}});
}

// ---- What plans tell.

std::set<int32_t> WindowIndices(const Plan& snapshot, SequenceId id) {
  std::set<int32_t> indices;
  for (const BlockPatch& patch : snapshot.patches()) {
    if (patch.pool == 0 && patch.sequence_index == id.index) indices.insert(patch.index);
  }
  return indices;
}

TEST(StepsInFlightTest, TheFirstQueryOfASecondPrefillChunkStillFindsItsWindow) {
  PrefixFixture f({.overlap_blocks = 4}, InFlight(8));
  f.Run({.tokens = Text(1, 1025)});
  const SequenceId a = f.Start(Text(1, 4000));
  for (const int32_t first : {1024, 2024, 3024}) {
    f.Append({{a, 900}});
    f.Append({{a, 76}});
    // Rows first + 773 .. first + 899 were the window of the last step's first query.
    const std::set<int32_t> held = WindowIndices(*f.ledger().Snapshot(), a);
    for (int32_t row = first + 773; row < first + 976; ++row) {
      EXPECT_TRUE(held.contains(row / 64)) << row;
    }
    f.Retire(f.model().last_plan());
    f.Append({{a, 24}});
  }
  EXPECT_EQ(f.Info(a).length, 4000 + 24);
}

TEST(StepsInFlightTest, ASnapshotNamesEveryBlockOfResumedAndForkedSequences) {
  PrefixFixture f(TestGeometryOptions{}, InFlight(4));
  f.Run({.tokens = Text(1, 1000)});
  const SequenceId a = f.Start(Text(1, 1000));  // 3 chunks, and 2 window blocks of the checkpoint
  const SequenceId b = f.Fork(a);
  const SequenceId c = f.Start(Text(2, 100));
  f.Append({{c, 100}});
  const Plan snapshot = *f.ledger().Snapshot();
  EXPECT_TRUE(snapshot.is_snapshot());
  EXPECT_EQ(snapshot.number(), f.ledger().last_plan());
  std::map<std::pair<int32_t, int32_t>, std::vector<std::pair<int32_t, int32_t>>> tables;
  for (const BlockPatch& patch : snapshot.patches()) {
    tables[{patch.sequence_index, patch.pool}].emplace_back(patch.index, patch.block);
  }
  for (const int p : {0, 1, 2}) {
    EXPECT_EQ((tables[{a.index, p}].size()), p == 0 ? 2u : 3u);
    EXPECT_EQ((tables[{a.index, p}]), (tables[{b.index, p}]));
    EXPECT_EQ((tables[{c.index, p}].size()), p == 0 ? 2u : 1u);
  }
  EXPECT_EQ((tables[{a.index, 0}][0].first), 10);
  EXPECT_TRUE(Plan::Parse(snapshot.bytes(), f.ledger().geometry()).ok());
}

// A sequence whose last commit left a checkpoint: the next plan takes its snapshot.
SequenceId StartAStateForTheNextPlan(PrefixFixture& f) {
  const SequenceId a = f.Start(Text(1, 254));
  f.Feed(a);
  f.Commit(a, {7});
  f.Draft(a, Text(2, 4));
  f.Commit(a, Text(2, 4));
  return a;
}

TEST(StepsInFlightTest, AStateIsNotHandedOutBehindThePlanThatTakesASnapshotOfIt) {
  PrefixFixture f({.overlap_blocks = 4, .state_blocks = 3}, InFlight(3));
  const SequenceId b = f.Start(Text(3, 100)), c = f.Start(Text(4, 100));
  f.Append({{b, 50}});
  f.Free(StartAStateForTheNextPlan(f));
  f.Retire(3);  // nothing runs: all that it had is free, but for the state
  const int pool = CsaStatePool(f.ledger().geometry()).value();
  EXPECT_EQ(f.Use(pool).live, 1 + 1);
  const Plan plan = f.Append({{b, 50}});
  ASSERT_EQ(plan.checkpoints().size(), 1u);
  EXPECT_EQ(f.Use(pool).draining, 1);
  const int32_t block = plan.checkpoints()[0].state_block;
  EXPECT_EQ(BlocksOf(f.Append({{c, 50}}), pool).count(block), 0u);
  f.Retire(4);
  EXPECT_EQ(f.Use(pool).draining, 0);
}

TEST(StepsInFlightTest, AStateIsHandedOutByThePlanThatTakesASnapshotOfItIfNoOtherIsLeft) {
  PrefixFixture f({.overlap_blocks = 4, .state_blocks = 1}, InFlight(3));
  f.Free(StartAStateForTheNextPlan(f));
  const SequenceId b = f.Start(Text(3, 100));
  ExpectWaits(f, {{b, 50}});
  f.Retire(2);
  f.Append({{b, 50}});
  f.Free(b);
  f.Retire(3);
  EXPECT_EQ(f.Run({.tokens = Text(1, 254) + Tokens{7} + Text(2, 2)}).resumed, 256);
}

TEST(StepsInFlightTest, AStateThatAForkStillHasIsNotHandedOut) {
  PrefixFixture f({.ratios = {4}, .overlap_blocks = 4, .state_blocks = 2}, InFlight(3));
  const SequenceId a = StartAStateForTheNextPlan(f);
  const SequenceId b = f.Fork(a), c = f.Start(Text(3, 100)), d = f.Start(Text(4, 100));
  f.Free(a);
  f.Retire(2);
  ExpectWaits(f, {{c, 50}, {d, 50}});
  f.Free(b);
  EXPECT_EQ(f.Append({{c, 50}, {d, 50}}).checkpoints().size(), 1u);
}

}  // namespace
}  // namespace terrace::testing
