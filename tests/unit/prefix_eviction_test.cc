// What goes when blocks are short, what never may, and what time and ClearPrefixes take.

#include <gtest/gtest.h>

#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/support/prefix_fixture.h"

namespace terrace::testing {
namespace {

using absl::StatusCode;

// Room for 8 chunks.
TestGeometryOptions EightChunks() { return {.full_blocks = 8}; }

TEST(PrefixEvictionTest, TheLeastRecentlyUsedGoesAndLeavesBeforeTheirParents) {
  PrefixFixture f(EightChunks());
  f.Run({.tokens = Text(1, 769)});  // 3 chunks each
  f.Run({.tokens = Text(2, 769)});
  f.Run({.tokens = Text(1, 769)});  // used again
  EXPECT_EQ(f.Use(1).cached, 6);
  f.Run({.tokens = Text(3, 769)});  // takes 4 blocks of 2 free ones
  EXPECT_EQ(f.figures().evicted_chunks, 2);
  EXPECT_EQ(f.figures().evicted_blocks[1], 2);
  EXPECT_EQ(f.figures().evicted_blocks[2], 2);
  EXPECT_EQ(f.Probe({.tokens = Text(1, 769)}).matched, 768);
  EXPECT_EQ(f.Probe({.tokens = Text(2, 769)}).matched, 256);
}

TEST(PrefixEvictionTest, WhatWasJustMatchedIsNeverEvictedForAnyPool) {
  PrefixFixture f({.window_blocks = 5, .full_blocks = 8});
  f.Run({.tokens = Text(1, 1025)});  // the least recently used of all
  f.Run({.tokens = Text(2, 513)});
  const SequenceId a = f.Start(Text(1, 1400));
  EXPECT_EQ(f.Info(a).length, 1024);
  // The window has 5 blocks: 2 of the match, 2 of the other checkpoint. The full pools have 8: 4
  // of the match, 2 of the other prompt, and the step needs 2.
  f.Append({{a, 256}});
  f.Append({{a, 100}});
  EXPECT_EQ(f.figures().evicted_chunks, 0);
  EXPECT_FALSE(f.HasCheckpoint(Text(2, 512)));  // for the window
  const SequenceId b = f.Start(Text(3, 300));
  f.Append({{b, 64}});  // takes a chunk of text 2, not one of text 1
  EXPECT_EQ(f.figures().evicted_chunks, 1);
  EXPECT_TRUE(f.IsCached(Text(2, 256)));
  EXPECT_TRUE(f.IsCached(Text(1, 1024)));
}

TEST(PrefixEvictionTest, WhenAllThatIsLeftWasMatchedAStepWaits) {
  PrefixFixture f(EightChunks());
  f.Run({.tokens = Text(1, 1025)});
  const SequenceId a = f.Start(Text(1, 1100));
  const SequenceId b = f.Start(Text(2, 1100));
  const absl::Status status = f.TryAppend({{b, 1100}}).status();  // 5 blocks of 4
  EXPECT_EQ(status.code(), StatusCode::kResourceExhausted);
  const std::optional<Shortage> shortage = ShortageOf(status);
  ASSERT_TRUE(shortage.has_value());
  EXPECT_TRUE(shortage->retry_later);
  EXPECT_EQ(shortage->missing_blocks, 1);
  EXPECT_EQ(f.figures().evicted_chunks, 0);
  f.Free(a);
  f.Append({{b, 1100}});
  EXPECT_EQ(f.figures().evicted_chunks, 1);
}

TEST(PrefixEvictionTest, APoolUnderPressureEvictsOnlyWhatFreesIt) {
  PrefixFixture f({.window_blocks = 8, .full_blocks = 8});
  f.Run({.tokens = Text(1, 300)});
  f.Run({.tokens = Text(2, 300)});
  EXPECT_EQ(f.Use(0).cached, 4);
  std::vector<SequenceId> ids;
  for (int32_t i = 0; i < 5; ++i) ids.push_back(f.Start(Text(10 + i, 20)));
  f.Append({{ids[0], 20}, {ids[1], 20}, {ids[2], 20}, {ids[3], 20}, {ids[4], 20}});
  EXPECT_EQ(f.figures().evicted_checkpoints, 1);  // the window was short of one block
  EXPECT_EQ(f.figures().evicted_blocks[0], 1);
  EXPECT_FALSE(f.HasCheckpoint(Text(1, 256)));
  EXPECT_TRUE(f.HasCheckpoint(Text(2, 256)));
  EXPECT_EQ(f.figures().evicted_chunks, 0);
  for (const SequenceId id : ids) f.Free(id);
  f.Run({.tokens = Text(3, 1700), .priority = Priority::kLow});  // now chunks: 7 of 6
  EXPECT_EQ(f.figures().evicted_chunks, 1);
  EXPECT_EQ(f.figures().evicted_blocks[0], 1);
  EXPECT_FALSE(f.IsCached(Text(1, 256)));
}

TEST(PrefixEvictionTest, WhatMayBeEvictedCountsAsFree) {
  PrefixFixture f(EightChunks());
  for (int32_t text = 1; text <= 8; ++text) f.Run({.tokens = Text(text, 256)});
  EXPECT_EQ(f.Use(1).free, 0);
  EXPECT_EQ(f.Use(1).cached, 8);
  const SequenceId a = f.Start(Text(9, 2048));
  f.Append({{a, 2048}});
  EXPECT_EQ(f.Use(1).live, 8);
  EXPECT_EQ(f.figures().evicted_chunks, 8);
}

TEST(PrefixEvictionTest, WhatIsLargerThanAPoolIsRefusedForGoodAtOnce) {
  PrefixFixture f(EightChunks());
  f.Run({.tokens = Text(1, 600)});
  const std::string before = f.Dump();
  const Tokens prompt = Text(2, 2049);  // 9 chunks
  const absl::Status refused = f.ledger().AllocateSequence({.tokens = prompt}).status();
  EXPECT_EQ(refused.code(), StatusCode::kOutOfRange);
  ASSERT_TRUE(ShortageOf(refused).has_value());
  EXPECT_FALSE(ShortageOf(refused)->retry_later);
  EXPECT_EQ(f.ledger().num_sequences(), 0);
  EXPECT_EQ(f.Dump(), before);
  const SequenceId a = f.Start(Text(3, 2048));
  f.Feed(a);
  f.Commit(a, {1});
  const absl::Status grown = f.TryAppend({{a, 1}}).status();
  EXPECT_EQ(grown.code(), StatusCode::kOutOfRange);
  EXPECT_FALSE(ShortageOf(grown)->retry_later);
  EXPECT_EQ(f.figures().evicted_chunks, 2);  // for the 8 chunks that did fit
}

TEST(PrefixEvictionTest, ARefusedStepEvictsNothing) {
  PrefixFixture f({.window_blocks = 4, .full_blocks = 8});
  f.Run({.tokens = Text(1, 257)});
  const SequenceId a = f.Start(Text(2, 100));
  f.Feed(a);
  const SequenceId b = f.Start(Text(3, 1700));
  const std::string before = f.Dump();
  const PrefixFigures figures = f.figures();
  // Short of a block of each full pool, which eviction could give, and of 3 of the window, of which
  // it could give 2.
  const absl::Status status = f.TryAppend({{b, 1700}}).status();
  ASSERT_TRUE(ShortageOf(status).has_value()) << status;
  EXPECT_EQ(ShortageOf(status)->pool, PoolIndex(0));
  EXPECT_EQ(ShortageOf(status)->missing_blocks, 1);
  EXPECT_TRUE(ShortageOf(status)->retry_later);
  EXPECT_EQ(f.Dump(), before);
  EXPECT_EQ(f.figures(), figures);
  EXPECT_TRUE(f.HasCheckpoint(Text(1, 256)));
}

// 10 conversations share 40 of 160 blocks; each turn leaves a chunk that nobody asks for again.
TEST(PrefixEvictionTest, SteadyStateAtAQuarterOccupancyKeepsItsHitRate) {
  PrefixFixture f({.window_blocks = 100, .full_blocks = 160});
  for (int32_t round = 0; round < 60; ++round) {
    for (int32_t text = 0; text < 10; ++text) {
      const Tokens prompt = Text(text, 1024) + Text(100 + 10 * round + text, 300);
      const PrefixMatch match = f.Run({.tokens = prompt});
      ASSERT_EQ(match.matched, round == 0 ? 0 : 1024) << round << " " << text;
      ASSERT_EQ(match.resumed, round < 2 ? match.resumed : 1024) << round << " " << text;
    }
  }
  const PrefixFigures figures = f.figures();
  EXPECT_EQ(figures.evicted_chunks, 640 - 159);  // the last turn ended in a chunk of its own
  EXPECT_EQ(figures.hits, 590);
}

// ---- Priority and time to live.

TEST(PrefixEvictionTest, TheLowestPriorityGoesFirstHoweverRecent) {
  PrefixFixture f(EightChunks());
  f.Run({.tokens = Text(1, 513), .priority = Priority::kHigh});
  f.Run({.tokens = Text(2, 513), .priority = Priority::kNormal});
  f.Run({.tokens = Text(3, 513), .priority = Priority::kLow});
  f.Run({.tokens = Text(4, 1024)});  // 2 free blocks, 2 evicted
  EXPECT_EQ(f.Probe({.tokens = Text(3, 513)}).matched, 0);
  EXPECT_EQ(f.Probe({.tokens = Text(2, 513)}).matched, 512);
  f.Run({.tokens = Text(5, 1024), .priority = Priority::kHigh});
  EXPECT_EQ(f.Probe({.tokens = Text(1, 513)}).matched, 512);
  EXPECT_EQ(f.Probe({.tokens = Text(2, 513)}).matched, 0);
  EXPECT_EQ(f.Probe({.tokens = Text(4, 1025)}).matched, 512);
}

TEST(PrefixEvictionTest, AUserRaisesThePriorityOfWhatItMatches) {
  PrefixFixture f(EightChunks());
  f.Run({.tokens = Text(1, 1025), .priority = Priority::kLow});
  f.Run({.tokens = Text(1, 513), .priority = Priority::kHigh});
  f.Run({.tokens = Text(2, 513)});
  f.Run({.tokens = Text(3, 1024)});  // 2 free blocks, 2 evicted: the low half of text 1
  EXPECT_EQ(f.Probe({.tokens = Text(1, 1025)}).matched, 512);
  EXPECT_EQ(f.Probe({.tokens = Text(2, 513)}).matched, 512);
}

TEST(PrefixEvictionTest, WhatOutlivedItsTimeGoesUnlessSomebodyUsesIt) {
  PrefixFixture f({});
  f.SetTime(1000);
  f.Run({.tokens = Text(1, 513), .time_to_live_ms = 100});
  f.Run({.tokens = Text(2, 513)});  // no limit
  const Tokens longer = Text(1, 600);
  f.SetTime(1050);
  const SequenceId a = f.Allocate({.tokens = longer, .time_to_live_ms = 100}).id;
  f.SetTime(1200);
  EXPECT_TRUE(f.IsCached(Text(1, 512)));
  f.Free(a);
  f.SetTime(1299);
  EXPECT_TRUE(f.IsCached(Text(1, 512)));
  f.SetTime(1300);
  EXPECT_FALSE(f.IsCached(Text(1, 256)));
  EXPECT_EQ(f.figures().expired_chunks, 2);
  EXPECT_EQ(f.figures().dropped_checkpoints, 1);
  f.SetTime(1'000'000'000'000);
  EXPECT_TRUE(f.IsCached(Text(2, 512)));
  EXPECT_EQ(f.ledger().SetTime(1).code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(f.Use(1).free, 98);
}

// The clock never reaches what lies behind its last number.
TEST(PrefixEvictionTest, ATimeToLiveBeyondTheClockNeverExpires) {
  constexpr int64_t kLast = std::numeric_limits<int64_t>::max();
  PrefixFixture f({});
  f.SetTime(1000);
  f.Run({.tokens = Text(1, 513), .time_to_live_ms = kLast});
  f.Run({.tokens = Text(2, 513), .time_to_live_ms = kLast - 1000});
  f.Run({.tokens = Text(3, 513), .time_to_live_ms = kLast - 1001});
  f.SetTime(1001);
  EXPECT_EQ(f.figures().expired_chunks, 0);
  f.SetTime(kLast - 1);
  EXPECT_EQ(f.figures().expired_chunks, 2);  // of text 3
  f.SetTime(kLast);
  f.Run({.tokens = Text(4, 513), .time_to_live_ms = 1});
  f.SetTime(kLast);
  for (const int32_t text : {1, 2, 4}) EXPECT_TRUE(f.IsCached(Text(text, 512))) << text;
  EXPECT_FALSE(f.IsCached(Text(3, 256)));
  EXPECT_EQ(f.figures().expired_chunks, 2);
}

TEST(PrefixEvictionTest, ANegativeTimeIsRefused) {
  PrefixFixture f({});
  for (const int64_t wrong : {int64_t{-1}, std::numeric_limits<int64_t>::min()}) {
    EXPECT_EQ(f.ledger().SetTime(wrong).code(), StatusCode::kInvalidArgument);
    const absl::Status status =
        f.ledger().AllocateSequence({.tokens = Text(1, 513), .time_to_live_ms = wrong}).status();
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
    EXPECT_NE(status.message().find(absl::StrCat("time_to_live_ms is ", wrong)), std::string::npos)
        << status;
  }
}

TEST(PrefixEvictionTest, ClearPrefixesForgetsAllAndLiveSequencesPublishNothingMore) {
  PrefixFixture f({.overlap_blocks = 8});
  f.Run({.tokens = Text(1, 600)});
  const SequenceId a = f.Start(Text(1, 700));  // resumed, not yet announced
  const SequenceId b = f.Start(Text(2, 700));
  f.Append({{b, 600}});
  f.ClearPrefixes();
  EXPECT_EQ(f.mirror().num_chunks(), 0);
  EXPECT_EQ(f.figures().cleared_chunks, 4);
  EXPECT_EQ(f.figures().cleared_checkpoints, 2);
  for (int p = 0; p < 4; ++p) EXPECT_EQ(f.Use(p).cached, 0);
  f.Feed(a);
  f.Feed(b);
  f.Decode(b, Text(3, 100));
  EXPECT_EQ(f.Extend(a), PrefixMatch{});
  EXPECT_EQ(f.mirror().num_chunks(), 0);
  f.Free(a);
  f.Free(b);
  for (int p = 0; p < 4; ++p) EXPECT_EQ(f.Use(p).free, f.Use(p).capacity);
  EXPECT_EQ(f.Run({.tokens = Text(1, 600)}), PrefixMatch{});  // with the new weights
  EXPECT_EQ(f.Probe({.tokens = Text(1, 600)}).matched, 512);
}

}  // namespace
}  // namespace terrace::testing
