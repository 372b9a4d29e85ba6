// How many sequences fit, held against every number of sequences tried one by one.

#include <algorithm>
#include <random>
#include <string>

#include "absl/status/status.h"
#include "gtest/gtest.h"
#include "terrace/backend.h"
#include "terrace/capacity.h"
#include "terrace/store.h"
#include "terrace/units.h"

namespace terrace::testing {
namespace {

int64_t Fits(CapacityRequest request, int32_t sequences, int64_t context) {
  request.limits.max_sequences = sequences;
  request.prefill_sequences = std::min(request.prefill_sequences, sequences);
  const absl::StatusOr<CapacityPlan> plan = PlanCapacity(request);
  return plan.ok() ? SequencesThatFit(*plan, context) : 0;
}

TEST(CapacityFitTest, NoNumberOfSequencesHoldsMoreThanTheMost) {
  std::mt19937 random(7);
  const auto pick = [&random](int32_t most) { return static_cast<int32_t>(random() % (most + 1)); };
  for (int round = 0; round < 40; ++round) {
    CapacityRequest request = {.model = DeepSeekV4Flash(),
                               .memory_bytes = (100 + int64_t{pick(3000)}) * kMiB + pick(99999)};
    request.prefill_sequences = pick(1) * pick(12);
    request.checkpoints = pick(2) == 0 ? pick(100) : -1;
    request.prefix_reuse = pick(3) != 0;
    request.in_flight_plans = pick(2);
    request.limits.max_drafts = pick(1) * 3;
    const int64_t context = 1 + pick(9000);
    int64_t most = 0;
    for (int32_t n = 1; n <= 400; ++n) most = std::max(most, Fits(request, n, context));
    EXPECT_EQ(MostSequences(request, context).value(), most) << "round " << round;
  }
}

TEST(CapacityFitTest, EveryChoiceIsAPlanThatHoldsWhatItSays) {
  CapacityRequest request = {.model = DeepSeekV4Flash(), .memory_bytes = 8 * kGiB};
  request.limits.max_sequences = 256;
  request.limits.max_drafts = 2;
  request.limits.store_whole_chunk = true;
  request.in_flight_plans = 2;
  for (const int64_t context : kQuotedContexts) {
    const ContextFit fit = FitContext(request, context).value();
    ASSERT_FALSE(fit.choices.empty());
    EXPECT_EQ(fit.choices.front().setting, CapacitySetting::kMaxSequences);
    EXPECT_EQ(fit.choices.back().setting, CapacitySetting::kAll);
    EXPECT_GE(fit.choices.front().sequences, fit.sequences);
    for (const FitChoice& choice : fit.choices) {
      SCOPED_TRACE(std::string(CapacitySettingName(choice.setting)));
      EXPECT_LE(choice.sequences, fit.choices.back().sequences);
      if (choice.sequences == 0) continue;
      const CapacityPlan plan = PlanCapacity(WithChoice(request, choice, context)).value();
      EXPECT_EQ(SequencesThatFit(plan, context), choice.sequences);
    }
  }
}

TEST(CapacityFitTest, WhatHoldsBackIsNamed) {
  CapacityRequest request = {.model = DeepSeekV4Flash(), .memory_bytes = 8 * kGiB};
  request.limits.max_sequences = 256;
  const ContextFit memory = FitContext(request, 4096).value();
  EXPECT_EQ(memory.bound, FitBound::kMemory);
  EXPECT_EQ(memory.sequences, SequencesThatFit(PlanCapacity(request).value(), 4096));
  request.limits.max_sequences = 8;
  const ContextFit sequences = FitContext(request, 4096).value();
  EXPECT_EQ(sequences.bound, FitBound::kMaxSequences);
  EXPECT_EQ(sequences.sequences, 8);
  EXPECT_EQ(sequences.choices.back().sequences, memory.choices.back().sequences);
  request.limits.max_context_tokens = 2048;
  const ContextFit context = FitContext(request, 4096).value();
  EXPECT_EQ(context.bound, FitBound::kMaxContext);
  EXPECT_EQ(context.sequences, 0);
  EXPECT_EQ(context.choices.front().sequences, 0);
  EXPECT_GT(context.choices.back().sequences, 100);
  for (const FitBound bound : {FitBound::kMaxContext, FitBound::kMaxSequences, FitBound::kMemory}) {
    EXPECT_NE(FitBoundName(bound), "");
  }
}

TEST(CapacityFitTest, TooLittleMemoryIsNoSequenceAndBadRequestsAreErrors) {
  CapacityRequest request = {.model = DeepSeekV4Flash(), .memory_bytes = 1 * kGiB};
  request.limits.max_sequences = 4096;
  const ContextFit fit = FitContext(request, 4096).value();
  EXPECT_EQ(fit.sequences, 0);
  EXPECT_EQ(fit.bound, FitBound::kMemory);
  EXPECT_GT(fit.choices.front().sequences, 0);
  request.memory_bytes = 1;
  EXPECT_EQ(MostSequences(request, 1).value(), 0);
  EXPECT_EQ(FitContext(request, 1).value().choices.back().sequences, 0);
  request.memory_bytes = 0;
  EXPECT_TRUE(absl::IsInvalidArgument(MostSequences(request, 1).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(FitContext(request, 1).status()));
  request.memory_bytes = kGiB;
  EXPECT_TRUE(absl::IsInvalidArgument(MostSequences({}, 1).status()));
  for (const int64_t context : {int64_t{-1}, int64_t{0}, int64_t{1} << 62}) {
    EXPECT_TRUE(FitContext(request, context).ok()) << context;
  }
}

TEST(CapacityFitTest, SumsBeyondAnyMemoryAreErrors) {
  CapacityRequest request = {.model = DeepSeekV4Flash(), .memory_bytes = int64_t{1} << 62};
  request.limits = {.max_sequences = kMaxSequences,
                    .max_step_tokens = kMaxStepTokens,
                    .max_drafts = kMaxStepTokens - 1};
  request.in_flight_plans = 2'000'000'000;
  EXPECT_TRUE(absl::IsOutOfRange(PlanCapacity(request).status())) << PlanCapacity(request).status();
  CapacityRequest checkpoints = {.model = DeepSeekV4Flash(), .memory_bytes = 8 * kGiB};
  checkpoints.checkpoints = 2'000'000'000;
  EXPECT_TRUE(absl::IsOutOfRange(PlanCapacity(checkpoints).status()));
}

TEST(CapacityFitTest, AWorkerTakesWhatItsStoreTakes) {
  CapacityRequest request = {.model = DeepSeekV4Flash(), .memory_bytes = 1 * kGiB};
  request.limits = {.max_sequences = 4, .max_step_tokens = 512, .max_context_tokens = 8192};
  const CapacityPlan plan = PlanCapacity(request).value();
  const std::shared_ptr<Backend> backend = MakeBackend({.kind = BackendKind::kHost}).value();
  for (const LayerRange layers : {LayerRange{0, 22}, LayerRange{22, 21}, LayerRange{5, 1}}) {
    const auto store =
        Store::Create({.model = plan.model, .geometry = plan.geometry, .layers = layers}, backend);
    ASSERT_TRUE(store.ok()) << store.status();
    EXPECT_EQ(WorkerBytes(plan, layers).value(), (*store)->memory_bytes());
  }
  EXPECT_EQ(WorkerBytes(plan, {0, 43}).value(), plan.memory_bytes - plan.unused_bytes);
  for (const LayerRange layers : {LayerRange{0, 0}, LayerRange{-1, 2}, LayerRange{42, 2}}) {
    EXPECT_TRUE(absl::IsInvalidArgument(WorkerBytes(plan, layers).status()));
  }
}

}  // namespace
}  // namespace terrace::testing
