// PlanBuilder writes a plan in place: one allocation of exactly the plan's size, then one call a
// record. The ledger builds its steps with it; tests build plans of their own.

#ifndef TERRACE_SRC_PLAN_PLAN_BUILDER_H_
#define TERRACE_SRC_PLAN_PLAN_BUILDER_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "src/plan/step_expand.h"
#include "terrace/geometry.h"
#include "terrace/plan.h"
#include "terrace/plan_format.h"

namespace terrace::internal {

class PlanBuilder {
 public:
  // `geometry` must outlive the builder.
  // REQUIRES: counts >= 0 of less than 2^31 bytes together.
  PlanBuilder(const Geometry& geometry, PlanKind kind, const PlanCounts& counts);

  // Sequence order is row order: the builder fills in token_row, entry_row and checkpoint_begin.
  void AddSequence(const SequenceStep& step);
  // Before the first AddSequence: of a position that settled since its step. After it: inside the
  // step of the sequence added last, ascending.
  void AddCheckpoint(const CheckpointRecord& checkpoint);
  void AddRestore(const RestoreRecord& restore);
  void AddPatch(const BlockPatch& patch);
  void AddCopy(const BlockCopy& copy);

  // REQUIRES: as many records were added as the constructor was told.
  Plan Build(uint64_t epoch, PlanNumber number, uint32_t generation = 1) &&;

 private:
  const Geometry& geometry_;
  std::vector<std::byte> bytes_;
  PlanHeader* header_;  // counts what was announced; rows grow with each sequence
  SequenceStep* next_sequence_;
  CheckpointRecord* first_checkpoint_;
  CheckpointRecord* next_checkpoint_;
  RestoreRecord* next_restore_;
  BlockPatch* next_patch_;
  BlockCopy* next_copy_;
};

inline void PlanBuilder::AddSequence(const SequenceStep& step) {
  SequenceStep& record = *next_sequence_++;
  record = step;
  record.token_row = header_->num_token_rows;
  record.checkpoint_begin = static_cast<int32_t>(next_checkpoint_ - first_checkpoint_);
  header_->num_token_rows += step.count;
  for (int p = 0; p < geometry_.num_pools; ++p) {
    const PoolGeometry& pool = geometry_.pools[p];
    if (pool.kind != PoolKind::kFull) continue;
    record.entry_row[p] = header_->num_entry_rows[p];
    header_->num_entry_rows[p] +=
        EntriesClosed(pool, step.first + step.count) - EntriesClosed(pool, step.first);
  }
}

inline void PlanBuilder::AddCheckpoint(const CheckpointRecord& checkpoint) {
  *next_checkpoint_++ = checkpoint;
}
inline void PlanBuilder::AddRestore(const RestoreRecord& restore) { *next_restore_++ = restore; }
inline void PlanBuilder::AddPatch(const BlockPatch& patch) { *next_patch_++ = patch; }
inline void PlanBuilder::AddCopy(const BlockCopy& copy) { *next_copy_++ = copy; }

}  // namespace terrace::internal

#endif  // TERRACE_SRC_PLAN_PLAN_BUILDER_H_
