// What goes when blocks are short, or time is up: chunks with the blocks of all full pools, leaves
// first, and checkpoints with their window and overlap blocks.

#include <algorithm>

#include "absl/strings/str_format.h"
#include "src/base/check.h"
#include "src/ledger/prefix_cache.h"

namespace terrace::internal {

std::optional<Shortfall> PrefixCache::Evict(const BlockCounts& missing,
                                            absl::Span<const BlockId> released,
                                            EvictionReach reach) {
  Eviction& eviction = eviction_memory_;
  int32_t chunks = 0;
  for (const int p : pools_.full_pools()) chunks = std::max(chunks, missing[p]);
  eviction.unused_chunks = chunks == 0 ? 0 : index_.CountEvictable(chunks, pools_.retired());
  // While a plan runs, waiting for it is the better way.
  const bool replaces = reach == EvictionReach::kInUse && pools_.idle();
  ChooseReplacements(replaces ? chunks - eviction.unused_chunks : 0, eviction);
  BlockCounts left = missing;  // beyond what the chosen ones free
  for (const int p : pools_.full_pools()) {
    left[p] -= eviction.unused_chunks + static_cast<int32_t>(eviction.replacements.size());
  }
  ChooseCheckpoints(left, released, reach, eviction);
  for (int p = 0; p < geometry_.num_pools; ++p) {
    if (left[p] > 0) return Shortfall{p, left[p]};
  }

  for (const CheckpointId checkpoint : eviction.checkpoints) {
    UnpinAll(checkpoint);
    RemoveCheckpoint(checkpoint, Removal::kEvicted);
  }
  for (int32_t i = 0; i < eviction.unused_chunks; ++i) {
    RemoveChunk(*index_.NextVictim(), Removal::kEvicted);
  }
  for (const Replacement& replacement : eviction.replacements) Replace(replacement);
  for (int p = 0; p < geometry_.num_pools; ++p) figures_.evicted_blocks[p] += missing[p];
  return std::nullopt;
}

// When no plan runs each cached block is of an unused chunk, of one that a copy can replace, or of
// a checkpoint; a step may have all of them.
int32_t PrefixCache::CountEvictable(int p, uint64_t retired) const {
  const BlockPool& pool = pools_.pool(p);
  if (retired == pools_.last_plan() || pool.num_cached() == 0) return pool.num_cached();
  if (geometry_.pools[p].kind == PoolKind::kFull) return index_.CountEvictable(retired);
  return pool.CountCached(retired);
}

// ---- Choosing. Changes nothing but the choice.

void PrefixCache::ChooseReplacements(int32_t most, Eviction& eviction) const {
  std::vector<Replacement>& chosen = eviction.replacements;
  chosen.clear();
  if (most == 0) return;
  const int first_pool = pools_.full_pools()[0];  // a chunk's blocks share one fate
  for (const Sequence& sequence : sequences_.all()) {
    if (!sequence.live || !sequence.prefix.in_index) continue;
    int32_t index = sequence.prefix.chunks;
    for (ChunkId at = sequence.prefix.tip; !PrefixIndex::IsRoot(at); at = index_.parent(at)) {
      --index;
      const BlockId block = index_.blocks(at)[0];
      if (!pools_.pool(first_pool).IsCached(block)) continue;
      if (pools_.IsNamedByRunningPlan(first_pool, block)) continue;
      const bool listed = std::any_of(chosen.begin(), chosen.end(),
                                      [&](const Replacement& r) { return r.chunk == at; });
      if (listed) continue;
      chosen.push_back({at, &sequence, index});
      if (--most == 0) return;
    }
  }
}

// Takes what the chosen ones free from `left`. Those that nobody rolls on from go first.
void PrefixCache::ChooseCheckpoints(BlockCounts& left, absl::Span<const BlockId> released,
                                    EvictionReach reach, Eviction& eviction) const {
  std::vector<CheckpointId>& chosen = eviction.checkpoints;
  chosen.clear();
  const int window = pools_.window_pool();
  const int overlap = pools_.overlap_pool();
  const auto frees = [&](int p, BlockId block) {
    if (pools_.pool(p).IsCached(block)) return !pools_.IsNamedByRunningPlan(p, block);
    return p == window && std::binary_search(released.begin(), released.end(), block);
  };
  const auto wanted = [&](int p) { return p >= 0 && left[p] > 0; };
  const auto consider = [&](CheckpointId checkpoint) {
    int32_t of_window = 0;
    for (const BlockId block : index_.window_blocks(checkpoint)) of_window += frees(window, block);
    const int32_t of_overlap = overlap >= 0 && frees(overlap, index_.overlap_block(checkpoint));
    const bool helps = (of_window > 0 && wanted(window)) || (of_overlap > 0 && wanted(overlap));
    if (!helps) return;
    left[window] -= of_window;
    if (overlap >= 0) left[overlap] -= of_overlap;
    chosen.push_back(checkpoint);
  };
  for (std::optional<CheckpointId> next = index_.NextCheckpointVictim();
       next.has_value() && (wanted(window) || wanted(overlap));
       next = index_.NextCheckpointVictim(next)) {
    consider(*next);
  }
  if (reach == EvictionReach::kUnused) return;
  for (const Sequence& sequence : sequences_.all()) {
    if (!wanted(window) && !wanted(overlap)) return;
    if (!sequence.live || !sequence.prefix.rolling.has_value()) continue;
    const CheckpointId rolling = *sequence.prefix.rolling;
    if (std::count(chosen.begin(), chosen.end(), rolling) == 0) consider(rolling);
  }
}

// ---- Taking

// The chunk's own blocks are free, or drain; the copy's are the chunk's from here on.
void PrefixCache::Replace(const Replacement& replacement) {
  const std::vector<int>& full_pools = pools_.full_pools();
  const absl::Span<const BlockId> before = index_.blocks(replacement.chunk);
  BlockId after[kMaxPools];
  for (size_t i = 0; i < full_pools.size(); ++i) {
    const int p = full_pools[i];
    pools_.UnmarkReusable(p, before[i]);
    after[i] = pools_.table(p).Of(replacement.owner->index)[replacement.index];
    pools_.pool(p).MarkReusable(after[i]);
  }
  index_.SetBlocks(replacement.chunk, absl::MakeConstSpan(after, full_pools.size()),
                   replacement.owner->plan);
}

// No sequence rolls on from `checkpoint` any more.
void PrefixCache::UnpinAll(CheckpointId checkpoint) {
  for (int32_t i = 0; index_.pins(checkpoint) > 0; ++i) {
    std::optional<CheckpointId>& rolling = sequences_.at(i).prefix.rolling;
    if (rolling != checkpoint) continue;
    rolling.reset();
    index_.Unpin(checkpoint);
  }
}

void PrefixCache::RemoveChunk(ChunkId chunk, Removal why) {
  if (const std::optional<CheckpointId> checkpoint = index_.checkpoint(chunk)) {
    const bool same = why == Removal::kCleared || why == Removal::kLost;
    RemoveCheckpoint(*checkpoint, same ? why : Removal::kWithChunk);
  }
  const absl::Span<const BlockId> blocks = index_.blocks(chunk);
  for (size_t i = 0; i < blocks.size(); ++i) {
    pools_.UnmarkReusable(pools_.full_pools()[i], blocks[i]);
  }
  switch (why) {
    case Removal::kExpired:
      ++figures_.expired_chunks;
      break;
    case Removal::kCleared:
      ++figures_.cleared_chunks;
      break;
    case Removal::kLost:
      ++figures_.lost_chunks;
      break;
    default:
      ++figures_.evicted_chunks;
  }
  if (why != Removal::kCleared) Record(PrefixEvent::Kind::kChunkRemoved, chunk);
  index_.Remove(chunk);
}

void PrefixCache::RemoveCheckpoint(CheckpointId checkpoint, Removal why) {
  for (const BlockId block : index_.window_blocks(checkpoint)) {
    pools_.UnmarkReusable(pools_.window_pool(), block);
  }
  if (pools_.has_overlap()) {
    const BlockId overlap = index_.overlap_block(checkpoint);
    pools_.UnmarkReusable(pools_.overlap_pool(), overlap);
    pools_.CancelCapture(overlap);
  }
  switch (why) {
    case Removal::kRolled:
      ++figures_.rolled_checkpoints;
      break;
    case Removal::kWithChunk:
    case Removal::kExpired:
      ++figures_.dropped_checkpoints;
      break;
    case Removal::kCleared:
      ++figures_.cleared_checkpoints;
      break;
    case Removal::kLost:
      ++figures_.lost_checkpoints;
      break;
    case Removal::kEvicted:
      ++figures_.evicted_checkpoints;
  }
  if (why != Removal::kCleared) {
    Record(PrefixEvent::Kind::kCheckpointRemoved, index_.chunk(checkpoint));
  }
  index_.RemoveCheckpoint(checkpoint);
}

// ---- Time, and the end of all

absl::Status PrefixCache::SetTime(int64_t now_ms) {
  if (now_ms < now_ms_) {
    return absl::InvalidArgumentError(
        absl::StrFormat("the time is %d ms already, not %d", now_ms_, now_ms));
  }
  now_ms_ = now_ms;
  while (const std::optional<ChunkId> expired = index_.NextExpired(now_ms)) {
    RemoveChunk(*expired, Removal::kExpired);
  }
  return absl::OkStatus();
}

void PrefixCache::Clear() {
  for (Sequence& sequence : sequences_.all()) {
    if (sequence.live) Leave(sequence);
  }
  while (const std::optional<ChunkId> chunk = index_.NextVictim()) {
    RemoveChunk(*chunk, Removal::kCleared);
  }
  TERRACE_CHECK_EQ(index_.num_chunks(), 0);
  if (options_.prefix.record_events) events_.push_back({.kind = PrefixEvent::Kind::kCleared});
}

}  // namespace terrace::internal
