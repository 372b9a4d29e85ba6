#include "src/ledger/pool_set.h"

#include <algorithm>

#include "absl/strings/str_format.h"
#include "src/base/check.h"

namespace terrace::internal {

PoolSet::PoolSet(const LedgerOptions& options)
    : options_(options),
      geometry_(options.geometry),
      csa_state_pool_(CsaStatePool(options.geometry).value()) {
  for (int p = 0; p < geometry_.num_pools; ++p) {
    const PoolGeometry& pool = geometry_.pools[p];
    pools_.emplace_back(pool.capacity_blocks);
    tables_.emplace_back(geometry_.max_sequences, pool.blocks_per_sequence);
    if (pool.kind == PoolKind::kFull) full_pools_.push_back(p);
    if (pool.kind == PoolKind::kState) state_pools_.push_back(p);
  }
}

bool PoolSet::ok() const {
  return std::all_of(tables_.begin(), tables_.end(),
                     [](const BlockTable& table) { return table.ok(); });
}

PoolUse PoolSet::UseOf(int p) const {
  return {.capacity = pools_[p].capacity(),
          .free = pools_[p].num_free(),
          .live = pools_[p].num_live(),
          .cached = pools_[p].num_cached(),
          .draining = pools_[p].num_draining()};
}

void PoolSet::CountPlan() {
  last_plan_.store(last_plan() + 1, std::memory_order_relaxed);
  if (options_.in_flight_plans == 0) retired_ = last_plan();
}

absl::Status PoolSet::Retire(PlanNumber plan) {
  if (options_.in_flight_plans == 0 && options_.prefix.match == MatchPolicy::kAppended) {
    return absl::FailedPreconditionError(
        "in_flight_plans is 0: nothing waits for a plan to retire");
  }
  if (plan.value() <= named_retired_ || plan.value() > last_plan()) {
    return absl::InvalidArgumentError(
        absl::StrFormat("plan %d is not in flight: %d were made and %d of them are retired",
                        plan.value(), last_plan(), named_retired_));
  }
  named_retired_ = plan.value();
  if (options_.in_flight_plans == 0) return absl::OkStatus();
  retired_ = plan.value();
  for (BlockPool& pool : pools_) pool.Retire(plan);
  return absl::OkStatus();
}

void PoolSet::AddReference(int p, BlockId block) {
  TERRACE_CHECK_OK(pools_[p].AddReference(block));
}

void PoolSet::Free(int p, BlockId block) { FreeAll(p, absl::MakeConstSpan(&block, 1)); }

void PoolSet::FreeAll(int p, absl::Span<const BlockId> blocks) {
  TERRACE_CHECK_OK(pools_[p].Free(blocks, DrainUntil()));
}

void PoolSet::UnmarkReusable(int p, BlockId block) {
  const bool drains = pools_[p].IsCached(block) && IsNamedByRunningPlan(p, block);
  pools_[p].UnmarkReusable(block, drains ? DrainUntil() : std::nullopt);
}

// ---- A sequence's blocks

void PoolSet::FreeChunks(Sequence& sequence, int32_t chunks) {
  for (const int p : full_pools_) Free(p, sequence, {chunks, sequence.chunks});
  sequence.chunks = chunks;
}

void PoolSet::FreeWindow(Sequence& sequence) {
  if (!has_window()) return;
  Free(window_pool(), sequence, sequence.window.old);
  Free(window_pool(), sequence, sequence.window.current);
  sequence.window = {};
}

void PoolSet::DropRestore(Sequence& sequence) {
  if (sequence.restore_block.has_value()) Free(overlap_pool(), *sequence.restore_block);
  sequence.restore_block.reset();
  sequence.restores = false;
}

void PoolSet::Share(const Sequence& parent, const Sequence& child) {
  ForEachBlockOf(parent, [&](int p, int32_t index, BlockId block) {
    tables_[p].Of(child.index)[index] = block;
    AddReference(p, block);
  });
  if (child.restore_block.has_value()) AddReference(overlap_pool(), *child.restore_block);
}

}  // namespace terrace::internal
