#include "src/backend/host/host_expand.h"

#include "src/plan/step_expand.h"

namespace terrace::internal {

void ExpandHostStep(const BeginParams& params) {
  const Geometry& geometry = params.geometry;
  const StepView& step = params.step;
  const SequenceStep* const sequences = StepsOf(*step.header);
  const int window = geometry.window_pool;
  for (int32_t l = 0; l < params.header.num_sequences; ++l) {
    const SequenceStep& sequence = sequences[l];
    const int32_t first_stored = FirstStoredPosition(geometry, sequence);
    for (int32_t i = 0; i < sequence.count; ++i) {
      step.tokens[sequence.token_row + i] = {sequence.sequence_index, sequence.first + i,
                                             sequence.first, first_stored};
      step.token_record[sequence.token_row + i] = l;
      step.token_position[sequence.token_row + i] = sequence.first + i;
    }
    for (int p = 0; p < geometry.num_pools; ++p) {
      const PoolGeometry& pool = geometry.pools[p];
      if (!HoldsRows(pool.kind)) continue;
      const int32_t* blocks =
          step.block_table[p] + int64_t{sequence.sequence_index} * pool.blocks_per_sequence;
      if (p == window) {
        int32_t* slots = step.slots[p] + sequence.token_row;
        for (int32_t i = 0; i < sequence.count; ++i) {
          const int32_t position = sequence.first + i;
          slots[i] = WindowRowWritten(geometry, *step.header, l, first_stored, position)
                         ? SlotOf(pool, blocks, position)
                         : kNoSlot;
        }
        continue;
      }
      const int32_t begin = EntriesClosed(pool, sequence.first);
      const int32_t end = EntriesClosed(pool, sequence.first + sequence.count);
      for (int32_t entry = begin; entry < end; ++entry) {
        const int32_t row = sequence.entry_row[p] + entry - begin;
        step.slots[p][row] = EntrySlot(pool, sequence, blocks, entry);
        step.entry_position[p][row] = entry * pool.ratio;
      }
    }
  }
  for (int32_t row = params.header.num_token_rows; row < params.padded_token_rows; ++row) {
    step.tokens[row] = {.sequence_index = -1, .position = 0, .first = 0, .first_stored = 0};
    step.token_record[row] = -1;
    step.token_position[row] = 0;
    if (window >= 0) step.slots[window][row] = kNoSlot;
  }
}

}  // namespace terrace::internal
