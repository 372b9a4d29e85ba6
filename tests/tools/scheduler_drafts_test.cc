// Which drafts a scheduler accepts, and what it takes back.

#include <cstdint>

#include "gtest/gtest.h"
#include "tests/tools/scheduler_testing.h"
#include "tools/terrace/engine/scheduler.h"
#include "tools/terrace/engine/step_runner.h"

namespace terrace::testing {
namespace {

using tools::Scheduler;

TEST(SchedulerDraftsTest, DraftsThatAreAllAcceptedSaveSteps) {
  const SchedulerOptions options{.drafts = 3, .acceptance = 1};
  const auto ledger = MakeLedger(100, options);
  const auto requests = Equal(1, 10, 9);
  Scheduler scheduler(ledger.get(), requests, nullptr, options);
  ASSERT_TRUE(scheduler.Run().ok());
  EXPECT_EQ(scheduler.stats().steps, 3);  // 1, then 4 and 4 tokens
  EXPECT_EQ(scheduler.stats().decode_tokens, 9);
  EXPECT_EQ(scheduler.stats().rejected_drafts, 0);
}

TEST(SchedulerDraftsTest, RejectedDraftsAreTakenBack) {
  const SchedulerOptions options{.drafts = 3, .acceptance = 0};
  const auto ledger = MakeLedger(100, options);
  const auto requests = Equal(1, 10, 9);
  Recorder recorder;
  Scheduler scheduler(ledger.get(), requests, &recorder, options);
  ASSERT_TRUE(scheduler.Run().ok());
  EXPECT_EQ(scheduler.stats().steps, 9);
  EXPECT_EQ(scheduler.stats().drafts, scheduler.stats().rejected_drafts);
  EXPECT_GT(scheduler.stats().drafts, 0);
  const StepSequence& third = recorder.steps[2].front();
  EXPECT_EQ(third.first, 11);
  EXPECT_EQ(third.taken_back_begin, 11);
  EXPECT_EQ(third.taken_back_end, 14);
  ExpectAllFree(*ledger);
}

TEST(SchedulerDraftsTest, TheSameDraftsAreAcceptedWhateverTheBatch) {
  SchedulerOptions options{.acceptance = 0.5};
  const auto requests = Equal(8, 50, 100);
  int64_t rejected[2];
  for (bool serial : {false, true}) {
    options.serial = serial;
    const auto ledger = MakeLedger(100, options);
    Scheduler scheduler(ledger.get(), requests, nullptr, options);
    ASSERT_TRUE(scheduler.Run().ok());
    rejected[serial] = scheduler.stats().rejected_drafts;
  }
  EXPECT_EQ(rejected[0], rejected[1]);
  EXPECT_GT(rejected[0], 100);
}

}  // namespace
}  // namespace terrace::testing
