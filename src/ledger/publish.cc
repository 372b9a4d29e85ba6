// What a sequence leaves to others: chunks of settled tokens, and checkpoints behind them.

#include <algorithm>
#include <utility>

#include "src/base/check.h"
#include "src/ledger/ledger_impl.h"
#include "src/model/state_pages.h"

namespace terrace {

void Ledger::Impl::PublishStep(absl::Span<const StepRequest> batch) {
  auto wish = wishes.cbegin();
  for (const StepRequest& request : batch) {
    Sequence& sequence = *Find(request.id);
    if (!sequence.prefix.publishes) continue;
    const int32_t sequence_index = request.id.index;
    for (; wish != wishes.cend() && wish->sequence == &sequence; ++wish) {
      Publish(sequence, sequence_index, wish->position);
      LeaveCheckpoint(sequence, sequence_index, wish->position, wish->gap, wish->overlap);
    }
    Publish(sequence, sequence_index, sequence.settled());
  }
  if (has_window()) {
    figures.peak_checkpoint_blocks =
        std::max<int64_t>(figures.peak_checkpoint_blocks, pools[geometry.window_pool].num_cached());
  }
}

void Ledger::Impl::Publish(Sequence& sequence, int32_t sequence_index, int32_t length) {
  SequencePrefix& prefix = sequence.prefix;
  const int32_t chunk_tokens = geometry.chunk_tokens;
  while (int64_t{prefix.chunks + 1} * chunk_tokens <= length) {
    for (size_t i = 0; i < full_pools.size(); ++i) {
      chunk_blocks[i] = tables[full_pools[i]].Row(sequence_index)[prefix.chunks];
    }
    const PrefixIndex::Published published =
        index.Publish(prefix.tip, prefix.tail.Part(0, chunk_tokens), chunk_blocks, prefix.priority);
    prefix.tip = published.chunk;
    ++prefix.chunks;
    prefix.tail.DropFront(chunk_tokens);
    if (!published.created) {
      ++figures.duplicate_chunks;
      continue;
    }
    for (size_t i = 0; i < full_pools.size(); ++i) pools[full_pools[i]].Index(chunk_blocks[i]);
    ++figures.stored_chunks;
    Record(PrefixEvent::Kind::kChunkStored, published.chunk);
  }
}

// A step that ended with drafts settles them here. Its own checkpoints were of tokens settled
// before.
void Ledger::Impl::PublishCommitted(Sequence& sequence, int32_t sequence_index) {
  if (!sequence.prefix.publishes) return;
  const int32_t chunk_tokens = geometry.chunk_tokens;
  const int32_t last = sequence.settled() / chunk_tokens * chunk_tokens;
  while (sequence.prefix.chunks * chunk_tokens < last) {
    const int32_t end = (sequence.prefix.chunks + 1) * chunk_tokens;
    Publish(sequence, sequence_index, end);
    const bool wanted =
        policy.kind == CheckpointPolicy::Kind::kEveryTokens
            ? end % policy.tokens == 0
            : policy.kind == CheckpointPolicy::Kind::kEndOfPromptAndOutput && end == last;
    if (!wanted || !has_window()) continue;
    const bool exists = index.checkpoint(sequence.prefix.tip).has_value();
    if (!CanLookBack(sequence, end) || (!exists && IsWindowTaken(sequence_index, end))) {
      ++figures.missed_checkpoints;
      continue;
    }
    std::optional<BlockId> overlap;
    if (has_overlap() && !exists) {
      overlap = TakeOverlapBlock();
      if (!overlap.has_value()) {
        ++figures.missed_checkpoints;
        continue;
      }
      // Its snapshot is still to be taken, by the next plan: a reference of its own until then.
      TERRACE_CHECK_EQ(pools[geometry.overlap_pool].AddReference(*overlap).ok(), true);
      const int32_t state_block =
          csa_state_pool < 0 ? kNoBlock : tables[csa_state_pool].Row(sequence_index)[0].value();
      settled_checkpoints.push_back({sequence_index, end, overlap->value(), state_block});
    }
    LeaveCheckpoint(sequence, sequence_index, end, {}, overlap);
  }
}

// Whether what a checkpoint at `position` needs is still there after later rows: its window rows,
// and the compressor's rows of the 4 tokens before it. Of those there are 8 + D, up to the last one
// that was fed, which may have been taken back since: at most D beyond the first draft.
bool Ledger::Impl::CanLookBack(const Sequence& sequence, int32_t position) const {
  if (has_overlap() && sequence.draft_begin - position > kCsaRatio) return false;
  return WindowBegin(geometry, position) >= sequence.rows_from &&
         sequence.window.current.contains(CheckpointBlocks(geometry, position));
}

// Two forks that parted shortly before `position` share blocks; a checkpoint has its own.
bool Ledger::Impl::IsWindowTaken(int32_t sequence_index, int32_t position) const {
  const int window = geometry.window_pool;
  const absl::Span<const BlockId> blocks =
      tables[window].Blocks(sequence_index, CheckpointBlocks(geometry, position));
  return std::any_of(blocks.begin(), blocks.end(),
                     [&](BlockId block) { return pools[window].IsIndexed(block); });
}

std::optional<BlockId> Ledger::Impl::TakeOverlapBlock() {
  const int pool = geometry.overlap_pool;
  if (options.inject_shortage && options.inject_shortage(pool)) return std::nullopt;
  if (pools[pool].num_available() == 0) {
    BlockCounts missing = {};
    missing[pool] = 1;
    if (Evict(missing, {}, Need::kWish).has_value()) return std::nullopt;
  }
  return *pools[pool].Allocate();
}

void Ledger::Impl::LeaveCheckpoint(Sequence& sequence, int32_t sequence_index, int32_t position,
                                   BlockRange gap, std::optional<BlockId> overlap) {
  SequencePrefix& prefix = sequence.prefix;
  TERRACE_CHECK_EQ(prefix.chunks * geometry.chunk_tokens, position);
  const int window = geometry.window_pool;
  std::optional<CheckpointId> checkpoint = index.checkpoint(prefix.tip);
  const bool created = !checkpoint.has_value();
  if (created) {
    if (IsWindowTaken(sequence_index, position)) {
      ++figures.missed_checkpoints;
    } else {
      const absl::Span<const BlockId> blocks =
          tables[window].Blocks(sequence_index, CheckpointBlocks(geometry, position));
      for (const BlockId block : blocks) pools[window].Index(block);
      if (overlap.has_value()) pools[geometry.overlap_pool].Index(*overlap);
      checkpoint = index.AddCheckpoint(prefix.tip, blocks, overlap.value_or(BlockId(-1)));
      ++figures.stored_checkpoints;
      Record(PrefixEvent::Kind::kCheckpointStored, prefix.tip);
    }
  }
  // The sequence itself has no use for these.
  FreeBlocks(window, sequence_index, gap);
  if (overlap.has_value()) FreeBlock(geometry.overlap_pool, *overlap);

  if (!checkpoint.has_value()) return;
  if (!created) index.Pin(*checkpoint);
  RollTo(sequence, *checkpoint, Keeps(sequence, position));
}

// Whether a checkpoint stays when the sequence rolls on: where the policy put it for good, at the
// end of the prompt, and of a match.
bool Ledger::Impl::Keeps(const Sequence& sequence, int32_t position) const {
  if (policy.kind == CheckpointPolicy::Kind::kEveryTokens) return true;
  const int32_t chunk_tokens = geometry.chunk_tokens;
  const int32_t prompt_end = (sequence.prefix.prompt_tokens - 1) / chunk_tokens * chunk_tokens;
  return position == prompt_end || position == sequence.write_from;
}

// `checkpoint` has a pin for it already.
void Ledger::Impl::RollTo(Sequence& sequence, std::optional<CheckpointId> checkpoint, bool keep) {
  if (checkpoint.has_value() && keep) index.Keep(*checkpoint);
  const std::optional<CheckpointId> before = std::exchange(sequence.prefix.rolling, checkpoint);
  if (before.has_value() && !index.Unpin(*before)) {
    RemoveCheckpoint(*before, Removal::kRolled);
  }
}

// The sequence is no part of any prefix from here on. Its last checkpoint stays for who goes on.
void Ledger::Impl::LeavePath(Sequence& sequence) {
  SequencePrefix& prefix = sequence.prefix;
  if (!prefix.in_index) return;
  if (prefix.rolling.has_value()) index.Keep(*prefix.rolling);
  RollTo(sequence, std::nullopt, false);
  const bool expires = prefix.time_to_live_ms > 0;
  index.Release(prefix.tip, number,
                expires ? now_ms + prefix.time_to_live_ms : PrefixIndex::kNever);
  prefix.in_index = false;
  prefix.publishes = false;
  prefix.tail.Clear();
}

void Ledger::Impl::Record(PrefixEvent::Kind kind, ChunkId chunk) {
  if (!options.prefix.record_events) return;
  int32_t depth = 0;
  for (ChunkId at = chunk; !PrefixIndex::IsRoot(at); at = index.parent(at)) ++depth;
  events.push_back({kind, index.digest(chunk), index.digest(index.parent(chunk)), depth});
}

}  // namespace terrace
