// Why a step does not fit.

#include <algorithm>
#include <optional>
#include <vector>

#include "src/ledger/reservation.h"
#include "src/ledger/shortage_figures.h"
#include "src/ledger/step_planner.h"

namespace terrace::internal {

// A step that can never fit says so, whichever pool was found short first: waiting for that one
// would be in vain.
absl::Status StepPlanner::ShortageError(const Shortfall& shortfall) const {
  for (int p = 0; p < geometry_.num_pools; ++p) {
    if (p == pools_.overlap_pool()) continue;
    const Held held = HeldOf(p);
    if (held.after > pools_.pool(p).capacity()) {
      return LargerThanPool(geometry_, LookAtPool(p, held.before), "with this step its sequences",
                            held.after);
    }
  }
  Shortage shortage = LookAtPool(shortfall.pool, HeldOf(shortfall.pool).before);
  shortage.missing_blocks = shortfall.blocks;
  if (shortfall.reserved) {  // plans give back nothing that counts here
    shortage.retire = PlanNumber(0);
    shortage.retire_blocks = 0;
  }
  return RetryLater(geometry_, shortage, "this step");
}

Shortage StepPlanner::LookAtPool(int p, int32_t held) const {
  int32_t own_reserved = 0;
  for (const StepRequest& request : batch_) {
    own_reserved += sequences_.at(request.id.index).reserved[p];
  }
  return LookAt(pools_, prefixes_, p, demand_.taken[p], held, CountGivenBack(p), own_reserved);
}

// Blocks of pool `p` that no sequence holds after the step, though one does now.
int32_t StepPlanner::CountGivenBack(int p) const {
  if (p == pools_.window_pool()) return static_cast<int32_t>(memory_.returned_window.size());
  return p == pools_.csa_state_pool() ? pools_.num_held_states() : 0;
}

// Window blocks that the change releases and that others go on holding.
int32_t StepPlanner::CountLeft(const BlockChange& change) const {
  const std::vector<BlockId>& returned = memory_.returned_window;
  const BlockTable& table = pools_.table(pools_.window_pool());
  int32_t count = 0;
  for (const BlockRange& range : {change.old_released, change.window_released}) {
    for (const BlockId block : table.Of(change.sequence->index, range)) {
      count += !std::binary_search(returned.begin(), returned.end(), block);
    }
  }
  return count;
}

// What others have set aside stays there: after the step, the blocks that no sequence holds cover
// all that is reserved. A step that only takes what its own sequences have set aside may always.
std::optional<Shortfall> StepPlanner::FindReserved() const {
  BlockCounts grows = {};  // what is reserved for the batch's sequences, by the step
  auto change = memory_.changes.begin();
  for (const StepRequest& request : batch_) {
    const Sequence& sequence = sequences_.at(request.id.index);
    const BlockChange* const own =
        change != memory_.changes.end() && change->sequence == &sequence ? &*change++ : nullptr;
    if (sequence.reserve_tokens == 0) continue;
    const int32_t decided = sequence.length + request.tokens - request.drafts;
    Holding holding = own != nullptr ? HoldingAfter(*own, decided) : HoldingOf(sequence);
    holding.decided = decided;
    const BlockCounts after = pools_.reservation_rule().Reserved(
        sequence.reserve_tokens, sequence.prefix.prompt_tokens, holding);
    for (int p = 0; p < geometry_.num_pools; ++p) grows[p] += after[p] - sequence.reserved[p];
    // Room for what it leaves to a fork is not covered.
    if (own != nullptr && pools_.has_window()) grows[pools_.window_pool()] -= CountLeft(*own);
  }
  for (int p = 0; p < geometry_.num_pools; ++p) {
    if (demand_.taken[p] == 0) continue;
    // Held states count as nobody's already.
    const int32_t released = p == pools_.csa_state_pool() ? 0 : CountGivenBack(p);
    const int32_t used = demand_.taken[p] - released + grows[p];
    if (used > 0 && used > pools_.unreserved(p)) {
      return Shortfall{p, used - std::max(0, pools_.unreserved(p)), true};
    }
  }
  return std::nullopt;
}

// Blocks that several sequences of the batch have count once.
StepPlanner::Held StepPlanner::HeldOf(int p) const {
  Held held{.before = 0, .after = demand_.taken[p]};
  enum : uint8_t { kHeld = 1, kKept = 2 };
  std::vector<uint8_t> seen(pools_.pool(p).capacity());
  auto change = memory_.changes.begin();  // in the batch's order
  for (const StepRequest& request : batch_) {
    const Sequence& sequence = sequences_.at(request.id.index);
    const BlockChange* const own =
        change != memory_.changes.end() && change->sequence == &sequence ? &*change++ : nullptr;
    pools_.ForEachBlockOf(sequence, [&](int of, int32_t index, BlockId block) {
      if (of != p) return;
      uint8_t& state = seen[block.value()];
      held.before += (state & kHeld) == 0;
      state |= kHeld;
      if (own != nullptr && own->Leaves(geometry_.pools[p].kind, index)) return;
      held.after += (state & kKept) == 0;
      state |= kKept;
    });
  }
  return held;
}

}  // namespace terrace::internal
