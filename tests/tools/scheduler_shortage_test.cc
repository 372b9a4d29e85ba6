// What a scheduler does where memory is short.

#include <algorithm>
#include <cstdint>

#include "gtest/gtest.h"
#include "tests/support/use_of.h"
#include "tests/tools/scheduler_testing.h"
#include "tools/terrace/engine/scheduler.h"
#include "tools/terrace/engine/scheduler_stats.h"

namespace terrace::testing {
namespace {

using tools::Scheduler;
using tools::SchedulerStats;

TEST(SchedulerShortageTest, ShortMemoryPreemptsTheNewestAndStillServesAll) {
  const SchedulerOptions options{.check_every = 1};
  const auto ledger = MakeLedger(6, options);  // 6 chunks of 256 tokens; each request takes 3
  const auto requests = Equal(8, 400, 200);
  Recorder recorder;
  Scheduler scheduler(ledger.get(), requests, &recorder, options);
  ASSERT_TRUE(scheduler.Run().ok());
  EXPECT_EQ(scheduler.stats().completed, 8);
  EXPECT_EQ(scheduler.stats().failed, 0);
  EXPECT_GT(scheduler.stats().preemptions, 0);
  EXPECT_GT(scheduler.stats().recomputed_tokens, 0);
  EXPECT_EQ(scheduler.stats().prompt_tokens, 8 * 400);  // once, however often they are fed
  EXPECT_EQ(scheduler.stats().decode_tokens, 8 * 200);
  EXPECT_EQ(scheduler.occupancy().peak()[1], 6);
  ExpectAllFree(*ledger);
}

TEST(SchedulerShortageTest, PlansInFlightAreRetiredAsLateAsAllowed) {
  const SchedulerOptions options{.in_flight = 3, .check_every = 1};
  const auto ledger = MakeLedger(100, options);
  const auto requests = Equal(8, 400, 200);
  Recorder recorder;
  Scheduler scheduler(ledger.get(), requests, &recorder, options);
  int32_t most_draining = 0;
  scheduler.OnStep([&](const SchedulerStats&) {
    most_draining = std::max(most_draining, UseOf(*ledger, 0).draining);
  });
  ASSERT_TRUE(scheduler.Run().ok());
  EXPECT_GT(most_draining, 0);
  EXPECT_GT(recorder.waits, 0);
  EXPECT_EQ(scheduler.stats().completed, 8);
  EXPECT_FALSE(ledger->Retire(ledger->last_plan()).ok());  // is retired
  ExpectAllFree(*ledger);
}

TEST(SchedulerShortageTest, AShortageWaitsForPlansInFlightBeforeItPreempts) {
  int64_t preemptions[2];
  for (const int in_flight : {0, 4}) {
    const SchedulerOptions options{.in_flight = in_flight, .check_every = 1};
    const auto ledger = MakeLedger(8, options);
    const auto requests = Equal(20, 400, 200);
    Scheduler scheduler(ledger.get(), requests, nullptr, options);
    ASSERT_TRUE(scheduler.Run().ok());
    EXPECT_EQ(scheduler.stats().completed, 20);
    preemptions[in_flight > 0] = scheduler.stats().preemptions;
    ExpectAllFree(*ledger);
  }
  EXPECT_EQ(preemptions[1], preemptions[0]);
}

TEST(SchedulerShortageTest, ARequestThatNeverFitsFailsAndTheOthersAreServed) {
  const SchedulerOptions options{};
  const auto ledger = MakeLedger(4, options);
  auto requests = Equal(5, 200, 20);
  requests[2].input_length = 2000;  // 8 chunks
  requests[3].input_length = 9000;  // beyond the context of 8192
  requests[3].output_length = 1;
  Scheduler scheduler(ledger.get(), requests, nullptr, options);
  ASSERT_TRUE(scheduler.Run().ok());
  EXPECT_EQ(scheduler.stats().completed, 3);
  EXPECT_EQ(scheduler.stats().failed, 2);
  ExpectAllFree(*ledger);
}

}  // namespace
}  // namespace terrace::testing
