// Checkpoints of the prefix index.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <optional>
#include <vector>

#include "src/ledger/prefix_index.h"
#include "tests/support/prefix_index_testing.h"

namespace terrace::testing {
namespace {

using internal::CheckpointId;
using internal::ChunkId;
using internal::PrefixIndex;

using ::testing::ElementsAre;

CheckpointId Add(PrefixIndex& index, ChunkId chunk, int32_t window = 0) {
  return index.AddCheckpoint(chunk, {BlockId(window), BlockId(window + 1)}, BlockId(window + 2));
}

void UnpinKept(PrefixIndex& index, CheckpointId checkpoint) {
  index.Keep(checkpoint);
  EXPECT_TRUE(index.Unpin(checkpoint));
}

TEST(PrefixIndexCheckpointTest, ACheckpointBelongsToItsChunkAndNamesItsBlocks) {
  PrefixIndex index(TestIndexOptions());
  const ChunkId tip = UsePath(index, "a", {1, 2});
  EXPECT_EQ(index.checkpoint(tip), std::nullopt);
  const CheckpointId checkpoint = Add(index, tip, 30);
  EXPECT_EQ(index.checkpoint(tip), checkpoint);
  EXPECT_EQ(index.checkpoint(index.parent(tip)), std::nullopt);
  EXPECT_EQ(index.checkpoint(*index.FindRoot("a")), std::nullopt);
  EXPECT_EQ(index.chunk(checkpoint), tip);
  EXPECT_THAT(index.window_blocks(checkpoint), ElementsAre(BlockId(30), BlockId(31)));
  EXPECT_EQ(index.overlap_block(checkpoint), BlockId(32));
  EXPECT_EQ(index.pins(checkpoint), 1);
  EXPECT_EQ(index.num_checkpoints(), 1);
  EXPECT_EQ(index.num_unpinned_checkpoints(), 0);
  index.CheckInvariants();
}

TEST(PrefixIndexCheckpointTest, AWindowMayBeShorterThanTheMost) {
  PrefixIndex index(TestIndexOptions());
  const ChunkId tip = UsePath(index, "a", {1, 2});
  Add(index, index.parent(tip), 30);
  const CheckpointId one = index.AddCheckpoint(tip, {BlockId(9)}, BlockId(-1));
  EXPECT_THAT(index.window_blocks(one), ElementsAre(BlockId(9)));
  EXPECT_EQ(index.overlap_block(one), BlockId(-1));
}

TEST(PrefixIndexCheckpointTest, APinnedCheckpointIsNoVictim) {
  PrefixIndex index(TestIndexOptions());
  const CheckpointId checkpoint = Add(index, UsePath(index, "a", {1}));
  index.Keep(checkpoint);
  index.Pin(checkpoint);
  EXPECT_TRUE(index.Unpin(checkpoint));
  EXPECT_EQ(index.NextCheckpointVictim(), std::nullopt);
  EXPECT_TRUE(index.Unpin(checkpoint));
  EXPECT_EQ(index.NextCheckpointVictim(), checkpoint);
  index.CheckInvariants();
  index.Pin(checkpoint);
  EXPECT_EQ(index.NextCheckpointVictim(), std::nullopt);
  index.CheckInvariants();
}

TEST(PrefixIndexCheckpointTest, OneThatNobodyKeepsGoesWithItsLastPin) {
  PrefixIndex index(TestIndexOptions());
  const ChunkId tip = UsePath(index, "a", {1});
  const CheckpointId checkpoint = Add(index, tip);
  index.Pin(checkpoint);
  EXPECT_TRUE(index.Unpin(checkpoint));
  EXPECT_FALSE(index.Unpin(checkpoint));
  index.RemoveCheckpoint(checkpoint);
  EXPECT_EQ(index.checkpoint(tip), std::nullopt);
  EXPECT_EQ(index.num_checkpoints(), 0);
  EXPECT_EQ(FindPath(index, "a", {1}), tip);  // the chunk stays
  index.CheckInvariants();
}

TEST(PrefixIndexCheckpointTest, ANewCheckpointOfAChunkForgetsThatTheLastWasKept) {
  PrefixIndex index(TestIndexOptions());
  const ChunkId tip = UsePath(index, "a", {1});
  const CheckpointId first = Add(index, tip, 10);
  UnpinKept(index, first);
  index.RemoveCheckpoint(first);
  const CheckpointId second = Add(index, tip, 20);
  EXPECT_EQ(index.window_blocks(second)[0], BlockId(20));
  EXPECT_FALSE(index.Unpin(second));
  index.CheckInvariants();
}

TEST(PrefixIndexCheckpointTest, TheLowestPriorityAndThenTheOldestGoesFirst) {
  PrefixIndex index(TestIndexOptions());
  const CheckpointId high = Add(index, UsePath(index, "a", {1}, Priority::kHigh));
  const CheckpointId low = Add(index, UsePath(index, "a", {2}, Priority::kLow));
  const CheckpointId later = Add(index, UsePath(index, "a", {3}, Priority::kLow));
  for (const CheckpointId checkpoint : {high, low, later}) UnpinKept(index, checkpoint);
  EXPECT_EQ(index.num_unpinned_checkpoints(), 3);
  index.Pin(low);
  index.Unpin(low);  // the last of its priority now
  EXPECT_EQ(index.NextCheckpointVictim(later), low);
  EXPECT_EQ(index.NextCheckpointVictim(low), high);
  EXPECT_EQ(index.NextCheckpointVictim(high), std::nullopt);
  for (const CheckpointId expected : {later, low, high}) {
    EXPECT_EQ(index.NextCheckpointVictim(), expected);
    index.RemoveCheckpoint(expected);
    index.CheckInvariants();
  }
  EXPECT_EQ(index.NextCheckpointVictim(), std::nullopt);
}

TEST(PrefixIndexCheckpointTest, ThoseWithALaterOneBelowAndNoBranchBetweenGoFirst) {
  PrefixIndex index(TestIndexOptions());
  const CheckpointId other = Add(index, UsePath(index, "b", {9}));
  const ChunkId first = UsePath(index, "a", {1});
  const CheckpointId early = Add(index, first);
  const ChunkId tip = UsePath(index, "a", {1, 2, 3});
  const CheckpointId late = Add(index, tip);
  for (const CheckpointId checkpoint : {other, late, early}) UnpinKept(index, checkpoint);
  EXPECT_EQ(index.NextCheckpointVictim(), early);
  EXPECT_EQ(index.NextCheckpointVictim(early), other);
  index.CheckInvariants();
  // A branch between them makes the early one worth keeping; it is the newest then.
  const ChunkId branch = UsePath(index, "a", {1, 7});
  EXPECT_EQ(index.NextCheckpointVictim(), other);
  EXPECT_EQ(index.NextCheckpointVictim(late), early);
  index.CheckInvariants();
  index.Release(branch, 1);
  index.Remove(branch);
  EXPECT_EQ(index.NextCheckpointVictim(), early);
  index.CheckInvariants();
  index.RemoveCheckpoint(late);
  EXPECT_EQ(index.NextCheckpointVictim(), other);
  EXPECT_EQ(index.NextCheckpointVictim(other), early);
  index.CheckInvariants();
}

TEST(PrefixIndexCheckpointTest, AsManyAsItWasMadeForAndUsedAgain) {
  PrefixIndex index(TestIndexOptions());
  for (int round = 0; round < 3; ++round) {
    for (int32_t name = 0; name < 16; ++name) {
      UnpinKept(index, Add(index, UsePath(index, "a", {name}), name));
    }
    EXPECT_EQ(index.num_checkpoints(), 16);
    index.CheckInvariants();
    while (const auto victim = index.NextCheckpointVictim()) index.RemoveCheckpoint(*victim);
  }
  EXPECT_EQ(index.num_checkpoints(), 0);
}

using PrefixIndexCheckpointDeathTest = ::testing::Test;
TEST(PrefixIndexCheckpointDeathTest, WhatIsPinnedOrHasACheckpointStays) {
  PrefixIndex index(TestIndexOptions());
  const ChunkId tip = UsePath(index, "a", {1});
  const CheckpointId checkpoint = Add(index, tip);
  EXPECT_DEATH(Add(index, tip), "checkpoint");
  EXPECT_DEATH(index.RemoveCheckpoint(checkpoint), "check failed");
  UnpinKept(index, checkpoint);
  EXPECT_DEATH(index.Unpin(checkpoint), "pins > 0");
  index.Release(tip, 1);
  EXPECT_DEATH(index.Remove(tip), "checkpoint");
}

}  // namespace
}  // namespace terrace::testing
