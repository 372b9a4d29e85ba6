// SchedulerStats counts what a scheduler did.

#ifndef TERRACE_TOOLS_TERRACE_ENGINE_SCHEDULER_STATS_H_
#define TERRACE_TOOLS_TERRACE_ENGINE_SCHEDULER_STATS_H_

#include <chrono>
#include <cstdint>

#include "absl/types/span.h"
#include "tools/terrace/engine/occupancy.h"
#include "tools/terrace/engine/step_runner.h"

namespace terrace::tools {

struct SchedulerStats {
  int64_t requests = 0;
  int64_t completed = 0;
  int64_t failed = 0;        // can never fit: beyond the longest context, or larger than a pool
  bool interrupted = false;  // stopped before all requests were served
  int64_t preemptions = 0;
  int64_t steps = 0;
  int64_t sequence_steps = 0;     // sum over steps of their sequences
  int64_t prompt_tokens = 0;      // prompts served, fed or matched, each counted once
  int64_t matched_tokens = 0;     // of prompts, found cached; as PrefixFigures
  int64_t decode_tokens = 0;      // tokens generated
  int64_t recomputed_tokens = 0;  // rows lost to preemption and fed again
  int64_t drafts = 0;
  int64_t rejected_drafts = 0;
  PoolCounts peak_cached_blocks = {};  // of each pool, after a step's Append
  double simulated_seconds = 0;
  // Time inside ledger calls: SetTime, Append with its plan, Commit, Truncate, AllocateSequence,
  // ExtendMatch, FreeSequence, Retire. Three to five pairs of clock readings a step, about 50 ns
  // each, are part of it.
  int64_t ledger_decode_ns = 0;       // in steps without prefill
  int64_t decode_sequence_steps = 0;  // sequences of those steps
  int64_t ledger_prefill_ns = 0;      // in steps with prefill
  int64_t prefill_tokens = 0;         // prompt tokens of those steps

  // Counts a step and its drafts, and the time that it took inside ledger calls.
  void AddStep(absl::Span<const StepSequence> sequences, std::chrono::nanoseconds ledger_time);
};

}  // namespace terrace::tools

#endif  // TERRACE_TOOLS_TERRACE_ENGINE_SCHEDULER_STATS_H_
