// Compress, CSA. Grid: a block a lane, then a block an entry. A thread has four channels: four
// warps the latent's, and one, where there is one, the indexer key's. So every load of a warp is
// 512 bytes of a row, and a thread has all 8 rows of its entry on their way at once. The pooled
// rows go through shared memory, and a warp for each stores them by packets.
//
// A lane's block keeps the ring. In a step of at most D + 1 tokens it overwrites nothing that an
// entry of the step reads. In a longer one it pools those that reach back to the ring itself,
// before it writes: there are two at most.

#include "kernels/compress.h"
#include "kernels/compress_entry.cuh"
#include "kernels/launch.cuh"
#include "terrace/counters.h"

namespace terrace {
namespace {

constexpr int kLatentThreads = kLatentChannels / 4;
constexpr int kIndexerThreads = kIndexerChannels / 4;
static_assert(kIndexerThreads == kWarpLanes, "a warp has channels of one plane");

// The pooled channels of the latent, then those of the indexer key: four of each thread.
using PooledRows = float[kLatentChannels + kIndexerChannels];

__device__ __forceinline__ const LaneRecord* Lanes(const CompressParams& params) {
  return reinterpret_cast<const LaneRecord*>(params.step.header + 1);
}

__device__ __forceinline__ CsaStateLayout CsaLayoutOf(const CompressParams& params) {
  return {params.num_planes > 1 ? kIndexerChannels : 0, params.max_drafts};
}

__device__ __forceinline__ int ChannelsOf(int plane) {
  return plane == 0 ? kLatentChannels : kIndexerChannels;
}

// LaneOfEntryRow (expand.h) by a warp: 32 records at a time.
__device__ __forceinline__ int32_t FindLane(const CompressParams& params, int32_t num_lanes,
                                            int32_t entry_row) {
  int32_t low = 0;
  for (int32_t left = num_lanes; left > 1;) {
    const int32_t stride = (left + kWarpLanes - 1) / kWarpLanes;
    const int32_t at = static_cast<int32_t>(threadIdx.x) % kWarpLanes * stride;
    const bool begun =
        at < left && Lanes(params)[low + at].entry_row[params.pool_index] <= entry_row;
    const int32_t skipped = (__popc(__ballot_sync(kAllLanes, begun)) - 1) * stride;
    low += skipped;
    left = min(stride, left - skipped);
  }
  return low;
}

// A lane's tokens: those before the step in the ring, the others among the rows of the step.
template <bool kBf16>
struct Tokens {
  const CompressParams& params;
  const LaneRecord& lane;
  float* state;

  // Some columns of kv or score of one plane.
  __device__ __forceinline__ const void* At(int plane, bool is_score, int32_t position,
                                            int column) const {
    if (position < lane.first) {
      return state + CsaLayoutOf(params).row_offset(position) +
             CsaStateLayout::plane_offset(plane) + (is_score ? 2 * ChannelsOf(plane) : 0) + column;
    }
    const CompressPlane& in = params.planes[plane];
    const int64_t row = int64_t{lane.token_row} + position - lane.first;
    const int64_t at = row * (is_score ? in.score_pitch : in.kv_pitch) + column;
    constexpr int kBytes = kBf16 ? sizeof(uint16_t) : sizeof(float);
    return static_cast<const uint8_t*>(is_score ? in.score : in.kv) + at * kBytes;
  }
  __device__ __forceinline__ float4 Load(int plane, bool is_score, int32_t position,
                                         int column) const {
    const void* const from = At(plane, is_score, position, column);
    if (kBf16 && position >= lane.first) return LoadFour<true>(from, 0);
    return LoadFour<false>(from, 0);
  }
  // Four columns of the 8 tokens from `begin` on: of the first four tokens those from `channel` on,
  // of the others those of the second half. Of a position below 0 nothing.
  __device__ __forceinline__ void LoadWindows(int plane, int32_t begin, int channel,
                                              float4 (&kv)[kCsaRows],
                                              float4 (&score)[kCsaRows]) const {
    const CompressPlane& in = params.planes[plane];
    const CsaStateLayout layout = CsaLayoutOf(params);
    const int channels = ChannelsOf(plane);
    const float* const ring = state + CsaStateLayout::plane_offset(plane) + channel;
    int32_t ring_row = max(begin, 0) % layout.rows();
    int64_t row = int64_t{lane.token_row} + begin - lane.first;
#pragma unroll
    for (int j = 0; j < kCsaRows; ++j, ++row) {
      const int half = j < kCsaRatio ? 0 : channels;
      if (begin + j >= lane.first) {
        kv[j] = LoadFour<kBf16>(in.kv, row * in.kv_pitch + half + channel);
        score[j] = LoadFour<kBf16>(in.score, row * in.score_pitch + half + channel);
      } else if (begin + j >= 0) {
        const float* const from = ring + ring_row * layout.row_floats() + half;
        kv[j] = LoadFour<false>(from, 0);
        score[j] = LoadFour<false>(from, 2 * channels);
        ring_row = ring_row + 1 == layout.rows() ? 0 : ring_row + 1;
      } else {
        kv[j] = score[j] = {};
      }
    }
  }
  __device__ __forceinline__ void Prefetch(int plane, bool is_score, int32_t position, int column,
                                           int columns) const {
    const bool narrow = kBf16 && position >= lane.first;
    PrefetchL2(At(plane, is_score, position, column),
               columns * (narrow ? sizeof(uint16_t) : sizeof(float)));
  }

