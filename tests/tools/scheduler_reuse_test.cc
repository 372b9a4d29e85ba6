// Where the scheduler begins to feed a prompt that the ledger matched.

#include <algorithm>
#include <cstdint>
#include <vector>

#include "gtest/gtest.h"
#include "terrace/prefix.h"
#include "tests/tools/scheduler_testing.h"
#include "tools/terrace/engine/scheduler.h"
#include "tools/terrace/engine/step_runner.h"
#include "tools/terrace/trace/trace.h"

namespace terrace::testing {
namespace {

using tools::kHashBlockTokens;
using tools::Scheduler;

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
StepSequence FirstStepOf(const Recorder& recorder, int32_t index) {
  for (const auto& step : recorder.steps) {
    for (const StepSequence& part : step) {
      if (part.request == index) return part;
    }
  }
  ADD_FAILURE() << "request " << index << " was never fed";
  return {};
}

TEST(SchedulerReuseTest, APreemptedRequestComesBackWithAllItGenerated) {
  const SchedulerOptions options{};
  for (const bool reuse : {false, true}) {
    const auto ledger = MakeLedger(8, options, {.enabled = reuse});
    const auto requests = Equal(8, 400, 200);
    Recorder recorder;
    Scheduler scheduler(ledger.get(), requests, &recorder, options);
    ASSERT_TRUE(scheduler.Run().ok());
    int from_nothing = 0;
    int from_a_chunk = 0;
    for (const auto& step : recorder.steps) {
      for (const StepSequence& part : step) {
        from_nothing += part.first == 0 && part.count > 400;
        from_a_chunk += part.first == part.shared.resumed_at && part.shared.write_from > 0;
      }
    }
    EXPECT_EQ(from_a_chunk > 0, reuse);
    EXPECT_TRUE(reuse || from_nothing > 0);
    ExpectAllFree(*ledger);
  }
}

TEST(SchedulerReuseTest, APromptIsFedFromWhereItsMatchLetsItGoOn) {
  const SchedulerOptions options{.serial = true};
  const auto ledger = MakeLedger(100, options, {.checkpoints = CheckpointPolicy::EveryTokens(256)});
  const auto requests = WithSharedPrefix(2, 1300, 5, 1024);
  Recorder recorder;
  Scheduler scheduler(ledger.get(), requests, &recorder, options);
  ASSERT_TRUE(scheduler.Run().ok());
  EXPECT_EQ(FirstStepOf(recorder, 0).first, 0);
  const StepSequence second = FirstStepOf(recorder, 1);
  EXPECT_EQ(second.first, 1024);
  EXPECT_EQ(second.count, 276);
  EXPECT_EQ(second.shared.resumed_at, 1024);
  EXPECT_EQ(second.shared.write_from, 1024);
  EXPECT_EQ(second.shared.window_from, 0);
  EXPECT_EQ(scheduler.stats().prompt_tokens, 2600);  // fed or matched
  EXPECT_EQ(scheduler.stats().recomputed_tokens, 0);
  ExpectAllFree(*ledger);
}

TEST(SchedulerReuseTest, WithoutCheckpointSharedTokensAreRefed) {
  const SchedulerOptions options{.serial = true};
  const auto ledger = MakeLedger(100, options, {.checkpoints = CheckpointPolicy::None()});
  const auto requests = WithSharedPrefix(2, 1300, 5, 1024);
  Recorder recorder;
  Scheduler scheduler(ledger.get(), requests, &recorder, options);
  ASSERT_TRUE(scheduler.Run().ok());
  const StepSequence second = FirstStepOf(recorder, 1);
  EXPECT_EQ(second.first, 640);  // 3 layers reach 3 * 127 rows back from 1024, by whole windows
  EXPECT_EQ(second.count, 660);
  EXPECT_EQ(second.shared.write_from, 1024);
  EXPECT_EQ(second.shared.window_from, 640);
  EXPECT_EQ(scheduler.stats().prompt_tokens, 2600);
}

TEST(SchedulerReuseTest, EqualPromptsInFlightShareWhatTheFirstOfThemPublishes) {
  const SchedulerOptions options{.step_tokens = 512, .drafts = 0};
  const auto ledger = MakeLedger(100, options);
  const auto requests = WithSharedPrefix(2, 2100, 5, 2048);
  Recorder recorder;
  Scheduler scheduler(ledger.get(), requests, &recorder, options);
  ASSERT_TRUE(scheduler.Run().ok());
  EXPECT_GT(ledger->prefix_figures().matched_tokens, 1024);
  int64_t fed = 0;
  for (const auto& step : recorder.steps) {
    for (const StepSequence& part : step)
      fed += std::max(0, std::min(part.count, 2100 - part.first));
  }
  EXPECT_EQ(fed, 2 * 2100 - ledger->prefix_figures().saved_tokens());
  ExpectAllFree(*ledger);
}

}  // namespace
}  // namespace terrace::testing
