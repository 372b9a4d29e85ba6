// The arithmetic of a step: from a lane record to positions, visible entries, stored window rows
// and slots. One set of functions for host and device; the ledger, both backends and the tests'
// oracle-free parts call them.
//
// A slot is block * entries_per_block + offset; -1 means "store nothing / read nothing".

#ifndef TERRACE_EXPAND_H_
#define TERRACE_EXPAND_H_

#include <cstdint>

#include "terrace/geometry.h"
#include "terrace/host_device.h"
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

// First position of the step whose row the window pool stores. Rows before it can be seen by no
// later step, not even after all drafts are taken back.
TERRACE_HOST_DEVICE int32_t FirstStoredPosition(const Geometry& geometry, const LaneRecord& lane) {
  if (geometry.store_whole_chunk != 0) return lane.first;
  const int32_t begin = lane.first + lane.count - lane.drafts - (geometry.window_tokens - 1);
  return begin > lane.first ? begin : lane.first;
}

// Oldest position that the window of a query at `position` holds; never negative.
TERRACE_HOST_DEVICE int32_t WindowBegin(int32_t window_tokens, int32_t position) {
  const int32_t begin = position - (window_tokens - 1);
  return begin > 0 ? begin : 0;
}
TERRACE_HOST_DEVICE int32_t WindowBegin(const Geometry& geometry, int32_t position) {
  return WindowBegin(geometry.window_tokens, position);
}

// Whether the window pool holds the row of `position` for a query of this step. Rows of earlier
// steps are kept from window_tokens - 1 before the step's first token; a prefill chunk stores only
// its end.
TERRACE_HOST_DEVICE bool WindowRowStored(const Geometry& geometry, const LaneRecord& lane,
                                         int32_t position) {
  if (position < lane.first) return position >= WindowBegin(geometry, lane.first);
  return position >= FirstStoredPosition(geometry, lane);
}

// Slot of entry `entry` (window pool: of position `entry`) in `block`, the one that holds it; none
// where there is none.
TERRACE_HOST_DEVICE int32_t SlotInBlock(const PoolGeometry& pool, int32_t block, int32_t entry) {
  return block < 0
             ? kNoSlot
             : (block << pool.log2_entries_per_block) | (entry & (pool.entries_per_block - 1));
}

// The same given the lane's row of the block table.
TERRACE_HOST_DEVICE int32_t SlotOf(const PoolGeometry& pool, const int32_t* lane_blocks,
                                   int32_t entry) {
  return SlotInBlock(pool, lane_blocks[entry >> pool.log2_entries_per_block], entry);
}

// Index of the lane record that row `token_row` of the step belongs to: the last one that starts at
// or before it. REQUIRES: 0 <= token_row < num_token_rows.   Cost: O(log num_lanes).
TERRACE_HOST_DEVICE int32_t LaneOfTokenRow(const LaneRecord* lanes, int32_t num_lanes,
                                           int32_t token_row) {
  int32_t low = 0;
  int32_t high = num_lanes;
  while (high - low > 1) {
    const int32_t middle = (low + high) / 2;
    (lanes[middle].token_row <= token_row ? low : high) = middle;
  }
  return low;
}

// The same for row `entry_row` of a full pool's compact inputs. Lanes that close no entry are
// passed over.
TERRACE_HOST_DEVICE int32_t LaneOfEntryRow(const LaneRecord* lanes, int32_t num_lanes, int32_t pool,
                                           int32_t entry_row) {
  int32_t low = 0;
  int32_t high = num_lanes;
  while (high - low > 1) {
    const int32_t middle = (low + high) / 2;
    (lanes[middle].entry_row[pool] <= entry_row ? low : high) = middle;
  }
  return low;
}

}  // namespace terrace

#endif  // TERRACE_EXPAND_H_
