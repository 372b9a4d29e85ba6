// Selection: which rows of a pool each query reads, as slots. The same functions serve host and
// device, and both Translate (slots out) and Gather (rows out).

#ifndef TERRACE_KERNELS_SELECT_H_
#define TERRACE_KERNELS_SELECT_H_

#include <cstdint>

#include "terrace/expand.h"
#include "terrace/geometry.h"
#include "terrace/host_device.h"
#include "terrace/step_view.h"

namespace terrace {

enum class SelectKind : int32_t {
  kTopK = 0,     // the entries listed in `entries`
  kVisible = 1,  // every entry the query sees, ascending
  kWindow = 2,   // the window's positions, ascending
  kSlots = 3,    // raw slots listed in `entries`, no step needed
};

struct Selection {
  SelectKind kind;
  int32_t pool;
  int32_t num_queries;
  int32_t rows_per_query;     // top-k, most visible entries, or the window
  const int32_t* query_rows;  // [num_queries] token rows of the step; null: 0, 1, 2, ...
  const int32_t* entries;     // kTopK, kSlots: [num_queries, entries_pitch]
  int64_t entries_pitch;      // elements
  const int32_t* positions;   // kSlots with rotation: [num_queries, entries_pitch]; else null
  int32_t num_slots;          // of the pool
  Geometry geometry;
  StepView step;
};

// What is the same for all rows of one query. `rows` of them may be selected; 0 for a padded query.
struct SelectedQuery {
  int32_t rows;
  int32_t visible;  // entries in sight (kTopK, kVisible), before any truncation
  int32_t begin;    // first position (kWindow)
  LaneRecord lane;
  const int32_t* lane_blocks;  // the lane's row of the block table
};

struct SelectedRow {
  int32_t slot;      // -1: nothing to read
  int32_t position;  // of the row's rotation
  bool skipped;      // asked for, but out of sight or out of the pool: to be counted
};

TERRACE_HOST_DEVICE SelectedQuery SelectQuery(const Selection& select, int32_t query) {
  SelectedQuery result{};
  if (select.kind == SelectKind::kSlots) {
    result.rows = select.rows_per_query;
    return result;
  }
  const PlanHeader& header = *select.step.header;
  const int32_t token_row = select.query_rows == nullptr ? query : select.query_rows[query];
  if (token_row < 0 || token_row >= header.num_token_rows) return result;
  const LaneRecord* lanes = reinterpret_cast<const LaneRecord*>(select.step.header + 1);
  result.lane = lanes[select.step.token_record[token_row]];
  const int32_t position = select.step.token_position[token_row];
  const PoolGeometry& pool = select.geometry.pools[select.pool];
  result.lane_blocks =
      select.step.block_table[select.pool] + int64_t{result.lane.lane} * pool.blocks_per_lane;
  if (select.kind == SelectKind::kWindow) {
    result.begin = WindowBegin(select.geometry, position);
    result.rows = position - result.begin + 1;
  } else {
    result.visible = EntriesVisible(pool, position);
    result.rows = select.kind == SelectKind::kTopK ? select.rows_per_query : result.visible;
  }
  if (result.rows > select.rows_per_query) result.rows = select.rows_per_query;
  return result;
}

// REQUIRES: 0 <= row < SelectQuery(query).rows.
TERRACE_HOST_DEVICE SelectedRow SelectRow(const Selection& select, const SelectedQuery& selected,
                                          int32_t query, int32_t row) {
  if (select.kind == SelectKind::kSlots) {
    const int64_t at = query * select.entries_pitch + row;
    const int32_t slot = select.entries[at];
    const int32_t position = select.positions == nullptr ? 0 : select.positions[at];
    if (slot >= 0 && slot < select.num_slots) return {slot, position, false};
    return {kNoSlot, position, slot != kNoSlot};
  }
  const PoolGeometry& pool = select.geometry.pools[select.pool];
  if (select.kind == SelectKind::kWindow) {
    const int32_t position = selected.begin + row;
    const bool stored = WindowRowStored(select.geometry, selected.lane, position);
    return {stored ? SlotOf(pool, selected.lane_blocks, position) : kNoSlot, position, false};
  }
  int32_t entry = row;
  if (select.kind == SelectKind::kTopK) {
    entry = select.entries[query * select.entries_pitch + row];
    if (entry < 0 || entry >= selected.visible) return {kNoSlot, 0, entry != kNoSlot};
  }
  return {SlotOf(pool, selected.lane_blocks, entry), entry * pool.ratio, false};
}

}  // namespace terrace

#endif  // TERRACE_KERNELS_SELECT_H_
