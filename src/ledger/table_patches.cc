#include "src/ledger/table_patches.h"

#include <algorithm>

#include "src/plan/step_expand.h"

namespace terrace::internal {
namespace {

// Of the window pool.
struct WindowPatches {
  // A sequence's window table is read from the window of its first query on. What lies there before
  // the sequence's own blocks is an earlier sequence's.
  BlockRange holes;
  BlockRange kept;
};

WindowPatches WindowPatchesOf(const PoolSet& pools, const Sequence& sequence) {
  if (!pools.has_window()) return {};
  const Geometry& geometry = pools.geometry();
  const int32_t shift = geometry.pools[pools.window_pool()].log2_entries_per_block;
  const int32_t begin = WindowBegin(geometry, sequence.length) >> shift;
  const BlockRange& current = sequence.window.current;
  return {.holes = {std::min(begin, current.begin), current.begin},
          .kept = {std::max(begin, current.begin), current.end}};
}

}  // namespace

int32_t CountTablePatches(const PoolSet& pools, const Sequence& sequence) {
  const WindowPatches window = WindowPatchesOf(pools, sequence);
  const size_t state_pools = sequence.has_state ? pools.state_pools().size() : 0;
  return sequence.chunks * static_cast<int32_t>(pools.full_pools().size()) + window.kept.size() +
         window.holes.size() + static_cast<int32_t>(state_pools);
}

void AddTablePatches(const PoolSet& pools, const Sequence& sequence, PlanBuilder& plan) {
  const auto add = [&](int p, BlockRange range) {
    const BlockId* const blocks = pools.table(p).Of(sequence.index);
    for (int32_t i = range.begin; i < range.end; ++i) {
      plan.AddPatch({p, sequence.index, i, blocks[i].value()});
    }
  };
  for (const int p : pools.full_pools()) add(p, {0, sequence.chunks});
  for (const int p : pools.state_pools()) add(p, {0, sequence.has_state ? 1 : 0});
  const WindowPatches window = WindowPatchesOf(pools, sequence);
  if (window.kept.size() > 0) add(pools.window_pool(), window.kept);
  for (int32_t i = window.holes.begin; i < window.holes.end; ++i) {
    plan.AddPatch({pools.window_pool(), sequence.index, i, kNoBlock});
  }
}

}  // namespace terrace::internal
