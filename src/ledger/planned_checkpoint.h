// PlannedCheckpoint is a checkpoint that the step at hand is to leave.

#ifndef TERRACE_SRC_LEDGER_PLANNED_CHECKPOINT_H_
#define TERRACE_SRC_LEDGER_PLANNED_CHECKPOINT_H_

#include <algorithm>
#include <cstdint>
#include <optional>

#include "src/ledger/block_change.h"
#include "src/ledger/block_range.h"
#include "src/ledger/sequence.h"
#include "src/plan/step_expand.h"
#include "terrace/geometry.h"
#include "terrace/ids.h"

namespace terrace::internal {

struct PlannedCheckpoint {
  Sequence* sequence;
  int32_t position;
  BlockRange extra_window;                        // window blocks taken for it alone
  std::optional<BlockId> overlap = std::nullopt;  // once it is taken
};

// The window blocks of a checkpoint before `position`: the rows of the window_tokens - 1 tokens
// before it.
inline BlockRange CheckpointBlocks(const Geometry& geometry, int32_t position) {
  const int32_t shift = geometry.pools[geometry.window_pool].log2_entries_per_block;
  return {WindowBegin(geometry, position) >> shift, ((position - 1) >> shift) + 1};
}

// Of those, what the step must take beside `change`: they lie between what the sequence has and
// what it takes anyway.
inline BlockRange ExtraWindowBlocks(const Geometry& geometry, int32_t position,
                                    const BlockChange& change) {
  const BlockRange all = CheckpointBlocks(geometry, position);
  const BlockRange extra = {std::max(all.begin, change.sequence->window.current.end),
                            std::min(all.end, change.window_taken.begin)};
  return extra.size() < 0 ? BlockRange{} : extra;
}

}  // namespace terrace::internal

#endif  // TERRACE_SRC_LEDGER_PLANNED_CHECKPOINT_H_
