// A cache keeps its steps in order: plans of another cache are refused, and so are a layer's calls
// while the last plan has not begun. On the host backend: nothing here reaches a kernel.

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "terrace/cache.h"
#include "terrace/units.h"

namespace terrace::testing {
namespace {

using absl::StatusCode;
using ::testing::AllOf;
using ::testing::HasSubstr;

class CacheOrderTest : public ::testing::Test {
 protected:
  static std::unique_ptr<Cache> Make(int32_t in_flight_plans = 0,
                                     std::optional<uint64_t> epoch = std::nullopt) {
    auto cache = Cache::Create(
        {.model = *MakeModel({.ratios = {0, 4, 128}, .state = true}),
         .memory_bytes = 48 * kMiB,
         .limits = {.max_sequences = 4, .max_step_tokens = 64, .max_context_tokens = 2048},
         .backend = {.kind = BackendKind::kHost, .host_threads = 1},
         .in_flight_plans = in_flight_plans,
         .epoch = epoch});
    EXPECT_TRUE(cache.ok()) << cache.status();
    return *std::move(cache);
  }

  // Every call of a layer.
  std::vector<absl::Status> CallLayers(Cache& cache) {
    const CompressPlaneIn plane = {.kv = numbers_.data(),
                                   .score = numbers_.data(),
                                   .ape = numbers_.data(),
                                   .norm_weight = rows_.data()};
    const TopK top_k = {.entries = ints_.data(), .k = 4};
    const SlotsOut slots = {.slots = slots_.data()};
    const RowsOut out = {.data = out_.data()};
    return {cache.Write(0, {.swa = {.data = rows_.data(), .rotated = true}}, {}),
            cache.Compress(1, {.latent = plane, .indexer = plane}, {}),
            cache.TranslateTopK(1, {}, top_k, slots, {}),
            cache.TranslateVisible(1, {}, 4, slots, {}),
            cache.TranslateWindow(1, {}, slots, {}),
            cache.GatherTopK(1, {}, top_k, out, {}),
            cache.GatherVisible(1, {}, 4, out, {}),
            cache.GatherWindow(1, {}, out, {})};
  }
  void ExpectRefused(Cache& cache, const std::vector<std::string>& words) {
    for (const absl::Status& status : CallLayers(cache)) {
      EXPECT_EQ(status.code(), StatusCode::kFailedPrecondition) << status;
      for (const std::string& word : words) EXPECT_THAT(status.message(), HasSubstr(word));
    }
    // What is no layer's call of a step goes on.
    EXPECT_TRUE(cache.Pages(0, PoolKind::kWindow).ok());
    EXPECT_TRUE(cache
                    .ReadSlots(0, PoolKind::kWindow, PlaneKind::kLatent,
                               {.slots = ints_.data(), .count = 1}, {.data = out_.data()}, {})
                    .ok());
    EXPECT_TRUE(cache.CopyBlocks({}, {}).ok());
  }
  void ExpectServed(Cache& cache) {
    for (const absl::Status& status : CallLayers(cache)) EXPECT_TRUE(status.ok()) << status;
  }

