#include "src/ledger/sequence_table.h"

#include <numeric>
#include <utility>

#include "absl/strings/str_format.h"
#include "src/base/check.h"
#include "src/base/status_macros.h"

namespace terrace::internal {

SequenceTable::SequenceTable(int32_t max_sequences)
    : sequences_(max_sequences), free_(max_sequences) {
  for (int32_t index = 0; index < max_sequences; ++index) sequences_[index].index = index;
  std::iota(free_.rbegin(), free_.rend(), 0);  // index 0 goes first
}

absl::StatusOr<SequenceId> SequenceTable::Add() {
  if (free_.empty()) {
    return absl::ResourceExhaustedError(absl::StrFormat(
        "all %d sequence indices are taken; retry when a sequence has finished", max_sequences()));
  }
  const int32_t index = free_.back();
  free_.pop_back();
  Sequence& sequence = sequences_[index];
  const uint32_t generation = sequence.generation + 1;
  sequence = Sequence{};
  sequence.index = index;
  sequence.generation = generation;
  sequence.live = true;
  return SequenceId{index, generation};
}

absl::StatusOr<SequenceId> SequenceTable::AddCopyOf(SequenceId parent) {
  TERRACE_ASSIGN_OR_RETURN(const SequenceId id, Add());
  Sequence& sequence = sequences_[id.index];
  sequence = *Find(parent);
  sequence.index = id.index;
  sequence.generation = id.generation;
  return id;
}

void SequenceTable::Remove(SequenceId id) {
  TERRACE_CHECK_EQ(Find(id) != nullptr, true);
  sequences_[id.index].live = false;
  sequences_[id.index].prefix.tail.Clear();
  free_.push_back(id.index);
}

absl::Status SequenceTable::NotFound(SequenceId id) {
  return absl::NotFoundError(
      absl::StrFormat("no sequence has the handle {index %d, generation %d}: it was freed or never "
                      "allocated",
                      id.index, id.generation));
}

void SequenceTable::CheckInvariants() const {
  std::vector<bool> listed(sequences_.size());
  for (const int32_t index : free_) {
    TERRACE_CHECK_EQ(listed[index], false);  // (1)
    listed[index] = true;
  }
  for (size_t index = 0; index < sequences_.size(); ++index) {
    TERRACE_CHECK_NE(sequences_[index].live, listed[index]);  // (1)
    TERRACE_CHECK_EQ(sequences_[index].index, index);         // (2)
  }
}

}  // namespace terrace::internal
