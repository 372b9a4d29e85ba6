// Where sequences leave checkpoints, and how one goes on where there is none.

#include <gtest/gtest.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "tests/support/prefix_fixture.h"

namespace terrace::testing {
namespace {

using absl::StatusCode;

// Boundaries of `tokens` that have a checkpoint.
std::vector<int32_t> Checkpoints(const PrefixFixture& f, const Tokens& tokens) {
  std::vector<int32_t> found;
  for (int32_t end = 256; end <= static_cast<int32_t>(tokens.size()); end += 256) {
    if (f.HasCheckpoint(Tokens(tokens.begin(), tokens.begin() + end))) found.push_back(end);
  }
  return found;
}

LedgerOptions With(CheckpointPolicy policy) {
  LedgerOptions options = {};
  options.prefix.checkpoints = policy;
  return options;
}

// `layers` deep, so that an exact refeed goes back by 127 tokens for each.
Geometry Deep(int32_t layers, const TestGeometryOptions& options = {}) {
  Geometry geometry = MakeTestGeometry(options);
  geometry.num_layers = layers;
  return geometry;
}

using Boundaries = std::vector<int32_t>;

// ---- Policies.

TEST(PrefixCheckpointTest, APromptLeavesOneBeforeItsLastTokenAndOneAtItsLastBoundary) {
  for (const auto& [tokens, expected] :
       std::vector<std::pair<int32_t, Boundaries>>{{1, {}},
                                                   {256, {256}},
                                                   {257, {256}},
                                                   {1000, {768}},
                                                   {1024, {768, 1024}},
                                                   {1025, {1024}}}) {
    PrefixFixture f({});
    f.Run({.tokens = Text(1, tokens)});
    EXPECT_EQ(Checkpoints(f, Text(1, tokens)), expected) << tokens;
  }
}

TEST(PrefixCheckpointTest, TheRollingOneMovesWithTheOutputAndStaysWhereItEnds) {
  PrefixFixture f({});
  const SequenceId a = f.Start(Text(1, 300));
  const Tokens all = Text(1, 300) + Text(2, 800);
  f.Feed(a);
  EXPECT_EQ(Checkpoints(f, all), Boundaries({256}));
  f.Decode(a, Text(2, 212));  // 512 rows
  EXPECT_EQ(Checkpoints(f, all), Boundaries({256, 512}));
  f.Decode(a, Tokens(all.begin() + 512, all.begin() + 768));
  EXPECT_EQ(Checkpoints(f, all), Boundaries({256, 768}));  // the prompt's stays
  EXPECT_EQ(f.figures().rolled_checkpoints, 1);
  f.Decode(a, Tokens(all.begin() + 768, all.end()));
  f.Free(a);
  EXPECT_EQ(Checkpoints(f, all), Boundaries({256, 1024}));
  EXPECT_EQ(f.figures().rolled_checkpoints, 2);
  EXPECT_EQ(f.Probe({.tokens = all}), (PrefixMatch{.matched = 1024, .resumed = 1024}));
}

TEST(PrefixCheckpointTest, OneIsLeftWhereAMatchEnded) {
  PrefixFixture f(Deep(4), {});
  f.Run({.tokens = Text(1, 2000)});
  const Tokens branch = Text(1, 1030) + Text(2, 600);
  EXPECT_EQ(Checkpoints(f, Text(1, 2000)), Boundaries({1792}));
  const PrefixMatch first = f.Run({.tokens = branch});
  EXPECT_EQ(first, (PrefixMatch{.matched = 1024, .skipped = 512, .refed = 512}));
  EXPECT_EQ(Checkpoints(f, branch), Boundaries({1024, 1536}));
  const PrefixMatch next = f.Probe({.tokens = Text(1, 1030) + Text(3, 600)});
  EXPECT_EQ(next, (PrefixMatch{.matched = 1024, .resumed = 1024}));
}

TEST(PrefixCheckpointTest, EveryTokensLeavesThemAtItsMultiplesAlone) {
  PrefixFixture f(Deep(4), With(CheckpointPolicy::EveryTokens(512)));
  const SequenceId a = f.Start(Text(1, 1900));
  f.Append({{a, 1900}});  // three in one step
  f.Decode(a, Text(2, 160));
  f.Free(a);
  const Tokens all = Text(1, 1900) + Text(2, 160);
  EXPECT_EQ(Checkpoints(f, all), Boundaries({512, 1024, 1536, 2048}));
  EXPECT_EQ(f.Probe({.tokens = all}), (PrefixMatch{.matched = 2048, .resumed = 2048}));
  EXPECT_EQ(f.Probe({.tokens = Text(1, 1400)}),
            (PrefixMatch{.matched = 1280, .resumed = 1024, .refed = 256}));
  EXPECT_EQ(f.figures().rolled_checkpoints, 0);
}

TEST(PrefixCheckpointTest, UnderNoneThereIsNeverOne) {
  PrefixFixture f({.overlap_blocks = 4}, With(CheckpointPolicy::None()));
  const SequenceId a = f.Start(Text(1, 600));
  f.Feed(a);
  f.Decode(a, Text(2, 200));
  f.Free(a);
  EXPECT_EQ(f.figures().stored_checkpoints, 0);
  EXPECT_EQ(f.figures().missed_checkpoints, 0);
  EXPECT_EQ(f.Use(0).free, 100);
  EXPECT_EQ(f.Probe({.tokens = Text(1, 600)}),
            (PrefixMatch{.matched = 512, .skipped = 256, .refed = 256}));
}

TEST(PrefixCheckpointTest, BoundariesInsideAChunkAreRefused) {
  for (const int32_t tokens : {0, 255, 300, -256}) {
    LedgerOptions options = With(CheckpointPolicy::EveryTokens(tokens));
    options.geometry = MakeTestGeometry({});
    EXPECT_EQ(Ledger::Create(options).status().code(), StatusCode::kInvalidArgument) << tokens;
  }
}

// ---- What one keeps.

TEST(PrefixCheckpointTest, OneKeepsTheBlocksOfTheWindowBeforeItAndNoCopy) {
  PrefixFixture f({.overlap_blocks = 3});
  const SequenceId a = f.Start(Text(1, 1000));
  const Plan plan = f.Append({{a, 1000}});
  // Rows 641 .. 767 lie in blocks 10 and 11, which the sequence needs for nothing else.
  EXPECT_EQ(f.Use(0).cached, 2);
  EXPECT_EQ(f.Use(0).live, 3);
  EXPECT_EQ(f.Use(3).cached, 1);
  EXPECT_TRUE(plan.copies().empty());
  EXPECT_EQ(f.figures().peak_checkpoint_blocks, 2);
  std::vector<BlockPatch> kept;
  for (const BlockPatch& patch : plan.patches()) {
    if (patch.pool == 0 && patch.index < 12) kept.push_back(patch);
  }
  ASSERT_EQ(kept.size(), 2u);
  const SequenceId b = f.Start(Text(1, 1000));
  EXPECT_EQ(f.Use(0).cached, 0);
  const Plan resumed = f.Append({{b, 10}});
  for (const BlockPatch& block : kept) {
    int found = 0;
    for (const BlockPatch& patch : resumed.patches()) {
      found += patch.pool == 0 && patch.index == block.index && patch.block == block.block;
    }
    EXPECT_EQ(found, 1) << block.index;
  }
}

TEST(PrefixCheckpointTest, LosingOneLeavesTheChunks) {
  PrefixFixture f(Deep(2, {.window_blocks = 6}), {});
  f.Run({.tokens = Text(1, 2000)});
  EXPECT_EQ(Checkpoints(f, Text(1, 2000)), Boundaries({1792}));
  // Two others need every block of the window pool.
  const SequenceId a = f.Start({});
  const SequenceId b = f.Start({});
  f.Append({{a, 200}, {b, 200}});
  f.Free(a);
  f.Free(b);
  EXPECT_EQ(f.figures().evicted_checkpoints, 1);
  EXPECT_EQ(Checkpoints(f, Text(1, 2000)), Boundaries({}));
  EXPECT_EQ(f.figures().evicted_chunks, 0);
  // The window is gone, the history still hits.
  EXPECT_EQ(f.Run({.tokens = Text(1, 2000)}),
            (PrefixMatch{.matched = 1792, .skipped = 1536, .refed = 256}));
}

// ---- Room.

TEST(PrefixCheckpointTest, AStepWithoutRoomForOneGoesOnAndCountsIt) {
  for (const int32_t blocks : {4, 5}) {
    PrefixFixture f({.window_blocks = blocks});
    const SequenceId a = f.Start(Text(1, 1000));
    const Plan plan = f.Append({{a, 1000}});  // 3 blocks for itself, 2 for the checkpoint
    EXPECT_EQ(plan.checkpoints().size(), blocks == 5 ? 1u : 0u);
    EXPECT_EQ(f.figures().missed_checkpoints, blocks == 5 ? 0 : 1);
    EXPECT_EQ(f.figures().stored_checkpoints, blocks == 5 ? 1 : 0);
    EXPECT_EQ(f.Use(0).free, blocks == 5 ? 0 : 1);
    EXPECT_TRUE(f.IsCached(Text(1, 768)));
  }
}

TEST(PrefixCheckpointTest, AStepWithoutAnOverlapBlockGoesOnAndCountsIt) {
  PrefixFixture f({.overlap_blocks = 1});
  const SequenceId a = f.Start(Text(1, 300));
  f.Feed(a);  // its rolling checkpoint has the only one
  const SequenceId b = f.Start(Text(2, 300));
  const Plan plan = f.Append({{b, 300}});
  EXPECT_TRUE(plan.checkpoints().empty());
  EXPECT_EQ(f.figures().missed_checkpoints, 1);
  EXPECT_TRUE(f.IsCached(Text(2, 256)));
  EXPECT_TRUE(f.HasCheckpoint(Text(1, 256)));
}

// ---- The compressor's state.

TEST(PrefixCheckpointTest, APlanSnapshotsAndRestoresTheRightOverlapBlocks) {
  PrefixFixture f({.overlap_blocks = 4});
  const SequenceId a = f.Start(Text(1, 600));
  const SequenceId b = f.Start(Text(2, 600));
  const Plan first = f.Append({{a, 600}, {b, 600}});
  ASSERT_EQ(first.checkpoints().size(), 2u);
  const CheckpointRecord of_a = first.checkpoints()[0];
  const CheckpointRecord of_b = first.checkpoints()[1];
  EXPECT_EQ(of_a.sequence_index, a.index);
  EXPECT_EQ(of_b.sequence_index, b.index);
  EXPECT_EQ(of_a.position, 512);
  EXPECT_GE(of_a.overlap_block, 0);
  EXPECT_NE(of_a.overlap_block, of_b.overlap_block);
  EXPECT_TRUE(first.restores().empty());
  f.Free(a);
  const SequenceId c = f.Start(Text(2, 520));
  const SequenceId d = f.Start(Text(1, 520));
  EXPECT_EQ(f.Use(3).live, 2);  // held until the restores are planned
  const Plan second = f.Append({{c, 8}, {d, 8}});
  ASSERT_EQ(second.restores().size(), 2u);
  EXPECT_EQ(second.restores()[0].sequence_index, c.index);
  EXPECT_EQ(second.restores()[0].position, 512);
  EXPECT_EQ(second.restores()[0].overlap_block, of_b.overlap_block);
  EXPECT_EQ(second.restores()[1].overlap_block, of_a.overlap_block);
  EXPECT_EQ(f.Use(3).live, 0);
  EXPECT_TRUE(f.Append({{c, 1}}).restores().empty());
}

TEST(PrefixCheckpointTest, AReplayBeginsWithAnEmptyState) {
  PrefixFixture f(Deep(1, {.overlap_blocks = 4}), With(CheckpointPolicy::None()));
  f.Run({.tokens = Text(1, 600)});
  const SequenceId a = f.Start(Text(1, 600));
  const Plan plan = f.Append({{a, 1}});
  ASSERT_EQ(plan.restores().size(), 1u);
  EXPECT_EQ(plan.restores()[0].position, 384);
  EXPECT_EQ(plan.restores()[0].overlap_block, kNoBlock);
}

TEST(PrefixCheckpointTest, ForksBeforeTheFirstStepRestoreFromTheSameBlock) {
  PrefixFixture f({.overlap_blocks = 4});
  f.Run({.tokens = Text(1, 600)});
  const SequenceId a = f.Start(Text(1, 600));
  const SequenceId b = f.Fork(a);
  f.Free(a);
  const SequenceId c = f.Fork(b);
  const Plan plan = f.Append({{b, 88}, {c, 88}});
  ASSERT_EQ(plan.restores().size(), 2u);
  EXPECT_EQ(plan.restores()[0].overlap_block, plan.restores()[1].overlap_block);
  EXPECT_GE(plan.restores()[0].overlap_block, 0);
}

// ---- Where none can be.

TEST(PrefixCheckpointTest, NoneIsLeftWhereRowsWereNeverStored) {
  // 300 rows ahead of their ids: those from 173 on are stored, a checkpoint needs 129 .. 255.
  PrefixFixture f({});
  const SequenceId a = f.Start({});
  f.Append({{a, 300}});
  f.Commit(a, f.model().Find(a)->tokens);
  EXPECT_EQ(f.Info(a).published, 256);
  EXPECT_EQ(f.mirror().num_checkpoints(), 0);
  EXPECT_EQ(f.figures().missed_checkpoints, 1);
}

TEST(PrefixCheckpointTest, NoneIsLeftWhereTheCompressorsStateHasMovedOn) {
  for (const bool overlap : {true, false}) {
    PrefixFixture f({.swa_block_tokens = 256, .overlap_blocks = overlap ? 4 : 0});
    const SequenceId a = f.Start(Text(1, 250));
    f.Feed(a);
    for (int step = 0; step < 15; ++step) f.Append({{a, 1}});  // 265 rows: nine behind the border
    const Tokens& tokens = f.model().Find(a)->tokens;
    f.Commit(a, Tokens(tokens.begin() + 250, tokens.end()));
    EXPECT_EQ(f.mirror().num_checkpoints(), overlap ? 0 : 1);  // window rows are there
  }
}

TEST(PrefixCheckpointTest, OfTwoForksThatPartBeforeABoundaryOneLeavesACheckpointThere) {
  PrefixFixture f({.swa_block_tokens = 16});
  const SequenceId a = f.Start(Text(1, 200));
  f.Feed(a);
  const SequenceId b = f.Fork(a);
  f.Decode(a, Text(2, 60));
  f.Decode(b, Text(3, 60));  // has the window blocks of rows 129 .. 191 in common with a
  EXPECT_TRUE(f.HasCheckpoint(Text(1, 200) + Text(2, 56)));
  EXPECT_FALSE(f.HasCheckpoint(Text(1, 200) + Text(3, 56)));
  EXPECT_TRUE(f.IsCached(Text(1, 200) + Text(3, 56)));
}

// ---- Marks.

// DeepSeek-V4-Flash has 43 layers: without a checkpoint an exact refeed of 4,096 tokens begins at 0.
TEST(PrefixCheckpointTest, OneWhoMarksTheSystemPromptSavesItForTheSecondUser) {
  const Tokens system = Text(1, 4096);
  const std::vector<int32_t> boundary = {4096};
  for (const bool marks : {false, true}) {
    PrefixFixture f(
        Deep(43,
             {.limits = {.max_sequences = 8, .max_step_tokens = 8192, .max_context_tokens = 8192}}),
        {});
    std::vector<int32_t> saved;
    for (int32_t user = 2; user <= 4; ++user) {
      SequenceRequest request;
      const Tokens prompt = system + Text(user, 1000);
      request.tokens = prompt;
      if (marks) request.marks = boundary;
      saved.push_back(f.Run(request).saved());
    }
    EXPECT_EQ(saved,
              marks ? (std::vector<int32_t>{0, 4096, 4096}) : (std::vector<int32_t>{0, 0, 4096}));
  }
}

TEST(PrefixCheckpointTest, MarksCountRoundedDownToChunksInAnyOrderAndOnce) {
  PrefixFixture f({});
  const Tokens prompt = Text(1, 2000);
  f.Run({.tokens = prompt, .marks = {1400, 255, 600, 1280, 0, 512}});
  EXPECT_EQ(Checkpoints(f, prompt), (Boundaries{512, 1280, 1792}));
}

TEST(PrefixCheckpointTest, AMarkInTheOutputIsKeptByWhoeverSaysItAndItsForks) {
  PrefixFixture f({});
  const SequenceId a = f.Allocate({.tokens = Text(1, 300), .marks = {768}}).id;
  f.Feed(a);
  const SequenceId fork = f.Fork(a);
  f.Decode(a, Text(2, 1000));
  f.Decode(fork, Text(3, 1000));
  f.Free(a);
  f.Free(fork);
  for (const int32_t said : {2, 3}) {
    EXPECT_EQ(Checkpoints(f, Text(1, 300) + Text(said, 1000)), (Boundaries{256, 768, 1280}));
  }
}

TEST(PrefixCheckpointTest, MarksAddToAPolicyOfEveryTokensAndNothingToNone) {
  const Tokens prompt = Text(1, 2000);
  for (const auto& [policy, expected] : std::vector<std::pair<CheckpointPolicy, Boundaries>>{
           {CheckpointPolicy::EveryTokens(1024), {768, 1024, 1280}},
           {CheckpointPolicy::None(), {}}}) {
    PrefixFixture f(TestGeometryOptions{}, With(policy));
    f.Run({.tokens = prompt, .marks = {1300, 800}});
    EXPECT_EQ(Checkpoints(f, prompt), expected);
  }
}

TEST(PrefixCheckpointTest, MarksSurviveADistrust) {
  PrefixFixture f({});
  const SequenceId a = f.Allocate({.tokens = Text(1, 1000), .marks = {512}}).id;
  f.Feed(a);
  f.Distrust({{a, 0}});
  EXPECT_EQ(Checkpoints(f, Text(1, 1000)), Boundaries{});
  f.Feed(a);
  EXPECT_EQ(Checkpoints(f, Text(1, 1000)), (Boundaries{512, 768}));
}

TEST(PrefixCheckpointTest, AMarkOutsideOfTheContextIsRefused) {
  PrefixFixture f({});
  const Tokens prompt = Text(1, 300);
  for (const int32_t mark : {-1, 8193}) {
    const absl::Status status = f.ledger().Probe({.tokens = prompt, .marks = {mark}}).status();
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument) << status;
  }
}

// ---- Which go first.

TEST(PrefixCheckpointTest, ALongConversationGivesUpItsOwnBeforeTheOnlyOneOfAnother) {
  const Limits limits{.max_sequences = 8, .max_step_tokens = 16384, .max_context_tokens = 16384};
  PrefixFixture f(TestGeometryOptions{.full_blocks = 200, .overlap_blocks = 21, .limits = limits});
  f.Run({.tokens = Text(1, 300)});
  for (int32_t turn = 1; turn <= 45; ++turn) {
    const Tokens prompt = Text(2, 250 * turn);
    f.Run({.tokens = prompt});
    ASSERT_TRUE(f.HasCheckpoint(Text(1, 256))) << turn;
  }
  EXPECT_EQ(f.Probe({.tokens = Text(2, 250 * 45)}).refed, 0);
  EXPECT_GT(f.figures().evicted_checkpoints, 20);
}

}  // namespace
}  // namespace terrace::testing
