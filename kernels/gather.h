// Gather: select rows, read them from the pages, dequantize to bf16 and optionally rotate. A row
// without a slot comes out zero.

#ifndef TERRACE_KERNELS_GATHER_H_
#define TERRACE_KERNELS_GATHER_H_

#include <cstdint>

#include "kernels/common/launch_target.h"
#include "src/ops/pages.h"
#include "src/ops/select.h"
#include "terrace/formats/rope_table.h"

namespace terrace {

struct GatherParams {
  Selection select;
  PlanePages pages;
  RopeTableView rope;       // data null: rows come out as stored
  uint16_t* out;            // [num_queries, rows_per_query, channels] bf16, 16-byte aligned
  int64_t out_row_pitch;    // elements, a multiple of 8
  int64_t out_query_pitch;  // elements, a multiple of 8
};

// Stream-ordered; returns a cudaError_t.
int LaunchGather(const GatherParams& params, LaunchTarget target);

}  // namespace terrace

#endif  // TERRACE_KERNELS_GATHER_H_
