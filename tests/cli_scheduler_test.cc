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
                                   const PrefixOptions& prefix = {}) {
  const auto model = MakeModel({.ratios = {0, 4, 128}});
  EXPECT_TRUE(model.ok()) << model.status();
  const Limits limits{.max_sequences = options.sequences,
                      .max_step_tokens = options.step_tokens,
                      .max_drafts = options.drafts,
                      .max_context_tokens = 8192};
  CapacityRequest request{.model = *model, .memory_bytes = kGiB, .limits = limits};
  auto plan = PlanCapacity(request);
  EXPECT_TRUE(plan.ok()) << plan.status();
  Geometry geometry = plan->geometry;
  for (int p = 0; p < geometry.num_pools; ++p) {
    if (geometry.pools[p].kind == PoolKind::kFull) geometry.pools[p].capacity_blocks = chunks;
  }
  auto ledger = Ledger::Create(
      {.geometry = geometry, .in_flight_plans = options.in_flight, .prefix = prefix});
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
  absl::Status Wait() override {
    ++waits;
    return absl::OkStatus();
  }
  int waits = 0;
  std::vector<std::vector<StepLane>> steps;
  absl::Status result;
};

std::vector<TraceRequest> Equal(int count, int32_t input, int32_t output) {
  return std::vector<TraceRequest>(count, {.input_length = input, .output_length = output});
}

// Requests that share their first `shared` tokens, a multiple of 512, and nothing else.
std::vector<TraceRequest> WithSharedPrefix(int count, int32_t input, int32_t output,
                                           int32_t shared) {
  std::vector<TraceRequest> requests = Equal(count, input, output);
  int64_t next_id = 1000;
  for (TraceRequest& request : requests) {
    for (int32_t first = 0; first < input; first += kHashBlockTokens) {
      request.hash_ids.push_back(first < shared ? first : next_id++);
    }
  }
  return requests;
}

// The step in which request `index` was first fed.
StepLane FirstStepOf(const Recorder& recorder, int32_t index) {
  for (const auto& step : recorder.steps) {
    for (const StepLane& lane : step) {
      if (lane.request == index) return lane;
    }
  }
  ADD_FAILURE() << "request " << index << " was never fed";
  return {};
}

void ExpectAllFree(Ledger& ledger) {
  ledger.CheckInvariants();
  EXPECT_EQ(ledger.num_sequences(), 0);
  ledger.ClearPrefixes();
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
  EXPECT_GT(scheduler.stats().recomputed_tokens, 0);
  EXPECT_EQ(scheduler.stats().prompt_tokens, 8 * 400);  // once, however often they are fed
  EXPECT_EQ(scheduler.stats().decode_tokens, 8 * 200);
  EXPECT_EQ(scheduler.occupancy().peak()[1], 6);
  ExpectAllFree(*ledger);
}

TEST(SchedulerTest, APreemptedRequestComesBackWithAllItGenerated) {
  const SchedulerOptions options{};
  for (const bool reuse : {false, true}) {
    const auto ledger = MakeLedger(6, options, {.enabled = reuse});
    const auto requests = Equal(8, 400, 200);
    Recorder recorder;
    Scheduler scheduler(ledger.get(), requests, &recorder, options);
    ASSERT_TRUE(scheduler.Run().ok());
    int from_nothing = 0;
    int from_a_chunk = 0;
    for (const auto& step : recorder.steps) {
      for (const StepLane& lane : step) {
        from_nothing += lane.first == 0 && lane.count > 400;
        from_a_chunk += lane.first == lane.shared.resumed_at && lane.shared.write_from > 0;
      }
    }
    EXPECT_EQ(from_a_chunk > 0, reuse);
    EXPECT_TRUE(reuse || from_nothing > 0);
    ExpectAllFree(*ledger);
  }
}

TEST(SchedulerTest, APromptIsFedFromWhereItsMatchLetsItGoOn) {
  const SchedulerOptions options{.serial = true};
  const auto ledger = MakeLedger(100, options, {.checkpoints = CheckpointPolicy::EveryTokens(256)});
  const auto requests = WithSharedPrefix(2, 1300, 5, 1024);
  Recorder recorder;
  Scheduler scheduler(ledger.get(), requests, &recorder, options);
  ASSERT_TRUE(scheduler.Run().ok());
  EXPECT_EQ(FirstStepOf(recorder, 0).first, 0);
  const StepLane second = FirstStepOf(recorder, 1);
  EXPECT_EQ(second.first, 1024);
  EXPECT_EQ(second.count, 276);
  EXPECT_EQ(second.shared.resumed_at, 1024);
  EXPECT_EQ(second.shared.write_from, 1024);
  EXPECT_EQ(second.shared.window_from, 0);
  EXPECT_EQ(scheduler.stats().prompt_tokens, 2600);  // fed or matched
  EXPECT_EQ(scheduler.stats().recomputed_tokens, 0);
  ExpectAllFree(*ledger);
}

TEST(SchedulerTest, AReplayWithoutCheckpointFeedsSharedTokensAgain) {
  const SchedulerOptions options{.serial = true};
  const auto ledger = MakeLedger(100, options, {.checkpoints = CheckpointPolicy::None()});
  const auto requests = WithSharedPrefix(2, 1300, 5, 1024);
  Recorder recorder;
  Scheduler scheduler(ledger.get(), requests, &recorder, options);
  ASSERT_TRUE(scheduler.Run().ok());
  const StepLane second = FirstStepOf(recorder, 1);
  EXPECT_EQ(second.first, 640);  // 3 layers reach 3 * 127 rows back from 1024, by whole windows
  EXPECT_EQ(second.count, 660);
  EXPECT_EQ(second.shared.write_from, 1024);
  EXPECT_EQ(second.shared.window_from, 640);
  EXPECT_EQ(scheduler.stats().prompt_tokens, 2600);
}

TEST(SchedulerTest, EqualPromptsInFlightShareWhatTheFirstOfThemPublishes) {
  const SchedulerOptions options{.step_tokens = 512, .drafts = 0};
  const auto ledger = MakeLedger(100, options);
  const auto requests = WithSharedPrefix(2, 2100, 5, 2048);
  Recorder recorder;
  Scheduler scheduler(ledger.get(), requests, &recorder, options);
  ASSERT_TRUE(scheduler.Run().ok());
  EXPECT_GT(ledger->prefix_figures().matched_tokens, 1024);
  int64_t fed = 0;
  for (const auto& step : recorder.steps) {
    for (const StepLane& lane : step) fed += std::max(0, std::min(lane.count, 2100 - lane.first));
  }
  EXPECT_EQ(fed, 2 * 2100 - ledger->prefix_figures().saved_tokens());
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
}  // namespace terrace
