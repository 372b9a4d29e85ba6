#include "src/model/geometry_check.h"

#include <cstdint>
#include <limits>

#include "absl/strings/str_format.h"
#include "src/base/status_macros.h"
#include "src/model/state_pages.h"
#include "terrace/units.h"

namespace terrace::internal {
namespace {

absl::Status Wrong(const char* field, int64_t value) {
  return absl::InvalidArgumentError(
      absl::StrFormat("geometry: %s is %d; use a geometry that MakeGeometry made", field, value));
}

absl::Status ValidatePool(const Geometry& geometry, int index) {
  const PoolGeometry& pool = geometry.pools[index];
  const bool window = pool.kind == PoolKind::kWindow;
  const bool overlap = pool.kind == PoolKind::kOverlap;
  const bool state = pool.kind == PoolKind::kState;
  if (!window && !overlap && !state && pool.kind != PoolKind::kFull) {
    return Wrong("kind", static_cast<int>(pool.kind));
  }
  if (window != (index == geometry.window_pool)) return Wrong("window_pool", geometry.window_pool);
  if (overlap != (index == geometry.overlap_pool)) {
    return Wrong("overlap_pool", geometry.overlap_pool);
  }
  if (pool.rule != EntryRule::kPooled && pool.rule != EntryRule::kStrided) {
    return Wrong("rule", static_cast<int>(pool.rule));
  }
  if (state && pool.ratio != kCsaRatio && pool.ratio != kHcaRatio) {
    return Wrong("ratio", pool.ratio);
  }
  if (pool.ratio < 1 || ((window || overlap) && pool.ratio != 1)) return Wrong("ratio", pool.ratio);
  if (pool.log2_entries_per_block < 0 || pool.log2_entries_per_block > 30 ||
      pool.entries_per_block != 1 << pool.log2_entries_per_block ||
      (!HoldsRows(pool.kind) && pool.entries_per_block != 1)) {
    return Wrong("entries_per_block", pool.entries_per_block);
  }
  const int64_t tokens = HoldsRows(pool.kind) ? int64_t{pool.ratio} * pool.entries_per_block : 0;
  if (pool.tokens_per_block != tokens ||
      (pool.kind == PoolKind::kFull && tokens != geometry.chunk_tokens)) {
    return Wrong("tokens_per_block", pool.tokens_per_block);
  }
  if (pool.capacity_blocks < (overlap ? 0 : 1) ||
      int64_t{pool.capacity_blocks} * pool.entries_per_block >
          std::numeric_limits<int32_t>::max()) {
    return Wrong("capacity_blocks", pool.capacity_blocks);
  }
  const int64_t blocks_per_sequence =
      HoldsRows(pool.kind) ? CeilDiv(geometry.max_context_tokens, tokens) : (state ? 1 : 0);
  if (pool.blocks_per_sequence != blocks_per_sequence) {
    return Wrong("blocks_per_sequence", pool.blocks_per_sequence);
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status ValidateGeometry(const Geometry& geometry) {
  if (geometry.num_pools < 1 || geometry.num_pools > kMaxPools) {
    return Wrong("num_pools", geometry.num_pools);
  }
  if (geometry.window_pool < -1 || geometry.window_pool >= geometry.num_pools) {
    return Wrong("window_pool", geometry.window_pool);
  }
  if (geometry.overlap_pool < -1 || geometry.overlap_pool >= geometry.num_pools) {
    return Wrong("overlap_pool", geometry.overlap_pool);
  }
  if (geometry.window_tokens < 2) return Wrong("window_tokens", geometry.window_tokens);
  if (geometry.chunk_tokens < 1) return Wrong("chunk_tokens", geometry.chunk_tokens);
  if (geometry.max_sequences < 1 || geometry.max_sequences > kMaxSequences) {
    return Wrong("max_sequences", geometry.max_sequences);
  }
  if (geometry.max_step_tokens < 1 || geometry.max_step_tokens > kMaxStepTokens) {
    return Wrong("max_step_tokens", geometry.max_step_tokens);
  }
  if (geometry.max_drafts < 0 || geometry.max_drafts >= geometry.max_step_tokens) {
    return Wrong("max_drafts", geometry.max_drafts);
  }
  // Sums of a position and a step or a window stay within int32.
  if (geometry.max_context_tokens < 1 || geometry.max_context_tokens > 1 << 30) {
    return Wrong("max_context_tokens", geometry.max_context_tokens);
  }
  if (geometry.store_whole_chunk != 0 && geometry.store_whole_chunk != 1) {
    return Wrong("store_whole_chunk", geometry.store_whole_chunk);
  }
  if (geometry.num_layers < 1) return Wrong("num_layers", geometry.num_layers);
  if (geometry.reserved != 0) return Wrong("reserved", geometry.reserved);
  for (int p = 0; p < geometry.num_pools; ++p) {
    TERRACE_RETURN_IF_ERROR(ValidatePool(geometry, p));
  }
  if (CsaStatePool(geometry) != kNoPool && geometry.overlap_pool < 0) {
    return Wrong("overlap_pool", geometry.overlap_pool);
  }
  return absl::OkStatus();
}

}  // namespace terrace::internal
