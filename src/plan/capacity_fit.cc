// How many sequences of one length fit, over the settings of a request.

#include <algorithm>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "src/model/page_layout.h"
#include "terrace/capacity.h"

namespace terrace {
namespace {

constexpr CapacitySetting kSingleSettings[] = {
    CapacitySetting::kPrefillSequences, CapacitySetting::kCheckpoints,
    CapacitySetting::kPrefixReuse,      CapacitySetting::kInFlightPlans,
    CapacitySetting::kMaxDrafts,        CapacitySetting::kWholeChunk,
    CapacitySetting::kMaxContext};

void Apply(CapacitySetting setting, int64_t context_tokens, CapacityRequest& request) {
  switch (setting) {
    case CapacitySetting::kMaxSequences:
      return;
    case CapacitySetting::kPrefillSequences:
      request.prefill_sequences = 1;
      return;
    case CapacitySetting::kCheckpoints:
      request.checkpoints = 0;
      return;
    case CapacitySetting::kPrefixReuse:
      request.prefix_reuse = false;
      return;
    case CapacitySetting::kInFlightPlans:
      request.in_flight_plans = 0;
      return;
    case CapacitySetting::kMaxDrafts:
      request.limits.max_drafts = 0;
      return;
    case CapacitySetting::kWholeChunk:
      request.limits.store_whole_chunk = false;
      return;
    case CapacitySetting::kMaxContext:
      request.limits.max_context_tokens = static_cast<int32_t>(
          std::clamp<int64_t>(context_tokens, 1, request.model.max_context_tokens));
      return;
    case CapacitySetting::kAll:
      for (const CapacitySetting single : kSingleSettings) Apply(single, context_tokens, request);
      return;
  }
}

// Whether the setting can still take less than it does in `request`.
bool CanTakeLess(const CapacityRequest& request, CapacitySetting setting, int64_t context_tokens) {
  const int32_t longest = request.limits.max_context_tokens != 0 ? request.limits.max_context_tokens
                                                                 : request.model.max_context_tokens;
  switch (setting) {
    case CapacitySetting::kPrefillSequences:
      return request.prefill_sequences != 1;
    case CapacitySetting::kCheckpoints:
      return request.prefix_reuse && request.checkpoints != 0;
    case CapacitySetting::kPrefixReuse:
      return request.prefix_reuse;
    case CapacitySetting::kInFlightPlans:
      return request.in_flight_plans != 0;
    case CapacitySetting::kMaxDrafts:
      return request.limits.max_drafts != 0;
    case CapacitySetting::kWholeChunk:
      return request.limits.store_whole_chunk;
    case CapacitySetting::kMaxContext:
      return context_tokens != longest && context_tokens <= request.model.max_context_tokens;
    case CapacitySetting::kMaxSequences:
    case CapacitySetting::kAll:
      return true;
  }
  return false;
}

// `request` for another number of sequences.
CapacityRequest WithSequences(CapacityRequest request, int32_t sequences) {
  request.limits.max_sequences = sequences;
  request.prefill_sequences = std::min(request.prefill_sequences, sequences);
  return request;
}

// Whether so many sequences are more than the memory or the ids of blocks hold.
bool TooMany(CapacityRequest& request, int32_t asked_prefills, int32_t sequences,
             int64_t context_tokens) {
  request.limits.max_sequences = sequences;
  request.prefill_sequences = std::min(asked_prefills, sequences);
  const absl::StatusOr<CapacityPlan> plan = PlanCapacity(request);
  return !plan.ok() || SequencesThatFit(*plan, context_tokens) < sequences;
}

}  // namespace

std::string_view FitBoundName(FitBound bound) {
  switch (bound) {
    case FitBound::kMaxContext:
      return "max_context_tokens";
    case FitBound::kMaxSequences:
      return "max_sequences";
    case FitBound::kMemory:
      return "memory";
  }
  return "";
}

std::string_view CapacitySettingName(CapacitySetting setting) {
  switch (setting) {
    case CapacitySetting::kMaxSequences:
      return "max_sequences";
    case CapacitySetting::kPrefillSequences:
      return "prefill_sequences";
    case CapacitySetting::kCheckpoints:
      return "checkpoints";
    case CapacitySetting::kPrefixReuse:
      return "prefix_reuse";
    case CapacitySetting::kInFlightPlans:
      return "in_flight_plans";
    case CapacitySetting::kMaxDrafts:
      return "max_drafts";
    case CapacitySetting::kWholeChunk:
      return "store_whole_chunk";
    case CapacitySetting::kMaxContext:
      return "max_context_tokens";
    case CapacitySetting::kAll:
      return "all";
  }
  return "";
}

absl::StatusOr<int32_t> MostSequences(const CapacityRequest& request, int64_t context_tokens) {
  CapacityRequest trial = WithSequences(request, 1);
  const int32_t prefills = request.prefill_sequences;
  if (absl::Status status = PlanCapacity(trial).status(); absl::IsInvalidArgument(status)) {
    return status;
  }
  // More sequences leave less for chunks, but for the rounding of checkpoints to whole ones.
  constexpr int32_t kRounding = 16;
  int32_t fit = 0;
  int32_t too_many = 1;
  while (too_many <= kMaxSequences && !TooMany(trial, prefills, too_many, context_tokens)) {
    fit = too_many;
    too_many *= 2;
  }
  too_many = std::min(too_many, kMaxSequences + 1);
  while (too_many - fit > 1) {
    const int32_t middle = fit + (too_many - fit) / 2;
    (TooMany(trial, prefills, middle, context_tokens) ? too_many : fit) = middle;
  }
  for (int32_t more = fit + 1; more <= std::min(fit + kRounding, kMaxSequences); ++more) {
    if (!TooMany(trial, prefills, more, context_tokens)) fit = more;
  }
  return fit;
}

CapacityRequest WithChoice(const CapacityRequest& request, const FitChoice& choice,
                           int64_t context_tokens) {
  CapacityRequest changed = request;
  Apply(choice.setting, context_tokens, changed);
  return WithSequences(std::move(changed), std::max(choice.sequences, 1));
}

absl::StatusOr<ContextFit> FitContext(const CapacityRequest& request, int64_t context_tokens) {
  ContextFit fit = {.context_tokens = context_tokens};
  const absl::StatusOr<CapacityPlan> plan = PlanCapacity(request);
  if (!plan.ok() && !absl::IsOutOfRange(plan.status())) return plan.status();
  if (plan.ok()) {
    fit.sequences = SequencesThatFit(*plan, context_tokens);
    if (fit.sequences == plan->geometry.max_sequences) fit.bound = FitBound::kMaxSequences;
  }
  const int32_t longest = request.limits.max_context_tokens != 0 ? request.limits.max_context_tokens
                                                                 : request.model.max_context_tokens;
  if (context_tokens > longest) fit.bound = FitBound::kMaxContext;

  const auto choose = [&](CapacitySetting setting) {
    CapacityRequest changed = request;
    Apply(setting, context_tokens, changed);
    fit.choices.push_back({setting, MostSequences(changed, context_tokens).value_or(0)});
  };
  choose(CapacitySetting::kMaxSequences);
  for (const CapacitySetting setting : kSingleSettings) {
    if (CanTakeLess(request, setting, context_tokens)) choose(setting);
  }
  choose(CapacitySetting::kAll);
  return fit;
}

absl::StatusOr<int64_t> WorkerBytes(const CapacityPlan& plan, LayerRange layers) {
  const int64_t num_layers = static_cast<int64_t>(plan.model.layers.size());
  if (layers.first < 0 || layers.count < 1 || int64_t{layers.first} + layers.count > num_layers) {
    return absl::InvalidArgumentError(absl::StrCat("layers ", layers.first, " + ", layers.count,
                                                   " are not some of 0..", num_layers - 1));
  }
  int64_t bytes = plan.table_bytes;
  for (size_t p = 0; p < plan.pools.size(); ++p) {
    const PoolIndex pool(static_cast<int32_t>(p));
    bytes += internal::PlacePages(plan.model.pools[p], CountLayers(plan.model, pool, layers),
                                  plan.pools[p].blocks, plan.limits.max_drafts)
                 .total_bytes;
  }
  return bytes;
}

}  // namespace terrace
