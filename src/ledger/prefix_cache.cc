#include "src/ledger/prefix_cache.h"

#include <algorithm>
#include <limits>
#include <utility>

namespace terrace::internal {
namespace {

// A chunk has a block of every full pool to itself, a checkpoint one of the window pool and one of
// the overlap pool: there are never more of them than blocks.
PrefixIndexOptions IndexOptions(const LedgerOptions& options, const PoolSet& pools, bool enabled) {
  const Geometry& geometry = options.geometry;
  PrefixIndexOptions index{.chunk_tokens = geometry.chunk_tokens, .hash = options.prefix.hash};
  if (!enabled) return index;
  index.blocks_per_chunk = static_cast<int32_t>(pools.full_pools().size());
  index.max_chunks = std::numeric_limits<int32_t>::max();
  for (const int p : pools.full_pools()) {
    index.max_chunks = std::min(index.max_chunks, pools.pool(p).capacity());
  }
  if (pools.has_window() && options.prefix.checkpoints.kind != CheckpointPolicy::Kind::kNone) {
    index.max_checkpoints = pools.pool(pools.window_pool()).capacity();
    index.blocks_per_checkpoint = CheckpointBlocks(geometry, geometry.chunk_tokens).size();
    if (pools.has_overlap()) {
      index.max_checkpoints =
          std::min(index.max_checkpoints, pools.pool(pools.overlap_pool()).capacity());
    }
  }
  return index;
}

}  // namespace

PrefixCache::PrefixCache(const LedgerOptions& options, SequenceTable& sequences, PoolSet& pools)
    : options_(options),
      geometry_(options.geometry),
      policy_(options.prefix.checkpoints),
      sequences_(sequences),
      pools_(pools),
      enabled_(options.prefix.enabled && !pools.full_pools().empty()),
      index_(IndexOptions(options, pools, enabled_)) {}

void PrefixCache::Fork(Sequence& child) {
  child.prefix.rolling.reset();
  child.prefix.counted = true;  // it is no request of its own
  if (child.prefix.in_index) index_.AcquirePath(child.prefix.tip, child.prefix.priority);
  ++figures_.forks;
}

void PrefixCache::Leave(Sequence& sequence) {
  SequencePrefix& prefix = sequence.prefix;
  if (!prefix.in_index) return;
  if (prefix.rolling.has_value()) index_.Keep(*prefix.rolling);
  SetRolling(sequence, std::nullopt, /*keep=*/false);
  // What would outlive the clock never expires.
  const bool expires =
      prefix.time_to_live_ms > 0 && prefix.time_to_live_ms < PrefixIndex::kNever - now_ms_;
  index_.Release(prefix.tip, pools_.last_plan(),
                 expires ? now_ms_ + prefix.time_to_live_ms : PrefixIndex::kNever);
  prefix.in_index = false;
  prefix.publishes = false;
  prefix.tail.Clear();
}

// ---- Events and figures

std::vector<PrefixEvent> PrefixCache::TakeEvents() { return std::exchange(events_, {}); }

PrefixFigures PrefixCache::figures() const {
  PrefixFigures figures = figures_;
  figures.indexed_chunks = index_.num_chunks();
  figures.unused_chunks = index_.num_unused_chunks();
  figures.held_checkpoints = index_.num_checkpoints();
  return figures;
}

void PrefixCache::Record(PrefixEvent::Kind kind, ChunkId chunk) {
  if (!options_.prefix.record_events) return;
  int32_t depth = 0;
  for (ChunkId at = chunk; !PrefixIndex::IsRoot(at); at = index_.parent(at)) ++depth;
  events_.push_back({kind, index_.digest(chunk), index_.digest(index_.parent(chunk)), depth});
}

}  // namespace terrace::internal
