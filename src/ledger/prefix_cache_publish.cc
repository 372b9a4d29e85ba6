// What a sequence leaves to others: the chunks of its settled tokens. The checkpoints behind them
// are in prefix_cache_checkpoint.cc.

#include <algorithm>

#include "src/ledger/prefix_cache.h"

namespace terrace::internal {

void PrefixCache::PublishStep(absl::Span<const StepRequest> batch,
                              absl::Span<const PlannedCheckpoint> checkpoints) {
  const PlannedCheckpoint* next = checkpoints.data();
  const PlannedCheckpoint* const end = next + checkpoints.size();
  for (const StepRequest& request : batch) {
    Sequence& sequence = sequences_.at(request.id.index);
    if (!sequence.prefix.publishes) continue;
    for (; next != end && next->sequence == &sequence; ++next) {
      PublishUpTo(sequence, next->position);
      LeaveCheckpoint(sequence, next->position, next->extra_window, next->overlap, sequence.plan);
    }
    PublishUpTo(sequence, sequence.settled());
  }
  if (pools_.has_window()) {
    figures_.peak_checkpoint_blocks = std::max<int64_t>(
        figures_.peak_checkpoint_blocks, pools_.pool(pools_.window_pool()).num_cached());
  }
}

// A step that ended with drafts settles them here. Its own checkpoints were of tokens settled
// before.
void PrefixCache::PublishCommitted(Sequence& sequence, absl::Span<const int32_t> tokens) {
  SequencePrefix& prefix = sequence.prefix;
  if (!prefix.publishes) return;
  prefix.tail.Append(tokens);
  const int32_t chunk_tokens = geometry_.chunk_tokens;
  const int32_t last = sequence.settled() / chunk_tokens * chunk_tokens;
  while (prefix.chunks * chunk_tokens < last) {
    const int32_t end = (prefix.chunks + 1) * chunk_tokens;
    PublishUpTo(sequence, end);
    const bool of_policy = policy_.kind == CheckpointPolicy::Kind::kEveryTokens
                               ? end % policy_.tokens == 0
                               : end == last;
    const bool wanted = of_policy || (prefix.marks != nullptr && prefix.marks->Contains(end));
    if (wanted && has_checkpoints()) LeaveSettledCheckpoint(sequence, end);
  }
}

// Publishes the chunks that end at or before `length`, settled or about to be.
void PrefixCache::PublishUpTo(Sequence& sequence, int32_t length) {
  SequencePrefix& prefix = sequence.prefix;
  const int32_t chunk_tokens = geometry_.chunk_tokens;
  const std::vector<int>& full_pools = pools_.full_pools();
  while (int64_t{prefix.chunks + 1} * chunk_tokens <= length) {
    BlockId blocks[kMaxPools];
    for (size_t i = 0; i < full_pools.size(); ++i) {
      blocks[i] = pools_.table(full_pools[i]).Of(sequence.index)[prefix.chunks];
    }
    const PrefixIndex::Published published =
        index_.Publish(prefix.tip, prefix.tail.Part(0, chunk_tokens),
                       absl::MakeConstSpan(blocks, full_pools.size()), prefix.priority,
                       sequence.plan, KeysOfChunk(RangesOf(prefix.keys), prefix.chunks));
    prefix.tip = published.chunk;
    ++prefix.chunks;
    prefix.tail.DropFront(chunk_tokens);
    if (!published.created) {
      ++figures_.duplicate_chunks;
      continue;
    }
    for (size_t i = 0; i < full_pools.size(); ++i) {
      pools_.pool(full_pools[i]).MarkReusable(blocks[i]);
    }
    ++figures_.stored_chunks;
    Record(PrefixEvent::Kind::kChunkStored, published.chunk);
  }
}

}  // namespace terrace::internal
