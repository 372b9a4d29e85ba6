// Sequence is the ledger's record of one sequence: its counts, and which indices of its lane's
// block tables hold blocks. SequenceTable hands out lanes and resolves handles.

#ifndef TERRACE_SEQUENCE_H_
#define TERRACE_SEQUENCE_H_

#include <algorithm>
#include <cstdint>
#include <optional>
#include <vector>

#include "terrace/geometry.h"
#include "terrace/ids.h"

namespace terrace {

// Indices begin .. end - 1 of a lane's block table.
struct BlockRange {
  int32_t begin = 0;
  int32_t end = 0;

  int32_t size() const { return end - begin; }
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

struct Sequence {
  uint32_t generation = 0;
  bool live = false;
  int32_t length = 0;       // rows
  int32_t known = 0;        // token ids
  int32_t draft_begin = 0;  // rows from here on are the last step's drafts
  int32_t chunks = 0;       // one block of every full pool each: indices 0 .. chunks - 1
  WindowRange window;
  uint64_t last_batch = 0;  // finds duplicates in a batch

  int32_t settled() const { return std::min(length, known); }
  int32_t undecided_drafts() const { return std::max(0, length - std::max(known, draft_begin)); }
};

// Thread-safe: no.   Cost: O(1) a call; all memory is taken at construction.
class SequenceTable {
 public:
  explicit SequenceTable(int32_t max_sequences);

  // A live sequence with no tokens, or nothing if all lanes are taken. Lanes are reused last freed
  // first.
  std::optional<SequenceId> Add();
  // REQUIRES: Find(id).
  void Remove(SequenceId id);

  // Null for a handle that is stale or was never given.
  Sequence* Find(SequenceId id) {
    if (static_cast<uint32_t>(id.lane) >= sequences_.size()) return nullptr;
    Sequence& sequence = sequences_[id.lane];
    return sequence.live && sequence.generation == id.generation ? &sequence : nullptr;
  }
  // By lane, live or not.   REQUIRES: 0 <= lane < max_sequences().
  const Sequence& at(int32_t lane) const { return sequences_[lane]; }

  int32_t max_sequences() const { return static_cast<int32_t>(sequences_.size()); }
  int32_t num_live() const { return max_sequences() - static_cast<int32_t>(free_lanes_.size()); }

  // CHECKs that every lane is live or free, and free ones are listed once.   Cost: O(lanes).
  void CheckInvariants() const;

 private:
  std::vector<Sequence> sequences_;  // by lane
  std::vector<int32_t> free_lanes_;  // the last one goes next
};

}  // namespace terrace

#endif  // TERRACE_SEQUENCE_H_
