// What a pool set holds for the next plan: its captures, and the states that they read.

#include <algorithm>
#include <utility>

#include "src/ledger/pool_set.h"

namespace terrace::internal {

void PoolSet::FreeState(Sequence& sequence) {
  if (!std::exchange(sequence.has_state, false)) return;
  for (const int p : state_pools_) {
    const BlockId block = tables_[p].Of(sequence.index)[0];
    // Forks may still have it.
    if (p == csa_state_pool_ && pools_[p].IsHeldByOne(block) && IsCaptureSource(block)) {
      held_states_.push_back(block);
    } else {
      Free(p, block);
    }
  }
}

bool PoolSet::IsCaptureSource(BlockId csa_state) const {
  return std::any_of(captures_.begin(), captures_.end(), [&](const CheckpointRecord& capture) {
    return capture.state_block == csa_state.value();
  });
}

void PoolSet::CancelCapture(BlockId overlap) {
  if (captures_.empty() || pools_[overlap_pool()].references(overlap) > 1) return;
  const auto of_this = [&](const CheckpointRecord& capture) {
    return capture.overlap_block == overlap.value();
  };
  if (std::erase_if(captures_, of_this) == 0) return;
  Free(overlap_pool(), overlap);
  FreeUnneededStates();
}

void PoolSet::FreeHeldStates(int32_t count) {
  for (; pools_[csa_state_pool_].num_free() < count; held_states_.pop_back()) {
    Free(csa_state_pool_, held_states_.back());
  }
}

void PoolSet::FreeCaptures() {
  for (const CheckpointRecord& capture : captures_) {
    Free(overlap_pool(), BlockId(capture.overlap_block));
  }
  captures_.clear();
  FreeUnneededStates();
}

void PoolSet::FreeUnneededStates() {
  std::erase_if(held_states_, [&](BlockId state) {
    if (IsCaptureSource(state)) return false;
    Free(csa_state_pool_, state);
    return true;
  });
}

}  // namespace terrace::internal
