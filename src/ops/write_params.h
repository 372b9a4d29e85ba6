// Write: rotate, quantize and scatter bf16 rows into pages; up to three planes (SWA latent,
// compressed latent, indexer key) in one launch.

#ifndef TERRACE_SRC_OPS_WRITE_PARAMS_H_
#define TERRACE_SRC_OPS_WRITE_PARAMS_H_

#include <cstdint>

#include "src/ops/pages.h"
#include "terrace/formats/rope_table.h"
#include "terrace/step_view.h"

namespace terrace::internal {

struct WriteSegment {
  const uint16_t* rows;  // [count, channels] bf16, 16-byte aligned
  int64_t row_pitch;     // elements between two rows, a multiple of 8
  const int32_t* count;  // number of rows, read where the kernel runs; null: max_rows
  int32_t max_rows;      // sizes the grid; never exceeded
  const int32_t* slots;  // [count]; -1 is skipped, others outside the pool are skipped and counted
  const int32_t* positions;  // [count]; null where nothing rotates
  bool of_step;  // count, slots and positions are what Begin wrote, so they may be read early
  RopeTableView rope;
  PlanePages pages;
};

inline constexpr int kMaxWriteSegments = 3;

struct WriteParams {
  WriteSegment segments[kMaxWriteSegments];
  int32_t num_segments;
  Counters* counters;
};

}  // namespace terrace::internal

#endif  // TERRACE_SRC_OPS_WRITE_PARAMS_H_
