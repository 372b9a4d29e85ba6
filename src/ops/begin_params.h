// Begin: bring a plan to where kernels read it, apply its block-table patches, then expand its
// sequence records into the step's rows (StepView). Patch: the patches alone.

#ifndef TERRACE_SRC_OPS_BEGIN_PARAMS_H_
#define TERRACE_SRC_OPS_BEGIN_PARAMS_H_

#include <cstddef>
#include <cstdint>

#include "terrace/geometry.h"
#include "terrace/plan_format.h"
#include "terrace/step_view.h"

namespace terrace::internal {

// block_table[pool][sequence][index] = block for every patch.
struct PatchParams {
  Geometry geometry;
  StepView step;
  const BlockPatch* patches;  // [count]
  int32_t count;
};

// Copies a plan to step.header, applies its patches unless they went in pieces, and fills tokens,
// token_record, token_position, slots and entry_position.
struct BeginParams {
  Geometry geometry;
  StepView step;
  PlanHeader header;  // the plan's own
  // [BytesToBegin] memory of the caller. For a kernel, memory that the device reads; null: the
  // bytes lie at step.header, and the patches are applied.
  const std::byte* plan;
  // The plan is larger than the room at step.header: what lies before its patches is all that is
  // copied, and the patches were applied before.
  bool in_pieces;
  int32_t padded_token_rows;  // >= the plan's: rows beyond those get record and slot -1, position 0
};

inline int64_t BytesToBegin(const BeginParams& params) {
  return params.in_pieces ? params.header.patches_offset : params.header.total_bytes;
}
inline int32_t PatchesToBegin(const BeginParams& params) {
  return params.in_pieces ? 0 : params.header.num_patches;
}

}  // namespace terrace::internal

#endif  // TERRACE_SRC_OPS_BEGIN_PARAMS_H_
