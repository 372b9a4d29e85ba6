#include "src/ledger/sequence.h"

#include <numeric>

#include "src/base/check.h"

namespace terrace {

SequenceTable::SequenceTable(int32_t max_sequences)
    : sequences_(max_sequences), free_lanes_(max_sequences) {
  std::iota(free_lanes_.rbegin(), free_lanes_.rend(), 0);  // lane 0 goes first
}

std::optional<SequenceId> SequenceTable::Add() {
  if (free_lanes_.empty()) return std::nullopt;
  const int32_t lane = free_lanes_.back();
  free_lanes_.pop_back();
  Sequence& sequence = sequences_[lane];
  const uint32_t generation = sequence.generation + 1;
  sequence = Sequence{};
  sequence.generation = generation;
  sequence.live = true;
  return SequenceId{lane, generation};
}

void SequenceTable::Remove(SequenceId id) {
  TERRACE_CHECK_EQ(Find(id) != nullptr, true);
  sequences_[id.lane].live = false;
  sequences_[id.lane].prefix.tail.Clear();
  free_lanes_.push_back(id.lane);
}

void SequenceTable::CheckInvariants() const {
  std::vector<bool> listed(sequences_.size());
  for (const int32_t lane : free_lanes_) {
    TERRACE_CHECK_EQ(listed[lane], false);
    listed[lane] = true;
  }
  for (size_t lane = 0; lane < sequences_.size(); ++lane) {
    TERRACE_CHECK_NE(sequences_[lane].live, listed[lane]);
  }
}

}  // namespace terrace
