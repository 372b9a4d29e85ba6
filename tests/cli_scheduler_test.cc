#include <algorithm>
#include <memory>
#include <numeric>

#include "cli/scheduler.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "terrace/capacity.h"
#include "terrace/model.h"
#include "terrace/units.h"

namespace terrace {
namespace {

// A ledger of a small model with `chunks` blocks in every full pool.
std::unique_ptr<Ledger> MakeLedger(int32_t chunks, const SchedulerOptions& options = {},
                                   int32_t context = 8192) {
  const auto model = MakeModel({.ratios = {0, 4, 128}});
  EXPECT_TRUE(model.ok()) << model.status();
  const Limits limits{.max_sequences = options.sequences,
                      .max_step_tokens = options.step_tokens,
                      .max_drafts = options.drafts,
                      .max_context_tokens = context};
  CapacityRequest request{.model = *model, .memory_bytes = kGiB, .limits = limits};
  auto plan = PlanCapacity(request);
  EXPECT_TRUE(plan.ok()) << plan.status();
  Geometry geometry = plan->geometry;
  for (int p = 0; p < geometry.num_pools; ++p) {
    if (geometry.pools[p].kind == PoolKind::kFull) geometry.pools[p].capacity_blocks = chunks;
  }
  auto ledger = Ledger::Create({.geometry = geometry});
  EXPECT_TRUE(ledger.ok()) << ledger.status();
  return *std::move(ledger);
}

// Checks that lanes say what the plan says, and remembers the steps.
class Recorder : public StepRunner {
 public:
  absl::Status Run(const Plan& plan, absl::Span<const StepLane> lanes) override {
    EXPECT_EQ(plan.lanes().size(), lanes.size());
    for (size_t i = 0; i < lanes.size(); ++i) {
      EXPECT_EQ(plan.lanes()[i].first, lanes[i].first);
      EXPECT_EQ(plan.lanes()[i].count, lanes[i].count);
      EXPECT_EQ(plan.lanes()[i].drafts, lanes[i].drafts);
      EXPECT_LE(lanes[i].accepted, lanes[i].drafts);
    }
    steps.emplace_back(lanes.begin(), lanes.end());
    return result;
  }
  std::vector<std::vector<StepLane>> steps;
  absl::Status result;
};

std::vector<TraceRequest> Equal(int count, int32_t input, int32_t output) {
  return std::vector<TraceRequest>(count, {.input_length = input, .output_length = output});
}

void ExpectAllFree(const Ledger& ledger) {
  ledger.CheckInvariants();
  EXPECT_EQ(ledger.num_sequences(), 0);
  for (int p = 0; p < ledger.geometry().num_pools; ++p) {
    EXPECT_EQ(ledger.Use(p).free, ledger.Use(p).capacity) << p;
  }
}

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
    for (const StepLane& lane : step) tokens += lane.count;
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
  const StepLane& third = recorder.steps[2].front();
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
  EXPECT_GE(scheduler.stats().recomputed_tokens, 400);
  EXPECT_EQ(scheduler.stats().prompt_tokens, 8 * 400);  // once, however often they are fed
  EXPECT_EQ(scheduler.stats().decode_tokens, 8 * 200);
  EXPECT_EQ(scheduler.occupancy().peak()[1], 6);
  // A preempted request comes back as another sequence, with all it generated.
  bool resumed = false;
  for (const auto& step : recorder.steps) {
    for (const StepLane& lane : step) resumed |= lane.first == 0 && lane.count > 400;
  }
  EXPECT_TRUE(resumed);
  ExpectAllFree(*ledger);
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
}  // namespace terrace
