// Rows of single sequences that are wrong.

#include <gtest/gtest.h>

#include <vector>

#include "tests/support/prefix_fixture.h"

namespace terrace::testing {
namespace {

const TestGeometryOptions kWithStates = {.overlap_blocks = 8, .state_blocks = 8};

std::vector<SequenceId> IdsOf(const Abandoned& abandoned) {
  std::vector<SequenceId> ids;
  for (const Admission& admission : abandoned.sequences) ids.push_back(admission.id);
  return ids;
}

TEST(PrefixDistrustTest, ChunksThatEndBeyondGoAndAllBelow) {
  PrefixFixture f(kWithStates);
  f.Run({.tokens = Text(1, 512) + Text(2, 300)});  // another's chunk below
  const SequenceId a = f.Start(Text(1, 1000));
  EXPECT_EQ(f.Info(a).write_from, 512);
  f.Feed(a);
  EXPECT_EQ(IdsOf(f.Distrust({{a, 300}})), std::vector{a});
  EXPECT_TRUE(f.IsCached(Text(1, 256)));
  EXPECT_FALSE(f.IsCached(Text(1, 512)));
  EXPECT_FALSE(f.IsCached(Text(1, 512) + Text(2, 256)));
  EXPECT_FALSE(f.IsCached(Text(1, 768)));
  EXPECT_EQ(f.figures().lost_chunks, 3);
}

TEST(PrefixDistrustTest, AChunkThatEndsAtTheFirstWrongRowStays) {
  PrefixFixture f({});
  const SequenceId a = f.Start(Text(1, 600));
  f.Feed(a);
  f.Distrust({{a, 512}});
  EXPECT_EQ(f.Info(a).length, 512);
  f.Feed(a);
  f.Distrust({{a, 511}});
  EXPECT_LT(f.Info(a).length, 512);
  EXPECT_FALSE(f.IsCached(Text(1, 512)));
}

TEST(PrefixDistrustTest, GenerationAndPlansGoOn) {
  PrefixFixture f({});
  const SequenceId a = f.Start(Text(1, 600));
  f.Feed(a);
  f.Distrust({{a, 0}});
  const Plan next = f.Append({{a, 600}});
  EXPECT_EQ(next.header().generation, 1u);
  EXPECT_EQ(next.number().value(), 2u);
}

TEST(PrefixDistrustTest, WhoAttachedWhatGoesStartsOver) {
  PrefixFixture f(kWithStates);
  const SequenceId a = f.Start(Text(1, 600));
  const SequenceId c = f.Start(Text(3, 600));
  f.Append({{a, 600}, {c, 600}});
  const SequenceId b = f.Start(Text(1, 600));
  EXPECT_EQ(IdsOf(f.Distrust({{a, 0}})), (std::vector{a, b}));
  EXPECT_EQ(f.Info(b).length, 0);
  EXPECT_EQ(f.Info(c).length, 600);
}

TEST(PrefixDistrustTest, OnlyCapturesOfTheNamedGo) {
  PrefixFixture f(kWithStates);
  const SequenceId a = f.Start(Text(1, 254));
  const SequenceId b = f.Start(Text(2, 254));
  f.Append({{a, 254}, {b, 254}});
  f.Commit(a, {7});
  f.Commit(b, {7});
  f.Draft(a, {8, 9});
  f.Draft(b, {8, 9});
  f.Commit(a, {8, 9});
  f.Commit(b, {8, 9});
  f.Distrust({{a, 257}});
  EXPECT_FALSE(f.HasCheckpoint(Text(1, 254) + Tokens{7, 8}));
  EXPECT_TRUE(f.IsCached(Text(1, 254) + Tokens{7, 8}));
  EXPECT_TRUE(f.HasCheckpoint(Text(2, 254) + Tokens{7, 8}));
  EXPECT_EQ(f.Append({{a, 1}}).checkpoints().size(), 1u);
}

TEST(PrefixDistrustTest, ForksAreNamedTogether) {
  PrefixFixture f({});
  const SequenceId a = f.Start(Text(1, 300));
  f.Feed(a);
  const SequenceId b = f.Fork(a);
  EXPECT_EQ(IdsOf(f.Distrust({{a, 280}, {b, 280}})), (std::vector{a, b}));
  EXPECT_EQ(f.Info(a).write_from, 256);
}

TEST(PrefixDistrustTest, BadArgumentsChangeNothing) {
  PrefixFixture f({});
  const SequenceId a = f.Start(Text(1, 300));
  f.Feed(a);
  const std::string before = f.Dump();
  const auto code = [&](const Distrusted& wrong) {
    return f.ledger().Distrust({{a, 0}, wrong}).status().code();
  };
  EXPECT_EQ(code({a, -1}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code({a, 301}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code({{a.index, a.generation + 1}, 0}), absl::StatusCode::kNotFound);
  EXPECT_EQ(f.Dump(), before);
  EXPECT_TRUE(f.Distrust({}).sequences.empty());
}

}  // namespace
}  // namespace terrace::testing
