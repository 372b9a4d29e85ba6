#include "terrace/geometry.h"

#include <algorithm>

#include "src/model/state_pages.h"
#include "terrace/units.h"
#include "xxhash.h"

namespace terrace {
namespace {

// Most blocks of `block` rows that `count` consecutive positions can touch.
int64_t MostBlocks(int64_t count, int64_t block) {
  return count <= 0 ? 0 : CeilDiv(count - 1, block) + 1;
}

// Most multiples of `period` among the positions of one step. n tokens of one sequence meet at most
// ceil(n / period), and the sum over sequences is largest when all but one feed a single token.
int64_t MostBoundaries(const Geometry& geometry, int64_t period) {
  const int64_t sequences = std::min(geometry.max_sequences, geometry.max_step_tokens);
  return (geometry.max_step_tokens + sequences * (period - 1)) / period;
}

}  // namespace

uint64_t Fingerprint(const Geometry& geometry) { return XXH3_64bits(&geometry, sizeof(geometry)); }

int64_t MaxEntryRows(const Geometry& geometry, PoolIndex pool) {
  const int32_t p = pool.value();
  if (p < 0 || p >= geometry.num_pools || !HoldsRows(geometry.pools[p].kind)) return 0;
  // An entry closes with the token before a boundary (pooled) or on it (strided): one a boundary.
  return MostBoundaries(geometry, geometry.pools[p].ratio);
}

PoolIndex CsaStatePool(const Geometry& geometry) {
  for (int p = 0; p < geometry.num_pools; ++p) {
    const PoolGeometry& pool = geometry.pools[p];
    if (pool.kind == PoolKind::kState && pool.ratio == kCsaRatio) return PoolIndex(p);
  }
  return kNoPool;
}

int32_t CheckpointWindowBlocks(const Geometry& geometry) {
  if (geometry.window_pool < 0) return 0;
  return static_cast<int32_t>(
      CeilDiv(geometry.window_tokens - 1, geometry.pools[geometry.window_pool].tokens_per_block));
}

int64_t MaxCheckpoints(const Geometry& geometry) {
  return MostBoundaries(geometry, geometry.chunk_tokens) +
         geometry.max_sequences * (int64_t{geometry.max_drafts} / geometry.chunk_tokens + 1);
}

int64_t MaxPatches(const Geometry& geometry) {
  int64_t patches = 0;
  for (int p = 0; p < geometry.num_pools; ++p) {
    const PoolGeometry& pool = geometry.pools[p];
    if (!HoldsRows(pool.kind)) {  // a sequence takes its state with its first step
      const int64_t sequences = std::min(geometry.max_sequences, geometry.max_step_tokens);
      patches += sequences * pool.blocks_per_sequence;
      continue;
    }
    // A block is new only if its first position is: the block of the token before is still held.
    int64_t blocks = MostBoundaries(geometry, pool.tokens_per_block);
    if (pool.kind == PoolKind::kWindow && geometry.store_whole_chunk == 0) {
      const int64_t w = int64_t{geometry.window_tokens} - 1;
      const int64_t of_windows =
          geometry.max_sequences * MostBlocks(w + geometry.max_drafts, pool.tokens_per_block);
      const int64_t of_checkpoints =
          MostBoundaries(geometry, geometry.chunk_tokens) * MostBlocks(w, pool.tokens_per_block);
      blocks = std::min(blocks, of_windows + of_checkpoints);
    }
    patches += blocks;
  }
  return patches;
}

int64_t WindowBlocksOfDecodeSteps(const PoolGeometry& pool, const Limits& limits, int32_t steps) {
  // n consecutive positions begin at most ceil(n / B) blocks. Without drafts the steps' positions
  // are consecutive; drafts that are taken back begin the same block again in the next step.
  if (limits.max_drafts == 0) return CeilDiv(steps, pool.tokens_per_block);
  return steps * CeilDiv(int64_t{1} + limits.max_drafts, pool.tokens_per_block);
}

WindowBlocks WorstCaseWindowBlocks(const PoolGeometry& pool, int32_t window_tokens,
                                   const Limits& limits) {
  // A step that feeds positions [f, L), d of them drafts, runs while these positions are held:
  //   old: [f - w, f - 1]    w = window - 1
  //   new: [max(f, L - d - w), L - 1], or [f, L - 1] with store_whole_chunk
  // A decode step (L - f <= 1 + D) holds w + 1 + D consecutive ones. A prefill step holds two runs
  // of w and w + D with a gap between them, both on their worst alignment if the gap is free; a
  // short step has no free gap, and is bounded by its span of w + max_step_tokens.
  const int64_t block = pool.tokens_per_block;
  const int64_t w = int64_t{window_tokens} - 1;
  const int64_t steady = MostBlocks(w + 1 + limits.max_drafts, block);
  int64_t most = MostBlocks(w + limits.max_step_tokens, block);
  if (!limits.store_whole_chunk) {
    most = std::min(most, MostBlocks(w, block) + MostBlocks(w + limits.max_drafts, block));
  }
  // A context shorter than that has no more blocks than its table.
  const int64_t capped_steady = std::min<int64_t>(steady, pool.blocks_per_sequence);
  const int64_t capped = std::clamp<int64_t>(most, capped_steady, pool.blocks_per_sequence);
  return {static_cast<int32_t>(capped_steady), static_cast<int32_t>(capped - capped_steady)};
}

}  // namespace terrace
