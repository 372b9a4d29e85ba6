// Why a step does not fit.

#include <algorithm>
#include <vector>

#include "src/ledger/step_planner.h"

namespace terrace::internal {

// A step that can never fit says so, whichever pool was found short first: waiting for that one
// would be in vain. Blocks that several sequences of the batch have count once.
absl::Status StepPlanner::ShortageError(const Shortfall& shortfall) const {
  for (int p = 0; p < geometry_.num_pools; ++p) {
    if (p == pools_.overlap_pool()) continue;
    const BlockPool& pool = pools_.pool(p);
    int64_t held = demand_.taken[p];
    std::vector<bool> seen(pool.capacity());
    for (const StepRequest& request : batch_) {
      const Sequence& sequence = sequences_.at(request.id.index);
      const auto change = std::find_if(
          memory_.changes.begin(), memory_.changes.end(),
          [&](const BlockChange& candidate) { return candidate.sequence == &sequence; });
      pools_.ForEachBlockOf(sequence, [&](int of, int32_t index, BlockId block) {
        if (of != p || seen[block.value()]) return;
        if (change != memory_.changes.end() && change->Leaves(geometry_.pools[p].kind, index)) {
          return;
        }
        seen[block.value()] = true;
        ++held;
      });
    }
    if (held > pool.capacity()) return LargerThanPool(geometry_, p, held);
  }
  const int p = shortfall.pool;
  return RetryLater(geometry_, shortfall, demand_.taken[p], pools_.UseOf(p));
}

}  // namespace terrace::internal
