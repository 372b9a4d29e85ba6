// Forks share every block until one side writes to it.

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <vector>

#include "tests/support/prefix_fixture.h"
#include "tests/support/use_of.h"

namespace terrace::testing {
namespace {

using absl::StatusCode;

// Copies of `plan` in each pool.
std::vector<int> CopiesByPool(const Plan& plan) {
  std::vector<int> counts(3);
  for (const BlockCopy& copy : plan.copies()) ++counts[copy.pool];
  return counts;
}

const std::vector<int> kNone = {0, 0, 0};
const std::vector<int> kOneEach = {1, 1, 1};

TEST(PrefixForkTest, AForkSharesAllBlocksAndTakesNone) {
  PrefixFixture f({});
  const SequenceId a = f.Start(Text(1, 1000));
  f.Feed(a);
  const std::vector<PoolUse> before = {f.Use(0), f.Use(1), f.Use(2)};
  const SequenceId b = f.Fork(a);
  EXPECT_NE(a.index, b.index);
  for (int p = 0; p < 3; ++p) EXPECT_EQ(f.Use(p).live, before[p].live);
  const SequenceInfo of_a = f.Info(a), of_b = f.Info(b);
  EXPECT_EQ(of_b.length, of_a.length);
  EXPECT_EQ(of_b.known, of_a.known);
  EXPECT_EQ(of_b.published, of_a.published);
  f.Free(a);
  for (int p = 0; p < 3; ++p) EXPECT_EQ(f.Use(p).live, before[p].live);
  EXPECT_EQ(f.figures().forks, 1);
}

TEST(PrefixForkTest, WhoeverWritesFirstCopiesThePartlyFilledBlocks) {
  for (const bool child_first : {true, false}) {
    PrefixFixture f({});
    const SequenceId parent = f.Start(Text(1, 300));
    f.Feed(parent);
    const SequenceId child = f.Fork(parent);
    const SequenceId first = child_first ? child : parent;
    const SequenceId second = child_first ? parent : child;
    f.Commit(first, {7});
    f.Commit(second, {8});
    // Chunk 1 of both full pools, and block 4 of the window; never the whole ones before.
    const Plan copying = f.Append({{first, 1}});
    EXPECT_EQ(CopiesByPool(copying), kOneEach);
    for (const BlockCopy& copy : copying.copies()) {
      const auto to = std::find_if(
          copying.patches().begin(), copying.patches().end(), [&](const BlockPatch& patch) {
            return patch.pool == copy.pool && patch.block == copy.destination;
          });
      ASSERT_NE(to, copying.patches().end());
      EXPECT_EQ(to->sequence_index, first.index);
      EXPECT_EQ(to->index, copy.pool == 0 ? 4 : 1);
    }
    EXPECT_EQ(CopiesByPool(f.Append({{second, 1}})), kNone);
    EXPECT_EQ(CopiesByPool(f.Append({{first, 1}, {second, 1}})), kNone);
    for (const int p : {0, 1, 2}) EXPECT_EQ(f.figures().copied_blocks[p], 1);
  }
}

TEST(PrefixForkTest, WholeBlocksAreNeverCopied) {
  PrefixFixture f({});
  const SequenceId a = f.Start(Text(1, 512));
  f.Feed(a);
  const SequenceId b = f.Fork(a);
  f.Commit(a, {7});
  f.Commit(b, {8});
  EXPECT_EQ(CopiesByPool(f.Append({{a, 1}, {b, 1}})), kNone);
  EXPECT_EQ(f.Use(1).live, 4);  // two shared, one each
  // A whole window block inside a chunk that is not whole.
  const SequenceId c = f.Start(Text(2, 320));
  f.Feed(c);
  const SequenceId d = f.Fork(c);
  f.Commit(d, {9});
  EXPECT_EQ(CopiesByPool(f.Append({{d, 1}})), (std::vector<int>{0, 1, 1}));
}

TEST(PrefixForkTest, OfKSharersInOneStepOneKeepsTheBlockUnlessAnotherHoldsIt) {
  for (const int left_out : {0, 1}) {
    PrefixFixture f({});
    const SequenceId a = f.Start(Text(1, 300));
    f.Feed(a);
    std::vector<SequenceId> all = {a};
    for (int i = 0; i < 4; ++i) all.push_back(f.Fork(i % 2 == 0 ? a : all.back()));
    std::vector<StepRequest> batch;
    for (size_t i = left_out; i < all.size(); ++i) {
      f.Commit(all[i], {static_cast<int32_t>(1000 + i)});
      batch.push_back({all[i], 1});
    }
    EXPECT_EQ(CopiesByPool(f.Append(batch)), (std::vector<int>{4, 4, 4}));
    for (const int p : {1, 2}) EXPECT_EQ(f.Use(p).live, 1 + 5);
    if (left_out == 1) {  // and it is the last holder now
      f.Commit(a, {2000});
      EXPECT_EQ(CopiesByPool(f.Append({{a, 1}})), kNone);
    }
  }
}

TEST(PrefixForkTest, TakingBackDraftsAfterAForkLeavesTheOtherSideAsItWas) {
  PrefixFixture f({});
  const SequenceId a = f.Start(Text(1, 254));
  f.Feed(a);
  const SequenceId b = f.Fork(a);
  f.Commit(b, {7});
  EXPECT_EQ(CopiesByPool(f.Draft(b, {1, 2, 3, 4})), kOneEach);  // and on into chunk 1
  EXPECT_EQ(f.Use(1).live, 3);
  EXPECT_EQ(f.ledger().Fork(b).status().code(), StatusCode::kFailedPrecondition);
  f.Truncate(b, 255);
  EXPECT_EQ(f.Use(1).live, 2);
  EXPECT_EQ(f.Info(a).length, 254);
  const SequenceId c = f.Fork(b);
  f.Commit(a, {8});
  EXPECT_EQ(CopiesByPool(f.Append({{a, 1}})), kNone);
  f.Commit(c, {9});
  EXPECT_EQ(CopiesByPool(f.Append({{c, 1}})), kOneEach);
  EXPECT_TRUE(f.IsCached(Text(1, 254) + Tokens{7, 9}));
}

TEST(PrefixForkTest, BothSidesPublishWhatTheyGoOnWith) {
  PrefixFixture f({});
  const SequenceId a = f.Start(Text(1, 300));
  f.Feed(a);
  const SequenceId b = f.Fork(a);
  f.Decode(a, Text(2, 212));
  f.Decode(b, Text(3, 212));
  EXPECT_TRUE(f.IsCached(Text(1, 300) + Text(2, 212)));
  EXPECT_TRUE(f.IsCached(Text(1, 300) + Text(3, 212)));
  EXPECT_EQ(f.figures().stored_chunks, 3);
  EXPECT_EQ(f.figures().duplicate_chunks, 0);
  f.Free(a);
  f.Free(b);
  const PrefixMatch match = {.matched = 512, .resumed = 512};
  EXPECT_EQ(f.Probe({.tokens = Text(1, 300) + Text(2, 213)}), match);
  EXPECT_EQ(f.Probe({.tokens = Text(1, 300) + Text(3, 213)}), match);
}

TEST(PrefixForkTest, AForkOfAReplayReplaysItselfAndWritesNoSharedChunk) {
  LedgerOptions options = {};
  options.prefix.checkpoints = CheckpointPolicy::None();
  PrefixFixture f(TestGeometryOptions{}, options);
  f.Run({.tokens = Text(1, 1025)});
  const SequenceId a = f.Start(Text(1, 1100));
  f.Append({{a, 100}});  // 768 .. 867
  const SequenceId b = f.Fork(a);
  EXPECT_EQ(f.Info(b).write_from, 1024);
  const Plan plan = f.Append({{b, 100}, {a, 50}});
  EXPECT_EQ(plan.sequences()[0].write_from, 1024);
  EXPECT_EQ(CopiesByPool(plan), (std::vector<int>{1, 0, 0}));  // of the window alone
  EXPECT_EQ(f.Use(1).live, 4);
}

TEST(PrefixForkTest, WithoutAFreeIndexOrALiveSequenceThereIsNoFork) {
  PrefixFixture f({});
  const SequenceId a = f.Start(Text(1, 10));
  for (int i = 0; i < 7; ++i) f.Fork(a);
  EXPECT_EQ(f.ledger().Fork(a).status().code(), StatusCode::kResourceExhausted);
  f.Free(a);
  EXPECT_EQ(f.ledger().Fork(a).status().code(), StatusCode::kNotFound);
  EXPECT_EQ(f.figures().forks, 7);
}

TEST(PrefixForkTest, TenThousandSequencesForkedAndFreedInRandomOrderLeaveNothing) {
  TestGeometryOptions options = {.window_blocks = 30'000, .full_blocks = 30'000};
  options.limits.max_sequences = 10'000;
  const auto ledger = *Ledger::Create({.geometry = MakeTestGeometry(options)});
  std::mt19937 random(1);
  std::vector<SequenceId> live = {ledger->AllocateSequence({.tokens = Text(1, 300)})->id};
  ASSERT_TRUE(ledger->Append({{{live[0], 300}}}).ok());
  int32_t token = 0;
  for (int64_t made = 1; made < 10'000;) {
    const size_t pick = random() % live.size();
    const SequenceId id = live[pick];
    if (random() % 4 == 0) {
      ASSERT_TRUE(ledger->Commit(id, {++token}).ok());
      ASSERT_TRUE(ledger->Append({{{id, 1}}}).ok());
    }
    if (live.size() > 1 && random() % 8 == 0) {
      ASSERT_TRUE(ledger->FreeSequence(id).ok());
      ASSERT_EQ(ledger->FreeSequence(id).code(), StatusCode::kNotFound);
      live[pick] = live.back();
      live.pop_back();
      continue;
    }
    const absl::StatusOr<SequenceId> child = ledger->Fork(id);
    ASSERT_TRUE(child.ok()) << child.status();
    live.push_back(*child);
    if (++made % 500 == 0) ledger->CheckInvariants();
  }
  EXPECT_GT(live.size(), 8000u);
  std::shuffle(live.begin(), live.end(), random);
  for (size_t i = 0; i < live.size(); ++i) {
    ASSERT_TRUE(ledger->FreeSequence(live[i]).ok());
    if (i % 500 == 0) ledger->CheckInvariants();
  }
  ledger->CheckInvariants();
  for (int p = 0; p < 3; ++p) EXPECT_EQ(UseOf(*ledger, p).live, 0);
  EXPECT_EQ(UseOf(*ledger, 1).cached, 1);  // the one chunk that all shared
  ledger->ClearPrefixes();
  for (int p = 0; p < 3; ++p) EXPECT_EQ(UseOf(*ledger, p).free, 30'000);
}

// Their checkpoints would be in the same window blocks, so only the first is made; nothing is taken
// or held for the other.
TEST(PrefixForkTest, OfTwoForksThatPartShortlyBeforeACheckpointTheSecondLeavesNone) {
  PrefixFixture f({.overlap_blocks = 8, .state_blocks = 8});
  const SequenceId a = f.Start(Text(1, 252));
  f.Feed(a);
  const SequenceId b = f.Fork(a);
  f.Commit(a, {7});
  f.Commit(b, {8});
  f.Draft(a, Text(2, 4));
  f.Draft(b, Text(3, 4));
  f.Commit(a, Text(2, 4));
  f.Commit(b, Text(3, 4));
  EXPECT_EQ(f.figures().stored_checkpoints, 1);
  EXPECT_EQ(f.figures().missed_checkpoints, 1);
  f.Free(a);
  f.Free(b);
  f.ClearPrefixes();
  for (int p = 0; p < f.ledger().geometry().num_pools; ++p) {
    EXPECT_EQ(f.Use(p).free, f.Use(p).capacity) << "pool " << p;
  }
}

}  // namespace
}  // namespace terrace::testing
