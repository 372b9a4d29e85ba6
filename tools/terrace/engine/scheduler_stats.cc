#include "tools/terrace/engine/scheduler_stats.h"

namespace terrace::tools {

void SchedulerStats::AddStep(absl::Span<const StepSequence> sequences,
                             std::chrono::nanoseconds ledger_time) {
  int64_t prefill = 0;
  for (const StepSequence& part : sequences) {
    if (part.count - part.drafts > 1) prefill += part.count;
    drafts += part.drafts;
    rejected_drafts += part.drafts - part.accepted;
  }
  const int64_t num_sequences = static_cast<int64_t>(sequences.size());
  ++steps;
  sequence_steps += num_sequences;
  if (prefill > 0) {
    ledger_prefill_ns += ledger_time.count();
    prefill_tokens += prefill;
  } else {
    ledger_decode_ns += ledger_time.count();
    decode_sequence_steps += num_sequences;
  }
}

}  // namespace terrace::tools
