// What walks the whole ledger: Snapshot and CheckInvariants.

#include <algorithm>
#include <limits>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_format.h"
#include "src/ledger_impl.h"
#include "terrace/check.h"
#include "terrace/plan_builder.h"

namespace terrace {

absl::StatusOr<Plan> Ledger::Snapshot() const {
  const Geometry& geometry = impl_->geometry;
  int64_t patches = 0;
  impl_->ForEachBlock([&](int, int32_t, int32_t, BlockId) { ++patches; });
  if (PlanBytes({.patches = patches}) > std::numeric_limits<int32_t>::max()) {
    return absl::OutOfRangeError(
        absl::StrFormat("a snapshot of %d blocks is beyond 2 GiB", patches));
  }
  PlanBuilder plan(geometry, PlanKind::kSnapshot, {.patches = static_cast<int32_t>(patches)});
  impl_->ForEachBlock([&](int pool, int32_t lane, int32_t index, BlockId block) {
    plan.AddPatch({pool, lane, index, block.value()});
  });
  return std::move(plan).Build(impl_->options.epoch, last_plan());
}

void Ledger::CheckInvariants() const {
  const Geometry& geometry = impl_->geometry;
  std::vector<std::vector<int32_t>> references;
  for (const BlockPool& pool : impl_->pools) {
    pool.CheckInvariants();  // (1)
    references.emplace_back(pool.capacity(), 0);
  }
  impl_->ForEachBlock([&](int pool, int32_t, int32_t, BlockId block) {
    TERRACE_CHECK_GE(block.value(), 0);
    TERRACE_CHECK_LT(block.value(), impl_->pools[pool].capacity());
    ++references[pool][block.value()];
  });
  for (int p = 0; p < geometry.num_pools; ++p) {
    for (int32_t block = 0; block < impl_->pools[p].capacity(); ++block) {
      TERRACE_CHECK_EQ(impl_->pools[p].references(BlockId(block)), references[p][block]);  // (2)
    }
    if (impl_->idle()) TERRACE_CHECK_EQ(impl_->pools[p].num_draining(), 0);  // (6)
  }
  for (int32_t lane = 0; lane < geometry.max_sequences; ++lane) {
    const Sequence& sequence = impl_->sequences.at(lane);
    if (sequence.live) impl_->CheckSequence(sequence);
  }
  impl_->sequences.CheckInvariants();  // (5)
  TERRACE_CHECK_LE(impl_->number - impl_->retired,
                   static_cast<uint64_t>(impl_->options.in_flight_plans));  // (6)
}

void Ledger::Impl::CheckSequence(const Sequence& sequence) const {
  TERRACE_CHECK_LE(sequence.draft_begin, sequence.length);
  TERRACE_CHECK_EQ(sequence.chunks, ChunksOf(sequence.length));  // (3)
  if (!has_window()) return;
  const PoolGeometry& pool = geometry.pools[geometry.window_pool];
  const BlockRange& old = sequence.window.old;
  const BlockRange& current = sequence.window.current;
  TERRACE_CHECK_LE(old.begin, old.end);  // (4)
  TERRACE_CHECK_LE(current.begin, current.end);
  if (old.size() > 0) TERRACE_CHECK_LT(old.end, current.begin);
  TERRACE_CHECK_EQ(current.end, BlocksOf(pool, sequence.length));
  const int32_t next_first = sequence.length - sequence.undecided_drafts();
  TERRACE_CHECK_LE(current.begin, WindowBegin(geometry, next_first) >> pool.log2_entries_per_block);
}

}  // namespace terrace
