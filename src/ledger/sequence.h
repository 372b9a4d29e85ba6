// Sequence is the ledger's record of one sequence: its counts, which indices of its sequence's
// block tables hold blocks, and its part in prefix reuse. SequenceTable hands out sequences and
// resolves handles.

#ifndef TERRACE_SRC_LEDGER_SEQUENCE_H_
#define TERRACE_SRC_LEDGER_SEQUENCE_H_

#include <algorithm>
#include <cstdint>
#include <optional>
#include <vector>

#include "src/ledger/prefix_index.h"
#include "src/ledger/token_tail.h"
#include "terrace/geometry.h"
#include "terrace/ids.h"

namespace terrace {

// Indices begin .. end - 1 of a sequence's block table.
struct BlockRange {
  int32_t begin = 0;
  int32_t end = 0;

  int32_t size() const { return end - begin; }
  bool contains(int32_t index) const { return begin <= index && index < end; }
  bool contains(const BlockRange& other) const { return begin <= other.begin && other.end <= end; }
  friend bool operator==(const BlockRange&, const BlockRange&) = default;
};

// Blocks of `pool` that hold the tokens 0 .. length - 1.
inline int32_t BlocksOf(const PoolGeometry& pool, int32_t length) {
  return length == 0 ? 0 : (length - 1) / pool.tokens_per_block + 1;
}

// The window blocks of a sequence, by index (position / block size). `current` ends with the last
// row. A prefill chunk longer than the window leaves a gap of rows that no later step sees; then
// `old` is what the step's own queries still see before the gap. It goes whole at the next step: by
// then the window lies in `current`, however many drafts were taken back.
struct WindowRange {
  BlockRange old;
  BlockRange current;

  friend bool operator==(const WindowRange&, const WindowRange&) = default;
};

// What a sequence has of the prefix index: the path of published chunks that its tokens spell, from
// the root of its salt down to `tip`. Its own block of such a chunk may be another than the
// chunk's: an equal copy that was settled second.
struct SequencePrefix {
  bool in_index = false;  // has a path; false without reuse, and after ClearPrefixes
  bool publishes = false;
  Priority priority = Priority::kNormal;
  int64_t time_to_live_ms = 0;
  int32_t prompt_tokens = 0;
  ChunkId tip;
  int32_t chunks = 0;                   // of the path
  TokenTail tail;                       // known ids from there on, while it publishes
  std::optional<CheckpointId> rolling;  // pinned
};

struct Sequence {
  uint32_t generation = 0;
  bool live = false;
  int32_t length = 0;       // rows
  int32_t known = 0;        // token ids
  int32_t draft_begin = 0;  // rows from here on are the last step's drafts
  int32_t chunks = 0;       // one block of every full pool each: indices 0 .. chunks - 1
  int32_t write_from = 0;   // entries before it lie in attached chunks and are never written
  bool has_state = false;   // a block of every state pool: from the first step on
  WindowRange window;
  int32_t rows_from = 0;    // window rows from here on are stored, as far as `window` goes back
  uint64_t last_batch = 0;  // finds duplicates in a batch

  // What the next plan must say beside the step itself: where all its blocks lie (after attaching
  // or forking), what the compressor's state begins with (after going on elsewhere than at its last
  // row; the block is referenced until then), and copies of blocks that it ends in the middle of
  // and may share.
  bool announced = true;
  bool restores = false;
  bool approximate = false;
  bool shares_last_blocks = false;
  std::optional<BlockId> restore_block;

  SequencePrefix prefix;

  int32_t settled() const { return std::min(length, known); }
  int32_t undecided_drafts() const { return std::max(0, length - std::max(known, draft_begin)); }
};

// Thread-safe: no.   Cost: O(1) a call; all memory but the tails is taken at construction.
class SequenceTable {
 public:
  explicit SequenceTable(int32_t max_sequences);

  // A live sequence with no tokens, or nothing if all sequences are taken. Sequences are reused
  // last freed first.
  std::optional<SequenceId> Add();
  // REQUIRES: Find(id).
  void Remove(SequenceId id);

  // Null for a handle that is stale or was never given.
  Sequence* Find(SequenceId id) {
    if (static_cast<uint32_t>(id.index) >= sequences_.size()) return nullptr;
    Sequence& sequence = sequences_[id.index];
    return sequence.live && sequence.generation == id.generation ? &sequence : nullptr;
  }
  // By sequence, live or not.   REQUIRES: 0 <= sequence < max_sequences().
  Sequence& at(int32_t sequence_index) { return sequences_[sequence_index]; }
  const Sequence& at(int32_t sequence_index) const { return sequences_[sequence_index]; }

  int32_t max_sequences() const { return static_cast<int32_t>(sequences_.size()); }
  int32_t num_live() const { return max_sequences() - static_cast<int32_t>(free_indices_.size()); }

  // CHECKs that every sequence is live or free, and free ones are listed once.   Cost:
  // O(sequences).
  void CheckInvariants() const;

 private:
  std::vector<Sequence> sequences_;    // by sequence
  std::vector<int32_t> free_indices_;  // the last one goes next
};

}  // namespace terrace

#endif  // TERRACE_SRC_LEDGER_SEQUENCE_H_
