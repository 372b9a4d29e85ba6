// Selection: which rows of a pool each query reads, as slots. The same functions serve host and
// device, and both Translate (slots out) and Gather (rows out).

#ifndef TERRACE_SRC_OPS_SELECT_H_
#define TERRACE_SRC_OPS_SELECT_H_

#include <cstdint>

#include "src/plan/step_expand.h"
#include "terrace/formats/host_device.h"
#include "terrace/geometry.h"
#include "terrace/step_view.h"

namespace terrace::internal {

enum class SelectKind : int32_t {
  kTopK = 0,     // the entries listed in `entries`
  kVisible = 1,  // every entry the query sees, ascending
  kWindow = 2,   // the window's positions, ascending
  kSlots = 3,    // raw slots listed in `entries`, no step needed
};

struct Selection {
  SelectKind kind;
  int32_t num_queries;
  int32_t rows_per_query;     // top-k, most visible entries, or the window
  int32_t num_slots;          // of the pool
  const int32_t* query_rows;  // [num_queries] token rows of the step; null: 0, 1, 2, ...
  const int32_t* entries;     // kTopK, kSlots: [num_queries, entries_pitch]
  int64_t entries_pitch;      // elements
  const int32_t* positions;   // kSlots with rotation: [num_queries, entries_pitch]; else null
  PoolGeometry pool;
  int32_t window_tokens;
  const PlanHeader* header;    // of the step
  const TokenRow* tokens;      // [max_step_tokens]
  const int32_t* block_table;  // [max_sequences, blocks_per_sequence] of the pool
  Counters* counters;
};

// Points `select` at the rows that the step in `step` has in `pool`.
inline void SelectFromStep(const Geometry& geometry, const StepView& step, int pool,
                           Selection& select) {
  select.pool = geometry.pools[pool];
  select.window_tokens = geometry.window_tokens;
  select.num_slots = select.pool.capacity_blocks * select.pool.entries_per_block;
  select.header = step.header;
  select.tokens = step.tokens;
  select.block_table = step.block_table[pool];
  select.counters = step.counters;
}

// What is the same for all rows of one query. `rows` of them may be selected; 0 for a padded query.
struct SelectedQuery {
  int32_t rows;
  int32_t visible;  // entries in sight (kTopK, kVisible), before any truncation
  int32_t begin;    // first position (kWindow)
  int32_t first;    // of the step's tokens (kWindow), and the first of them that is stored
  int32_t first_stored;
  const int32_t* sequence_blocks;  // the sequence's row of the block table
};

// What a row of a query reads: an entry of the sequence (window pool: a position).
struct SelectedEntry {
  int32_t entry;
  bool found;    // false: nothing to read
  bool skipped;  // asked for, but out of sight: to be counted
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
  const int32_t token_rows = select.header->num_token_rows;
  const int32_t token_row = select.query_rows == nullptr ? query : select.query_rows[query];
  if (token_row < 0 || token_row >= token_rows) return result;
  const TokenRow token = select.tokens[token_row];
  result.sequence_blocks =
      select.block_table + int64_t{token.sequence_index} * select.pool.blocks_per_sequence;
  if (select.kind == SelectKind::kWindow) {
    result.begin = WindowBegin(select.window_tokens, token.position);
    result.first = token.first;
    result.first_stored = token.first_stored;
    result.rows = token.position - result.begin + 1;
  } else {
    result.visible = EntriesVisible(select.pool, token.position);
    result.rows = select.kind == SelectKind::kTopK ? select.rows_per_query : result.visible;
  }
  if (result.rows > select.rows_per_query) result.rows = select.rows_per_query;
  return result;
}

// Row `row` of a query, `listed` being what `entries` has there (kTopK; else unused).
// REQUIRES: 0 <= row < SelectQuery(query).rows; kind is not kSlots.
TERRACE_HOST_DEVICE SelectedEntry SelectEntry(const Selection& select,
                                              const SelectedQuery& selected, int32_t row,
                                              int32_t listed) {
  if (select.kind == SelectKind::kWindow) {
    const int32_t position = selected.begin + row;
    return {position, WindowRowStored(selected.first, selected.first_stored, position), false};
  }
  if (select.kind == SelectKind::kVisible) return {row, true, false};
  const bool visible = listed >= 0 && listed < selected.visible;
  return {listed, visible, !visible && listed != kNoSlot};
}

// The same down to its slot; of any kind.
TERRACE_HOST_DEVICE SelectedRow SelectListedRow(const Selection& select,
                                                const SelectedQuery& selected, int32_t query,
                                                int32_t row, int32_t listed) {
  if (select.kind == SelectKind::kSlots) {
    const int32_t position =
        select.positions == nullptr ? 0 : select.positions[query * select.entries_pitch + row];
    if (listed >= 0 && listed < select.num_slots) return {listed, position, false};
    return {kNoSlot, position, listed != kNoSlot};
  }
  const SelectedEntry entry = SelectEntry(select, selected, row, listed);
  if (!entry.found) return {kNoSlot, 0, entry.skipped};
  const int32_t first_token =
      select.kind == SelectKind::kWindow ? entry.entry : entry.entry * select.pool.ratio;
  return {SlotOf(select.pool, selected.sequence_blocks, entry.entry), first_token, false};
}

TERRACE_HOST_DEVICE bool ListsRows(const Selection& select) {
  return select.kind == SelectKind::kTopK || select.kind == SelectKind::kSlots;
}

TERRACE_HOST_DEVICE SelectedRow SelectRow(const Selection& select, const SelectedQuery& selected,
                                          int32_t query, int32_t row) {
  const int32_t listed =
      ListsRows(select) ? select.entries[query * select.entries_pitch + row] : kNoSlot;
  return SelectListedRow(select, selected, query, row, listed);
}

}  // namespace terrace::internal

#endif  // TERRACE_SRC_OPS_SELECT_H_
