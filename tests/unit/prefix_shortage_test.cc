// How far a step that runs short goes before it fails: it takes what nobody else would give back by
// waiting, and refuses for good only what never fits.

#include <gtest/gtest.h>

#include <vector>

#include "tests/support/prefix_fixture.h"

namespace terrace::testing {
namespace {

using absl::StatusCode;

// A prompt of 256 tokens whose rows are all in the window pool: blocks 0 and 1 of 128.
SequenceId StartWithTwoBlocks(PrefixFixture& f) {
  const SequenceId id = f.Start(Text(1, 256));
  f.Append({{id, 128}});
  f.Append({{id, 128}});
  return id;
}

TEST(PrefixShortageTest, ACheckpointThatIsRolledOnFromGoesBeforeAStepFails) {
  PrefixFixture f({.window_blocks = 4});
  const SequenceId a = f.Start(Text(1, 300));
  f.Feed(a);
  // Three blocks of window and two of the checkpoint that rolls along: one more than there are.
  f.Decode(a, Text(2, 600));
  EXPECT_GT(f.figures().evicted_checkpoints, 0);
  EXPECT_EQ(f.figures().missed_checkpoints, 0);
}

TEST(PrefixShortageTest, ACheckpointThatIsRolledOnFromStaysForAnothersCheckpoint) {
  PrefixFixture f({.overlap_blocks = 1});
  const SequenceId a = f.Start(Text(1, 300)), b = f.Start(Text(2, 300));
  f.Feed(a);
  f.Feed(b);
  EXPECT_TRUE(f.HasCheckpoint(Text(1, 256)));
  EXPECT_EQ(f.figures().missed_checkpoints, 1);
}

TEST(PrefixShortageTest, WindowBlocksThatForksReleaseTogetherAreTakenAgain) {
  PrefixFixture f({.swa_block_tokens = 128, .window_blocks = 3});
  const SequenceId a = StartWithTwoBlocks(f);
  const SequenceId b = f.Fork(a);  // both leave block 0, and each begins one
  f.Commit(a, {7});
  f.Commit(b, {8});
  f.Append({{a, 1}, {b, 1}});
  EXPECT_EQ(f.Use(0).live, 3);
}

TEST(PrefixShortageTest, AReleasedBlockThatACheckpointHasIsTakenAgain) {
  PrefixFixture f({.swa_block_tokens = 128, .window_blocks = 2});
  const SequenceId a = StartWithTwoBlocks(f);
  f.Decode(a, Text(2, 400));  // every third block is to be had only from the first
  EXPECT_EQ(f.Info(a).length, 656);
}

TEST(PrefixShortageTest, WhatAStepReleasesDoesNotCountAsHeldByIt) {
  // With the block that is released and that a fork still has, the step would hold one too many.
  PrefixFixture f({.swa_block_tokens = 128, .window_blocks = 3});
  const SequenceId a = StartWithTwoBlocks(f), c = f.Start(Text(3, 100));
  f.Fork(a);
  f.Feed(c);
  f.Commit(a, {7});
  f.Commit(c, {8});
  const absl::Status status = f.TryAppend({{a, 1}, {c, 1}}).status();
  EXPECT_EQ(status.code(), StatusCode::kResourceExhausted);
  EXPECT_TRUE(ShortageOf(status)->retry_later);
}

TEST(PrefixShortageTest, ACopyServesWhereTheChunksOwnBlocksAreWanted) {
  PrefixFixture f({.full_blocks = 6});
  const SequenceId a = f.Start(Text(1, 600)), b = f.Start(Text(1, 600));
  f.Append({{a, 512}, {b, 512}});
  EXPECT_EQ(f.figures().duplicate_chunks, 2);
  f.Free(a);
  EXPECT_EQ(f.Use(1).cached, 2);  // in use by b's prefix, and held by nobody
  f.Feed(b);
  f.Decode(b, Text(2, 800));  // 1400 rows: six chunks, the whole pool
  EXPECT_EQ(f.figures().evicted_chunks, 0);
  f.Free(b);
  EXPECT_EQ(f.Run({.tokens = Text(1, 600)}).matched, 512);  // in b's copies
}

TEST(PrefixShortageTest, AForksBlockIsNotCopiedForRowsThatLieBeyondIt) {
  PrefixFixture f({});
  const SequenceId a = f.Start(Text(1, 1000));
  f.Append({{a, 300}});
  const SequenceId b = f.Fork(a);
  f.Append({{a, 700}});  // stores rows 873 .. 999, none beside row 299
  EXPECT_EQ(f.figures().copied_blocks[0], 0);
  EXPECT_EQ(f.figures().copied_blocks[1], 1);
  f.Append({{b, 5}});
  EXPECT_EQ(f.figures().copied_blocks[0], 1);  // a still reads it
  f.Append({{b, 695}});
}

// ---- What would give room

TEST(PrefixShortageTest, CachedBlocksThatARunningPlanNamesAreEvictableLater) {
  PrefixFixture f({.full_blocks = 10}, {.geometry = {}, .in_flight_plans = 2});
  f.Run({.tokens = Text(1, 600)});  // plan 1: two chunks cached, one drains
  EXPECT_EQ(f.Use(1).cached, 2);
  EXPECT_EQ(f.Use(1).evictable_now, 0);
  EXPECT_EQ(f.Use(1).evictable_later, 2);
  EXPECT_EQ(f.Use(0).evictable_now, 0);
  EXPECT_EQ(f.Use(0).evictable_later, f.Use(0).cached);
  const SequenceId b = f.Start(Text(2, 2200));
  const Shortage shortage = *ShortageOf(f.TryAppend({{b, 2200}}).status());
  EXPECT_EQ(shortage.free_blocks, 7);
  EXPECT_EQ(shortage.evictable_blocks, 0);
  EXPECT_EQ(shortage.returning_blocks, 3);
  EXPECT_EQ(shortage.retire, PlanNumber(1));
  EXPECT_EQ(shortage.retire_blocks, 3);
  f.Retire(1);
  EXPECT_EQ(f.Use(1).evictable_now, 2);
  EXPECT_EQ(f.Use(1).evictable_later, 0);
  f.Append({{b, 2200}});
}

TEST(PrefixShortageTest, WhatWaitsBehindAChunkThatARunningPlanNamesIsEvictableLater) {
  PrefixFixture f({.full_blocks = 10}, {.geometry = {}, .in_flight_plans = 2});
  f.Run({.tokens = Text(1, 257)});
  f.Retire(1);
  EXPECT_EQ(f.Use(1).evictable_now, 1);
  f.Run({.tokens = Text(2, 257), .priority = Priority::kLow});  // it goes first, and not yet
  EXPECT_EQ(f.Use(1).evictable_now, 0);
  EXPECT_EQ(f.Use(1).evictable_later, 2);
  f.Retire(2);
  EXPECT_EQ(f.Use(1).evictable_now, 2);
}

TEST(PrefixShortageTest, ChunksWhoseUsersHaveCopiesAreEvictableWhenNoPlanRuns) {
  PrefixFixture f({.full_blocks = 10}, {.geometry = {}, .in_flight_plans = 2});
  const SequenceId a = f.Start(Text(1, 600)), b = f.Start(Text(1, 600));
  f.Append({{a, 512}, {b, 512}});
  f.Free(a);
  EXPECT_EQ(f.Use(1).evictable_later, 2);
  f.Retire(1);
  EXPECT_EQ(f.Use(1).evictable_now, 2);
  const SequenceId c = f.Start(Text(2, 2048));
  EXPECT_TRUE(f.TryAppend({{c, 2048}}).ok());  // all but b's two
}

}  // namespace
}  // namespace terrace::testing
