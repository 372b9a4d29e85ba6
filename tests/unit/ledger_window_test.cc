// The window rule to the letter (docs/design.md section 4). B is the window block, the window holds
// 128 tokens: a query at position t sees rows t - 127 .. t.

#include <gtest/gtest.h>

#include <vector>

#include "tests/support/ledger_testing.h"
#include "tests/support/use_of.h"

namespace terrace::testing {
namespace {

using Indices = std::vector<int32_t>;

// Indices a, a + 1, .. b.
Indices Range(int32_t a, int32_t b) {
  Indices indices;
  for (int32_t i = a; i <= b; ++i) indices.push_back(i);
  return indices;
}

TEST(LedgerWindowTest, ADecodeStepReleasesABlockOnceItLiesWhollyBelowTheWindow) {
  LedgerFixture f({.swa_block_tokens = 16});
  const SequenceId a = f.Allocate(0);
  f.Append({{a, 128}});
  EXPECT_EQ(f.HeldIndices(a, 0), Range(0, 7));
  // The query at 142 sees row 15, the last of block 0; the one at 143 does not.
  for (int32_t position = 128; position <= 142; ++position) f.Append({{a, 1}});
  EXPECT_EQ(f.HeldIndices(a, 0), Range(0, 8));
  f.Append({{a, 1}});
  EXPECT_EQ(f.HeldIndices(a, 0), Range(1, 8));
}

TEST(LedgerWindowTest, BlocksAreReleasedByTheFirstPositionOfAStep) {
  LedgerFixture f({.swa_block_tokens = 16});
  const SequenceId a = f.Allocate(0);
  f.Append({{a, 142}});
  // First query at 142: block 0 stays for it, though the step's last query is at 441.
  f.Append({{a, 300}});
  EXPECT_EQ(f.HeldIndices(a, 0).front(), 0);
}

TEST(LedgerWindowTest, ThePlanOfASecondPrefillChunkStillFindsTheOldWindow) {
  LedgerFixture f({.swa_block_tokens = 16});
  const SequenceId a = f.Allocate(0);
  f.Append({{a, 1000}});
  EXPECT_EQ(f.HeldIndices(a, 0), Range((1000 - 127) / 16, 999 / 16));
  const Plan plan = f.Append({{a, 1000}});
  // Old: rows 873..999 for the query at 1000. New: rows 1873..1999. A hole between them.
  Indices want = Range(873 / 16, 999 / 16);
  const Indices fresh = Range(1873 / 16, 1999 / 16);
  want.insert(want.end(), fresh.begin(), fresh.end());
  EXPECT_EQ(f.HeldIndices(a, 0), want);
  EXPECT_EQ(f.PatchedIndices(plan, 0), fresh);
  // The next step's first query is at 2000: the old window goes.
  f.Append({{a, 1}});
  EXPECT_EQ(f.HeldIndices(a, 0), Range(1873 / 16, 2000 / 16));
}

TEST(LedgerWindowTest, AChunkOf32KTokensNeedsAWindowsWorthOfBlocks) {
  LedgerFixture f(
      {.full_blocks = 200, .limits = {.max_step_tokens = 32768, .max_context_tokens = 65536}});
  const SequenceId a = f.Allocate(0);
  const Plan plan = f.Append({{a, 32768}});
  EXPECT_EQ(f.PatchedIndices(plan, 0), (Indices{510, 511}));  // rows 32641..32767 in blocks of 64
}

TEST(LedgerWindowTest, DraftsWidenTheWindowThatIsStored) {
  LedgerFixture f({.swa_block_tokens = 1, .window_blocks = 400});
  const SequenceId a = f.Allocate(0);
  f.Append({{a, 500, 4}});
  // If all four are taken back the next query is at 496 and sees row 369.
  EXPECT_EQ(f.HeldIndices(a, 0), Range(500 - 4 - 127, 499));
  f.Truncate(a, 496);
  EXPECT_EQ(f.HeldIndices(a, 0), Range(369, 495));
  f.Commit(a, 496);
  f.Append({{a, 1}});
  EXPECT_EQ(f.HeldIndices(a, 0), Range(369, 496));
}

TEST(LedgerWindowTest, AStepAfterARollbackFindsItsWindow) {
  LedgerFixture f({.swa_block_tokens = 16});
  const SequenceId a = f.Allocate(0);
  f.Append({{a, 140}});
  f.Commit(a, 141);
  f.Append({{a, 5, 4}});  // rows 140..144; first query 140 sees row 13
  EXPECT_EQ(f.HeldIndices(a, 0), Range(0, 9));
  f.Truncate(a, 141);
  EXPECT_EQ(f.HeldIndices(a, 0), Range(0, 8));  // block 9 began with row 144
  f.Commit(a, 0);
  f.Append({{a, 1}});  // the query at 141 sees row 14, in block 0
  EXPECT_EQ(f.HeldIndices(a, 0), Range(0, 8));
}

TEST(LedgerWindowTest, RollbackAcrossABlockBorderFreesTheBlockThatOnlyDraftsHadBegun) {
  LedgerFixture f({.swa_block_tokens = 64});
  const SequenceId a = f.Allocate(63);
  f.Append({{a, 63}});
  f.Append({{a, 4, 3}});  // rows 63..66
  EXPECT_EQ(f.HeldIndices(a, 0), Range(0, 1));
  f.Truncate(a, 65);
  EXPECT_EQ(f.HeldIndices(a, 0), Range(0, 1));
  f.Truncate(a, 64);
  EXPECT_EQ(f.HeldIndices(a, 0), Range(0, 0));
}

TEST(LedgerWindowTest, ADecodingSequenceHoldsNoMoreThanTheWorstCase) {
  for (const int32_t block : {1, 16, 64, 128}) {
    for (const int32_t drafts : {0, 1, 4}) {
      LedgerFixture f({.swa_block_tokens = block, .window_blocks = 1000});
      const WindowBlocks worst = WorstCaseWindowBlocks(
          f.geometry.pools[0], 128,
          {.max_sequences = 8, .max_step_tokens = 4096, .max_drafts = drafts});
      const SequenceId a = f.Allocate(300);
      f.Append({{a, 300}});
      int32_t most = 0;
      for (int step = 0; step < 400; ++step) {
        f.Append({{a, 1 + drafts, drafts}});
        most = std::max(most, f.Live(0));
        f.Truncate(a, f.Info(a).length - step % (drafts + 1));
        f.Commit(a, f.Info(a).length - f.Info(a).known);
      }
      EXPECT_EQ(most, worst.steady) << "B = " << block << ", D = " << drafts;
      EXPECT_LE(most, (127 + drafts + block - 1) / block + 1);
    }
  }
}

TEST(LedgerWindowTest, AStepMayTakeAgainTheBlocksItReleases) {
  // Two blocks of 128 rows: the third is to be had only from the first.
  LedgerFixture f({.swa_block_tokens = 128, .window_blocks = 2});
  const SequenceId a = f.Allocate(0);
  f.Append({{a, 128}});
  f.Append({{a, 128}});
  const Plan plan = f.Append({{a, 1}});
  ASSERT_EQ(f.PatchedIndices(plan, 0), (Indices{2}));
  EXPECT_EQ(plan.patches()[0].block, 0);
}

TEST(LedgerWindowTest, AReleasedBlockDrainsWhileThePlanBeforeRuns) {
  LedgerFixture f({.swa_block_tokens = 128, .window_blocks = 2}, 2);
  const SequenceId a = f.Allocate(0);
  f.Append({{a, 128}});
  ASSERT_TRUE(f.ledger->Retire(PlanNumber(1)).ok());
  f.Append({{a, 128}});
  const absl::Status status = f.ledger->Append({{a, 1}}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);  // waiting helps
  EXPECT_EQ(ShortageOf(status)->pool, PoolIndex(0));
  ASSERT_TRUE(f.ledger->Retire(PlanNumber(2)).ok());
  f.Append({{a, 1}});
  EXPECT_EQ(UseOf(*f.ledger, 0).draining, 0);
}

TEST(LedgerWindowTest, WhatAStepReleasesDrainsForThePlanBeforeIt) {
  LedgerFixture f({.swa_block_tokens = 16}, 3);
  const SequenceId a = f.Allocate(0);
  f.Append({{a, 1000}});
  f.Append({{a, 1000}});  // releases nothing: the window of query 1000 is all there is
  EXPECT_EQ(UseOf(*f.ledger, 0).draining, 0);
  f.Append({{a, 1}});  // releases the old window, which plan 2 may still read
  EXPECT_EQ(UseOf(*f.ledger, 0).draining, 9);
  ASSERT_TRUE(f.ledger->Retire(PlanNumber(1)).ok());
  EXPECT_EQ(UseOf(*f.ledger, 0).draining, 9);
  ASSERT_TRUE(f.ledger->Retire(PlanNumber(2)).ok());
  EXPECT_EQ(UseOf(*f.ledger, 0).draining, 0);
}

TEST(LedgerWindowTest, AWholeChunkIsStoredAndItsSurplusReleasedAtTheNextStep) {
  LedgerFixture f({.swa_block_tokens = 16,
                   .window_blocks = 200,
                   .limits = {.max_step_tokens = 4096,
                              .max_drafts = 4,
                              .max_context_tokens = 8192,
                              .store_whole_chunk = true}});
  const SequenceId a = f.Allocate(0);
  f.Append({{a, 1000}});
  EXPECT_EQ(f.HeldIndices(a, 0), Range(0, 999 / 16));
  f.Append({{a, 1000}});
  EXPECT_EQ(f.HeldIndices(a, 0), Range(873 / 16, 1999 / 16));
  f.Append({{a, 1}});
  EXPECT_EQ(f.HeldIndices(a, 0), Range(1873 / 16, 2000 / 16));
}

TEST(LedgerWindowTest, ASequenceFreedInsideItsGapFreesBothRuns) {
  LedgerFixture f({.swa_block_tokens = 16});
  const SequenceId a = f.Allocate(0);
  f.Append({{a, 1000}});
  f.Append({{a, 1000}});
  EXPECT_EQ(f.Live(0), 9 + 8);
  f.Free(a);
  EXPECT_EQ(f.Live(0), 0);
  EXPECT_EQ(UseOf(*f.ledger, 0).free, 100);
}

}  // namespace
}  // namespace terrace::testing
