// The arithmetic of a step that every worker needs: how many entries there are, what a query sees,
// and to which sequence a row belongs. Functions of plain records, the same on host and device.
//
// A slot is block * entries_per_block + offset; -1 means "store nothing / read nothing".

#ifndef TERRACE_STEP_H_
#define TERRACE_STEP_H_

#include <cstdint>

#include "terrace/formats/host_device.h"
#include "terrace/geometry.h"
#include "terrace/plan_format.h"

namespace terrace {

inline constexpr int32_t kNoSlot = -1;

// Entries that exist once `length` tokens have arrived.
TERRACE_HOST_DEVICE int32_t EntriesClosed(const PoolGeometry& pool, int32_t length) {
  return pool.rule == EntryRule::kPooled ? length / pool.ratio
                                         : (length + pool.ratio - 1) / pool.ratio;
}

// Entries that a query at `position` sees: 0 .. result - 1.
TERRACE_HOST_DEVICE int32_t EntriesVisible(const PoolGeometry& pool, int32_t position) {
  return EntriesClosed(pool, position + 1);
}

// Oldest position that the window of a query at `position` holds; never negative.
TERRACE_HOST_DEVICE int32_t WindowBegin(int32_t window_tokens, int32_t position) {
  const int32_t begin = position - (window_tokens - 1);
  return begin > 0 ? begin : 0;
}
TERRACE_HOST_DEVICE int32_t WindowBegin(const Geometry& geometry, int32_t position) {
  return WindowBegin(geometry.window_tokens, position);
}

// The plan's sequence steps. REQUIRES: they lie behind its header.
TERRACE_HOST_DEVICE const SequenceStep* StepsOf(const PlanHeader& header) {
  return reinterpret_cast<const SequenceStep*>(&header + 1);
}

// Index of the sequence step that row `token_row` of the step belongs to: the last one that starts
// at or before it.
// REQUIRES: 0 <= token_row < num_token_rows.   Cost: O(log num_sequences).
TERRACE_HOST_DEVICE int32_t StepOfTokenRow(const SequenceStep* steps, int32_t num_sequences,
                                           int32_t token_row) {
  int32_t low = 0;
  int32_t high = num_sequences;
  while (high - low > 1) {
    const int32_t middle = (low + high) / 2;
    (steps[middle].token_row <= token_row ? low : high) = middle;
  }
  return low;
}

// The same for row `entry_row` of a full pool's compact inputs. Sequences that close no entry are
// passed over.
TERRACE_HOST_DEVICE int32_t StepOfEntryRow(const SequenceStep* steps, int32_t num_sequences,
                                           int32_t pool, int32_t entry_row) {
  int32_t low = 0;
  int32_t high = num_sequences;
  while (high - low > 1) {
    const int32_t middle = (low + high) / 2;
    (steps[middle].entry_row[pool] <= entry_row ? low : high) = middle;
  }
  return low;
}

}  // namespace terrace

#endif  // TERRACE_STEP_H_