  std::vector<uint16_t> rows_ = std::vector<uint16_t>(64 * 512, 0x3F80);
  std::vector<float> numbers_ = std::vector<float>(64 * 1024, 0.5f);
  std::vector<int32_t> ints_ = std::vector<int32_t>(64 * 4, 0);
  std::vector<int32_t> slots_ = std::vector<int32_t>(64 * 128, 0);
  std::vector<uint16_t> out_ = std::vector<uint16_t>(64 * 128 * 512, 0);
};

TEST_F(CacheOrderTest, APlanOfAnotherCacheIsRefused) {
  const auto x = Make();
  const auto y = Make();
  const SequenceId id = x->AllocateSequence({})->id;
  ASSERT_EQ(y->AllocateSequence({})->id, id);
  const Plan of_x = *x->Append({{id, 5}});
  const absl::Status status = y->Begin(of_x, {});
  EXPECT_EQ(status.code(), StatusCode::kFailedPrecondition);
  EXPECT_THAT(status.message(), AllOf(HasSubstr(std::to_string(x->epoch())),
                                      HasSubstr(std::to_string(y->epoch())), HasSubstr("plan 1")));
  EXPECT_EQ(y->Begin(*x->Snapshot(), {}).code(), StatusCode::kFailedPrecondition);
  EXPECT_EQ(y->step().number, 0u);
  EXPECT_TRUE(y->Begin(*y->Append({{id, 5}}), {}).ok());
  EXPECT_EQ(y->Begin(*x->Append({{id, 5}}), {}).code(), StatusCode::kFailedPrecondition);
  EXPECT_TRUE(x->Begin(of_x, {}).ok());
}

// Two caches that are told to have one epoch are taken for one.
TEST_F(CacheOrderTest, APlanOfAnEpochThatWasGivenPasses) {
  const auto x = Make(0, 7);
  const auto y = Make(0, 7);
  EXPECT_EQ(y->epoch(), 7u);
  EXPECT_TRUE(y->Begin(*x->Append({}), {}).ok());
}

TEST_F(CacheOrderTest, AStoreThatIsToldItsLedgerRefusesAnotherFromTheStart) {
  const auto x = Make();
  const auto y = Make();
  const auto store = [&](std::optional<uint64_t> epoch) {
    auto made = Store::Create({.model = *MakeModel({.ratios = {0, 4, 128}, .state = true}),
                               .geometry = x->geometry(),
                               .epoch = epoch},
                              *MakeBackend({.kind = BackendKind::kHost, .host_threads = 1}));
    EXPECT_TRUE(made.ok()) << made.status();
    return *std::move(made);
  };
  const Plan of_x = *x->Append({});
  const Plan of_y = *y->Append({});
  const auto told = store(y->epoch());
  EXPECT_EQ(told->Begin(of_x, {}).code(), StatusCode::kFailedPrecondition);
  EXPECT_TRUE(told->Begin(of_y, {}).ok());
  const auto untold = store(std::nullopt);  // follows the first
  EXPECT_TRUE(untold->Begin(of_x, {}).ok());
  EXPECT_EQ(untold->Begin(of_y, {}).code(), StatusCode::kFailedPrecondition);
}

TEST_F(CacheOrderTest, LayersWaitForTheLastPlan) {
  const auto cache = Make();
  const SequenceId id = cache->AllocateSequence({})->id;
  ExpectRefused(*cache, {"no step has begun"});
  const Plan first = *cache->Append({{id, 5}});
  ExpectRefused(*cache, {"no step has begun"});
  ASSERT_TRUE(cache->Begin(first, {}).ok());
  ExpectServed(*cache);
  ExpectServed(*cache);  // as often as it likes
  const Plan second = *cache->Append({{id, 1}});
  ExpectRefused(*cache, {"last plan is 2", "began last is plan 1", "Begin(plan 2)"});
  ASSERT_TRUE(cache->Begin(second, {}).ok());
  ExpectServed(*cache);
  EXPECT_FALSE(cache->Append({{id, 0}}).ok());  // is no plan
  ExpectServed(*cache);
  ASSERT_TRUE(cache->Begin(*cache->Append({}), {}).ok());
  ExpectServed(*cache);
}

TEST_F(CacheOrderTest, LayersWaitForAStepBehindASnapshot) {
  const auto cache = Make();
  ASSERT_TRUE(cache->Begin(*cache->Snapshot(), {}).ok());
  ExpectRefused(*cache, {"snapshot at plan 0", "last plan is 0"});
  const SequenceId id = cache->AllocateSequence({})->id;
  const Plan first = *cache->Append({{id, 5}});
  ASSERT_TRUE(cache->Begin(*cache->Snapshot(), {}).ok());
  ExpectRefused(*cache, {"snapshot at plan 1", "last plan is 1"});
  ASSERT_TRUE(cache->Begin(first, {}).ok());
  ExpectServed(*cache);
  const Plan second = *cache->Append({{id, 1}});
  const Plan third = *cache->Append({{id, 1}});
  ASSERT_TRUE(cache->Begin(second, {}).ok());
  ExpectRefused(*cache, {"last plan is 3", "began last is plan 2"});
  ASSERT_TRUE(cache->Begin(*cache->Snapshot(), {}).ok());
  ExpectRefused(*cache, {"snapshot at plan 3", "last plan is 3"});
  ASSERT_TRUE(cache->Begin(third, {}).ok());
  ExpectServed(*cache);
}

TEST_F(CacheOrderTest, LayersWaitForASnapshotAndAStepBehindAbandonedPlans) {
  const auto cache = Make();
  const SequenceId id = cache->AllocateSequence({})->id;
  ASSERT_TRUE(cache->Begin(*cache->Append({{id, 5}}), {}).ok());
  ASSERT_TRUE(cache->Abandon(PlanNumber(1)).ok());
  ExpectRefused(*cache, {"plan 1", "generation 1", "generation 2", "Snapshot()"});
  ASSERT_TRUE(cache->Begin(*cache->Snapshot(), {}).ok());
  ExpectRefused(*cache, {"snapshot at plan 1", "last plan is 1"});
  ASSERT_TRUE(cache->Begin(*cache->Append({{id, 5}}), {}).ok());
  ExpectServed(*cache);
}

// The parts of a cache may be called too.
TEST_F(CacheOrderTest, PlansOfTheLedgerItselfAreSeen) {
  const auto cache = Make();
  const SequenceId id = cache->ledger().AllocateSequence({})->id;
  ASSERT_TRUE(cache->Begin(*cache->ledger().Append({{id, 5}}), {}).ok());
  ExpectServed(*cache);
  const Plan second = *cache->ledger().Append({{id, 1}});
  ExpectRefused(*cache, {"last plan is 2", "began last is plan 1"});
  ASSERT_TRUE(cache->store().Begin(second, {}).ok());
  ExpectServed(*cache);
  ASSERT_TRUE(cache->ledger().Abandon(PlanNumber(1)).ok());
  ExpectRefused(*cache, {"generation 1", "generation 2"});
}

TEST_F(CacheOrderTest, AnEngineWithPlansInFlightSeesToTheOrderItself) {
  const auto cache = Make(2);
  const SequenceId id = cache->AllocateSequence({})->id;
  ASSERT_TRUE(cache->Begin(*cache->Append({{id, 5}}), {}).ok());
  const Plan second = *cache->Append({{id, 1}});
  ExpectServed(*cache);  // of plan 1
  ASSERT_TRUE(cache->Begin(second, {}).ok());
  ExpectServed(*cache);
}

}  // namespace
}  // namespace terrace::testing