  // Whether the step overwrites rows of the ring that its entries read.
  __device__ __forceinline__ bool Overwrites() const { return lane.count > params.max_drafts + 1; }
  __device__ __forceinline__ bool ReachesBack(int32_t entry) const {
    return max(0, (entry - 1) * kCsaRatio) < lane.first;
  }
};

// Whether a part of a step's numbers lies in the kv or in the score of a plane, and from which
// column on: kv and score of both planes follow each other, `width` columns of each for the latent.
struct Column {
  int plane;
  bool is_score;
  int column;
};
__device__ __forceinline__ Column ColumnOf(int at, int width) {
  const int plane = at >= 2 * width ? 1 : 0;
  if (plane == 1) {
    at -= 2 * width;
    width /= kLatentChannels / kIndexerChannels;
  }
  const bool is_score = at >= width;
  return {plane, is_score, is_score ? at - width : at};
}

// Puts all that the entry pools on its way to the L2. Called by one warp: a lane for the kv or the
// score of one of 8 tokens in one of two planes.
template <bool kBf16>
__device__ __forceinline__ void PrefetchEntry(const Tokens<kBf16>& tokens, int32_t entry) {
  static_assert(kMaxPlanes * 2 * kCsaRows == kWarpLanes);
  const int thread = threadIdx.x % kWarpLanes;
  const int j = thread % kCsaRows;
  const int plane = thread / (2 * kCsaRows);
  const int32_t position = (entry - 1) * kCsaRatio + j;
  if (plane >= tokens.params.num_planes || position < 0) return;
  const int channels = ChannelsOf(plane);
  tokens.Prefetch(plane, thread / kCsaRows % 2 == 1, position, j < kCsaRatio ? 0 : channels,
                  channels);
}

// Pools and stores an entry. Called by all threads; REQUIRES: its row has a slot.
template <bool kBf16>
__device__ __forceinline__ void DoEntry(const Tokens<kBf16>& tokens, int32_t entry, int32_t row,
                                        PooledRows& pooled) {
  const CompressParams& params = tokens.params;
  const int plane_index = threadIdx.x < kLatentThreads ? 0 : 1;
  const CompressPlane& plane = params.planes[plane_index];
  const int channels = ChannelsOf(plane_index);
  const int channel = 4 * (threadIdx.x - plane_index * kLatentThreads);
  const int32_t begin = (entry - 1) * kCsaRatio;
  float4 kv[kCsaRows];
  float4 score[kCsaRows];
  tokens.LoadWindows(plane_index, begin, channel, kv, score);
  FourSums sums;
  sums.Clear();
#pragma unroll
  for (int j = 0; j < kCsaRows; ++j) {
    if (j == kCsaRatio && entry == 0) sums.Clear();  // nothing is before the first window
    const int column = channel + (j < kCsaRatio ? 0 : channels);
    sums.AddToken(kv[j], score[j],
                  LoadFour<false>(plane.ape, j % kCsaRatio * (2 * channels) + column));
  }
  int bad = 0;
  *reinterpret_cast<float4*>(pooled + 4 * threadIdx.x) = sums.Pool(bad);
  CountRare(bad, &params.step.counters->nonfinite_values);
  __syncthreads();
  if (threadIdx.x < kWarpLanes) {
    StoreEntry<kLatentChannels>(params.planes[0], pooled, params.slots[row], params.positions[row],
                                params.step.counters);
  } else if (threadIdx.x >= kLatentThreads) {
    StoreEntry<kIndexerChannels>(params.planes[1], pooled + kLatentChannels, params.slots[row],
                                 params.positions[row], params.step.counters);
  }
}

template <bool kBf16>
__device__ __forceinline__ void UpdateRing(const Tokens<kBf16>& tokens) {
  const CsaStateLayout layout = CsaLayoutOf(tokens.params);
  const int32_t length = tokens.lane.first + tokens.lane.count;
  const int32_t begin = max(tokens.lane.first, length - layout.rows());
  const int fours = layout.row_floats() / 4;
#pragma unroll 4
  for (int i = threadIdx.x; i < (length - begin) * fours; i += blockDim.x) {
    const int32_t position = begin + i / fours;
    const int at = i % fours * 4;
    const Column column = ColumnOf(at, 2 * kLatentChannels);
    *reinterpret_cast<float4*>(tokens.state + layout.row_offset(position) + at) =
        tokens.Load(column.plane, column.is_score, position, column.column);
  }
}

template <bool kBf16>
__device__ __forceinline__ void TakeCheckpoint(const Tokens<kBf16>& tokens,
                                               const CheckpointRecord& checkpoint) {
  const StatePages& overlap = tokens.params.overlap;
  const int32_t block = checkpoint.overlap_block;
  if (overlap.base == nullptr || block < 0 || block >= overlap.num_blocks) return;
  float4* const page = reinterpret_cast<float4*>(overlap.base + block * overlap.block_stride);
  const int fours = CsaLayoutOf(tokens.params).overlap_row_floats() / 4;
  for (int i = threadIdx.x; i < kCsaRatio * fours; i += blockDim.x) {
    const Column column = ColumnOf(i % fours * 4, kLatentChannels);
    page[i] = tokens.Load(column.plane, column.is_score,
                          checkpoint.position - kCsaRatio + i / fours, column.column);
  }
}

// The lane's state, or null.
__device__ __forceinline__ float* StateOf(const CompressParams& params, const LaneRecord& lane) {
  const int32_t block = params.state_table[lane.lane];
  if (block < 0 || block >= params.state.num_blocks) return nullptr;
  return reinterpret_cast<float*>(params.state.base + block * params.state.block_stride);
}

template <bool kBf16>
__device__ __forceinline__ void DoLane(const CompressParams& params, int32_t record,
                                       PooledRows& pooled) {
  const LaneRecord& lane = Lanes(params)[record];
  const Tokens<kBf16> tokens = {params, lane, StateOf(params, lane)};
  const StepCheckpoints checkpoints = CheckpointsOf(*params.step.header, record);
  if (threadIdx.x < 2 * params.num_planes) {  // of a decoding lane that is all
    const int plane = threadIdx.x / 2;
    tokens.Prefetch(plane, threadIdx.x % 2 == 1, lane.first, 0, 2 * ChannelsOf(plane));
  }
  AwaitPrecedingKernel();
  if (tokens.state == nullptr) {
    if (threadIdx.x == 0) AddToCounter(&params.step.counters->skipped_slots, 1);
    return;
  }
  if (tokens.Overwrites()) {
    const int32_t closed = lane.first / kCsaRatio;
    const int32_t end = (lane.first + lane.count) / kCsaRatio;
    for (int32_t entry = closed; entry < end && tokens.ReachesBack(entry); ++entry) {
      const int32_t row = lane.entry_row[params.pool_index] + entry - closed;
      if (params.slots[row] != kNoSlot) DoEntry(tokens, entry, row, pooled);
      __syncthreads();
    }
  }
  for (const CheckpointRecord* at = checkpoints.begin; at < checkpoints.end; ++at) {
    TakeCheckpoint(tokens, *at);
  }
  if (tokens.Overwrites()) __syncthreads();
  UpdateRing(tokens);
}

template <bool kBf16>
__device__ __forceinline__ void DoEntryOfRow(const CompressParams& params, int32_t row,
                                             PooledRows& pooled) {
  const PlanHeader& header = *params.step.header;
  if (row >= min(params.max_entry_rows, header.num_entry_rows[params.pool_index])) return;
  const LaneRecord& lane = Lanes(params)[FindLane(params, header.num_lanes, row)];
  const Tokens<kBf16> tokens = {params, lane, StateOf(params, lane)};
  const int32_t entry = lane.first / kCsaRatio + row - lane.entry_row[params.pool_index];
  const bool of_lane = tokens.Overwrites() && tokens.ReachesBack(entry);
  if (of_lane || tokens.state == nullptr || params.slots[row] == kNoSlot) return;
  if (threadIdx.x < kWarpLanes) PrefetchEntry(tokens, entry);
  AwaitPrecedingKernel();
  DoEntry(tokens, entry, row, pooled);
}

template <bool kBf16>
__global__ void __launch_bounds__(kLatentThreads + kIndexerThreads, 4)
    CompressCsaKernel(const __grid_constant__ CompressParams params) {
  __shared__ alignas(16) PooledRows pooled;
  const int32_t block = blockIdx.x;
  if (block < params.max_lanes) {
    if (block < params.step.header->num_lanes) DoLane<kBf16>(params, block, pooled);
  } else {
    DoEntryOfRow<kBf16>(params, block - params.max_lanes, pooled);
  }
  AwaitPrecedingKernel();
}

}  // namespace

int LaunchCompressCsa(const CompressParams& params, LaunchTarget target) {
  const int64_t blocks = int64_t{params.max_lanes} + params.max_entry_rows;
  const int threads = kLatentThreads + (params.num_planes > 1 ? kIndexerThreads : 0);
  return LaunchAwaiting(
      params.planes[0].bf16_rows ? CompressCsaKernel<true> : CompressCsaKernel<false>,
      {blocks, 1, threads}, target, params);
}

}  // namespace terrace
