#include "src/ledger/sequence.h"

#include <numeric>

#include "src/base/check.h"

namespace terrace {

SequenceTable::SequenceTable(int32_t max_sequences)
    : sequences_(max_sequences), free_indices_(max_sequences) {
  std::iota(free_indices_.rbegin(), free_indices_.rend(), 0);  // sequence 0 goes first
}

std::optional<SequenceId> SequenceTable::Add() {
  if (free_indices_.empty()) return std::nullopt;
  const int32_t sequence_index = free_indices_.back();
  free_indices_.pop_back();
  Sequence& sequence = sequences_[sequence_index];
  const uint32_t generation = sequence.generation + 1;
  sequence = Sequence{};
  sequence.generation = generation;
  sequence.live = true;
  return SequenceId{sequence_index, generation};
}

void SequenceTable::Remove(SequenceId id) {
  TERRACE_CHECK_EQ(Find(id) != nullptr, true);
  sequences_[id.index].live = false;
  sequences_[id.index].prefix.tail.Clear();
  free_indices_.push_back(id.index);
}

void SequenceTable::CheckInvariants() const {
  std::vector<bool> listed(sequences_.size());
  for (const int32_t sequence_index : free_indices_) {
    TERRACE_CHECK_EQ(listed[sequence_index], false);
    listed[sequence_index] = true;
  }
  for (size_t sequence_index = 0; sequence_index < sequences_.size(); ++sequence_index) {
    TERRACE_CHECK_NE(sequences_[sequence_index].live, listed[sequence_index]);
  }
}

}  // namespace terrace
