// Begin: apply a plan's block-table patches, then expand its lane records into the step's rows
// (StepView).

#ifndef TERRACE_KERNELS_BEGIN_H_
#define TERRACE_KERNELS_BEGIN_H_

#include <cstdint>

#include "kernels/launch_target.h"
#include "terrace/geometry.h"
#include "terrace/plan_format.h"
#include "terrace/step_view.h"

namespace terrace {

// block_table[pool][lane][index] = block for every patch.
struct PatchParams {
  Geometry geometry;
  StepView step;
  const BlockPatch* patches;  // [count]
  int32_t count;
};

// Fills token_record, token_position, slots and entry_position of the step in step.header.
struct ExpandParams {
  Geometry geometry;
  StepView step;
  int32_t num_token_rows;  // of the plan: sizes the grid
  int32_t
      padded_token_rows;  // >= num_token_rows: rows beyond it get record and slot -1, position 0
  int32_t num_entry_rows[kMaxPools];  // of the plan
};

// Stream-ordered; return a cudaError_t.
int LaunchPatch(const PatchParams& params, LaunchTarget target);
int LaunchExpand(const ExpandParams& params, LaunchTarget target);

}  // namespace terrace

#endif  // TERRACE_KERNELS_BEGIN_H_
