// StepPlanner makes the plan of one step, and lives as long as the call of Ledger::Append:
//
//   Measure  what the step takes from each pool, and what its plan lists
//   Reserve  the blocks, by eviction where they are short
//   Apply    the step to tables, sequences and prefixes, and says so in a plan
//
// The first two change no sequence when they fail; the third cannot fail.
//
// Thread-safe: no.
// Cost: O(batch + blocks), whatever the number of tokens. Its vectors are lent to it, so that a
// step allocates only its plan.
//
// Invariants, from Measure on:
//  (1) a sequence has at most one change, and changes and checkpoints are in the batch's order;
//  (2) the demand is what the changes and the planned checkpoints take;
//  (3) the window blocks that the step returns are sorted, and live until Apply;
//  (4) from Reserve on, what is reserved is the demand; after Apply, none of it is left.

#ifndef TERRACE_SRC_LEDGER_STEP_PLANNER_H_
#define TERRACE_SRC_LEDGER_STEP_PLANNER_H_

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/types/span.h"
#include "src/ledger/block_change.h"
#include "src/ledger/block_pool.h"
#include "src/ledger/planned_checkpoint.h"
#include "src/ledger/pool_set.h"
#include "src/ledger/prefix_cache.h"
#include "src/ledger/sequence_table.h"
#include "src/ledger/shortage.h"
#include "src/plan/plan_builder.h"
#include "terrace/ledger.h"

namespace terrace::internal {

// What a planner works with. It means nothing between two planners but for its capacity, and the
// number of batches.
struct StepMemory {
  explicit StepMemory(int32_t max_sequences) { changes.reserve(max_sequences); }
  void Clear() {
    changes.clear();
    checkpoints.clear();
    returned_window.clear();
    if (!copies.empty()) copies.clear();
    sources.clear();
  }

  std::vector<BlockChange> changes;  // only of sequences whose blocks change
  std::vector<PlannedCheckpoint> checkpoints;
  std::vector<BlockId> returned_window;          // window blocks that nobody holds after the step
  absl::flat_hash_map<int64_t, int32_t> copies;  // (pool, block) -> sequences that copy it
  std::vector<std::pair<int, BlockId>> sources;  // (pool, block) that is copied from
  uint64_t batches = 0;                          // for Sequence::last_batch
};

class StepPlanner {
 public:
  // All must outlive it.
  StepPlanner(const LedgerOptions& options, SequenceTable& sequences, PoolSet& pools,
              PrefixCache& prefixes, StepMemory& memory, absl::Span<const StepRequest> batch)
      : options_(options),
        geometry_(options.geometry),
        sequences_(sequences),
        pools_(pools),
        prefixes_(prefixes),
        memory_(memory),
        batch_(batch) {
    memory_.Clear();
    ++memory_.batches;
  }

  // Errors: NotFound, InvalidArgument, FailedPrecondition, as Ledger::Append.
  absl::Status Measure();
  // Errors: ResourceExhausted or OutOfRange with a Shortage.   REQUIRES: Measure succeeded.
  absl::Status Reserve();
  // REQUIRES: Reserve succeeded.
  Plan Apply();

  // CHECKs the invariants above.   Cost: O(batch + blocks).
  void CheckInvariants() const;

 private:
  struct Demand {
    BlockCounts taken = {};
    int32_t patches = 0;
    int32_t copies = 0;
    int32_t restores = 0;
  };

  void FindCopies(const SequenceStep& step, BlockChange* change);
  int32_t IndexIfShared(int p, const Sequence& sequence, int32_t index);
  void AddDemand(const BlockChange& change, Demand* demand) const;
  void AddDemand(const PlannedCheckpoint& checkpoint, Demand* demand) const;
  inline void FindReturnedWindow();

  std::optional<Shortfall> TryReserve(EvictionReach reach);
  BlockCounts CountReturning() const;
  // Window blocks that the step may take again. A plan that still runs may name them; without one,
  // stream order keeps the reads of earlier steps before the writes of this one.
  absl::Span<const BlockId> returned_window() const {
    return pools_.idle() ? absl::MakeConstSpan(memory_.returned_window)
                         : absl::Span<const BlockId>();
  }

  // step_planner_shortage.cc
  // Blocks of a pool that the batch's sequences hold: distinct ones, before and after the step.
  struct Held {
    int32_t before;
    int64_t after;
  };
  absl::Status ShortageError(const Shortfall& shortfall) const;
  Shortage LookAtPool(int p, int32_t held) const;
  int32_t CountGivenBack(int p) const;
  int32_t CountLeft(const BlockChange& change) const;
  std::optional<Shortfall> FindReserved() const;
  Held HeldOf(int p) const;

  // In line: each is called at one place, and calls are a tenth of a step of one sequence.
  inline void ReleaseWindows();
  inline void CopySharedBlocks(PlanBuilder& plan);
  void Copy(int p, const BlockChange& change, int32_t index, PlanBuilder& plan);
  inline void AddSteps(PlanBuilder& plan);
  inline void TakeBlocks(PlanBuilder& plan);
  inline void Take(int p, const Sequence& sequence, BlockRange range, PlanBuilder& plan);

  const LedgerOptions& options_;
  const Geometry& geometry_;
  SequenceTable& sequences_;
  PoolSet& pools_;
  PrefixCache& prefixes_;
  StepMemory& memory_;
  const absl::Span<const StepRequest> batch_;
  Demand demand_;
  BlockPool::Reservation reserved_[kMaxPools];
};

}  // namespace terrace::internal

#endif  // TERRACE_SRC_LEDGER_STEP_PLANNER_H_
