// What a prompt finds, and what it never may.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/support/prefix_fixture.h"

namespace terrace::testing {
namespace {

using absl::StatusCode;

PrefixMatch Resumed(int32_t tokens) { return {.matched = tokens, .resumed = tokens}; }

TEST(PrefixMatchTest, AShortPromptHits) {
  PrefixFixture f({});
  EXPECT_EQ(f.Run({.tokens = Text(1, 257)}), PrefixMatch{});
  const Admission again = f.Allocate({.tokens = Text(1, 257)});
  EXPECT_EQ(again.match, Resumed(256));
  EXPECT_EQ(again.length, 256);
  EXPECT_EQ(f.Info(again.id).write_from, 256);
  EXPECT_EQ(f.Info(again.id).published, 256);
  f.Feed(again.id);
  EXPECT_EQ(f.Run({.tokens = Text(1, 256)}), PrefixMatch{});  // a token is left to compute
}

TEST(PrefixMatchTest, APromptOfWholeChunksLeavesItsLastChunkToCompute) {
  PrefixFixture f({});
  f.Run({.tokens = Text(1, 1024)});
  EXPECT_TRUE(f.IsCached(Text(1, 1024)));
  const Admission again = f.Allocate({.tokens = Text(1, 1024)});
  EXPECT_EQ(again.match, Resumed(768));
  EXPECT_EQ(again.length, 768);
  const Plan plan = f.Append({{again.id, 256}});
  EXPECT_EQ(plan.sequences()[0].first, 768);
  EXPECT_EQ(plan.sequences()[0].write_from, 768);
  EXPECT_EQ(f.Probe({.tokens = Text(1, 1025)}), Resumed(1024));
}

TEST(PrefixMatchTest, WhatIsMatchedCostsNoBlock) {
  PrefixFixture f({});
  f.Run({.tokens = Text(1, 1000)});
  EXPECT_EQ(f.Use(1).cached, 3);
  const Admission again = f.Allocate({.tokens = Text(1, 1000)});
  for (const int pool : {1, 2}) {
    EXPECT_EQ(f.Use(pool).live, 3);
    EXPECT_EQ(f.Use(pool).cached, 0);
    EXPECT_EQ(f.Use(pool).free, 97);
  }
  f.Feed(again.id);
  EXPECT_EQ(f.Use(1).live, 4);
}

TEST(PrefixMatchTest, PromptsShareTheWholeChunksBeforeTheyPart) {
  PrefixFixture f({});
  f.Run({.tokens = Text(1, 700) + Text(2, 700)});
  const PrefixMatch match = f.Probe({.tokens = Text(1, 700) + Text(3, 700)});
  EXPECT_EQ(match.matched, 512);
  EXPECT_EQ(f.Probe({.tokens = Text(1, 255) + Text(3, 700)}), PrefixMatch{});
}

TEST(PrefixMatchTest, EqualTokensUnderAnotherParentAreNotShared) {
  PrefixFixture f({});
  f.Run({.tokens = Text(1, 256) + Text(2, 256) + Text(9, 1)});
  EXPECT_EQ(f.Probe({.tokens = Text(2, 256) + Text(9, 1)}), PrefixMatch{});
  f.Run({.tokens = Text(3, 256) + Text(9, 1)});
  const PrefixMatch other = f.Run({.tokens = Text(3, 256) + Text(2, 256) + Text(9, 1)});
  EXPECT_EQ(other, Resumed(256));
  EXPECT_EQ(f.figures().stored_chunks, 4);  // Text(2) is there twice
}

TEST(PrefixMatchTest, EqualTokensUnderAnotherSaltAreNotShared) {
  PrefixFixture f({});
  f.Run({.tokens = Text(1, 600), .salt = "a tenant"});
  EXPECT_EQ(f.Probe({.tokens = Text(1, 600), .salt = "another"}), PrefixMatch{});
  EXPECT_EQ(f.Probe({.tokens = Text(1, 600)}), PrefixMatch{});
  EXPECT_EQ(f.Run({.tokens = Text(1, 600), .salt = "another"}), PrefixMatch{});
  EXPECT_EQ(f.Probe({.tokens = Text(1, 600), .salt = "a tenant"}), Resumed(512));
  EXPECT_EQ(f.figures().stored_chunks, 4);
}

std::vector<int32_t> BlocksOfSequence(const Ledger& ledger, int pool, int32_t sequence_index) {
  std::vector<int32_t> blocks;
  const Plan snapshot = *ledger.Snapshot();
  for (const BlockPatch& patch : snapshot.patches()) {
    if (patch.pool == pool && patch.sequence_index == sequence_index) blocks.push_back(patch.block);
  }
  return blocks;
}

// Every chunk of every prompt and salt has the same digest: only the comparison of tokens, parent
// and salt is left.
TEST(PrefixMatchTest, ADigestCollisionNeverMixesTwoPrompts) {
  const auto same = [](const ChunkDigest&, absl::Span<const int32_t>) {
    return ChunkDigest{.low = 7, .high = 7};
  };
  const auto ledger = *Ledger::Create({.geometry = MakeTestGeometry({}), .prefix = {.hash = same}});
  const auto run = [&](const Tokens& tokens, absl::string_view salt) {
    const Admission admission = *ledger->AllocateSequence({.tokens = tokens, .salt = salt});
    const int32_t rest = static_cast<int32_t>(tokens.size()) - admission.length;
    EXPECT_TRUE(ledger->Append({{{admission.id, rest}}}).ok());
    ledger->CheckInvariants();
    const std::vector<int32_t> blocks = BlocksOfSequence(*ledger, 1, admission.id.index);
    EXPECT_TRUE(ledger->FreeSequence(admission.id).ok());
    ledger->CheckInvariants();
    return std::pair(admission.match.matched, blocks);
  };
  const std::vector<std::pair<Tokens, std::string>> prompts = {
      {Text(1, 600), ""},
      {Text(2, 600), ""},
      {Text(1, 600), "salt"},
      {Text(1, 256) + Text(2, 344), ""},                // shares one chunk with the first
      {Text(3, 256) + Text(1, 512) + Text(3, 1), ""}};  // the first one's chunks, one deeper
  const std::vector<int32_t> expected = {0, 0, 0, 256, 0};
  std::vector<std::vector<int32_t>> blocks;
  for (size_t i = 0; i < prompts.size(); ++i) {
    const auto [matched, mine] = run(prompts[i].first, prompts[i].second);
    EXPECT_EQ(matched, expected[i]) << i;
    blocks.push_back(mine);
  }
  EXPECT_EQ(blocks[3][0], blocks[0][0]);
  EXPECT_NE(blocks[3][1], blocks[0][1]);
  for (size_t i = 0; i < prompts.size(); ++i) {  // and each is still found, as itself
    const auto [matched, mine] = run(prompts[i].first, prompts[i].second);
    EXPECT_EQ(matched, (prompts[i].first.size() - 1) / 256 * 256) << i;
    EXPECT_EQ(mine[0], blocks[i][0]);
    EXPECT_EQ(mine[1], blocks[i][1]);
  }
}

TEST(PrefixMatchTest, DigestsOfTheCallerFindTheSameAndWrongOnesNothing) {
  PrefixFixture f({});
  f.Run({.tokens = Text(1, 600)});
  f.Run({.tokens = Text(2, 600)});
  const Tokens prompt = Text(1, 600);
  const std::vector<ChunkDigest> right = ChunkDigests("", prompt, 256);
  const std::vector<ChunkDigest> wrong = ChunkDigests("", Text(2, 600), 256);
  EXPECT_EQ(f.Probe({.tokens = prompt, .digests = right}), Resumed(512));
  EXPECT_EQ(f.ledger().Probe({.tokens = prompt, .digests = wrong})->matched, 0);
  const absl::Span<const ChunkDigest> one = absl::MakeConstSpan(right).first(1);
  for (const absl::Status& status :
       {f.ledger().Probe({.tokens = prompt, .digests = one}).status(),
        f.ledger().AllocateSequence({.tokens = prompt, .digests = one}).status()}) {
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
  }
}

constexpr int32_t kPlaceholder = 7;

TEST(PrefixMatchTest, EqualPlaceholdersMatchUpToAnotherPicture) {
  PrefixFixture f({});
  const Tokens prompt(1000, kPlaceholder);
  const std::vector<KeyRange> cat = {{300, 400, "cat"}}, dog = {{300, 400, "dog"}};
  f.Run({.tokens = prompt, .key_ranges = cat});
  EXPECT_EQ(f.Probe({.tokens = prompt, .key_ranges = cat}).matched, 768);
  EXPECT_EQ(f.Probe({.tokens = prompt, .key_ranges = dog}).matched, 256);
  EXPECT_EQ(f.Probe({.tokens = prompt}).matched, 256);
  f.Run({.tokens = prompt, .key_ranges = dog});
  f.Run({.tokens = prompt});
  for (const std::vector<KeyRange>& ranges : {cat, dog, {}}) {
    EXPECT_EQ(f.Probe({.tokens = prompt, .key_ranges = ranges}).matched, 768);
  }
}

TEST(PrefixMatchTest, WhereARangeBeginsAndEndsIsPartOfWhatItSays) {
  PrefixFixture f({});
  const Tokens prompt(1000, kPlaceholder);
  f.Run({.tokens = prompt, .key_ranges = {{300, 600, "cat"}}});
  EXPECT_EQ(f.Probe({.tokens = prompt, .key_ranges = {{301, 600, "cat"}}}).matched, 256);
  EXPECT_EQ(f.Probe({.tokens = prompt, .key_ranges = {{300, 601, "cat"}}}).matched, 256);
  EXPECT_EQ(f.Probe({.tokens = prompt, .key_ranges = {{300, 600, "cats"}}}).matched, 256);
  EXPECT_EQ(f.Probe({.tokens = prompt, .key_ranges = {{300, 600, "cat"}, {700, 701, "x"}}}).matched,
            512);
}

TEST(PrefixMatchTest, AnAdapterFromAPositionOnCoversWhatIsSaidLater) {
  PrefixFixture f({});
  const KeyRange adapter{256, KeyRange::kNoEnd, "adapter"};
  const Admission a = f.Allocate({.tokens = Text(1, 257), .key_ranges = {adapter}});
  f.Feed(a.id);
  const SequenceId fork = f.Fork(a.id);
  const Tokens said = Text(2, 300);
  f.Decode(fork, said);
  const Tokens all = Text(1, 257) + said;
  EXPECT_EQ(f.Probe({.tokens = all, .key_ranges = {adapter}}).matched, 512);
  EXPECT_EQ(f.Probe({.tokens = all}).matched, 256);
  // It says so again when it starts over.
  f.Distrust({{fork, 300}});
  EXPECT_EQ(f.Info(fork).published, 256);
  f.Feed(fork);
  EXPECT_EQ(f.Probe({.tokens = all, .key_ranges = {adapter}}).matched, 512);
  EXPECT_EQ(f.Probe({.tokens = all}).matched, 256);
}

// With a hash that always collides only the keys themselves tell the chunks apart.
TEST(PrefixMatchTest, KeysAreComparedAndNotOnlyHashed) {
  const ChunkHash collide = [](const ChunkDigest&, absl::Span<const int32_t>) {
    return ChunkDigest{1, 2};
  };
  const auto ledger =
      *Ledger::Create({.geometry = MakeTestGeometry({}), .prefix = {.hash = collide}});
  const Tokens prompt(600, kPlaceholder);
  const SequenceId a =
      ledger->AllocateSequence({.tokens = prompt, .key_ranges = {{0, 9, "cat"}}})->id;
  ASSERT_TRUE(ledger->Append({{{a, 600}}}).ok());
  EXPECT_EQ(ledger->Probe({.tokens = prompt, .key_ranges = {{0, 9, "cat"}}})->matched, 512);
  EXPECT_EQ(ledger->Probe({.tokens = prompt, .key_ranges = {{0, 9, "dog"}}})->matched, 0);
  EXPECT_EQ(ledger->Probe({.tokens = prompt})->matched, 0);
}

TEST(PrefixMatchTest, ARangeThatEndsBeforeItBeginsIsRefused) {
  PrefixFixture f({});
  const Tokens prompt = Text(1, 600);
  for (const KeyRange& range : {KeyRange{-1, 5, "x"}, KeyRange{5, 5, "x"}, KeyRange{9, 3, "x"}}) {
    const absl::Status status =
        f.ledger().Probe({.tokens = prompt, .key_ranges = {range}}).status();
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument) << status;
    EXPECT_THAT(std::string(status.message()),
                ::testing::HasSubstr(absl::StrCat(range.begin, "..", range.end)));
  }
}

// Evicts one chunk: needs all that is free, and one block more.
void EvictOne(PrefixFixture& f, int32_t text) {
  f.Run({.tokens = Text(text, (f.Use(1).free + 1) * 256 - 255), .priority = Priority::kLow});
}

TEST(PrefixMatchTest, ProbeChangesNothingNotEvenTheOrderOfEviction) {
  for (const bool probes : {true, false}) {
    PrefixFixture f({.full_blocks = 4});
    f.Run({.tokens = Text(1, 257)});
    f.Run({.tokens = Text(2, 257)});
    const std::string dump = f.Dump();
    const PrefixFigures figures = f.figures();
    if (probes) {
      for (int i = 0; i < 3; ++i) EXPECT_EQ(f.Probe({.tokens = Text(1, 257)}), Resumed(256));
      EXPECT_EQ(f.Dump(), dump);
      EXPECT_EQ(f.figures(), figures);
      EXPECT_TRUE(f.ledger().TakeEvents().empty());
    } else {
      f.Free(f.Start(Text(1, 257)));
    }
    EvictOne(f, 3);
    EXPECT_EQ(f.IsCached(Text(1, 256)), !probes);
    EXPECT_EQ(f.IsCached(Text(2, 256)), probes);
  }
}

TEST(PrefixMatchTest, OutputTokensArePublishedToo) {
  PrefixFixture f({});
  const SequenceId a = f.Start(Text(1, 300));
  f.Feed(a);
  f.Decode(a, Text(2, 211));
  EXPECT_EQ(f.Info(a).published, 256);
  f.Commit(a, {7});  // known, but it has no row
  EXPECT_EQ(f.Info(a).published, 256);
  f.Append({{a, 1}});
  EXPECT_EQ(f.Info(a).published, 512);
  const Tokens turn = Text(1, 300) + Text(2, 211) + Tokens{7} + Text(3, 50);
  EXPECT_EQ(f.Probe({.tokens = turn}), Resumed(512));
  f.Free(a);
  EXPECT_EQ(f.Run({.tokens = turn}), Resumed(512));
}

TEST(PrefixMatchTest, RowsFedAheadOfTheirIdsArePublishedWhenTheIdsCome) {
  PrefixFixture f({});
  const SequenceId a = f.Start(Text(1, 255));
  f.Append({{a, 255}});
  f.Append({{a, 1}});
  EXPECT_EQ(f.Info(a).published, 0);
  f.Commit(a, {f.model().Find(a)->tokens[255]});
  EXPECT_EQ(f.Info(a).published, 256);
}

// ---- Two prompts at once.

TEST(PrefixMatchTest, OfTwoEqualPromptsInFlightTheFirstToSettlePublishesAndTheOtherShares) {
  PrefixFixture f({});
  const SequenceId a = f.Start(Text(1, 2000));
  const SequenceId b = f.Start(Text(1, 2000));
  f.Append({{a, 600}});
  EXPECT_EQ(f.Extend(b), Resumed(512));
  EXPECT_EQ(f.Info(b).length, 512);
  const Plan plan = f.Append({{b, 800}});  // up to 1312
  EXPECT_EQ(plan.sequences()[0].write_from, 512);
  EXPECT_EQ(f.Extend(a), (PrefixMatch{.matched = 1280 - 600, .resumed = 1280 - 600}));
  EXPECT_EQ(f.Info(a).write_from, 1280);
  f.Append({{a, 720}, {b, 688}});
  EXPECT_EQ(f.figures().stored_chunks, 7);
  EXPECT_EQ(f.figures().duplicate_chunks, 2);  // of the last step, which both were in
  EXPECT_EQ(f.Use(1).live, 5 + 2 * 3);
  EXPECT_EQ(f.figures().matched_tokens, 512 + 680);
}

TEST(PrefixMatchTest, AnExtendedMatchTakesThePlaceOfAChunkThatWasBegun) {
  PrefixFixture f({});
  const SequenceId a = f.Start(Text(1, 1000));
  const SequenceId b = f.Start(Text(1, 1000));
  f.Append({{b, 100}});
  EXPECT_EQ(f.Extend(b), PrefixMatch{});
  f.Append({{a, 1000}});
  EXPECT_EQ(f.Use(1).live, 5);
  EXPECT_EQ(f.Extend(b), (PrefixMatch{.matched = 668, .resumed = 668}));
  EXPECT_EQ(f.Use(1).live, 4);
  EXPECT_EQ(BlocksOfSequence(f.ledger(), 1, b.index).size(), 3u);
  EXPECT_EQ(f.Extend(b), PrefixMatch{});
  f.Feed(b);
}

TEST(PrefixMatchTest, OfTwoThatSettleAChunkTheSecondKeepsItsOwnBlock) {
  PrefixFixture f({});
  const SequenceId a = f.Start(Text(1, 300));
  const SequenceId b = f.Start(Text(1, 300));
  f.Append({{a, 300}, {b, 300}});
  const int32_t first = BlocksOfSequence(f.ledger(), 1, a.index)[0];
  EXPECT_NE(BlocksOfSequence(f.ledger(), 1, b.index)[0], first);
  EXPECT_EQ(f.figures().duplicate_chunks, 1);
  f.Free(b);
  f.Free(a);
  EXPECT_EQ(f.Use(1).cached, 1);
  const SequenceId c = f.Start(Text(1, 300));
  EXPECT_EQ(BlocksOfSequence(f.ledger(), 1, c.index)[0], first);
}

TEST(PrefixMatchTest, ExtendMatchOfAStaleHandleOrWithUndecidedDraftsIsRefused) {
  PrefixFixture f({});
  const SequenceId a = f.Start(Text(1, 10));
  f.Append({{a, 12, 2}});
  EXPECT_EQ(f.ledger().ExtendMatch(a).status().code(), StatusCode::kFailedPrecondition);
  f.Truncate(a, 10);
  EXPECT_EQ(f.Extend(a), PrefixMatch{});
  f.Free(a);
  EXPECT_EQ(f.ledger().ExtendMatch(a).status().code(), StatusCode::kNotFound);
}

TEST(PrefixMatchTest, AReusedIndexHasNothingOfTheSequenceBefore) {
  PrefixFixture f({});
  f.Run({.tokens = Text(1, 1000)});
  const SequenceId a = f.Start(Text(1, 1000));
  EXPECT_EQ(f.Info(a).write_from, 768);
  f.Free(a);
  EXPECT_EQ(f.ledger().FreeSequence(a).code(), StatusCode::kNotFound);
  const SequenceId b = f.Start(Text(2, 1000));
  EXPECT_EQ(b.index, a.index);
  EXPECT_EQ(f.Info(b).write_from, 0);
  EXPECT_EQ(f.Info(b).published, 0);
  EXPECT_EQ(f.ledger().FreeSequence(a).code(), StatusCode::kNotFound);
  EXPECT_EQ(f.ledger().Fork(a).status().code(), StatusCode::kNotFound);
  EXPECT_EQ(f.ledger().Commit(a, {1}).code(), StatusCode::kNotFound);
  const Plan plan = f.Append({{b, 1000}});
  EXPECT_EQ(plan.sequences()[0].write_from, 0);
  EXPECT_TRUE(plan.restores().empty());
  EXPECT_TRUE(f.IsCached(Text(2, 768)));
}

TEST(PrefixMatchTest, WithoutReuseNothingIsMatchedOrCached) {
  LedgerOptions options = {};
  options.prefix.enabled = false;
  PrefixFixture f(TestGeometryOptions{}, options);
  f.Run({.tokens = Text(1, 1000)});
  EXPECT_EQ(f.Probe({.tokens = Text(1, 1000)}), PrefixMatch{});
  EXPECT_EQ(f.Run({.tokens = Text(1, 1000)}), PrefixMatch{});
  for (int p = 0; p < 3; ++p) EXPECT_EQ(f.Use(p).free, 100);
  EXPECT_EQ(f.figures().stored_chunks, 0);
}

}  // namespace
}  // namespace terrace::testing
