// Rows that were computed and are wrong: NaN in an output, an image that failed to decode. Nobody
// resumes on them. docs/guide.md quotes it.

#include <cmath>
#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "terrace/cache.h"
#include "tests/support/small_cache.h"

namespace terrace::testing {
namespace {

using ::testing::Each;
using WrongRowsTest = SmallCacheTest;

// Sends the sequences of a step back whose logits have a NaN: all rows of the step may be wrong.
// `ids` are those of the plan's sequences, `logits` the sum of each one's.
absl::StatusOr<Abandoned> DistrustNan(Cache& cache, const Plan& plan,
                                      absl::Span<const SequenceId> ids,
                                      absl::Span<const float> logits) {
  std::vector<Distrusted> wrong;
  for (size_t i = 0; i < ids.size(); ++i) {
    if (std::isnan(logits[i])) wrong.push_back({ids[i], plan.sequences()[i].first});
  }
  return cache.Distrust(wrong);
}

TEST_F(WrongRowsTest, AStepWithNanInAnOutputIsComputedAgain) {
  Make();
  const SequenceId bad = Allocate(1000).id;
  const SequenceId good = Allocate(300, "x").id;
  Run(Append(bad, 600), kOne);
  auto plan = cache_->Append({{good, 300}, {bad, 400}});
  ASSERT_TRUE(plan.ok()) << plan.status();
  Run(*plan, k256);
  EXPECT_EQ(cache_->Probe({.tokens = Prompt(1000)})->matched, 768);

  const auto again = DistrustNan(*cache_, *plan, {good, bad}, {0.5f, NAN});
  ASSERT_TRUE(again.ok()) << again.status();
  ASSERT_EQ(again->sequences.size(), 1u);
  EXPECT_EQ(again->sequences[0].id, bad);
  EXPECT_EQ(again->sequences[0].match.matched, 512);
  EXPECT_EQ(cache_->Info(good)->length, 300);
  EXPECT_EQ(cache_->Probe({.tokens = Prompt(1000)})->matched, 512);
  Run(Append(bad, 1000 - again->sequences[0].length), kOne);  // no snapshot
  EXPECT_THAT(Read(), Each(kOne));
}

// NaN again, in rows that were right: what they read is wrong.
TEST_F(WrongRowsTest, DistrustFromTheFirstRowForgetsTheWholeSequence) {
  Make();
  const SequenceId id = Allocate(1000).id;
  Run(Append(id, 1000), k256);
  const auto again = cache_->Distrust({{{id, 0}}});
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(again->sequences[0].length, 0);
  Run(Append(id, 1000), kOne);
  EXPECT_THAT(Read(), Each(kOne));
}

TEST_F(WrongRowsTest, AnImageThatFailedToDecodeTakesAllBehindItAlong) {
  Make();
  const SequenceId id = Allocate(1000).id;
  Run(Append(id, 300), kOne);
  Run(Append(id, 500), k256);  // tokens 300 to 400 stood for the image
  const SequenceId follower = Allocate(1000).id;
  EXPECT_EQ(cache_->Info(follower)->write_from, 768);

  const int32_t image_begin = 300;
  absl::StatusOr<Abandoned> again = cache_->Distrust({{{id, image_begin}}});
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(again->sequences.size(), 2u);         // and who attached what it computed
  absl::Status freed = cache_->FreeSequence(id);  // the request ends in an error
  ASSERT_TRUE(freed.ok()) << freed;

  EXPECT_EQ(cache_->Probe({.tokens = Prompt(1000)})->matched, 256);
  Run(Append(follower, 1000 - cache_->Info(follower)->length), kOne);
  EXPECT_THAT(Read(), Each(kOne));
}

TEST_F(WrongRowsTest, ForksAreNamedToo) {
  Make();
  const SequenceId id = Allocate(1000).id;
  Run(Append(id, 1000), k256);
  const auto fork = cache_->Fork(id);
  ASSERT_TRUE(fork.ok()) << fork.status();
  const auto again = cache_->Distrust({{{id, 900}, {*fork, 900}}});
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(again->sequences.size(), 2u);
  EXPECT_EQ(cache_->Info(*fork)->length, again->sequences[1].length);
  EXPECT_LE(cache_->Info(*fork)->length, 768);
}

}  // namespace
}  // namespace terrace::testing
