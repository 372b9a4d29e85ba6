// PoolSet owns the blocks: every pool, every sequence's block tables, and what running plans may
// still name. It counts plans, so that it knows when a block that is freed must drain.
//
// It also holds what the next plan captures: the compressor's overlap rows of checkpoints that were
// left since the last plan. A capture reads a CSA state; that of a sequence that is freed meanwhile
// is held until the plan is made.
//
// Thread-safe: no, but const calls may run together.   Cost: O(1) a block; all memory is taken at
// construction, but for captures.
//
// Invariants:
//  (1) every pool's own (block_pool.h): free + live + cached + draining == capacity;
//  (2) a block has one reference for each place in the tables of live sequences that names it, one
//      for each sequence whose state its next step restores from it, and one while the next plan
//      reads or writes it for a capture alone;
//  (3) at most in_flight_plans plans are unretired, and nothing drains when none is;
//  (4) a state that is held for captures is the source of one.

#ifndef TERRACE_SRC_LEDGER_POOL_SET_H_
#define TERRACE_SRC_LEDGER_POOL_SET_H_

#include <array>
#include <atomic>
#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "src/ledger/block_pool.h"
#include "src/ledger/block_table.h"
#include "src/ledger/sequence.h"
#include "src/ledger/sequence_table.h"
#include "terrace/geometry.h"
#include "terrace/ledger.h"
#include "terrace/plan_format.h"

namespace terrace::internal {

using BlockCounts = std::array<int32_t, kMaxPools>;  // by pool

class PoolSet {
 public:
  // `options` must outlive it.
  explicit PoolSet(const LedgerOptions& options);

  // Whether the memory of the block tables was to be had.
  bool ok() const;

  // ---- Pools and tables.

  const Geometry& geometry() const { return geometry_; }
  int num_pools() const { return geometry_.num_pools; }
  int window_pool() const { return geometry_.window_pool; }    // or -1
  int overlap_pool() const { return geometry_.overlap_pool; }  // or -1
  int csa_state_pool() const { return csa_state_pool_; }       // or -1
  bool has_window() const { return geometry_.window_pool >= 0; }
  bool has_overlap() const { return geometry_.overlap_pool >= 0; }
  const std::vector<int>& full_pools() const { return full_pools_; }
  const std::vector<int>& state_pools() const { return state_pools_; }

  BlockPool& pool(int p) { return pools_[p]; }
  const BlockPool& pool(int p) const { return pools_[p]; }
  BlockTable& table(int p) { return tables_[p]; }
  const BlockTable& table(int p) const { return tables_[p]; }
  PoolUse UseOf(int p) const;
  // For tests: the caller asked that this pool be short now.
  bool ActsShort(int p) const {
    return options_.inject_shortage && options_.inject_shortage(PoolIndex(p));
  }

  // ---- Plans.

  // It and generation() from any thread.
  uint64_t last_plan() const { return last_plan_.load(std::memory_order_relaxed); }
  uint64_t retired() const { return retired_; }
  // The last plan that Retire named: what plans up to it computed is there.
  uint64_t named_retired() const { return named_retired_; }
  // Whether every plan made so far has run to its end, as far as blocks must care.
  bool idle() const { return retired_ == last_plan(); }
  // Of plans: one more for each time that plans were abandoned.
  uint32_t generation() const { return generation_.load(std::memory_order_relaxed); }
  void BeginGeneration() { generation_.store(generation() + 1, std::memory_order_relaxed); }
  // One more plan is made: what is freed from now on may be named by it.
  void CountPlan();
  // Whether one more plan may be made before any is retired.
  bool has_room_in_flight() const {
    return idle() || num_in_flight() < static_cast<uint64_t>(options_.in_flight_plans);
  }
  uint64_t num_in_flight() const { return last_plan() - retired_; }
  // Errors: as Ledger::Retire.
  absl::Status Retire(PlanNumber plan);

  // ---- References.

  // One more reference of a live or cached block.
  void AddReference(int p, BlockId block);
  // One reference less. Blocks that lost their last are cached, or free; free ones drain while a
  // plan that may name them runs.
  void Free(int p, BlockId block);
  void Free(int p, const Sequence& sequence, BlockRange range) {
    if (range.size() > 0) FreeAll(p, tables_[p].Of(sequence.index, range));
  }
  // The content cannot be reused any more. A cached block is free; it drains while a plan that may
  // name it runs.
  void UnmarkReusable(int p, BlockId block);
  // Whether a plan that still runs may name this cached block.
  bool IsNamedByRunningPlan(int p, BlockId cached) const {
    return pools_[p].last_plan(cached).value() > retired_;
  }

