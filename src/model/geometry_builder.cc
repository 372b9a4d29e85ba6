#include "src/model/geometry_builder.h"

#include <bit>
#include <limits>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "src/base/status_macros.h"
#include "terrace/units.h"

namespace terrace::internal {
namespace {

constexpr int64_t kMaxInt32 = std::numeric_limits<int32_t>::max();

template <typename... Parts>
absl::Status Invalid(const Parts&... parts) {
  return absl::InvalidArgumentError(absl::StrCat(parts...));
}

absl::Status ValidateLimits(const ModelSpec& model, const Limits& limits) {
  if (limits.max_sequences < 1 || limits.max_sequences > kMaxSequences) {
    return Invalid("max_sequences is ", limits.max_sequences, ", not in 1..", kMaxSequences);
  }
  if (limits.max_step_tokens < 1 || limits.max_step_tokens > kMaxStepTokens) {
    return Invalid("max_step_tokens is ", limits.max_step_tokens, ", not in 1..", kMaxStepTokens);
  }
  if (limits.max_drafts < 0 || limits.max_drafts >= limits.max_step_tokens) {
    return Invalid("max_drafts is ", limits.max_drafts, ", not in 0..", limits.max_step_tokens - 1,
                   " (max_step_tokens - 1)");
  }
  if (limits.max_context_tokens < 0 || limits.max_context_tokens > model.max_context_tokens) {
    return Invalid("max_context_tokens is ", limits.max_context_tokens, ", not in 0..",
                   model.max_context_tokens, ", the model's");
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Geometry> MakeGeometry(const ModelSpec& model, const Limits& limits,
                                      absl::Span<const int32_t> capacity_blocks) {
  TERRACE_RETURN_IF_ERROR(ValidateModel(model));
  TERRACE_RETURN_IF_ERROR(ValidateLimits(model, limits));
  if (capacity_blocks.size() != model.pools.size()) {
    return Invalid(capacity_blocks.size(), " capacities for ", model.pools.size(), " pools");
  }

  Geometry geometry{};
  geometry.num_pools = static_cast<int32_t>(model.pools.size());
  geometry.window_pool = WindowPool(model).value();
  geometry.overlap_pool = OverlapPool(model).value();
  geometry.window_tokens = model.window_tokens;
  geometry.chunk_tokens = model.chunk_tokens;
  geometry.max_sequences = limits.max_sequences;
  geometry.max_step_tokens = limits.max_step_tokens;
  geometry.max_drafts = limits.max_drafts;
  geometry.max_context_tokens =
      limits.max_context_tokens != 0 ? limits.max_context_tokens : model.max_context_tokens;
  geometry.store_whole_chunk = limits.store_whole_chunk ? 1 : 0;
  geometry.num_layers = static_cast<int32_t>(model.layers.size());
  for (int p = 0; p < geometry.num_pools; ++p) {
    const PoolSpec& spec = model.pools[p];
    const int32_t fewest = spec.kind == PoolKind::kOverlap ? 0 : 1;
    if (capacity_blocks[p] < fewest ||
        int64_t{capacity_blocks[p]} * spec.entries_per_block > kMaxInt32) {
      return Invalid("pool ", spec.name, ": ", capacity_blocks[p], " blocks of ",
                     spec.entries_per_block, " entries, not in ", fewest, "..",
                     kMaxInt32 / spec.entries_per_block, " blocks (slots are 32-bit)");
    }
    PoolGeometry& pool = geometry.pools[p];
    pool.kind = spec.kind;
    pool.rule = spec.rule;
    pool.ratio = spec.ratio;
    pool.entries_per_block = spec.entries_per_block;
    pool.log2_entries_per_block = std::countr_zero(static_cast<uint32_t>(spec.entries_per_block));
    pool.capacity_blocks = capacity_blocks[p];
    if (spec.kind == PoolKind::kState) pool.blocks_per_sequence = 1;
    if (!HoldsRows(spec.kind)) continue;  // of checkpoints and sequences, not of tokens
    pool.tokens_per_block = spec.ratio * spec.entries_per_block;
    pool.blocks_per_sequence =
        static_cast<int32_t>(CeilDiv(geometry.max_context_tokens, pool.tokens_per_block));
  }
  return geometry;
}

}  // namespace terrace::internal
