#include "tools/terrace/engine/scheduler.h"

#include <cstdint>

#include "absl/status/status.h"
#include "gtest/gtest.h"
#include "tests/tools/scheduler_testing.h"
#include "tools/terrace/engine/step_runner.h"

namespace terrace::testing {
namespace {

using tools::Scheduler;

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

TEST(SchedulerTest, PromptsAreFedInPiecesBesideDecodes) {
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

}  // namespace
}  // namespace terrace::testing
