// What a StepRequest asks of its sequence: whether that is within limits, and how the plan says it.

#ifndef TERRACE_SRC_LEDGER_STEP_REQUEST_H_
#define TERRACE_SRC_LEDGER_STEP_REQUEST_H_

#include <algorithm>

#include "absl/status/status.h"
#include "src/ledger/sequence.h"
#include "terrace/geometry.h"
#include "terrace/ledger.h"
#include "terrace/plan_format.h"

namespace terrace::internal {

// The sequence's part in the step. Token and entry rows are the builder's to fill in.
inline SequenceStep StepOf(const Sequence& sequence, const StepRequest& request) {
  SequenceStep step{};
  step.sequence_index = sequence.index;
  step.settled = std::min(sequence.length + request.tokens, sequence.known);
  step.first = sequence.length;
  step.count = request.tokens;
  step.drafts = request.drafts;
  step.write_from = sequence.write_from;
  return step;
}

inline bool IsWithinLimits(const Geometry& geometry, const Sequence& sequence,
                           const StepRequest& request) {
  return request.tokens >= 1 && request.tokens <= geometry.max_context_tokens - sequence.length &&
         request.drafts >= 0 && request.drafts <= std::min(request.tokens, geometry.max_drafts) &&
         sequence.undecided_drafts() == 0;
}

// Which limit it is that the request is not within.   REQUIRES: !IsWithinLimits.
absl::Status LimitError(const Geometry& geometry, const Sequence& sequence,
                        const StepRequest& request);

// FailedPrecondition for a call that needs all drafts decided.
absl::Status UndecidedDraftsError(const Sequence& sequence);

}  // namespace terrace::internal

#endif  // TERRACE_SRC_LEDGER_STEP_REQUEST_H_
