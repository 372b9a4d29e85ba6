// How a sequence goes on where a match ends without a checkpoint: exactly, approximately, or not.

#include <gtest/gtest.h>

#include <tuple>
#include <vector>

#include "tests/support/prefix_fixture.h"

namespace terrace::testing {
namespace {

// A model of `layers` layers; without a policy every match is refed.
struct Replaying : PrefixFixture {
  explicit Replaying(int32_t layers, CheckpointPolicy policy = CheckpointPolicy::None(),
                     const TestGeometryOptions& options = {})
      : PrefixFixture(Deep(layers, options), With(policy)) {}

  static Geometry Deep(int32_t layers, const TestGeometryOptions& options) {
    Geometry geometry = MakeTestGeometry(options);
    geometry.num_layers = layers;
    return geometry;
  }
  static LedgerOptions With(CheckpointPolicy policy) {
    LedgerOptions options = {};
    options.prefix.checkpoints = policy;
    return options;
  }
};

struct ReplayCase {
  int32_t layers;
  int32_t matched;
  int32_t refeed_from;  // the multiple of 128 at or before matched - 127 * layers
};

TEST(PrefixReplayTest, AnExactReplayGoesBackByTheReachOfAllLayers) {
  for (const ReplayCase& c : std::vector<ReplayCase>{{1, 256, 128},
                                                     {1, 1024, 896},
                                                     {2, 256, 0},
                                                     {2, 1024, 768},
                                                     {3, 1024, 640},
                                                     {8, 1024, 0},
                                                     {8, 1280, 256},
                                                     {8, 2048, 1024},
                                                     {20, 2560, 0},
                                                     {20, 3840, 1280}}) {
    Replaying f(c.layers);
    f.Run({.tokens = Text(1, c.matched + 1)});
    const Admission a = f.Allocate({.tokens = Text(1, c.matched + 50)});
    EXPECT_EQ(a.match.matched, c.matched);
    EXPECT_EQ(a.match.resumed, 0);
    EXPECT_EQ(a.match.skipped, c.refeed_from) << c.layers << " layers, " << c.matched;
    EXPECT_EQ(a.match.refed, c.matched - c.refeed_from);
    EXPECT_FALSE(a.match.approximate);
    EXPECT_EQ(a.length, c.refeed_from);
    EXPECT_EQ(f.Info(a.id).write_from, c.matched);
    f.Feed(a.id);  // the model finds every row that a query sees exact
  }
}

TEST(PrefixReplayTest, AReplayBeginsWithABlockOfTheWindow) {
  Replaying f(1, CheckpointPolicy::None(), {.swa_block_tokens = 256});
  f.Run({.tokens = Text(1, 1025)});
  EXPECT_EQ(f.Run({.tokens = Text(1, 1025)}),
            (PrefixMatch{.matched = 1024, .skipped = 768, .refed = 256}));
}

// No row reaches back, and nothing but the compressor's rows of 4 tokens is missing.
TEST(PrefixReplayTest, WithoutAWindowOnlyWhatAnEntryOverlapsIsFedAgain) {
  for (const bool overlaps : {false, true}) {
    Replaying f(
        8, CheckpointPolicy::EndOfPromptAndOutput(),
        {.window_blocks = 0, .overlap_blocks = overlaps ? 4 : 0, .state_blocks = overlaps ? 4 : 0});
    f.Run({.tokens = Text(1, 1025)});
    EXPECT_EQ(f.figures().stored_checkpoints, 0);
    const Admission a = f.Allocate({.tokens = Text(1, 1100)});
    const int32_t refed = overlaps ? 128 : 0;
    EXPECT_EQ(a.match, (PrefixMatch{.matched = 1024, .skipped = 1024 - refed, .refed = refed}));
    const Plan plan = f.Append({{a.id, 1100 - a.length}});
    ASSERT_EQ(plan.restores().size(), 1u);  // begins with an empty state
    EXPECT_EQ(plan.restores()[0].overlap_block, kNoBlock);
    EXPECT_EQ(plan.sequences()[0].write_from, 1024);
  }
}

TEST(PrefixReplayTest, APlanPatchesAwayTheWindowBeforeAReplayAndWritesNoSharedChunk) {
  Replaying f(2);
  f.Run({.tokens = Text(1, 1025)});
  f.Run({.tokens = Text(9, 1025)});  // leaves its blocks in the sequence's table
  const SequenceId a = f.Start(Text(1, 1100));
  const Plan plan = f.Append({{a, 300}});  // 768 .. 1067
  const SequenceStep& part = plan.sequences()[0];
  EXPECT_EQ(part.first, 768);
  EXPECT_EQ(part.write_from, 1024);
  std::vector<int32_t> holes, chunks;
  for (const BlockPatch& patch : plan.patches()) {
    if (patch.pool == 0 && patch.block == kNoBlock) holes.push_back(patch.index);
    if (patch.pool == 1) chunks.push_back(patch.index);
  }
  EXPECT_EQ(holes, (std::vector<int32_t>{10, 11}));  // rows 641 .. 767
  EXPECT_EQ(chunks, (std::vector<int32_t>{0, 1, 2, 3, 4}));
  EXPECT_EQ(f.Use(1).live, 5);
  // Going on after it, nothing is announced again.
  EXPECT_TRUE(f.Append({{a, 1}}).patches().empty());
}

TEST(PrefixReplayTest, AReplayInSeveralStepsWritesNoSharedChunk) {
  Replaying f(8);
  f.Run({.tokens = Text(1, 2049)});
  const SequenceId a = f.Start(Text(1, 2100));
  for (int32_t length = 1024; length < 2000; length += 100) {
    EXPECT_EQ(f.Info(a).length, length);
    EXPECT_EQ(f.Append({{a, 100}}).sequences()[0].write_from, 2048);
    EXPECT_EQ(f.Use(1).live, 8);
  }
  f.Feed(a);
  EXPECT_EQ(f.Use(1).live, 9);
}

TEST(PrefixReplayTest, TheFewestTokensAreFedAgainAndTheCheckpointTakesTies) {
  for (const auto& [every, layers, expected] :
       std::vector<std::tuple<int32_t, int32_t, PrefixMatch>>{
           {768, 2, {.matched = 1024, .resumed = 768, .refed = 256}},  // both at 768
           {768, 3, {.matched = 1024, .resumed = 768, .refed = 256}},  // not from 640
           {768, 1, {.matched = 1024, .skipped = 896, .refed = 128}},  // not from 768
           {512, 8, {.matched = 1024, .resumed = 1024}}}) {
    Replaying f(layers, CheckpointPolicy::EveryTokens(every));
    f.Run({.tokens = Text(1, 1025)});
    EXPECT_EQ(f.Run({.tokens = Text(1, 1025)}), expected) << every << " " << layers;
  }
}

TEST(PrefixReplayTest, BeyondTheLimitAMatchFallsBackToTheLastCheckpoint) {
  Replaying f(8, CheckpointPolicy::EveryTokens(768));
  f.Run({.tokens = Text(1, 1500)});
  const auto limited = [&](int32_t tokens, int32_t limit) {
    const Tokens prompt = Text(1, tokens);
    const PrefixMatch match = f.Probe({.tokens = prompt, .refeed = {.max_tokens = limit}});
    const Admission a = f.Allocate({.tokens = prompt, .refeed = {.max_tokens = limit}});
    EXPECT_EQ(a.match, match);
    EXPECT_EQ(f.Info(a.id).write_from, match.matched);
    f.Feed(a.id);
    f.Free(a.id);
    return match;
  };
  const PrefixMatch whole = {.matched = 1280, .resumed = 768, .refed = 512};
  EXPECT_EQ(limited(1500, 512), whole);
  EXPECT_EQ(limited(1500, 511), (PrefixMatch{.matched = 768, .resumed = 768}));
  EXPECT_EQ(limited(1500, 0), (PrefixMatch{.matched = 768, .resumed = 768}));
  EXPECT_EQ(limited(700, 512), (PrefixMatch{.matched = 512, .refed = 512}));
  EXPECT_EQ(limited(700, 511), PrefixMatch{});  // no checkpoint before 512
}

TEST(PrefixReplayTest, AnApproximateReplayIsShorterAndPublishesNothing) {
  Replaying f(8, CheckpointPolicy::EveryTokens(2048));
  f.Run({.tokens = Text(1, 1025)});
  const PrefixFigures before = f.figures();
  const Tokens prompt = Text(1, 1100);
  const Admission a = f.Allocate({.tokens = prompt, .refeed = {.approximate_tokens = 300}});
  EXPECT_EQ(a.match,
            (PrefixMatch{.matched = 1024, .skipped = 640, .refed = 384, .approximate = true}));
  EXPECT_TRUE(f.Info(a.id).approximate);
  f.Feed(a.id);
  f.Decode(a.id, Text(2, 1000));
  EXPECT_EQ(f.Info(a.id).published, 1024);
  const SequenceId child = f.Fork(a.id);
  f.Decode(child, Text(3, 300));
  f.Free(a.id);
  f.Free(child);
  EXPECT_EQ(f.figures().stored_chunks, before.stored_chunks);
  EXPECT_EQ(f.figures().stored_checkpoints, before.stored_checkpoints);
  EXPECT_FALSE(f.Probe({.tokens = prompt}).approximate);
}

TEST(PrefixReplayTest, WhereAnExactReplayIsAsShortNothingIsApproximate) {
  Replaying f(1);
  f.Run({.tokens = Text(1, 1025)});
  const Tokens prompt = Text(1, 1100);
  const Admission a = f.Allocate({.tokens = prompt, .refeed = {.approximate_tokens = 128}});
  EXPECT_EQ(a.match, (PrefixMatch{.matched = 1024, .skipped = 896, .refed = 128}));
  EXPECT_FALSE(f.Info(a.id).approximate);
  f.Append({{a.id, 1100 - 896}});
  f.Decode(a.id, Text(2, 200));
  EXPECT_TRUE(f.IsCached(Text(1, 1100) + Text(2, 180)));
}

}  // namespace
}  // namespace terrace::testing
