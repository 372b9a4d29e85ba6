// Begin: bring a plan to where kernels read it, apply its block-table patches, then expand its
// sequence records into the step's rows (StepView).

#ifndef TERRACE_KERNELS_BEGIN_H_
#define TERRACE_KERNELS_BEGIN_H_

#include <cstddef>
#include <cstdint>

#include "terrace/geometry.h"
#include "terrace/plan_format.h"
#include "terrace/step_view.h"

struct CUstream_st;

namespace terrace {

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
  // [BytesToBegin]. For Backend::Begin memory of the caller, for LaunchBegin memory that the device
  // reads; null: they lie at step.header, and the patches are applied.
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

// The largest plan that LaunchBegin takes in: a block holds all of it in shared memory.
inline constexpr int64_t kMaxStagedPlanBytes = 48 << 10;

// Stream-ordered; return a cudaError_t. Never launched early, and they let nothing behind them
// start early: what they wrote is there for every later kernel, before it waits for anything.
int LaunchPatch(const PatchParams& params, CUstream_st* stream);
// REQUIRES: plan is null or 16-byte aligned, BytesToBegin(params) <= kMaxStagedPlanBytes.
int LaunchBegin(const BeginParams& params, CUstream_st* stream);

}  // namespace terrace

#endif  // TERRACE_KERNELS_BEGIN_H_
