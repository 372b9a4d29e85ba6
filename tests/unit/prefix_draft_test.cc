// Drafts and prefix reuse: what was guessed wrong leaves nothing behind.

#include <gtest/gtest.h>

#include <algorithm>
#include <optional>

#include "tests/support/prefix_fixture.h"
#include "tests/support/use_of.h"

namespace terrace::testing {
namespace {

TEST(PrefixDraftTest, ARejectedDraftIsNeverPublished) {
  PrefixFixture f({});
  const SequenceId a = f.Start(Text(1, 254));
  f.Feed(a);
  f.Commit(a, {7});
  f.Draft(a, {21, 22, 23, 24});  // rows 254 .. 258: the guesses would complete the chunk
  EXPECT_EQ(f.Info(a).published, 0);
  f.Truncate(a, 255);
  EXPECT_EQ(f.Info(a).published, 0);
  f.Commit(a, {8});  // known, without a row
  EXPECT_EQ(f.Info(a).published, 0);
  f.Draft(a, {31, 32});
  f.Truncate(a, 256);
  EXPECT_EQ(f.Info(a).published, 256);
  EXPECT_TRUE(f.IsCached(Text(1, 254) + Tokens{7, 8}));
  EXPECT_FALSE(f.IsCached(Text(1, 254) + Tokens{7, 21}));
  f.Commit(a, {9});
  f.Free(a);
  EXPECT_EQ(f.figures().stored_chunks, 1);
}

TEST(PrefixDraftTest, AcceptedDraftsArePublishedAtTheirCommit) {
  PrefixFixture f({});
  const SequenceId a = f.Start(Text(1, 254));
  f.Feed(a);
  f.Commit(a, {7});
  f.Draft(a, {21, 22, 23, 24});
  f.Truncate(a, 256);  // one of four is accepted
  EXPECT_EQ(f.Info(a).published, 0);
  f.Commit(a, {21, 9});
  EXPECT_EQ(f.Info(a).published, 256);
  EXPECT_TRUE(f.IsCached(Text(1, 254) + Tokens{7, 21}));
  EXPECT_FALSE(f.IsCached(Text(1, 254) + Tokens{7, 22}));
}

TEST(PrefixDraftTest, ACheckpointOfASettledDraftIsInTheNextPlanBeforeTheFirstSequence) {
  PrefixFixture f({.overlap_blocks = 2});
  const SequenceId a = f.Start(Text(1, 254));
  const SequenceId b = f.Start(Text(2, 10));
  f.Append({{a, 254}, {b, 10}});
  f.Commit(a, {7});
  EXPECT_TRUE(f.Draft(a, {21, 22, 23, 24}).checkpoints().empty());
  EXPECT_EQ(f.Use(3).free, 2);
  f.Commit(a, {21, 22, 23, 24, 25});
  EXPECT_TRUE(f.HasCheckpoint(Text(1, 254) + Tokens{7, 21}));
  EXPECT_EQ(f.Use(3).live, 1);  // until it is snapshot
  f.Commit(b, {1});
  const Plan plan = f.Append({{b, 1}});  // whichever sequences the plan has
  ASSERT_EQ(plan.checkpoints().size(), 1u);
  EXPECT_EQ(plan.sequences()[0].checkpoint_begin, 1);
  EXPECT_EQ(plan.checkpoints()[0].sequence_index, a.index);
  EXPECT_EQ(plan.checkpoints()[0].position, 256);
  EXPECT_EQ(f.Use(3).live, 0);
  EXPECT_EQ(f.Use(3).cached, 1);
  const SequenceId c = f.Start(Text(1, 254) + Tokens{7, 21, 1, 2});
  EXPECT_EQ(f.Info(c).length, 256);
  EXPECT_EQ(f.Append({{c, 2}}).restores()[0].overlap_block, plan.checkpoints()[0].overlap_block);
}

TEST(PrefixDraftTest, ACommitEvictsForTheCheckpointItLeaves) {
  PrefixFixture f({.overlap_blocks = 1});
  f.Run({.tokens = Text(2, 300)});
  EXPECT_EQ(f.Use(3).cached, 1);
  const SequenceId a = f.Start(Text(1, 254));
  f.Feed(a);
  f.Commit(a, {7});
  f.Draft(a, {21, 22});
  EXPECT_TRUE(f.HasCheckpoint(Text(2, 256)));
  f.Commit(a, {21, 22, 23});  // the chunk settles: its checkpoint takes the only block
  EXPECT_FALSE(f.HasCheckpoint(Text(2, 256)));
  EXPECT_TRUE(f.IsCached(Text(2, 256)));
  EXPECT_TRUE(f.HasCheckpoint(Text(1, 254) + Tokens{7, 21}));
  EXPECT_EQ(f.figures().evicted_checkpoints, 1);
  EXPECT_EQ(f.figures().evicted_blocks[3], 1);
  EXPECT_EQ(f.figures().evicted_chunks, 0);
}

TEST(PrefixDraftTest, ACommitWithoutRoomForACheckpointSucceedsAndCountsIt) {
  PrefixFixture f({.overlap_blocks = 1});
  const SequenceId b = f.Start(Text(2, 300));
  f.Feed(b);  // rolls on from the only overlap block
  const SequenceId a = f.Start(Text(1, 254));
  f.Feed(a);
  f.Commit(a, {7});
  f.Draft(a, {21, 22});
  f.Commit(a, {21, 22, 23});
  EXPECT_EQ(f.figures().missed_checkpoints, 1);
  EXPECT_EQ(f.Info(a).published, 256);
  EXPECT_TRUE(f.HasCheckpoint(Text(2, 256)));
  EXPECT_FALSE(f.HasCheckpoint(Text(1, 254) + Tokens{7, 21}));
}

TEST(PrefixDraftTest, TakingBackAcrossBlockAndChunkBordersFreesExactlyWhatDraftsTook) {
  PrefixFixture f({.swa_block_tokens = 4, .window_blocks = 200});
  const SequenceId a = f.Start(Text(1, 254));
  f.Feed(a);
  for (int32_t token = 0; token < 5; ++token) {
    const int32_t length = f.Info(a).length;
    f.Commit(a, {1000 + token});
    f.Draft(a, {1, 2, 3, 4});
    f.Truncate(a, length + 1);
    EXPECT_EQ(f.Use(1).live, length / 256 + 1);
    EXPECT_EQ(f.Use(2).live, length / 256 + 1);
    // Rows that the step's first query sees to the last row.
    EXPECT_EQ(f.Use(0).live, length / 4 - (length - 127) / 4 + 1);
  }
}

// Every page is accounted for after each of 10,000 rejections.
TEST(PrefixDraftTest, NoPageIsLostOverTenThousandRejections) {
  TestGeometryOptions options = {.swa_block_tokens = 8, .window_blocks = 60, .full_blocks = 40};
  options.overlap_blocks = 4;
  const auto ledger = *Ledger::Create({.geometry = MakeTestGeometry(options)});
  std::optional<SequenceId> a;
  int32_t length = 0;
  for (int32_t i = 0; i < 10'000; ++i) {
    if (!a.has_value()) {
      a = ledger->AllocateSequence({.tokens = {i}})->id;
      length = 0;
    } else {
      ASSERT_TRUE(ledger->Commit(*a, {i}).ok());
    }
    ASSERT_TRUE(ledger->Append({{{*a, 5, 4}}}).ok());
    ledger->CheckInvariants();
    ASSERT_TRUE(ledger->Truncate(*a, ++length).ok());
    ledger->CheckInvariants();
    const int32_t chunks = (length - 1) / 256 + 1;
    const int32_t window_begin = std::max(0, length - 1 - 127) / 8;
    ASSERT_EQ(UseOf(*ledger, 1).live, chunks) << i;
    ASSERT_EQ(UseOf(*ledger, 2).live, chunks) << i;
    ASSERT_EQ(UseOf(*ledger, 0).live, (length - 1) / 8 - window_begin + 1) << i;
    if (length < 3000) continue;
    ASSERT_TRUE(ledger->FreeSequence(*a).ok());
    a.reset();
    for (int p = 0; p < 4; ++p) ASSERT_EQ(UseOf(*ledger, p).live, 0);
    ledger->ClearPrefixes();
    for (int p = 0; p < 4; ++p) ASSERT_EQ(UseOf(*ledger, p).free, UseOf(*ledger, p).capacity);
  }
}

}  // namespace
}  // namespace terrace::testing
