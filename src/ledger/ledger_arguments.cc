#include "src/ledger/ledger_arguments.h"

#include "absl/strings/str_format.h"
#include "src/base/status_macros.h"
#include "src/model/geometry_check.h"

namespace terrace::internal {
namespace {

absl::Status CheckPolicy(const CheckpointPolicy& policy, const Geometry& geometry) {
  switch (policy.kind) {
    case CheckpointPolicy::Kind::kNone:
      return absl::OkStatus();
    case CheckpointPolicy::Kind::kEndOfPromptAndOutput:
      break;
    case CheckpointPolicy::Kind::kEveryTokens:
      if (policy.tokens >= 1 && policy.tokens % geometry.chunk_tokens == 0) break;
      return absl::InvalidArgumentError(
          absl::StrFormat("checkpoints every %d tokens: not a multiple of a chunk's %d",
                          policy.tokens, geometry.chunk_tokens));
    default:
      return absl::InvalidArgumentError(
          absl::StrFormat("no checkpoint policy has the number %d", static_cast<int>(policy.kind)));
  }
  if (geometry.window_pool < 0) return absl::OkStatus();
  const int32_t block = geometry.pools[geometry.window_pool].tokens_per_block;
  if (geometry.chunk_tokens % block != 0) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "window blocks of %d tokens do not divide a chunk of %d: no checkpoint can end with a "
        "block; make them smaller, or choose CheckpointPolicy::None()",
        block, geometry.chunk_tokens));
  }
  if (geometry.window_tokens - 1 > geometry.chunk_tokens) {
    return absl::InvalidArgumentError(
        absl::StrFormat("a window of %d tokens reaches beyond a chunk of %d: choose "
                        "CheckpointPolicy::None()",
                        geometry.window_tokens, geometry.chunk_tokens));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckOptions(const LedgerOptions& options) {
  TERRACE_RETURN_IF_ERROR(ValidateGeometry(options.geometry));
  if (options.prefix.enabled) {
    if (options.prefix.hash == nullptr) {
      return absl::InvalidArgumentError("prefix.hash is null");
    }
    TERRACE_RETURN_IF_ERROR(CheckPolicy(options.prefix.checkpoints, options.geometry));
  }
  const MatchPolicy match = options.prefix.match;
  if (match != MatchPolicy::kAppended && match != MatchPolicy::kRetired) {
    return absl::InvalidArgumentError(
        absl::StrFormat("no match policy has the number %d", static_cast<int>(match)));
  }
  if (options.in_flight_plans < 0) {
    return absl::InvalidArgumentError(
        absl::StrFormat("in_flight_plans is %d, not 0 or more", options.in_flight_plans));
  }
  return absl::OkStatus();
}

absl::Status CheckRequest(const Geometry& geometry, const SequenceRequest& request) {
  const size_t limit = geometry.max_context_tokens;
  if (request.tokens.size() > limit) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "a prompt of %d tokens is beyond max_context_tokens, %d", request.tokens.size(), limit));
  }
  const size_t whole_chunks = request.tokens.size() / geometry.chunk_tokens;
  if (!request.digests.empty() && request.digests.size() != whole_chunks) {
    return absl::InvalidArgumentError(absl::StrFormat("%d digests for a prompt of %d whole chunks",
                                                      request.digests.size(), whole_chunks));
  }
  for (const KeyRange& range : request.key_ranges) {
    if (range.begin >= 0 && range.begin < range.end) continue;
    return absl::InvalidArgumentError(
        absl::StrFormat("a key range of the tokens %d..%d: it must begin at 0 or later and end "
                        "behind its begin",
                        range.begin, range.end));
  }
  for (const int32_t mark : request.marks) {
    if (mark >= 0 && static_cast<size_t>(mark) <= limit) continue;
    return absl::InvalidArgumentError(
        absl::StrFormat("a mark at %d is not in 0..max_context_tokens, %d", mark, limit));
  }
  if (request.refeed.max_tokens < 0 || request.refeed.approximate_tokens < 0) {
    return absl::InvalidArgumentError(
        absl::StrFormat("refeed limits of %d and %d tokens: neither may be negative",
                        request.refeed.max_tokens, request.refeed.approximate_tokens));
  }
  if (request.time_to_live_ms < 0) {
    return absl::InvalidArgumentError(
        absl::StrFormat("time_to_live_ms is %d, not 0 or more", request.time_to_live_ms));
  }
  if (static_cast<int>(request.priority) >= kNumPriorities) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "priority is %d, not in 0..%d", static_cast<int>(request.priority), kNumPriorities - 1));
  }
  return absl::OkStatus();
}

}  // namespace terrace::internal
