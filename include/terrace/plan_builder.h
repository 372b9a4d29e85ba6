// PlanBuilder writes a plan in place: one allocation of exactly the plan's size, then one call a
// record. The ledger builds its steps with it; tests build plans of their own.

#ifndef TERRACE_PLAN_BUILDER_H_
#define TERRACE_PLAN_BUILDER_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "terrace/expand.h"
#include "terrace/geometry.h"
#include "terrace/plan.h"
#include "terrace/plan_format.h"

namespace terrace {

struct PlanCounts {
  int32_t lanes = 0;
  int32_t patches = 0;
  int32_t copies = 0;
};

// Bytes of a plan with so many records. A plan is limited to 2^31 - 1.
constexpr int64_t PlanBytes(int64_t lanes, int64_t patches, int64_t copies) {
  return int64_t{sizeof(PlanHeader)} + lanes * int64_t{sizeof(LaneRecord)} +
         patches * int64_t{sizeof(BlockPatch)} + copies * int64_t{sizeof(BlockCopy)};
}

class PlanBuilder {
 public:
  // `geometry` must outlive the builder.   REQUIRES: counts >= 0 of less than 2^31 bytes together.
  PlanBuilder(const Geometry& geometry, PlanKind kind, const PlanCounts& counts);

  // Sequence order is row order: the builder fills in token_row and entry_row.
  void AddLane(const LaneRecord& lane);
  void AddPatch(const BlockPatch& patch);
  void AddCopy(const BlockCopy& copy);

  // REQUIRES: as many records were added as the constructor was told.
  Plan Build(uint64_t epoch, PlanNumber number) &&;

 private:
  const Geometry& geometry_;
  std::vector<std::byte> bytes_;
  PlanHeader* header_;  // counts what was announced; rows grow with each lane
  LaneRecord* next_lane_;
  BlockPatch* next_patch_;
  BlockCopy* next_copy_;
};

inline void PlanBuilder::AddLane(const LaneRecord& lane) {
  LaneRecord& record = *next_lane_++;
  record = lane;
  record.token_row = header_->num_token_rows;
  header_->num_token_rows += lane.count;
  for (int p = 0; p < geometry_.num_pools; ++p) {
    const PoolGeometry& pool = geometry_.pools[p];
    if (pool.kind != PoolKind::kFull) continue;
    record.entry_row[p] = header_->num_entry_rows[p];
    header_->num_entry_rows[p] +=
        EntriesClosed(pool, lane.first + lane.count) - EntriesClosed(pool, lane.first);
  }
}

inline void PlanBuilder::AddPatch(const BlockPatch& patch) { *next_patch_++ = patch; }
inline void PlanBuilder::AddCopy(const BlockCopy& copy) { *next_copy_++ = copy; }

}  // namespace terrace

#endif  // TERRACE_PLAN_BUILDER_H_
