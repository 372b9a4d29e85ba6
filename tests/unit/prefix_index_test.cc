#include "src/ledger/prefix_index.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "tests/support/prefix_index_testing.h"

namespace terrace::testing {
namespace {

using internal::ChunkId;
using internal::PrefixIndex;

using ::testing::ElementsAre;

// Evicts all that can be, and tells the first block of each chunk: its name.
std::vector<int32_t> EvictAll(PrefixIndex& index) {
  std::vector<int32_t> names;
  while (const std::optional<ChunkId> victim = index.NextVictim()) {
    names.push_back(index.blocks(*victim)[0].value());
    index.Remove(*victim);
    index.CheckInvariants();
  }
  return names;
}

TEST(PrefixIndexTest, APublishedChunkIsFoundByItsTokensWithItsBlocks) {
  PrefixIndex index(TestIndexOptions());
  const ChunkId tip = UsePath(index, "a", {1, 2});
  index.CheckInvariants();
  EXPECT_EQ(FindPath(index, "a", {1, 2}), tip);
  EXPECT_EQ(FindPath(index, "a", {1}), index.parent(tip));
  EXPECT_TRUE(PrefixIndex::IsRoot(index.parent(index.parent(tip))));
  EXPECT_THAT(index.tokens(tip), ElementsAre(2, 7, -2, 0));
  EXPECT_THAT(index.blocks(tip), ElementsAre(BlockId(2), BlockId(1002)));
  EXPECT_EQ(index.digest(tip), NextDigest(index.digest(index.parent(tip)), ChunkOf(2)));
  EXPECT_EQ(index.num_chunks(), 2);
  EXPECT_EQ(index.users(tip), 1);
}

TEST(PrefixIndexTest, EqualTokensUnderAnotherParentOrSaltAreNeverFound) {
  PrefixIndex index(TestIndexOptions());
  UsePath(index, "a", {1, 2});
  UsePath(index, "a", {3});
  UsePath(index, "b", {4});
  EXPECT_EQ(FindPath(index, "a", {2}), std::nullopt);
  EXPECT_EQ(FindPath(index, "a", {3, 2}), std::nullopt);
  EXPECT_EQ(FindPath(index, "b", {1}), std::nullopt);
  EXPECT_EQ(FindPath(index, "", {1}), std::nullopt);
  EXPECT_EQ(FindPath(index, absl::string_view("a\0", 2), {1}), std::nullopt);
}

TEST(PrefixIndexTest, OneTokenOrOneDigestBitThatDiffersFindsNothing) {
  PrefixIndex index(TestIndexOptions());
  const ChunkId tip = UsePath(index, "a", {5});
  const ChunkId root = *index.FindRoot("a");
  const ChunkDigest digest = index.digest(tip);
  for (int32_t i = 0; i < kTestChunkTokens; ++i) {
    std::vector<int32_t> tokens = ChunkOf(5);
    tokens[i] ^= 1;
    EXPECT_EQ(index.FindChild(root, digest, tokens), std::nullopt) << i;
  }
  EXPECT_EQ(index.FindChild(root, {digest.low, digest.high ^ 1}, ChunkOf(5)), std::nullopt);
  EXPECT_EQ(index.FindChild(root, {digest.low ^ 1, digest.high}, ChunkOf(5)), std::nullopt);
  EXPECT_EQ(index.FindChild(root, digest, {5, 7, -5}), std::nullopt);
  EXPECT_EQ(index.FindChild(root, digest, ChunkOf(5)), tip);
}

TEST(PrefixIndexTest, ChunksOfEqualDigestsAreNeverMixedUp) {
  const ChunkHash constant = [](const ChunkDigest&, absl::Span<const int32_t>) {
    return ChunkDigest{42, 42};
  };
  PrefixIndex index(TestIndexOptions(constant));
  const std::vector<std::vector<int32_t>> paths = {{1}, {2}, {1, 1}, {2, 1}, {1, 2}, {1, 1, 1}};
  for (const absl::string_view salt : {"a", "b"}) {
    for (const std::vector<int32_t>& path : paths) {
      EXPECT_EQ(FindPath(index, salt, path), std::nullopt);
      UsePath(index, salt, path);
      index.CheckInvariants();
    }
  }
  EXPECT_EQ(index.num_chunks(), 12);
  EXPECT_THAT(index.blocks(*FindPath(index, "b", {2, 1})), ElementsAre(BlockId(1), BlockId(1001)));
  EXPECT_EQ(index.parent(*FindPath(index, "b", {2, 1})), FindPath(index, "b", {2}));
  EXPECT_EQ(FindPath(index, "a", {2, 2}), std::nullopt);
  EXPECT_EQ(FindPath(index, "c", {1}), std::nullopt);
}

TEST(PrefixIndexTest, TheFirstPublisherOfAChunkWins) {
  PrefixIndex index(TestIndexOptions());
  const ChunkId first = index.AcquireRoot("a");
  const ChunkId second = index.AcquireRoot("a");
  EXPECT_EQ(first, second);
  const PrefixIndex::Published one =
      index.Publish(first, ChunkOf(1), TestBlocks(10), Priority::kNormal);
  const PrefixIndex::Published two =
      index.Publish(second, ChunkOf(1), TestBlocks(20), Priority::kNormal);
  EXPECT_TRUE(one.created);
  EXPECT_FALSE(two.created);
  EXPECT_EQ(one.chunk, two.chunk);
  EXPECT_EQ(index.users(one.chunk), 2);
  EXPECT_THAT(index.blocks(one.chunk), ElementsAre(BlockId(10), BlockId(1010)));
  index.CheckInvariants();
}

TEST(PrefixIndexTest, ChunksInUseAreNoVictims) {
  PrefixIndex index(TestIndexOptions());
  const ChunkId tip = UsePath(index, "a", {1, 2});
  EXPECT_EQ(index.NextVictim(), std::nullopt);
  index.AcquirePath(tip, Priority::kNormal);
  index.Release(tip, 1);
  EXPECT_EQ(index.NextVictim(), std::nullopt);
  index.Release(tip, 2);
  EXPECT_EQ(index.NextVictim(), tip);
  EXPECT_EQ(index.num_unused_chunks(), 2);
  index.CheckInvariants();
}

TEST(PrefixIndexTest, TheLeastRecentlyUsedGoesFirstAndLeavesBeforeTheirParents) {
  PrefixIndex index(TestIndexOptions());
  const ChunkId a = UsePath(index, "a", {1, 2, 3});
  const ChunkId b = UsePath(index, "a", {1, 4, 5});
  const ChunkId c = UsePath(index, "b", {6});
  index.Release(b, 1);
  index.Release(c, 1);
  index.Release(a, 1);
  // Used again: {1, 4} are now the last, and 5 keeps its place.
  const ChunkId root = index.AcquireRoot("a");
  index.Acquire(*FindPath(index, "a", {1}), Priority::kNormal);
  index.Acquire(*FindPath(index, "a", {1, 4}), Priority::kNormal);
  EXPECT_EQ(index.users(root), 1);
  index.Release(*FindPath(index, "a", {1, 4}), 2);
  index.CheckInvariants();
  EXPECT_THAT(EvictAll(index), ElementsAre(5, 6, 3, 2, 4, 1));
}

TEST(PrefixIndexTest, ALowerPriorityGoesFirstHoweverRecentlyItWasUsed) {
  PrefixIndex index(TestIndexOptions());
  index.Release(UsePath(index, "a", {1, 2}, Priority::kHigh), 1);
  index.Release(UsePath(index, "a", {3}, Priority::kNormal), 2);
  index.Release(UsePath(index, "a", {1, 4}, Priority::kLow), 3);
  index.CheckInvariants();
  EXPECT_THAT(EvictAll(index), ElementsAre(4, 3, 2, 1));
}

TEST(PrefixIndexTest, APriorityRaisedAboveAnUnusedChildKeepsTheChildFirst) {
  PrefixIndex index(TestIndexOptions());
  index.Release(UsePath(index, "a", {1, 2, 3}, Priority::kLow), 1);
  index.Release(UsePath(index, "a", {1, 2}, Priority::kNormal), 2);
  index.Release(UsePath(index, "a", {4}, Priority::kLow), 3);
  index.Release(UsePath(index, "a", {1}, Priority::kHigh), 4);
  index.Release(UsePath(index, "a", {1, 2}, Priority::kLow), 5);  // a priority never falls
  index.CheckInvariants();
  EXPECT_THAT(EvictAll(index), ElementsAre(3, 4, 2, 1));
}

TEST(PrefixIndexTest, CountsWhatEvictionWouldFreeAtOnce) {
  PrefixIndex index(TestIndexOptions());
  index.Release(UsePath(index, "a", {1, 2}, Priority::kLow), 3);
  index.Release(UsePath(index, "a", {3}, Priority::kLow), 5);
  index.Release(UsePath(index, "a", {4}, Priority::kHigh), 5);
  const ChunkId early = UsePath(index, "b", {5}, Priority::kHigh);
  index.Release(early, 6);
  EXPECT_EQ(index.CountEvictable(10, 2), 0);
  EXPECT_EQ(index.CountEvictable(10, 3), 2);
  EXPECT_EQ(index.CountEvictable(1, 3), 1);
  EXPECT_EQ(index.CountEvictable(3, 5), 3);
  EXPECT_EQ(index.CountEvictable(10, 5), 4);
  EXPECT_EQ(index.CountEvictable(10, 6), 5);
  EXPECT_EQ(index.CountEvictable(0, 6), 0);
  EXPECT_EQ(index.stamp(early), 6u);
}

TEST(PrefixIndexTest, WhatExpiredIsNamedLeavesFirst) {
  PrefixIndex index(TestIndexOptions());
  index.Release(UsePath(index, "a", {1, 2}), 1, 100);
  index.Release(UsePath(index, "a", {3}), 1, 50);
  index.Release(UsePath(index, "a", {4}), 1);
  EXPECT_EQ(index.NextExpired(49), std::nullopt);
  EXPECT_EQ(index.NextExpired(50), FindPath(index, "a", {3}));
  index.Remove(*index.NextExpired(50));
  EXPECT_EQ(index.NextExpired(99), std::nullopt);
  EXPECT_EQ(index.NextExpired(100), FindPath(index, "a", {1, 2}));
  index.Remove(*index.NextExpired(100));
  EXPECT_EQ(index.NextExpired(100), FindPath(index, "a", {1}));
  index.Remove(*index.NextExpired(100));
  EXPECT_EQ(index.NextExpired(PrefixIndex::kNever - 1), std::nullopt);
  EXPECT_EQ(index.num_chunks(), 1);
  index.CheckInvariants();
}

TEST(PrefixIndexTest, AChunkExpiresAtTheLatestOfItsReleasesAndOnlyUnused) {
  PrefixIndex index(TestIndexOptions());
  index.Release(UsePath(index, "a", {1, 2}), 1, 100);
  const ChunkId tip = UsePath(index, "a", {1, 2});
  EXPECT_EQ(index.NextExpired(1000), std::nullopt);  // in use
  index.Release(tip, 2, 60);
  index.CheckInvariants();
  EXPECT_EQ(index.NextExpired(99), std::nullopt);
  EXPECT_EQ(index.NextExpired(100), tip);
  index.Release(UsePath(index, "a", {1}), 3);  // for good
  index.Remove(*index.NextExpired(100));
  EXPECT_EQ(index.NextExpired(1000), std::nullopt);
  EXPECT_NE(FindPath(index, "a", {1}), std::nullopt);
  index.CheckInvariants();
}

TEST(PrefixIndexTest, UsingAChunkOverAndOverKeepsFewStaleExpiries) {
  PrefixIndex index(TestIndexOptions());
  index.Release(UsePath(index, "a", {1, 2}), 0, 10'000);
  for (uint64_t i = 0; i < 5'000; ++i) {
    index.Release(UsePath(index, "a", {1, 2}), i, 10'000 + i);
    if (i % 100 == 0) index.CheckInvariants();  // it bounds their number
  }
  EXPECT_EQ(index.NextExpired(14'998), std::nullopt);
  EXPECT_EQ(index.NextExpired(14'999), FindPath(index, "a", {1, 2}));
}

TEST(PrefixIndexTest, CleaningStaleExpiriesKeepsTheOthersInOrder) {
  PrefixIndex index(TestIndexOptions());
  const auto use = [&](int32_t name, int64_t expires) {
    index.Release(UsePath(index, "a", {name}), 1, expires);
  };
  for (int32_t name = 0; name < 40; ++name) use(name, 100 + name * 37 % 41);
  for (int32_t i = 0; i < 400; ++i) {  // of every second chunk, until many are stale
    use(i * 14 % 40, 100 + i * 59 % 97);
    index.CheckInvariants();
  }
  int64_t now = 0;
  for (; index.num_chunks() > 0; ++now) {
    while (const std::optional<ChunkId> expired = index.NextExpired(now)) index.Remove(*expired);
    index.CheckInvariants();
  }
  EXPECT_LE(now, 200);
}

TEST(PrefixIndexTest, ARootLivesAsLongAsItHasUsersOrChunks) {
  PrefixIndex index(TestIndexOptions());
  index.Release(index.AcquireRoot("a"), 1);
  EXPECT_EQ(index.FindRoot("a"), std::nullopt);
  const ChunkId other = index.AcquireRoot("b");
  const ChunkId tip = UsePath(index, "a", {1});
  EXPECT_NE(*index.FindRoot("a"), other);
  index.Release(other, 1);
  EXPECT_EQ(index.FindRoot("b"), std::nullopt);
  index.Release(tip, 1);
  EXPECT_NE(index.FindRoot("a"), std::nullopt);
  index.CheckInvariants();
  index.Remove(tip);
  EXPECT_EQ(index.FindRoot("a"), std::nullopt);
  EXPECT_EQ(index.num_chunks(), 0);
  index.CheckInvariants();
}

TEST(PrefixIndexTest, TheUserOfARootMayOutliveItsChunks) {
  PrefixIndex index(TestIndexOptions());
  const ChunkId root = index.AcquireRoot("a");
  const ChunkId tip = UsePath(index, "a", {1});
  index.Release(tip, 1);
  index.Remove(tip);
  EXPECT_EQ(index.FindRoot("a"), root);
  EXPECT_EQ(index.users(root), 1);
  EXPECT_EQ(index.digest(root), RootDigest("a"));
  index.CheckInvariants();
}

TEST(PrefixIndexTest, AFullIndexHoldsAsManyChunksAsItWasMadeForAndUsesThemAgain) {
  PrefixIndex index(TestIndexOptions());
  for (int round = 0; round < 3; ++round) {
    for (int32_t name = 0; name < 128; ++name) {
      index.Release(UsePath(index, "a", {name}), round);
    }
    EXPECT_EQ(index.num_chunks(), 128);
    index.CheckInvariants();
    while (const auto victim = index.NextVictim()) index.Remove(*victim);
    EXPECT_EQ(index.FindRoot("a"), std::nullopt);
  }
}

using PrefixIndexDeathTest = ::testing::Test;
TEST(PrefixIndexDeathTest, RemovingAChunkInUseOrAParentIsABrokenInvariant) {
  PrefixIndex index(TestIndexOptions());
  const ChunkId tip = UsePath(index, "a", {1, 2});
  EXPECT_DEATH(index.Remove(tip), "check failed");
  index.Release(tip, 1);
  EXPECT_DEATH(index.Remove(index.parent(tip)), "children");
  EXPECT_DEATH(index.Release(tip, 1), "users > 0");
  EXPECT_DEATH(index.Release(UsePath(index, "a", {3}), 0), "stamp >= last_stamp_");
}

}  // namespace
}  // namespace terrace::testing
