// Begin. Patch: a thread a patch. Expand: a thread a row, token rows first, then the entry rows of
// each pool; a thread finds its lane record by bisection, so its cost does not grow with the length
// of a prefill chunk.

#include "kernels/begin.h"
#include "kernels/launch.cuh"
#include "terrace/expand.h"

namespace terrace {
namespace {

constexpr int kThreads = 128;

struct ExpandLaunch {
  ExpandParams params;
  int32_t total_rows;
};

__global__ void __launch_bounds__(kThreads)
    PatchKernel(const __grid_constant__ PatchParams params) {
  AwaitPrecedingKernel();
  const int32_t index = blockIdx.x * kThreads + threadIdx.x;
  if (index >= params.count) return;
  const int4 words = reinterpret_cast<const int4*>(params.patches)[index];
  const BlockPatch patch = {words.x, words.y, words.z, words.w};
  const int64_t row = int64_t{patch.lane} * params.geometry.pools[patch.pool].blocks_per_lane;
  params.step.block_table[patch.pool][row + patch.index] = patch.block;
}

__device__ __forceinline__ const LaneRecord* Lanes(const StepView& step) {
  return reinterpret_cast<const LaneRecord*>(step.header + 1);
}

__device__ __forceinline__ const int32_t* LaneBlocks(const ExpandParams& params, int pool,
                                                     const LaneRecord& lane) {
  return params.step.block_table[pool] +
         int64_t{lane.lane} * params.geometry.pools[pool].blocks_per_lane;
}

__device__ __forceinline__ void ExpandTokenRow(const ExpandParams& params, int32_t row) {
  const StepView& step = params.step;
  const int window = params.geometry.window_pool;
  TokenRow token = {.lane = -1, .position = 0, .first = 0, .first_stored = 0};
  int32_t record = -1;
  int32_t slot = kNoSlot;
  if (row < params.num_token_rows) {
    record = LaneOfTokenRow(Lanes(step), step.header->num_lanes, row);
    const LaneRecord& lane = Lanes(step)[record];
    token = {.lane = lane.lane,
             .position = lane.first + row - lane.token_row,
             .first = lane.first,
             .first_stored = FirstStoredPosition(params.geometry, lane)};
    if (window >= 0 && WindowRowWritten(params.geometry, *step.header, record, token.first_stored,
                                        token.position)) {
      slot =
          SlotOf(params.geometry.pools[window], LaneBlocks(params, window, lane), token.position);
    }
  }
  step.tokens[row] = token;
  step.token_record[row] = record;
  step.token_position[row] = token.position;
  if (window >= 0) step.slots[window][row] = slot;
}

__device__ __forceinline__ void ExpandEntryRow(const ExpandParams& params, int pool, int32_t row) {
  const StepView& step = params.step;
  const PoolGeometry& geometry = params.geometry.pools[pool];
  const int32_t record = LaneOfEntryRow(Lanes(step), step.header->num_lanes, pool, row);
  const LaneRecord& lane = Lanes(step)[record];
  const int32_t entry = EntriesClosed(geometry, lane.first) + row - lane.entry_row[pool];
  step.slots[pool][row] = EntrySlot(geometry, lane, LaneBlocks(params, pool, lane), entry);
  step.entry_position[pool][row] = entry * geometry.ratio;
}

__global__ void __launch_bounds__(kThreads)
    ExpandKernel(const __grid_constant__ ExpandLaunch launch) {
  AwaitPrecedingKernel();
  const ExpandParams& params = launch.params;
  int32_t row = blockIdx.x * kThreads + threadIdx.x;
  if (row >= launch.total_rows) return;
  if (row < params.padded_token_rows) {
    ExpandTokenRow(params, row);
    return;
  }
  row -= params.padded_token_rows;
  int pool = 0;
  while (row >= params.num_entry_rows[pool]) row -= params.num_entry_rows[pool++];
  ExpandEntryRow(params, pool, row);
}

}  // namespace

int LaunchPatch(const PatchParams& params, LaunchTarget target) {
  return LaunchAwaiting(PatchKernel, {CeilDiv(params.count, kThreads), 1, kThreads}, target,
                        params);
}

int LaunchExpand(const ExpandParams& params, LaunchTarget target) {
  int64_t total = params.padded_token_rows;
  for (const int32_t rows : params.num_entry_rows) total += rows;
  if (total > kMaxGridX) return cudaErrorInvalidValue;
  const ExpandLaunch launch = {params, static_cast<int32_t>(total)};
  return LaunchAwaiting(ExpandKernel, {CeilDiv(total, kThreads), 1, kThreads}, target, launch);
}

}  // namespace terrace
