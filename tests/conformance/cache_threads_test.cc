// A scheduler's thread calls the ledger's side of a cache while a worker's thread calls the store's.
// ThreadSanitizer runs it too.

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "terrace/cache.h"
#include "tests/support/small_cache.h"

namespace terrace::testing {
namespace {

using ::testing::Each;

// What one thread leaves for another.
template <typename T>
class Mailbox {
 public:
  void Put(T item) {
    const std::lock_guard<std::mutex> lock(mutex_);
    items_.push_back(std::move(item));
    arrived_.notify_one();
  }
  T Take() {
    std::unique_lock<std::mutex> lock(mutex_);
    arrived_.wait(lock, [&] { return !items_.empty(); });
    T item = std::move(items_.front());
    items_.pop_front();
    return item;
  }

 private:
  std::mutex mutex_;
  std::condition_variable arrived_;
  std::deque<T> items_;
};

class CacheThreadsTest : public SmallCacheTest {
 protected:
  // Runs plans, and says which, until there is none.
  void Work() {
    while (std::optional<Plan> plan = plans_.Take()) {
      Run(*plan, kOne);
      const std::vector<uint16_t> found = ReadLast();
      wrong_ += found.size() != 1 || found[0] != kOne;
      ran_.Put(plan->number());
    }
  }
  // The first channel of the newest row that the last query sees.
  std::vector<uint16_t> ReadLast() {
    const int32_t query = cache_->step().num_token_rows - 1;
    const int32_t position = cache_->step_view().tokens[query].position;
    std::vector<uint16_t> rows(128 * kLatentChannels);
    EXPECT_TRUE(
        cache_->GatherWindow(0, {.token_rows = &query, .count = 1}, {.data = rows.data()}, Stream{})
            .ok());
    return {rows[std::min(position, 127) * kLatentChannels]};
  }

  Mailbox<std::optional<Plan>> plans_;
  Mailbox<PlanNumber> ran_;
  int wrong_ = 0;  // the worker's
};

TEST_F(CacheThreadsTest, TheSchedulerPlansAheadWhileAWorkerRunsEarlierPlans) {
  constexpr int kPrompts = 30;
  constexpr uint64_t kInFlight = 3;
  Make(MatchPolicy::kAppended, kInFlight);
  std::thread worker([this] { Work(); });
  uint64_t appended = 0;
  uint64_t retired = 0;
  const auto retire_one = [&] {
    const PlanNumber ran = ran_.Take();
    EXPECT_TRUE(cache_->Retire(ran).ok());
    retired = ran.value();
  };
  for (int i = 0; i < kPrompts; ++i) {
    const std::vector<int32_t> prompt = Prompt(300 + 100 * (i % 5));
    const auto admission = cache_->AllocateSequence({.tokens = prompt});
    ASSERT_TRUE(admission.ok()) << admission.status();
    for (int32_t fed = admission->length; fed < static_cast<int32_t>(prompt.size());) {
      if (appended - retired == kInFlight) retire_one();
      const int32_t tokens = std::min<int32_t>(97, static_cast<int32_t>(prompt.size()) - fed);
      auto plan = cache_->Append({{admission->id, tokens}});
      ASSERT_TRUE(plan.ok()) << plan.status();
      appended = plan->number().value();
      fed += tokens;
      plans_.Put(*std::move(plan));
      // All of the scheduler's side, while the worker is somewhere in a plan.
      EXPECT_TRUE(cache_->SetTime(static_cast<int64_t>(appended)).ok());
      EXPECT_TRUE(cache_->Probe({.tokens = prompt}).ok());
      EXPECT_TRUE(cache_->Snapshot().ok());
      EXPECT_EQ(cache_->Info(admission->id)->length, fed);
      EXPECT_GT(cache_->Use(PoolIndex(0))->live, 0);
      EXPECT_EQ(cache_->geometry().max_sequences, cache_->capacity().geometry.max_sequences);
    }
    EXPECT_TRUE(cache_->Commit(admission->id, {7}).ok());
    EXPECT_TRUE(cache_->FreeSequence(admission->id).ok());
  }
  while (retired < appended) retire_one();
  plans_.Put(std::nullopt);
  worker.join();
  EXPECT_EQ(wrong_, 0);
  EXPECT_EQ(cache_->ReadCounters().skipped_slots, 0);
  EXPECT_GT(cache_->prefix_figures().matched_tokens, 1000);
}

// A worker that stops in the middle: the scheduler abandons while it is still in its last call.
TEST_F(CacheThreadsTest, TheSchedulerAbandonsWhileAWorkerIsInAPlan) {
  Make(MatchPolicy::kAppended, 2);
  const SequenceId id = Allocate(1000).id;
  for (int i = 0; i < 10; ++i) {
    const auto before = cache_->Info(id);
    ASSERT_TRUE(before.ok());
    auto plan = cache_->Append({{id, 1000 - before->length}});
    ASSERT_TRUE(plan.ok()) << plan.status();
    std::thread worker([&] {
      Begin(*plan);
      WriteLayer(0, k256);
      WriteLayer(1, k256);
    });
    const auto abandoned = cache_->Abandon(plan->number());
    EXPECT_TRUE(abandoned.ok()) << abandoned.status();
    worker.join();
    EXPECT_TRUE(cache_->Retire(plan->number()).ok());
    Begin(*cache_->Snapshot());
  }
  Run(Append(id, 1000), kOne);
  EXPECT_THAT(Read(), Each(kOne));
}

// With in_flight_plans 0 a layer's call looks which plan is the last: from the worker's thread.
TEST_F(CacheThreadsTest, AWorkerLooksForTheLastPlanWhileTheSchedulerMakesOne) {
  Make(MatchPolicy::kAppended, 0);
  const SequenceId id = Allocate(1000).id;
  Run(Append(id, 10), kOne);
  int served = 0;
  int refused = 0;
  std::thread worker([&] {
    const int32_t query = 0;
    std::vector<uint16_t> rows(128 * kLatentChannels);
    for (int i = 0; i < 200; ++i) {
      const absl::Status status = cache_->GatherWindow(0, {.token_rows = &query, .count = 1},
                                                       {.data = rows.data()}, Stream{});
      served += status.ok();
      refused += absl::IsFailedPrecondition(status);
    }
  });
  for (int i = 0; i < 100; ++i) Append(id, 1);
  EXPECT_TRUE(cache_->Abandon(PlanNumber(50)).ok());
  worker.join();
  EXPECT_EQ(served + refused, 200);
}

}  // namespace
}  // namespace terrace::testing
