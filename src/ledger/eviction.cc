// What goes when blocks are short, or time is up: chunks with the blocks of all full pools, leaves
// first, and checkpoints with their window and overlap blocks. A pool under pressure evicts only
// what frees that pool.

#include <algorithm>

#include "absl/strings/str_format.h"
#include "src/base/check.h"
#include "src/ledger/ledger_impl.h"

namespace terrace {

std::optional<Ledger::Impl::Short> Ledger::Impl::Evict(const BlockCounts& missing,
                                                       absl::Span<const BlockId> vacated,
                                                       Need need) {
  int32_t chunks = 0;
  for (const int p : full_pools) chunks = std::max(chunks, missing[p]);
  const int32_t evictable = chunks == 0 ? 0 : index.CountEvictable(chunks, retired);
  // While a plan runs, waiting for it is the better way.
  ChooseSpares(need == Need::kStep && idle() ? chunks - evictable : 0);
  const int32_t spare = static_cast<int32_t>(spares.size());
  BlockCounts left;  // of what is missing, beyond what the chosen ones free
  std::copy(std::begin(missing), std::end(missing), left);
  for (const int p : full_pools) left[p] -= evictable + spare;
  ChooseVictims(left, vacated, need);
  for (int p = 0; p < geometry.num_pools; ++p) {
    if (left[p] > 0) return Short{p, left[p]};
  }

  for (const CheckpointId victim : victims) {
    LetGo(victim);
    RemoveCheckpoint(victim, Removal::kEvicted);
  }
  for (int32_t i = 0; i < evictable; ++i) RemoveChunk(*index.NextVictim(), Removal::kEvicted);
  for (const Spare& chosen : spares) TakeCopy(chosen);
  for (int p = 0; p < geometry.num_pools; ++p) figures.evicted_blocks[p] += missing[p];
  return std::nullopt;
}

void Ledger::Impl::ChooseSpares(int32_t most) {
  spares.clear();
  for (int32_t sequence_index = 0; sequence_index < geometry.max_sequences && most > 0;
       ++sequence_index) {
    const Sequence& sequence = sequences.at(sequence_index);
    if (!sequence.live || !sequence.prefix.in_index) continue;
    int32_t depth = sequence.prefix.chunks;
    for (ChunkId at = sequence.prefix.tip; !PrefixIndex::IsRoot(at); at = index.parent(at)) {
      --depth;
      const BlockPool& pool = pools[full_pools[0]];  // a chunk's blocks share one fate
      const BlockId block = index.blocks(at)[0];
      if (!pool.IsCached(block) || pool.last_plan(block).value() > retired) continue;
      const auto listed = std::find_if(spares.begin(), spares.end(),
                                       [&](const Spare& spare) { return spare.chunk == at; });
      if (listed != spares.end()) continue;
      spares.push_back({at, sequence_index, depth});
      if (--most == 0) return;
    }
  }
}

void Ledger::Impl::TakeCopy(const Spare& spare) {
  for (size_t i = 0; i < full_pools.size(); ++i) {
    const int p = full_pools[i];
    Unindex(p, index.blocks(spare.chunk)[i]);
    chunk_blocks[i] = tables[p].Row(spare.sequence_index)[spare.depth];
    pools[p].Index(chunk_blocks[i]);
  }
  index.SetBlocks(spare.chunk, chunk_blocks);
}

// Those that nobody rolls on from go first.
void Ledger::Impl::ChooseVictims(BlockCounts& left, absl::Span<const BlockId> vacated, Need need) {
  victims.clear();
  const int window = geometry.window_pool;
  const int overlap = geometry.overlap_pool;
  const auto frees = [&](int pool, BlockId block) {
    if (pools[pool].IsCached(block)) return pools[pool].last_plan(block).value() <= retired;
    return pool == window && std::binary_search(vacated.begin(), vacated.end(), block);
  };
  const auto wanted = [&](int pool) { return pool >= 0 && left[pool] > 0; };
  const auto consider = [&](CheckpointId checkpoint) {
    int32_t of_window = 0;
    for (const BlockId block : index.window_blocks(checkpoint)) of_window += frees(window, block);
    const int32_t of_overlap = overlap >= 0 && frees(overlap, index.overlap_block(checkpoint));
    const bool helps = (of_window > 0 && wanted(window)) || (of_overlap > 0 && wanted(overlap));
    if (!helps) return;
    left[window] -= of_window;
    if (overlap >= 0) left[overlap] -= of_overlap;
    victims.push_back(checkpoint);
  };
  for (std::optional<CheckpointId> next = index.NextCheckpointVictim();
       next.has_value() && (wanted(window) || wanted(overlap));
       next = index.NextCheckpointVictim(next)) {
    consider(*next);
  }
  if (need == Need::kWish) return;
  for (int32_t sequence_index = 0; sequence_index < geometry.max_sequences; ++sequence_index) {
    if (!wanted(window) && !wanted(overlap)) return;
    const Sequence& sequence = sequences.at(sequence_index);
    if (!sequence.live || !sequence.prefix.rolling.has_value()) continue;
    const CheckpointId rolling = *sequence.prefix.rolling;
    if (std::count(victims.begin(), victims.end(), rolling) == 0) consider(rolling);
  }
}

// No sequence rolls on from `checkpoint` any more.
void Ledger::Impl::LetGo(CheckpointId checkpoint) {
  for (int32_t sequence_index = 0; index.pins(checkpoint) > 0; ++sequence_index) {
    std::optional<CheckpointId>& rolling = sequences.at(sequence_index).prefix.rolling;
    if (rolling != checkpoint) continue;
    rolling.reset();
    index.Unpin(checkpoint);
  }
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
    if (std::erase_if(settled_checkpoints, pending) > 0) {
      FreeBlock(geometry.overlap_pool, overlap);
      FreeCapturedStates();
    }
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
  for (int32_t sequence_index = 0; sequence_index < geometry().max_sequences; ++sequence_index) {
    Sequence& sequence = impl_->sequences.at(sequence_index);
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
