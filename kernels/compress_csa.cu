// Compress, CSA. Grid: a block a lane, then kWarps warps a block, a warp for each plane of each
// entry.
//
// A warp pools an entry: lane l holds channels 4 (l + 32 j) .. + 3, so that every load of a row is
// whole sectors, and folds the 8 rows as they come. The pooled row goes through shared memory once,
// to be stored by packets. An entry that reaches back to rows of the state (two of a lane, at most)
// is its lane's block's: that block rewrites the ring, and may only after they were read. A step of
// at most D + 1 tokens overwrites nothing that it reads, and need not wait.

#include "kernels/compress.h"
#include "kernels/compress_entry.cuh"
#include "kernels/launch.cuh"
#include "terrace/counters.h"

namespace terrace {
namespace {

constexpr int kWarps = 4;
constexpr int kThreads = kWarps * kWarpLanes;

__device__ __forceinline__ const LaneRecord* Lanes(const CompressParams& params) {
  return reinterpret_cast<const LaneRecord*>(params.step.header + 1);
}

__device__ __forceinline__ CsaStateLayout CsaLayoutOf(const CompressParams& params) {
  return {params.num_planes > 1 ? kIndexerChannels : 0, params.max_drafts};
}

// Whether the entry needs rows from before the step.
__device__ __forceinline__ bool ReachesBack(const LaneRecord& lane, int32_t entry) {
  return max(0, (entry - 1) * kCsaRatio) < lane.first;
}

template <bool kBf16, int kChannels>
__device__ __forceinline__ void PoolEntry(const CompressParams& params, const CompressPlane& plane,
                                          const LaneRecord& lane, const float* state_plane,
                                          int32_t entry, int32_t row, float* pooled) {
  constexpr int kFours = kChannels / (4 * kWarpLanes);
  const int thread = threadIdx.x % kWarpLanes;
  FourSums sums[kFours];
#pragma unroll
  for (int i = 0; i < kFours; ++i) sums[i].Clear();
  const CsaStateLayout layout = CsaLayoutOf(params);
  const int32_t begin = (entry - 1) * kCsaRatio;
  for (int j = entry == 0 ? kCsaRatio : 0; j < kCsaRows; ++j) {
    const int column = j < kCsaRatio ? 0 : kChannels;
    const int32_t position = begin + j;
    const float* ape = plane.ape + j % kCsaRatio * (2 * kChannels) + column;
    const bool from_state = position < lane.first;
    const float* state_row = from_state ? state_plane + layout.row_offset(position) + column : ape;
    const int64_t input_row = int64_t{lane.token_row} + position - lane.first;
    float4 kv[kFours];
    float4 score[kFours];
#pragma unroll
    for (int i = 0; i < kFours; ++i) {
      const int c = 4 * (thread + kWarpLanes * i);
      if (from_state) {
        kv[i] = LoadFour<false>(state_row, c);
        score[i] = LoadFour<false>(state_row, 2 * kChannels + c);
      } else {
        kv[i] = LoadFour<kBf16>(plane.kv, input_row * plane.kv_pitch + column + c);
        score[i] = LoadFour<kBf16>(plane.score, input_row * plane.score_pitch + column + c);
      }
    }
#pragma unroll
    for (int i = 0; i < kFours; ++i) {
      const int c = 4 * (thread + kWarpLanes * i);
      sums[i].AddToken(kv[i], score[i], LoadFour<false>(ape, c));
    }
  }
  int bad = 0;
#pragma unroll
  for (int i = 0; i < kFours; ++i) {
    *reinterpret_cast<float4*>(pooled + 4 * (thread + kWarpLanes * i)) = sums[i].Pool(bad);
  }
  CountRare(bad, &params.step.counters->nonfinite_values);
  __syncwarp();
  StoreEntry<kChannels>(plane, pooled, params.slots[row], params.positions[row],
                        params.step.counters);
}

// One plane of one entry, by a warp.
template <bool kBf16>
__device__ __forceinline__ void DoEntry(const CompressParams& params, int plane,
                                        const LaneRecord& lane, const float* state, int32_t entry,
                                        int32_t row, float* pooled) {
  if (params.slots[row] == kNoSlot) return;
  if (plane == 0) {
    PoolEntry<kBf16, kLatentChannels>(params, params.planes[0], lane, state, entry, row, pooled);
  } else {
    PoolEntry<kBf16, kIndexerChannels>(params, params.planes[1], lane,
                                       state + CsaStateLayout::plane_offset(1), entry, row, pooled);
  }
}

// Where four numbers of a token lie: kv and score of both planes one after the other, as in a row
// of the ring, `width` columns of each for the latent.
template <bool kBf16>
__device__ __forceinline__ float4 LoadToken(const CompressParams& params, const LaneRecord& lane,
                                            const float* state, int32_t position, int at,
                                            int width) {
  int plane = 0;
  if (at >= 2 * width) {
    at -= 2 * width;
    width /= kLatentChannels / kIndexerChannels;
    plane = 1;
  }
  const bool is_score = at >= width;
  const int column = is_score ? at - width : at;
  if (position < lane.first) {
    const int channels = plane == 0 ? kLatentChannels : kIndexerChannels;
    const float* row = state + CsaLayoutOf(params).row_offset(position) +
                       CsaStateLayout::plane_offset(plane) + (is_score ? 2 * channels : 0);
    return LoadFour<false>(row, column);
  }
  const CompressPlane& in = params.planes[plane];
  const int64_t row = int64_t{lane.token_row} + position - lane.first;
  return is_score ? LoadFour<kBf16>(in.score, row * in.score_pitch + column)
                  : LoadFour<kBf16>(in.kv, row * in.kv_pitch + column);
}

template <bool kBf16>
__device__ __forceinline__ void UpdateRing(const CompressParams& params, const LaneRecord& lane,
                                           float* state) {
  const CsaStateLayout layout = CsaLayoutOf(params);
  const int32_t length = lane.first + lane.count;
  const int32_t begin = max(lane.first, length - layout.rows());
  const int fours = layout.row_floats() / 4;
#pragma unroll 4
  for (int i = threadIdx.x; i < (length - begin) * fours; i += kThreads) {
    const int32_t position = begin + i / fours;
    const int at = i % fours * 4;
    *reinterpret_cast<float4*>(state + layout.row_offset(position) + at) =
        LoadToken<kBf16>(params, lane, state, position, at, 2 * kLatentChannels);
  }
}

template <bool kBf16>
__device__ __forceinline__ void TakeCheckpoint(const CompressParams& params, const LaneRecord& lane,
                                               const float* state,
                                               const CheckpointRecord& checkpoint) {
  const int32_t block = checkpoint.overlap_block;
  if (params.overlap.base == nullptr || block < 0 || block >= params.overlap.num_blocks) return;
  float* page = reinterpret_cast<float*>(params.overlap.base + block * params.overlap.block_stride);
  const int fours = CsaLayoutOf(params).overlap_row_floats() / 4;
  for (int i = threadIdx.x; i < kCsaRatio * fours; i += kThreads) {
    const int32_t position = checkpoint.position - kCsaRatio + i / fours;
    reinterpret_cast<float4*>(page)[i] =
        LoadToken<kBf16>(params, lane, state, position, i % fours * 4, kLatentChannels);
  }
}

template <bool kBf16>
__device__ __forceinline__ void DoLane(const CompressParams& params, int32_t record,
                                       float* pooled) {
  const LaneRecord& lane = Lanes(params)[record];
  const int32_t block = params.state_table[lane.lane];
  if (block < 0 || block >= params.state.num_blocks) {
    if (threadIdx.x == 0) AddToCounter(&params.step.counters->skipped_slots, 1);
    return;
  }
  float* state = reinterpret_cast<float*>(params.state.base + block * params.state.block_stride);
  const bool overwrites = lane.count > params.max_drafts + 1;
  if (!overwrites) UpdateRing<kBf16>(params, lane, state);

  const int warp = threadIdx.x / kWarpLanes;
  const int plane = warp / 2;
  const int32_t closed = EntriesClosed(params.pool, lane.first);
  const int32_t entry = closed + warp % 2;
  if (plane < params.num_planes && ReachesBack(lane, entry) &&
      entry < EntriesClosed(params.pool, lane.first + lane.count)) {
    DoEntry<kBf16>(params, plane, lane, state, entry,
                   lane.entry_row[params.pool_index] + entry - closed, pooled);
  }
  const StepCheckpoints checkpoints = CheckpointsOf(*params.step.header, record);
  for (const CheckpointRecord* at = checkpoints.begin; at < checkpoints.end; ++at) {
    TakeCheckpoint<kBf16>(params, lane, state, *at);
  }
  if (overwrites) {
    __syncthreads();
    UpdateRing<kBf16>(params, lane, state);
  }
}

template <bool kBf16>
__global__ void __launch_bounds__(kThreads)
    CompressCsaKernel(const __grid_constant__ CompressParams params) {
  __shared__ alignas(16) float pooled[kWarps][kLatentChannels];
  AwaitPrecedingKernel();
  const int warp = threadIdx.x / kWarpLanes;
  const PlanHeader& header = *params.step.header;
  const int32_t block = blockIdx.x;
  if (block < params.max_lanes) {
    if (block < header.num_lanes) DoLane<kBf16>(params, block, pooled[warp]);
    return;
  }
  const int32_t item = (block - params.max_lanes) * kWarps + warp;
  const int32_t row = item / params.num_planes;
  if (row >= min(params.max_entry_rows, header.num_entry_rows[params.pool_index])) return;
  const LaneRecord& lane =
      Lanes(params)[LaneOfEntryRow(Lanes(params), header.num_lanes, params.pool_index, row)];
  const int32_t entry =
      EntriesClosed(params.pool, lane.first) + row - lane.entry_row[params.pool_index];
  const int32_t state_block = params.state_table[lane.lane];
  if (ReachesBack(lane, entry) || state_block < 0 || state_block >= params.state.num_blocks) return;
  DoEntry<kBf16>(params, item % params.num_planes, lane, nullptr, entry, row, pooled[warp]);
}

}  // namespace

int LaunchCompressCsa(const CompressParams& params, LaunchTarget target) {
  const int64_t items = int64_t{params.max_entry_rows} * params.num_planes;
  const int64_t blocks = params.max_lanes + CeilDiv(items, kWarps);
  return LaunchAwaiting(
      params.planes[0].bf16_rows ? CompressCsaKernel<true> : CompressCsaKernel<false>,
      {blocks, 1, kThreads}, target, params);
}

}  // namespace terrace
