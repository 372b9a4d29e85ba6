// Sequence is the ledger's record of one sequence: its counts, which indices of its block tables
// hold blocks, and its part in prefix reuse.

#ifndef TERRACE_SRC_LEDGER_SEQUENCE_H_
#define TERRACE_SRC_LEDGER_SEQUENCE_H_

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>

#include "src/ledger/block_range.h"
#include "src/ledger/marks.h"
#include "src/ledger/prefix_ids.h"
#include "src/ledger/range_keys.h"
#include "src/ledger/token_tail.h"
#include "terrace/ids.h"
#include "terrace/prefix.h"

namespace terrace::internal {

// What a sequence has of the prefix index: the path of published chunks that its tokens spell, from
// the root of its salt down to `tip`. Its own block of such a chunk may be another than the
// chunk's: an equal copy that was settled second.
struct SequencePrefix {
  bool in_index = false;  // has a path; false without reuse, and after ClearPrefixes
  bool publishes = false;
  Priority priority = Priority::kNormal;
  int64_t time_to_live_ms = 0;
  RefeedLimits refeed;
  int32_t prompt_tokens = 0;
  bool returning = false;                 // it was served before, and preempted
  bool counted = false;                   // its first step was made: the figures have it
  PrefixMatch uncounted = {};             // what it found until then
  std::shared_ptr<const RangeKeys> keys;  // null: none
  std::shared_ptr<const Marks> marks;     // null: none
  ChunkId tip;
  int32_t chunks = 0;                   // of the path
  TokenTail tail;                       // known ids from there on, while it publishes
  std::optional<CheckpointId> rolling;  // the one that moves on with it; pinned
};

struct Sequence {
  int32_t index = -1;  // in the device tables, for its whole life
  uint32_t generation = 0;
  bool live = false;
  int32_t length = 0;       // rows
  int32_t known = 0;        // token ids
  bool ids_ahead = false;   // they may be any number ahead of the rows
  int32_t lost_rows = 0;    // it had as many when it started over: their ids may still come
  int32_t draft_begin = 0;  // rows from here on are the last step's drafts
  int32_t chunks = 0;       // one block of every full pool each: indices 0 .. chunks - 1
  int32_t write_from = 0;   // entries before it lie in attached chunks and are never written
  bool has_state = false;   // a block of every state pool: from the first step on
  WindowRange window;
  int32_t rows_from = 0;    // window rows from here on are stored, as far as `window` goes back
  uint64_t last_batch = 0;  // finds duplicates in a batch
  // The last plan that computed some of what it has: that fed it, or what it attached. A fork
  // inherits it.
  uint64_t plan = 0;

  // ---- What the next plan must say beside the step itself.
  // Plans have said where all its blocks lie. False after attaching or forking.
  bool tables_sent = true;
  // The compressor's state begins anew, because the sequence goes on elsewhere than at its last
  // row: with what `restore_block` holds, which is referenced until then, or empty.
  bool restores = false;
  std::optional<BlockId> restore_block;
  // It may share the blocks that it ends in the middle of: the step copies those.
  bool shares_last_blocks = false;

  bool approximate = false;  // its window rows were refed approximately
  SequencePrefix prefix;

  // Has no row and no block, of any kind, and keeps its handle, its ids and its part in prefix reuse.
  // REQUIRES: its references were given back.
  void StartOver() {
    Sequence fresh;
    fresh.index = index;
    fresh.generation = generation;
    fresh.live = live;
    fresh.known = known;
    fresh.ids_ahead = ids_ahead;
    fresh.lost_rows = most_rows();
    fresh.last_batch = last_batch;
    fresh.tables_sent = false;
    fresh.restores = true;
    fresh.prefix = std::move(prefix);
    *this = std::move(fresh);
  }

  int32_t settled() const { return std::min(length, known); }
  // That it has, or had when it started over.
  int32_t most_rows() const { return std::max(length, lost_rows); }
  int32_t undecided_drafts() const { return std::max(0, length - std::max(known, draft_begin)); }
};

}  // namespace terrace::internal

#endif  // TERRACE_SRC_LEDGER_SEQUENCE_H_
