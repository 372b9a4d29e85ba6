#include "src/ledger/shortage_figures.h"

namespace terrace::internal {
namespace {

// The first plan from `low` to the last one whose Retire makes `blocks` free or evictable; 0 if that
// of the last one does not.   REQUIRES: what comes back grows with the plan.
template <typename BlocksAfter>
uint64_t FirstEnough(uint64_t low, uint64_t last, int32_t blocks, BlocksAfter blocks_after) {
  if (low > last || blocks_after(last) < blocks) return 0;
  uint64_t high = last;  // is enough
  while (low < high) {
    const uint64_t middle = low + (high - low) / 2;
    if (blocks_after(middle) >= blocks) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  return high;
}

}  // namespace

Shortage LookAt(const PoolSet& pools, const PrefixCache& prefixes, int p, int32_t needed,
                int32_t held, int32_t given_back, int32_t own_reserved) {
  const BlockPool& pool = pools.pool(p);
  const int32_t states = p == pools.csa_state_pool() ? pools.num_held_states() : 0;
  Shortage shortage{.pool = PoolIndex(p),
                    .needed_blocks = needed,
                    .free_blocks = pool.num_free(),
                    .evictable_blocks = prefixes.CountEvictable(p, pools.retired()),
                    .preemptible_blocks = pool.num_live() - held - states,
                    .held_blocks = held};
  shortage.reserved_blocks = pools.reserved(p) - own_reserved;
  const int32_t now = shortage.free_blocks + shortage.evictable_blocks;
  shortage.returning_blocks = pool.num_cached() - shortage.evictable_blocks + pool.num_draining();

  const uint64_t last = pools.last_plan();
  const auto after = [&](uint64_t plan) {
    return pool.num_free() + pool.CountDraining(plan) + prefixes.CountEvictable(p, plan);
  };
  const auto usable_after = [&](uint64_t plan) {
    return after(plan) + (plan == last ? given_back : 0);
  };
  if (now >= needed) return shortage;
  const uint64_t retire = FirstEnough(pools.retired() + 1, last, needed, usable_after);
  if (retire == 0) return shortage;
  shortage.retire = PlanNumber(retire);
  shortage.retire_blocks = after(retire) - now;
  return shortage;
}

}  // namespace terrace::internal
