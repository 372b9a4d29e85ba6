// What tests of the scheduler share: a small ledger, a runner that records, equal requests.

#ifndef TERRACE_TESTS_TOOLS_SCHEDULER_TESTING_H_
#define TERRACE_TESTS_TOOLS_SCHEDULER_TESTING_H_

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "gtest/gtest.h"
#include "terrace/capacity.h"
#include "terrace/ledger.h"
#include "terrace/model.h"
#include "terrace/plan.h"
#include "terrace/pool_kinds.h"
#include "terrace/prefix.h"
#include "terrace/units.h"
#include "tests/support/use_of.h"
#include "tools/terrace/engine/scheduler.h"
#include "tools/terrace/engine/step_runner.h"
#include "tools/terrace/trace/trace.h"

namespace terrace::testing {

using tools::SchedulerOptions;
using tools::StepRunner;
using tools::StepSequence;
using tools::TraceRequest;

// A ledger of a small model with `chunks` blocks in every full pool.
inline std::unique_ptr<Ledger> MakeLedger(int32_t chunks, const SchedulerOptions& options = {},
                                          const PrefixOptions& prefix = {}) {
  const auto model = MakeModel({.ratios = {0, 4, 128}});
  EXPECT_TRUE(model.ok()) << model.status();
  const Limits limits{.max_sequences = options.sequences,
                      .max_step_tokens = options.step_tokens,
                      .max_drafts = options.drafts,
                      .max_context_tokens = 8192};
  auto plan = PlanCapacity({.model = *model,
                            .memory_bytes = kGiB,
                            .limits = limits,
                            .in_flight_plans = options.in_flight});
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

// Checks that sequences say what the plan says, and remembers the steps.
class Recorder : public StepRunner {
 public:
  absl::Status Run(const Plan& plan, absl::Span<const StepSequence> sequences) override {
    EXPECT_EQ(plan.sequences().size(), sequences.size());
    for (size_t i = 0; i < sequences.size(); ++i) {
      EXPECT_EQ(plan.sequences()[i].first, sequences[i].first);
      EXPECT_EQ(plan.sequences()[i].count, sequences[i].count);
      EXPECT_EQ(plan.sequences()[i].drafts, sequences[i].drafts);
      EXPECT_EQ(plan.sequences()[i].write_from, sequences[i].shared.write_from);
      EXPECT_LE(sequences[i].accepted, sequences[i].drafts);
    }
    steps.emplace_back(sequences.begin(), sequences.end());
    return result;
  }
  absl::Status Wait() override {
    ++waits;
    return absl::OkStatus();
  }
  int waits = 0;
  std::vector<std::vector<StepSequence>> steps;
  absl::Status result;
};

inline std::vector<TraceRequest> Equal(int count, int32_t input, int32_t output) {
  return std::vector<TraceRequest>(count, {.input_length = input, .output_length = output});
}

inline void ExpectAllFree(Ledger& ledger) {
  ledger.CheckInvariants();
  EXPECT_EQ(ledger.num_sequences(), 0);
  ledger.ClearPrefixes();
  for (int p = 0; p < ledger.geometry().num_pools; ++p) {
    EXPECT_EQ(UseOf(ledger, p).free, UseOf(ledger, p).capacity) << p;
  }
}

}  // namespace terrace::testing

#endif  // TERRACE_TESTS_TOOLS_SCHEDULER_TESTING_H_
