// Geometry is the flat, trivially copyable summary of a deployment that the ledger, plans, stores
// and kernels agree on: pools, their capacities and the limits of a step. It knows no bytes: those
// are a store's own (page_view.h), so that stores of different layer ranges share one geometry.
// Plain data that kernels include too; geometry_builder.h makes it from a model.

#ifndef TERRACE_GEOMETRY_H_
#define TERRACE_GEOMETRY_H_

#include <cstdint>
#include <type_traits>

#include "terrace/ids.h"
#include "terrace/limits.h"
#include "terrace/pool_kinds.h"

namespace terrace {

// Beyond any machine: what a geometry may ask for sizes tables, whoever made it.
inline constexpr int32_t kMaxSequences = 1 << 20;
inline constexpr int32_t kMaxStepTokens = 1 << 24;

struct PoolGeometry {
  PoolKind kind;
  EntryRule rule;
  int32_t ratio;
  int32_t entries_per_block;  // a power of two
  int32_t log2_entries_per_block;
  int32_t tokens_per_block;  // ratio * entries_per_block; 0 in overlap and state pools
  int32_t capacity_blocks;
  // Length of a sequence's row in the block table. The index is absolute, position /
  // tokens_per_block, in window pools too: a table that wrapped around would need room for the old
  // and the new window of the longest prefill step, and this one costs 4 bytes a block. 1 in a
  // state pool; 0 in the overlap pool: a sequence has none of its blocks.
  int32_t blocks_per_sequence;
};

struct Geometry {
  int32_t num_pools;
  int32_t window_pool;   // index, or -1
  int32_t overlap_pool;  // index, or -1
  int32_t window_tokens;
  int32_t chunk_tokens;
  int32_t max_sequences;
  int32_t max_step_tokens;
  int32_t max_drafts;
  int32_t max_context_tokens;
  int32_t store_whole_chunk;  // 0 or 1
  int32_t num_layers;         // of the whole model: how far a window row's influence reaches
  int32_t reserved;           // zero
  PoolGeometry pools[kMaxPools];
};
static_assert(std::is_trivially_copyable_v<Geometry> && sizeof(Geometry) == 48 + kMaxPools * 32);

// XXH3-64 of all fields. A plan carries it, so that a store refuses plans made for another
// deployment.
uint64_t Fingerprint(const Geometry& geometry);

// Most entry rows that one step can close in `pool`: a row for each token (window pool) or for each
// `ratio` tokens, and one more for each sequence that a boundary falls on. 0 for a pool that holds
// no rows, and for one that the geometry has not.
int64_t MaxEntryRows(const Geometry& geometry, PoolIndex pool);

// The state pool of CSA layers, whose rows checkpoints keep, or kNoPool.
PoolIndex CsaStatePool(const Geometry& geometry);

// Window blocks that one checkpoint keeps: those of the window_tokens - 1 rows before a chunk's
// end. 0 without a window pool.
// REQUIRES: the window block divides the chunk.
int32_t CheckpointWindowBlocks(const Geometry& geometry);

// Most checkpoint records of one plan: one for each chunk that ends in the step, and for each
// sequence those of chunks that ended among its drafts, or with the token before them, and settled
// since.
int64_t MaxCheckpoints(const Geometry& geometry);

// Most block-table patches that the tokens of one step need, over all pools: every block that a
// step can newly take, checkpoints at all chunk ends inside it included. The first step of a
// sequence that shares blocks announces those too and may have more.
int64_t MaxPatches(const Geometry& geometry);

// Most blocks of the window pool that one sequence takes in `steps` decode steps, drafts taken back
// and fed again included: what it may leave draining while `steps` plans run.
int64_t WindowBlocksOfDecodeSteps(const PoolGeometry& pool, const Limits& limits, int32_t steps);

// Most window blocks one sequence can hold while a step runs: `steady` after a decode step with
// max_drafts (ceil((window - 1 + D) / B) + 1), `prefill_extra` more while a prefill step holds the
// old window and the new one (or, with store_whole_chunk, the whole piece; they are released when
// the sequence is appended to again). Blocks of B = tokens_per_block rows. Exact for every step
// that fits the limits.
struct WindowBlocks {
  int32_t steady;
  int32_t prefill_extra;
};
WindowBlocks WorstCaseWindowBlocks(const PoolGeometry& pool, int32_t window_tokens,
                                   const Limits& limits);

}  // namespace terrace

#endif  // TERRACE_GEOMETRY_H_
