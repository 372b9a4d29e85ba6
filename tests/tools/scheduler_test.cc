#include "tools/terrace/engine/scheduler.h"

#include <algorithm>

#include "gtest/gtest.h"
#include "tests/tools/scheduler_testing.h"

namespace terrace::testing {
namespace {

using tools::OccupancySeries;
using tools::Scheduler;
using tools::SchedulerOptions;
using tools::SchedulerStats;
using tools::StepSequence;

TEST(SchedulerTest, AStepTakesItsFixedTimeAndThatOfItsTokens) {
  const SchedulerOptions options{.drafts = 0};
  const auto ledger = MakeLedger(100, options);
  const auto requests = Equal(1, 100, 3);
  Recorder recorder;
  Scheduler scheduler(ledger.get(), requests, &recorder, options);
  ASSERT_TRUE(scheduler.Run().ok());
  EXPECT_EQ(scheduler.stats().steps, 3);  // the prompt gives the first token
  EXPECT_DOUBLE_EQ(scheduler.stats().simulated_seconds, 0.010 + 0.002 + 2 * (0.010 + 0.00002));
  EXPECT_EQ(scheduler.stats().prompt_tokens, 100);
  EXPECT_EQ(scheduler.stats().decode_tokens, 3);
  EXPECT_EQ(scheduler.stats().decode_sequence_steps, 2);
  EXPECT_EQ(scheduler.stats().prefill_tokens, 100);
  ExpectAllFree(*ledger);
}

TEST(SchedulerTest, PromptsAreFedInChunksBesideDecodes) {
  const SchedulerOptions options{.step_tokens = 64, .drafts = 0};
  const auto ledger = MakeLedger(100, options);
  const auto requests = Equal(3, 100, 20);
  Recorder recorder;
  Scheduler scheduler(ledger.get(), requests, &recorder, options);
  ASSERT_TRUE(scheduler.Run().ok());
  bool mixed = false;
  for (const auto& step : recorder.steps) {
    int32_t tokens = 0;
    for (const StepSequence& part : step) tokens += part.count;
    EXPECT_LE(tokens, 64);
    mixed |= step.size() > 1 && step.front().count == 1 && step.back().count > 1;
  }
  EXPECT_TRUE(mixed);
  EXPECT_EQ(scheduler.stats().completed, 3);
  EXPECT_EQ(scheduler.stats().prompt_tokens, 300);
  EXPECT_EQ(scheduler.stats().decode_tokens, 60);
}

TEST(SchedulerTest, TheClockJumpsToTheNextArrival) {
  const SchedulerOptions options{.drafts = 0};
  const auto ledger = MakeLedger(100, options);
  auto requests = Equal(2, 10, 1);
  requests[1].arrival_ms = 60000;
  Scheduler scheduler(ledger.get(), requests, nullptr, options);
  ASSERT_TRUE(scheduler.Run().ok());
  EXPECT_EQ(scheduler.stats().steps, 2);
  EXPECT_NEAR(scheduler.stats().simulated_seconds, 60.0102, 1e-9);
}

TEST(SchedulerTest, DraftsThatAreAllAcceptedSaveSteps) {
  const SchedulerOptions options{.drafts = 3, .acceptance = 1};
  const auto ledger = MakeLedger(100, options);
  const auto requests = Equal(1, 10, 9);
  Scheduler scheduler(ledger.get(), requests, nullptr, options);
  ASSERT_TRUE(scheduler.Run().ok());
  EXPECT_EQ(scheduler.stats().steps, 3);  // 1, then 4 and 4 tokens
  EXPECT_EQ(scheduler.stats().decode_tokens, 9);
  EXPECT_EQ(scheduler.stats().rejected_drafts, 0);
}

TEST(SchedulerTest, RejectedDraftsAreTakenBack) {
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

TEST(SchedulerTest, TheSameDraftsAreAcceptedWhateverTheBatch) {
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

TEST(SchedulerTest, SerialRunsOneRequestAtATime) {
  const SchedulerOptions options{.serial = true};
  const auto ledger = MakeLedger(100, options);
  const auto requests = Equal(5, 300, 10);
  Recorder recorder;
  Scheduler scheduler(ledger.get(), requests, &recorder, options);
  ASSERT_TRUE(scheduler.Run().ok());
  for (const auto& step : recorder.steps) EXPECT_EQ(step.size(), 1);
  EXPECT_EQ(scheduler.stats().completed, 5);
  EXPECT_EQ(scheduler.stats().sequence_steps, scheduler.stats().steps);
}

TEST(SchedulerTest, ShortMemoryPreemptsTheNewestAndStillServesAll) {
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

TEST(SchedulerTest, PlansInFlightAreRetiredAsLateAsAllowed) {
  const SchedulerOptions options{.in_flight = 3, .check_every = 1};
  const auto ledger = MakeLedger(100, options);
  const auto requests = Equal(8, 400, 200);
  Recorder recorder;
  Scheduler scheduler(ledger.get(), requests, &recorder, options);
  int32_t most_draining = 0;
  scheduler.OnStep([&](const SchedulerStats&) {
    most_draining = std::max(most_draining, ledger->Use(0).draining);
  });
  ASSERT_TRUE(scheduler.Run().ok());
  EXPECT_GT(most_draining, 0);
  EXPECT_GT(recorder.waits, 0);
  EXPECT_EQ(scheduler.stats().completed, 8);
  EXPECT_FALSE(ledger->Retire(ledger->last_plan()).ok());  // is retired
  ExpectAllFree(*ledger);
}

TEST(SchedulerTest, AShortageWaitsForPlansInFlightBeforeItPreempts) {
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

TEST(SchedulerTest, ARequestThatNeverFitsFailsAndTheOthersAreServed) {
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

TEST(SchedulerTest, ARequestWithoutOutputEndsWithItsPrompt) {
  const SchedulerOptions options{};
  const auto ledger = MakeLedger(10, options);
  const auto requests = Equal(1, 100, 0);
  Scheduler scheduler(ledger.get(), requests, nullptr, options);
  ASSERT_TRUE(scheduler.Run().ok());
  EXPECT_EQ(scheduler.stats().completed, 1);
  EXPECT_EQ(scheduler.stats().steps, 1);
  EXPECT_EQ(scheduler.stats().decode_tokens, 0);
}

TEST(SchedulerTest, WhatTheRunnerFailsWithEndsTheRun) {
  const SchedulerOptions options{};
  const auto ledger = MakeLedger(10, options);
  const auto requests = Equal(2, 100, 5);
  Recorder recorder;
  recorder.result = absl::DataLossError("a step failed");
  Scheduler scheduler(ledger.get(), requests, &recorder, options);
  EXPECT_EQ(scheduler.Run(), recorder.result);
  EXPECT_EQ(recorder.steps.size(), 1);
}

TEST(OccupancySeriesTest, KeepsEveryPeakInABoundedNumberOfPoints) {
  OccupancySeries series(8);
  for (int i = 0; i < 1000; ++i) series.Add(i, {i == 617 ? 99 : i % 7});
  EXPECT_LE(series.points().size(), 8);
  EXPECT_GE(series.points().size(), 4);
  EXPECT_EQ(series.peak()[0], 99);
  int32_t highest = 0;
  double before = -1;
  for (const auto& point : series.points()) {
    EXPECT_GT(point.seconds, before);
    before = point.seconds;
    highest = std::max(highest, point.live[0]);
  }
  EXPECT_EQ(highest, 99);
}

}  // namespace
}  // namespace terrace::testing
