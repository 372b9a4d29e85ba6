#include "terrace/sequence.h"

#include <numeric>

#include "terrace/check.h"
#include "terrace/expand.h"

namespace terrace {

WindowChange AdvanceWindow(const Geometry& geometry, const WindowRange& window,
                           const LaneRecord& lane) {
  const int32_t shift = geometry.pools[geometry.window_pool].log2_entries_per_block;
  const int32_t begin = window.current.begin;
  const int32_t end = window.current.end;
  // Blocks wholly below the window of the step's first query go.
  const int32_t keep = std::max(begin, WindowBegin(geometry, lane.first) >> shift);
  const int32_t first_stored = FirstStoredPosition(geometry, lane) >> shift;
  const int32_t new_end = ((lane.first + lane.count - 1) >> shift) + 1;

  WindowChange change;
  change.released = {begin, keep};
  change.taken = {std::max(first_stored, end), new_end};
  if (first_stored <= end) {
    change.after.current = {keep, new_end};
  } else {
    change.after.old = {keep, end};
    change.after.current = {first_stored, new_end};
  }
  return change;
}

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
