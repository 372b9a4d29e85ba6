#include "src/ledger/step_request.h"

#include "absl/strings/str_format.h"

namespace terrace::internal {

absl::Status LimitError(const Geometry& geometry, const Sequence& sequence,
                        const StepRequest& request) {
  const int32_t room = geometry.max_context_tokens - sequence.length;
  if (request.tokens < 1 || request.tokens > room) {
    return absl::InvalidArgumentError(
        absl::StrFormat("sequence %d: tokens is %d, not in 1..%d (max_context_tokens is %d)",
                        sequence.index, request.tokens, room, geometry.max_context_tokens));
  }
  const int32_t most_drafts = std::min(request.tokens, geometry.max_drafts);
  if (request.drafts < 0 || request.drafts > most_drafts) {
    return absl::InvalidArgumentError(
        absl::StrFormat("sequence %d: drafts is %d, not in 0..%d (max_drafts is %d)",
                        sequence.index, request.drafts, most_drafts, geometry.max_drafts));
  }
  return UndecidedDraftsError(sequence);
}

absl::Status UndecidedDraftsError(const Sequence& sequence) {
  return absl::FailedPreconditionError(
      absl::StrFormat("sequence %d has %d undecided drafts; Commit or Truncate them first",
                      sequence.index, sequence.undecided_drafts()));
}

}  // namespace terrace::internal