  // ---- A sequence's blocks.

  // Frees its blocks of every full pool but the first `chunks`.
  void FreeChunks(Sequence& sequence, int32_t chunks);
  void FreeWindow(Sequence& sequence);
  // A CSA state that the next plan captures from is held for it.
  void FreeState(Sequence& sequence);
  // What its next step would have begun with is of no use any more, or was named by it.
  void DropRestore(Sequence& sequence);
  // All places of `parent` become places of `child` too, with a reference each.
  // REQUIRES: `child` is a copy of `parent` (SequenceTable::AddCopyOf).
  void Share(const Sequence& parent, const Sequence& child);
  // Calls visit(pool, index, block) for every place that a live sequence holds.
  template <typename Visitor>
  void ForEachBlockOf(const Sequence& sequence, Visitor visit) const;

  // ---- Captures of the next plan.

  // Whether `capture` reads the state of `sequence`, and not of one that had its index before.
  bool IsCaptureOf(const Sequence& sequence, const CheckpointRecord& capture) const {
    if (capture.sequence_index != sequence.index) return false;
    if (csa_state_pool_ < 0) return true;
    return sequence.has_state &&
           tables_[csa_state_pool_].Of(sequence.index)[0].value() == capture.state_block;
  }
  // Takes over one reference of the capture's overlap block.
  void AddCapture(const CheckpointRecord& capture) { captures_.push_back(capture); }
  absl::Span<const CheckpointRecord> captures() const { return captures_; }
  // The checkpoint that has this overlap block is gone, and its capture with it, if it had one that
  // no sequence restores from.
  void CancelCapture(BlockId overlap);
  // Frees held states until the CSA state pool has `count` free blocks: the plan at hand captures
  // before anything else, so it may hand them out itself.   REQUIRES: idle(), or there are so many.
  void HandOutHeldStates(int32_t count) {
    if (!held_states_.empty()) FreeHeldStates(count);
  }
  int32_t num_held_states() const { return static_cast<int32_t>(held_states_.size()); }
  // The plan that has all captures was counted: frees what was held for them.
  void FinishCaptures() {
    if (!captures_.empty()) FreeCaptures();
  }
  // None of them is made: frees what was held for them.
  void CancelCaptures() { FinishCaptures(); }

  // CHECKs the invariants above.   Cost: O(blocks + sequences).
  void CheckInvariants(const SequenceTable& sequences) const;

 private:
  // The plan until which a block that is freed now drains.
  std::optional<PlanNumber> DrainUntil() const {
    return idle() ? std::nullopt : std::optional(PlanNumber(last_plan()));
  }
  void FreeAll(int p, absl::Span<const BlockId> blocks);
  void FreeHeldStates(int32_t count);
  void FreeCaptures();
  bool IsCaptureSource(BlockId csa_state) const;
  void FreeUnneededStates();

  const LedgerOptions& options_;
  const Geometry& geometry_;
  std::vector<BlockPool> pools_;
  std::vector<BlockTable> tables_;
  std::vector<int> full_pools_;
  std::vector<int> state_pools_;
  const int csa_state_pool_;
  std::atomic<uint64_t> last_plan_ = 0;  // a worker's thread looks whether it has begun (Cache)
  uint64_t retired_ = 0;  // the last plan known to have run; last_plan_ if in_flight_plans is 0
  uint64_t named_retired_ = 0;
  std::atomic<uint32_t> generation_ = 1;
  std::vector<CheckpointRecord> captures_;  // one reference to each overlap block
  std::vector<BlockId> held_states_;        // of no sequence any more
};

template <typename Visitor>
void PoolSet::ForEachBlockOf(const Sequence& sequence, Visitor visit) const {
  const auto visit_range = [&](int p, BlockRange range) {
    const BlockId* const blocks = tables_[p].Of(sequence.index);
    for (int32_t i = range.begin; i < range.end; ++i) visit(p, i, blocks[i]);
  };
  for (int p = 0; p < geometry_.num_pools; ++p) {
    switch (geometry_.pools[p].kind) {
      case PoolKind::kFull:
        visit_range(p, {0, sequence.chunks});
        break;
      case PoolKind::kWindow:
        visit_range(p, sequence.window.old);
        visit_range(p, sequence.window.current);
        break;
      case PoolKind::kState:
        visit_range(p, {0, sequence.has_state ? 1 : 0});
        break;
      case PoolKind::kOverlap:
        break;  // a sequence has no table of it
    }
  }
}

}  // namespace terrace::internal

#endif  // TERRACE_SRC_LEDGER_POOL_SET_H_
