// SequenceTable hands out sequence indices and resolves handles.
//
// Thread-safe: no, but const calls may run together.
// Cost: O(1) a call; all memory but the token tails is taken at construction.
//
// Invariants:
//  (1) an index is live or free, and a free one is listed once;
//  (2) the record at an index knows its index.

#ifndef TERRACE_SRC_LEDGER_SEQUENCE_TABLE_H_
#define TERRACE_SRC_LEDGER_SEQUENCE_TABLE_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "src/ledger/sequence.h"
#include "terrace/ids.h"

namespace terrace::internal {

class SequenceTable {
 public:
  explicit SequenceTable(int32_t max_sequences);

  // A live sequence with no tokens. The index freed last goes first.
  // Errors: ResourceExhausted if all indices are taken.
  absl::StatusOr<SequenceId> Add();
  // The same with all that `parent` has but its handle.   REQUIRES: Find(parent).
  absl::StatusOr<SequenceId> AddCopyOf(SequenceId parent);
  // REQUIRES: Find(id).
  void Remove(SequenceId id);

  // Null for a handle that is stale or was never given.
  Sequence* Find(SequenceId id) {
    if (static_cast<uint32_t>(id.index) >= sequences_.size()) return nullptr;
    Sequence& sequence = sequences_[id.index];
    return sequence.live && sequence.generation == id.generation ? &sequence : nullptr;
  }
  // How a call fails whose handle finds nothing.
  static absl::Status NotFound(SequenceId id);

  // By index, live or not.   REQUIRES: 0 <= index < max_sequences().
  Sequence& at(int32_t index) { return sequences_[index]; }
  const Sequence& at(int32_t index) const { return sequences_[index]; }
  // Live or not, by index.
  std::vector<Sequence>& all() { return sequences_; }
  const std::vector<Sequence>& all() const { return sequences_; }

  int32_t max_sequences() const { return static_cast<int32_t>(sequences_.size()); }
  int32_t num_live() const { return max_sequences() - static_cast<int32_t>(free_.size()); }

  // CHECKs the invariants above.   Cost: O(max_sequences).
  void CheckInvariants() const;

 private:
  std::vector<Sequence> sequences_;  // by index
  std::vector<int32_t> free_;        // indices; the last one goes next
};

}  // namespace terrace::internal

#endif  // TERRACE_SRC_LEDGER_SEQUENCE_TABLE_H_
