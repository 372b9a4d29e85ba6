// BlockChange is what one step does to the blocks of one sequence. Most decode steps change none:
// a block is taken, and one released, when a row is the first of its block.

#ifndef TERRACE_SRC_LEDGER_BLOCK_CHANGE_H_
#define TERRACE_SRC_LEDGER_BLOCK_CHANGE_H_

#include <algorithm>
#include <cstdint>

#include "src/ledger/block_range.h"
#include "src/ledger/sequence.h"
#include "src/plan/step_expand.h"
#include "terrace/geometry.h"
#include "terrace/plan_format.h"

namespace terrace::internal {

struct BlockChange {
  Sequence* sequence;
  BlockRange chunks;        // taken of every full pool
  BlockRange window_taken;  // and of the window pool
  BlockRange old_released;  // its old blocks: all of them
  BlockRange window_released;
  WindowRange window;  // after the step

  // Its first step: it takes a block of every state pool.
  bool state_taken = false;

  // Its first row of the step goes into a block that another sequence has too (Fork): index, or -1.
  int32_t chunk_copied = -1;
  int32_t window_copied = -1;
  bool state_copied = false;

  // Whether the step takes the block at `index` of a pool from the sequence.
  bool Leaves(PoolKind kind, int32_t index) const {
    if (kind == PoolKind::kFull) return index == chunk_copied;
    if (kind == PoolKind::kState) return state_copied;
    return index == window_copied || old_released.contains(index) ||
           window_released.contains(index);
  }
  bool empty() const {
    return chunks.size() + window_taken.size() + old_released.size() + window_released.size() ==
               0 &&
           !state_taken && chunk_copied < 0 && window_copied < 0 && !state_copied;
  }
};

// The window rule. A step releases what lies wholly below the window of its FIRST query, so that
// every query of the step, and of any step after its drafts are taken back, finds its window. It
// takes blocks for the rows that a later step can see.
inline void ChangeWindow(const Geometry& geometry, const SequenceStep& step, BlockChange* change) {
  const int32_t shift = geometry.pools[geometry.window_pool].log2_entries_per_block;
  const WindowRange& before = change->sequence->window;
  const int32_t keep = std::max(before.current.begin, WindowBegin(geometry, step.first) >> shift);
  const int32_t store = FirstStoredPosition(geometry, step) >> shift;
  const int32_t end = ((step.first + step.count - 1) >> shift) + 1;
  change->old_released = before.old;
  change->window_released = {before.current.begin, keep};
  change->window_taken = {std::max(store, before.current.end), end};
  if (store <= before.current.end) {
    change->window.current = {keep, end};
  } else {  // rows in between that nobody sees
    change->window.old = {keep, before.current.end};
    change->window.current = {store, end};
  }
}

// What `step` does to the blocks of its sequence, copies left out.
inline BlockChange ChangeOf(const Geometry& geometry, Sequence* sequence,
                            const SequenceStep& step) {
  BlockChange change{};
  change.sequence = sequence;
  change.chunks = {sequence->chunks, sequence->chunks};
  const int32_t length = step.first + step.count;
  if (length > int64_t{sequence->chunks} * geometry.chunk_tokens) {  // a step takes no chunk back
    change.chunks.end = (length - 1) / geometry.chunk_tokens + 1;
  }
  if (geometry.window_pool >= 0) ChangeWindow(geometry, step, &change);
  change.state_taken = !sequence->has_state;
  return change;
}

}  // namespace terrace::internal

#endif  // TERRACE_SRC_LEDGER_BLOCK_CHANGE_H_
