// The arithmetic of a step that the library alone needs: which window rows it stores, and the slots
// that it writes and reads (step.h has what a worker needs too). One set of functions for host and
// device: the ledger and both backends call them.

#ifndef TERRACE_SRC_PLAN_STEP_EXPAND_H_
#define TERRACE_SRC_PLAN_STEP_EXPAND_H_

#include <cstdint>

#include "terrace/formats/host_device.h"
#include "terrace/geometry.h"
#include "terrace/plan_format.h"
#include "terrace/step.h"

namespace terrace::internal {

// First position of the step from which on the window pool holds every row. Rows before it can be
// seen by no later step, not even after all drafts are taken back.
TERRACE_HOST_DEVICE int32_t FirstStoredPosition(const Geometry& geometry,
                                                const SequenceStep& step) {
  if (geometry.store_whole_chunk != 0) return step.first;
  const int32_t begin = step.first + step.count - step.drafts - (geometry.window_tokens - 1);
  return begin > step.first ? begin : step.first;
}

// Whether a query of this step finds the row of `position`, one of its window, in the window pool:
// the rows of earlier steps are kept, and of a prefill piece its end. Rows that the step stores for
// a checkpoint alone do not count: what a query reads does not depend on checkpoints.
TERRACE_HOST_DEVICE bool WindowRowStored(int32_t first, int32_t first_stored, int32_t position) {
  return position < first || position >= first_stored;
}
TERRACE_HOST_DEVICE bool WindowRowStored(const Geometry& geometry, const SequenceStep& step,
                                         int32_t position) {
  return WindowRowStored(step.first, FirstStoredPosition(geometry, step), position);
}

// The checkpoint records inside the step of one sequence step, ascending by position.
struct StepCheckpoints {
  const CheckpointRecord* begin;
  const CheckpointRecord* end;
};
// REQUIRES: the plan lies behind its header; 0 <= record < num_sequences.
TERRACE_HOST_DEVICE StepCheckpoints CheckpointsOf(const PlanHeader& header, int32_t record) {
  const auto* const bytes = reinterpret_cast<const unsigned char*>(&header);
  const auto* const checkpoints =
      reinterpret_cast<const CheckpointRecord*>(bytes + header.checkpoints_offset);
  const SequenceStep* const steps = StepsOf(header);
  const int32_t end = record + 1 < header.num_sequences ? steps[record + 1].checkpoint_begin
                                                        : header.num_checkpoints;
  return {checkpoints + steps[record].checkpoint_begin, checkpoints + end};
}

// Whether this step writes the window row of `position`, one of sequence step `record`: a later
// step can see it, or it is one of the window_tokens - 1 before a checkpoint inside the step.
// Cost: one comparison, and for rows that no later step can see O(log checkpoints of the sequence).
TERRACE_HOST_DEVICE bool WindowRowWritten(const Geometry& geometry, const PlanHeader& header,
                                          int32_t record, int32_t first_stored, int32_t position) {
  if (position >= first_stored) return true;
  const StepCheckpoints checkpoints = CheckpointsOf(header, record);
  const CheckpointRecord* low = checkpoints.begin;  // the first one above `position`, in the end
  const CheckpointRecord* high = checkpoints.end;
  while (low < high) {
    const CheckpointRecord* const middle = low + (high - low) / 2;
    if (middle->position > position) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  return low < checkpoints.end && low->position - position < geometry.window_tokens;
}

// Slot of entry `entry` (window pool: of position `entry`) in `block`, the one that holds it; none
// where there is none.
TERRACE_HOST_DEVICE int32_t SlotInBlock(const PoolGeometry& pool, int32_t block, int32_t entry) {
  return block < 0
             ? kNoSlot
             : (block << pool.log2_entries_per_block) | (entry & (pool.entries_per_block - 1));
}

// The same given the sequence's row of the block table.
TERRACE_HOST_DEVICE int32_t SlotOf(const PoolGeometry& pool, const int32_t* sequence_blocks,
                                   int32_t entry) {
  return SlotInBlock(pool, sequence_blocks[entry >> pool.log2_entries_per_block], entry);
}

// Slot that a step writes entry `entry` of a full pool to: none in a shared block.
TERRACE_HOST_DEVICE int32_t EntrySlot(const PoolGeometry& pool, const SequenceStep& step,
                                      const int32_t* sequence_blocks, int32_t entry) {
  return entry * pool.ratio < step.write_from ? kNoSlot : SlotOf(pool, sequence_blocks, entry);
}

}  // namespace terrace::internal

#endif  // TERRACE_SRC_PLAN_STEP_EXPAND_H_
