// What goes when blocks are short, or time is up: chunks with the blocks of all full pools, leaves
// first, and checkpoints with their window and overlap blocks. A pool under pressure evicts only
// what frees that pool.

#include <algorithm>

#include "absl/strings/str_format.h"
#include "src/ledger_impl.h"
#include "terrace/check.h"

namespace terrace {

std::optional<Ledger::Impl::Short> Ledger::Impl::Evict(const BlockCounts& missing) {
  int32_t chunks = 0;
  for (const int p : full_pools) chunks = std::max(chunks, missing[p]);
  const int32_t evictable = chunks == 0 ? 0 : index.CountEvictable(chunks, retired);
  BlockCounts left;  // of what is missing, beyond what the chosen ones free
  std::copy(std::begin(missing), std::end(missing), left);
  for (const int p : full_pools) left[p] -= evictable;
  victims.clear();
  const int window = geometry.window_pool;
  const int overlap = geometry.overlap_pool;
  const auto frees = [&](int pool, BlockId block) {
    return pools[pool].IsCached(block) && pools[pool].last_plan(block).value() <= retired;
  };
  const auto wanted = [&] {
    return (window >= 0 && left[window] > 0) || (overlap >= 0 && left[overlap] > 0);
  };
  for (std::optional<CheckpointId> next = index.NextCheckpointVictim();
       wanted() && next.has_value(); next = index.NextCheckpointVictim(next)) {
    bool helps = false;
    const auto take = [&](int pool, int32_t blocks) {
      if (pool < 0) return;
      helps |= blocks > 0 && left[pool] > 0;
      left[pool] -= blocks;
    };
    int32_t freed = 0;
    for (const BlockId block : index.window_blocks(*next)) freed += frees(window, block);
    BlockCounts before;
    std::copy(std::begin(left), std::end(left), before);
    take(window, freed);
    take(overlap, overlap >= 0 && frees(overlap, index.overlap_block(*next)));
    if (helps) {
      victims.push_back(*next);
    } else {
      std::copy(std::begin(before), std::end(before), left);
    }
  }
  for (int p = 0; p < geometry.num_pools; ++p) {
    if (left[p] > 0) return Short{p, left[p]};
  }

  for (const CheckpointId victim : victims) RemoveCheckpoint(victim, Removal::kEvicted);
  for (int32_t i = 0; i < chunks; ++i) RemoveChunk(*index.NextVictim(), Removal::kEvicted);
  for (int p = 0; p < geometry.num_pools; ++p) figures.evicted_blocks[p] += missing[p];
  return std::nullopt;
}

// A cached block is free, unless a plan that still runs may name it.
void Ledger::Impl::Unindex(int pool, BlockId block) {
  std::optional<PlanNumber> drain_until;
  if (pools[pool].IsCached(block) && pools[pool].last_plan(block).value() > retired) {
    drain_until = PlanNumber(number);
  }
  pools[pool].Unindex(block, drain_until);
}

void Ledger::Impl::RemoveChunk(ChunkId chunk, Removal why) {
  if (const std::optional<CheckpointId> checkpoint = index.checkpoint(chunk)) {
    RemoveCheckpoint(*checkpoint, why == Removal::kCleared ? why : Removal::kWithChunk);
  }
  const absl::Span<const BlockId> blocks = index.blocks(chunk);
  for (size_t i = 0; i < blocks.size(); ++i) Unindex(full_pools[i], blocks[i]);
  switch (why) {
    case Removal::kExpired:
      ++figures.expired_chunks;
      break;
    case Removal::kCleared:
      ++figures.cleared_chunks;
      break;
    default:
      ++figures.evicted_chunks;
  }
  if (why != Removal::kCleared) Record(PrefixEvent::Kind::kChunkRemoved, chunk);
  index.Remove(chunk);
}

void Ledger::Impl::RemoveCheckpoint(CheckpointId checkpoint, Removal why) {
  for (const BlockId block : index.window_blocks(checkpoint)) Unindex(geometry.window_pool, block);
  if (has_overlap()) {
    const BlockId overlap = index.overlap_block(checkpoint);
    // A snapshot that no plan took yet is not wanted any more.
    const auto pending = [&](const CheckpointRecord& record) {
      return record.overlap_block == overlap.value();
    };
    Unindex(geometry.overlap_pool, overlap);
    if (std::erase_if(settled_checkpoints, pending) > 0) FreeBlock(geometry.overlap_pool, overlap);
  }
  switch (why) {
    case Removal::kRolled:
      ++figures.rolled_checkpoints;
      break;
    case Removal::kWithChunk:
    case Removal::kExpired:
      ++figures.dropped_checkpoints;
      break;
    case Removal::kCleared:
      ++figures.cleared_checkpoints;
      break;
    case Removal::kEvicted:
      ++figures.evicted_checkpoints;
  }
  if (why != Removal::kCleared) {
    Record(PrefixEvent::Kind::kCheckpointRemoved, index.chunk(checkpoint));
  }
  index.RemoveCheckpoint(checkpoint);
}

absl::Status Ledger::SetTime(int64_t now_ms) {
  if (now_ms < impl_->now_ms) {
    return absl::InvalidArgumentError(
        absl::StrFormat("the time is %d ms already, not %d", impl_->now_ms, now_ms));
  }
  impl_->now_ms = now_ms;
  while (const std::optional<ChunkId> expired = impl_->index.NextExpired(now_ms)) {
    impl_->RemoveChunk(*expired, Impl::Removal::kExpired);
  }
  return absl::OkStatus();
}

void Ledger::ClearPrefixes() {
  for (int32_t lane = 0; lane < geometry().max_sequences; ++lane) {
    Sequence& sequence = impl_->sequences.at(lane);
    if (sequence.live) impl_->LeavePath(sequence);
  }
  while (const std::optional<ChunkId> chunk = impl_->index.NextVictim()) {
    impl_->RemoveChunk(*chunk, Impl::Removal::kCleared);
  }
  TERRACE_CHECK_EQ(impl_->index.num_chunks(), 0);
  if (impl_->options.prefix.record_events) {
    impl_->events.push_back({.kind = PrefixEvent::Kind::kCleared});
  }
}

}  // namespace terrace
