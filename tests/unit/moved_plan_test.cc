// A plan that was moved from: it reads as no plan, and nothing begins it.

#include <utility>

#include "tests/unit/bad_input.h"

namespace terrace::testing {
namespace {

TEST_F(BadInputTest, OfAPlanThatWasMovedFromChangesNothing) {
  Plan taken = *first_;
  Plan plan = std::move(taken);
  const Plan copy = taken;  // NOLINT(bugprone-use-after-move): it is defined
  // NOLINTNEXTLINE(performance-move-const-arg)
  const Plan moved_again = std::move(taken);
  Plan assigned = *second_;
  assigned = copy;
  ExpectErrors({
      {"by a cache", kInvalidArgument, "moved from", [&] { return cache_->Begin(taken, {}); }},
      {"by a store", kInvalidArgument, "0 bytes", [&] { return cache_->store().Begin(taken, {}); }},
      {"padded", kInvalidArgument, "moved from", [&] { return cache_->Begin(taken, {}, 8); }},
      {"a copy", kInvalidArgument, "moved from", [&] { return cache_->Begin(copy, {}); }},
      {"moved again", kInvalidArgument, "moved from",
       [&] { return cache_->Begin(moved_again, {}); }},
      {"assigned", kInvalidArgument, "moved from", [&] { return cache_->Begin(assigned, {}); }},
      {"from its bytes", kInvalidArgument, "shorter than its header",
       [&] { return Plan::Parse(taken.bytes(), cache_->geometry()).status(); }},
  });
  EXPECT_EQ(plan.number(), PlanNumber(1));
  EXPECT_EQ(plan.sequences().size(), 3u);
}

TEST_F(BadInputTest, OfAFreshStoreAMovedPlanChangesNothing) {
  auto other = Store::Create({.model = model_, .geometry = cache_->geometry()},
                             *MakeBackend({.kind = BackendKind::kHost, .host_threads = 1}));
  ASSERT_TRUE(other.ok()) << other.status();
  Plan taken = *first_;
  Plan plan = std::move(taken);
  // NOLINTNEXTLINE(bugprone-use-after-move): it is defined
  ExpectOneLine((*other)->Begin(taken, {}), kInvalidArgument, "moved from");
  EXPECT_TRUE((*other)->Begin(plan, {}).ok());
}

TEST(MovedPlanTest, HasNoBytesNoRecordsAndAHeaderOfZeros) {
  auto model = MakeModel({.ratios = {0, 4}});
  auto cache = Cache::Create({.model = *model,
                              .memory_bytes = 8 * kMiB,
                              .limits = {.max_sequences = 4, .max_context_tokens = 2048},
                              .backend = {.kind = BackendKind::kHost, .host_threads = 1}});
  ASSERT_TRUE(cache.ok()) << cache.status();
  const SequenceId id = (*cache)->AllocateSequence({})->id;
  Plan plan = *(*cache)->Append({{id, 5}});
  const Plan taken = std::move(plan);
  // NOLINTBEGIN(bugprone-use-after-move): it is defined
  EXPECT_TRUE(plan.bytes().empty());
  EXPECT_FALSE(plan.is_snapshot());
  EXPECT_EQ(plan.number(), PlanNumber(0));
  EXPECT_EQ(plan.header().magic, 0u);
  EXPECT_EQ(plan.header().total_bytes, 0);
  EXPECT_TRUE(plan.sequences().empty());
  EXPECT_TRUE(plan.checkpoints().empty());
  EXPECT_TRUE(plan.restores().empty());
  EXPECT_TRUE(plan.patches().empty());
  EXPECT_TRUE(plan.copies().empty());
  plan = taken;
  EXPECT_EQ(plan.sequences().size(), 1u);
  // NOLINTEND(bugprone-use-after-move)
}

}  // namespace
}  // namespace terrace::testing
