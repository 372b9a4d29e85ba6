// Where sequences leave checkpoints, and which of them they roll on from.

#include <algorithm>
#include <utility>

#include "src/base/check.h"
#include "src/ledger/prefix_cache.h"
#include "src/model/state_pages.h"

namespace terrace::internal {

// ---- Inside a step

void PrefixCache::AddWantedCheckpoints(const SequenceStep& step, const BlockChange& change,
                                       std::vector<PlannedCheckpoint>* planned) const {
  const SequencePrefix& prefix = change.sequence->prefix;
  const int32_t shift = geometry_.pools[pools_.window_pool()].log2_entries_per_block;
  const int32_t begun = step.first >> shift;  // the block that the rows before the step end in
  // Of a fork's, the step copies it only where its own rows go there.
  const bool shared = change.sequence->shares_last_blocks &&
                      begun < change.sequence->window.current.end &&
                      begun < FirstStoredPosition(geometry_, step) >> shift;
  int32_t last = 0;
  const auto add = [&](int32_t position) {
    if (position <= std::max(step.first, last) || position > step.settled) return;
    if (position < step.write_from) return;
    if (position == step.write_from && index_.checkpoint(prefix.tip).has_value()) return;
    if (shared && CheckpointBlocks(geometry_, position).contains(begun)) return;
    planned->push_back({change.sequence, position, ExtraWindowBlocks(geometry_, position, change)});
    last = position;
  };
  absl::Span<const int32_t> marks;
  if (prefix.marks != nullptr) marks = prefix.marks->ends();
  // Ascending, for `add` passes over what lies before the last one.
  const auto add_with_marks = [&](int64_t position) {
    for (; !marks.empty() && marks.front() < position; marks.remove_prefix(1)) add(marks.front());
    add(static_cast<int32_t>(position));
  };
  if (policy_.kind == CheckpointPolicy::Kind::kEveryTokens) {
    const int64_t from = std::max(step.first + 1, step.write_from);
    for (int64_t at = (from + policy_.tokens - 1) / policy_.tokens * policy_.tokens;
         at <= step.settled; at += policy_.tokens) {
      add_with_marks(at);
    }
    for (const int32_t mark : marks) add(mark);
    return;
  }
  const int32_t chunk_tokens = geometry_.chunk_tokens;
  add_with_marks(step.write_from);  // where a match ended without one
  add_with_marks((prefix.prompt_tokens - 1) / chunk_tokens * chunk_tokens);
  add_with_marks(step.settled / chunk_tokens * chunk_tokens);  // the rolling one
}

// ---- After it

// At `position`, the end of the path, which earlier steps reached.
void PrefixCache::LeaveSettledCheckpoint(Sequence& sequence, int32_t position) {
  const bool exists = index_.checkpoint(sequence.prefix.tip).has_value();
  if (!CanLookBack(sequence, position) || (!exists && IsWindowTaken(sequence, position))) {
    ++figures_.missed_checkpoints;
    return;
  }
  std::optional<BlockId> overlap;
  if (pools_.has_overlap() && !exists) {
    overlap = TakeOverlapBlock();
    if (!overlap.has_value()) {
      ++figures_.missed_checkpoints;
      return;
    }
    // Its rows are still to be captured, by the next plan: a reference of its own until then.
    pools_.AddReference(pools_.overlap_pool(), *overlap);
    const int p = pools_.csa_state_pool();
    const int32_t state = p < 0 ? kNoBlock : pools_.table(p).Of(sequence.index)[0].value();
    pools_.AddCapture({sequence.index, position, overlap->value(), state});
  }
  // The next plan completes it where it captures the overlap.
  const uint64_t plan = overlap.has_value() ? pools_.last_plan() + 1 : sequence.plan;
  LeaveCheckpoint(sequence, position, /*extra_window=*/{}, overlap, plan);
}

// Whether what a checkpoint at `position` needs is still there after later rows: its window rows,
// and the compressor's rows of the 4 tokens before it. Of those there are 8 + D, up to the last one
// that was fed, which may have been taken back since: at most D beyond the first draft.
bool PrefixCache::CanLookBack(const Sequence& sequence, int32_t position) const {
  if (pools_.has_overlap() && sequence.draft_begin - position > kCsaRatio) return false;
  return WindowBegin(geometry_, position) >= sequence.rows_from &&
         sequence.window.current.contains(CheckpointBlocks(geometry_, position));
}

// Two forks that parted shortly before `position` share blocks; a checkpoint has its own.
bool PrefixCache::IsWindowTaken(const Sequence& sequence, int32_t position) const {
  const int window = pools_.window_pool();
  const absl::Span<const BlockId> blocks =
      pools_.table(window).Of(sequence.index, CheckpointBlocks(geometry_, position));
  return std::any_of(blocks.begin(), blocks.end(),
                     [&](BlockId block) { return pools_.pool(window).IsReusable(block); });
}

std::optional<BlockId> PrefixCache::TakeOverlapBlock() {
  const int p = pools_.overlap_pool();
  if (pools_.ActsShort(p)) return std::nullopt;
  if (pools_.pool(p).num_available() == 0) {
    BlockCounts missing = {};
    missing[p] = 1;
    if (Evict(missing, {}, EvictionReach::kUnused).has_value()) return std::nullopt;
  }
  return *pools_.pool(p).Allocate();
}

// At `position`, the end of the path. `extra_window` and `overlap` become the checkpoint's, or free
// where the chunk has one already.
void PrefixCache::LeaveCheckpoint(Sequence& sequence, int32_t position, BlockRange extra_window,
                                  std::optional<BlockId> overlap, uint64_t plan) {
  TERRACE_CHECK_EQ(sequence.prefix.chunks * geometry_.chunk_tokens, position);
  std::optional<CheckpointId> checkpoint = index_.checkpoint(sequence.prefix.tip);
  const bool exists = checkpoint.has_value();
  if (!exists) checkpoint = StoreCheckpoint(sequence, position, overlap, plan);
  // The sequence itself has no use for these.
  pools_.Free(pools_.window_pool(), sequence, extra_window);
  if (overlap.has_value()) pools_.Free(pools_.overlap_pool(), *overlap);

  if (!checkpoint.has_value()) return;
  if (exists) index_.Pin(*checkpoint);
  SetRolling(sequence, *checkpoint, IsKept(sequence, position));
}

// Pinned once. None if another one has some of its window blocks.
std::optional<CheckpointId> PrefixCache::StoreCheckpoint(const Sequence& sequence, int32_t position,
                                                         std::optional<BlockId> overlap,
                                                         uint64_t plan) {
  if (IsWindowTaken(sequence, position)) {
    ++figures_.missed_checkpoints;
    return std::nullopt;
  }
  const int window = pools_.window_pool();
  const absl::Span<const BlockId> blocks =
      pools_.table(window).Of(sequence.index, CheckpointBlocks(geometry_, position));
  for (const BlockId block : blocks) pools_.pool(window).MarkReusable(block);
  if (overlap.has_value()) pools_.pool(pools_.overlap_pool()).MarkReusable(*overlap);
  const ChunkId tip = sequence.prefix.tip;
  const CheckpointId checkpoint =
      index_.AddCheckpoint(tip, blocks, overlap.value_or(BlockId(kNoBlock)), plan);
  ++figures_.stored_checkpoints;
  Record(PrefixEvent::Kind::kCheckpointStored, tip);
  return checkpoint;
}

// ---- Rolling on

// Whether a checkpoint stays when the sequence rolls on: where the policy put it for good, at the
// end of the prompt, and of a match, and where the caller marked it.
bool PrefixCache::IsKept(const Sequence& sequence, int32_t position) const {
  if (policy_.kind == CheckpointPolicy::Kind::kEveryTokens) return true;
  if (sequence.prefix.marks != nullptr && sequence.prefix.marks->Contains(position)) return true;
  const int32_t chunk_tokens = geometry_.chunk_tokens;
  const int32_t prompt_end = (sequence.prefix.prompt_tokens - 1) / chunk_tokens * chunk_tokens;
  return position == prompt_end || position == sequence.write_from;
}

// `checkpoint` has a pin for the sequence already.
void PrefixCache::SetRolling(Sequence& sequence, std::optional<CheckpointId> checkpoint,
                             bool keep) {
  if (checkpoint.has_value() && keep) index_.Keep(*checkpoint);
  const std::optional<CheckpointId> before = std::exchange(sequence.prefix.rolling, checkpoint);
  if (before.has_value() && !index_.Unpin(*before)) RemoveCheckpoint(*before, Removal::kRolled);
}

}  // namespace terrace::internal
