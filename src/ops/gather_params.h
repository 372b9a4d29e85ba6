// Gather: select rows, read them from the pages, dequantize to bf16 and optionally rotate. A row
// without a slot comes out zero.

#ifndef TERRACE_SRC_OPS_GATHER_PARAMS_H_
#define TERRACE_SRC_OPS_GATHER_PARAMS_H_

#include <cstdint>

#include "src/ops/pages.h"
#include "src/ops/select.h"
#include "terrace/formats/rope_table.h"

namespace terrace::internal {

struct GatherParams {
  Selection select;
  PlanePages pages;
  RopeTableView rope;       // data null: rows come out as stored
  uint16_t* out;            // [num_queries, rows_per_query, channels] bf16, 16-byte aligned
  int64_t out_row_pitch;    // elements, a multiple of 8
  int64_t out_query_pitch;  // elements, a multiple of 8
};

}  // namespace terrace::internal

#endif  // TERRACE_SRC_OPS_GATHER_PARAMS_H_
