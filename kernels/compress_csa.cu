// Compress, CSA. Grid: a block a lane, then a block an entry. A thread has four channels: four
// warps the latent's, and one, where there is one, the indexer key's. So every load of a warp is
// 512 bytes of a row, and a thread has all 8 rows of its entry on their way at once. The pooled
// rows go through shared memory, and a warp for each stores them by packets.
//
// A lane's block keeps the rings. In a step of at most D + 1 tokens it overwrites nothing that an
// entry of the step reads. In a longer one it pools those that reach back to the rings itself,
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

// Some numbers of a token's raw row: kv or score of a plane, one half of its columns from `channel`
// on.
struct Part {
  int plane;
  bool is_score;
  int half;
  int channel;
};
// What lies `at` floats into a row of a state or overlap page.
__device__ __forceinline__ Part PartOf(int at, int half) {
  const int plane = at >= CsaStateLayout::plane_offset(1) ? 1 : 0;
  at -= CsaStateLayout::plane_offset(plane);
  const bool is_score = at >= ChannelsOf(plane);
  return {plane, is_score, half, is_score ? at - ChannelsOf(plane) : at};
}

// A lane's tokens: those before the step in the rings, the others among the rows of the step.
template <bool kBf16>
struct Tokens {
  const CompressParams& params;
  const CompressLane lane;
  float* const state;

  __device__ __forceinline__ const void* At(int32_t position, const Part& part) const {
    const int channels = ChannelsOf(part.plane);
    if (position < lane.first) {
      return state + CsaLayoutOf(params).row_offset(part.half, position) +
             CsaStateLayout::plane_offset(part.plane) + (part.is_score ? channels : 0) +
             part.channel;
    }
    const CompressPlane& in = params.planes[part.plane];
    const int64_t row = int64_t{lane.token_row} + position - lane.first;
    const int64_t at =
        row * (part.is_score ? in.score_pitch : in.kv_pitch) + part.half * channels + part.channel;
    constexpr int kBytes = kBf16 ? sizeof(uint16_t) : sizeof(float);
    return static_cast<const uint8_t*>(part.is_score ? in.score : in.kv) + at * kBytes;
  }
  __device__ __forceinline__ float4 Load(int32_t position, const Part& part) const {
    const void* const from = At(position, part);
    return kBf16 && position >= lane.first ? LoadFour<true>(from, 0) : LoadFour<false>(from, 0);
  }
  __device__ __forceinline__ void Prefetch(int32_t position, const Part& part, int columns) const {
    const bool narrow = kBf16 && position >= lane.first;
    PrefetchL2(At(position, part), columns * (narrow ? sizeof(uint16_t) : sizeof(float)));
  }

  // Load for the 8 tokens from `begin` on, half 0 of the first four and half 1 of the others. Of a
  // position below 0 zeros.
  __device__ __forceinline__ void LoadWindows(int32_t begin, int plane, int channel,
                                              float4 (&kv)[kCsaRows],
                                              float4 (&score)[kCsaRows]) const {
    const CompressPlane& in = params.planes[plane];
    const CsaStateLayout layout = CsaLayoutOf(params);
    const int channels = ChannelsOf(plane);
    const float* const state_channel = state + CsaStateLayout::plane_offset(plane) + channel;
    int64_t row = lane.row_of(begin);
    int32_t ring_row = 0;
#pragma unroll
    for (int j = 0; j < kCsaRows; ++j, ++row) {
      const int half = j < kCsaRatio ? 0 : 1;
      if (j % kCsaRatio == 0) ring_row = max(begin + j, 0) % layout.rows(half);
      if (begin + j >= lane.first) {
        kv[j] = LoadFour<kBf16>(in.kv, row * in.kv_pitch + half * channels + channel);
        score[j] = LoadFour<kBf16>(in.score, row * in.score_pitch + half * channels + channel);
      } else if (begin + j >= 0) {
        const float* const from =
            state_channel + layout.ring_offset(half) + ring_row * layout.row_floats();
        kv[j] = LoadFour<false>(from, 0);
        score[j] = LoadFour<false>(from, channels);
        ring_row = ring_row + 1 == layout.rows(half) ? 0 : ring_row + 1;
      } else {
        kv[j] = score[j] = {};
      }
    }
  }

  // Whether the step overwrites rows of the rings that its entries read.
  __device__ __forceinline__ bool Overwrites() const { return lane.count > params.max_drafts + 1; }
  __device__ __forceinline__ bool ReachesBack(int32_t entry) const {
    return max(0, (entry - 1) * kCsaRatio) < lane.first;
  }
};

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
  tokens.Prefetch(position, {plane, thread / kCsaRows % 2 == 1, j / kCsaRatio, 0},
                  ChannelsOf(plane));
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
  tokens.LoadWindows(begin, plane_index, channel, kv, score);
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

// A row of a state or overlap page is two fours for each thread of a block, with an indexer plane
// or without: this thread's four 0 or 1 of it.
__device__ __forceinline__ int OffsetInRow(int four) {
  return 4 * static_cast<int>(threadIdx.x + four * blockDim.x);
}

// Brings both rings up to the end of the step.
template <bool kBf16>
__device__ __forceinline__ void UpdateRings(const Tokens<kBf16>& tokens) {
  constexpr int kBatch = 4;  // tokens whose loads are on their way at once
  const CsaStateLayout layout = CsaLayoutOf(tokens.params);
  const int32_t length = tokens.lane.length();
  int32_t begins[2];
  int32_t ring_rows[2];
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    begins[half] = max(tokens.lane.first, length - layout.rows(half));
    ring_rows[half] = begins[half] % layout.rows(half);
  }
  for (int32_t begin = begins[0]; begin < length; begin += kBatch) {
    float4 fours[kBatch][2][2];
#pragma unroll
    for (int i = 0; i < kBatch * 4; ++i) {
      const int half = i / 2 % 2;
      const int32_t position = begin + i / 4;
      if (position < begins[half] || position >= length) continue;
      fours[i / 4][half][i % 2] = tokens.Load(position, PartOf(OffsetInRow(i % 2), half));
    }
#pragma unroll
    for (int i = 0; i < kBatch * 2; ++i) {
      const int half = i % 2;
      const int32_t position = begin + i / 2;
      if (position < begins[half] || position >= length) continue;
      float* const row =
          tokens.state + layout.ring_offset(half) + ring_rows[half] * layout.row_floats();
      for (int four = 0; four < 2; ++four) {
        *reinterpret_cast<float4*>(row + OffsetInRow(four)) = fours[i / 2][half][four];
      }
      ring_rows[half] = ring_rows[half] + 1 == layout.rows(half) ? 0 : ring_rows[half] + 1;
    }
  }
}

template <bool kBf16>
__device__ __forceinline__ void TakeCheckpoint(const Tokens<kBf16>& tokens,
                                               const CheckpointRecord& checkpoint) {
  const StatePages& overlap = tokens.params.overlap;
  const int32_t block = checkpoint.overlap_block;
  if (overlap.base == nullptr || block < 0 || block >= overlap.num_blocks) return;
  float* const page = reinterpret_cast<float*>(overlap.base + block * overlap.block_stride);
  const int row_floats = CsaLayoutOf(tokens.params).row_floats();
  float4 fours[kCsaRatio][2];
#pragma unroll
  for (int i = 0; i < kCsaRatio * 2; ++i) {
    fours[i / 2][i % 2] =
        tokens.Load(checkpoint.position - kCsaRatio + i / 2, PartOf(OffsetInRow(i % 2), 0));
  }
#pragma unroll
  for (int i = 0; i < kCsaRatio * 2; ++i) {
    *reinterpret_cast<float4*>(page + i / 2 * row_floats + OffsetInRow(i % 2)) =
        fours[i / 2][i % 2];
  }
}

// Puts the rows that the rings take over on their way to the L2.
template <bool kBf16>
__device__ __forceinline__ void PrefetchRings(const Tokens<kBf16>& tokens) {
  const int32_t length = tokens.lane.length();
  const int32_t begin = max(tokens.lane.first, length - CsaLayoutOf(tokens.params).rows(0));
  const int rows_of_token = 2 * tokens.params.num_planes;  // kv and score of each plane
  for (int i = threadIdx.x; i < (length - begin) * rows_of_token; i += blockDim.x) {
    const int plane = i % rows_of_token / 2;
    tokens.Prefetch(begin + i / rows_of_token, {plane, i % 2 == 1, 0, 0}, 2 * ChannelsOf(plane));
  }
}

template <bool kBf16>
__device__ __forceinline__ void DoLane(const CompressParams& params, int32_t record,
                                       PooledRows& pooled) {
  const CompressLane lane = LoadLane(params, record);
  const Tokens<kBf16> tokens = {params, lane, StateOf(params, lane)};
  const StepCheckpoints checkpoints = CheckpointsOf(*params.step.header, record);
  PrefetchRings(tokens);
  AwaitPrecedingKernel();
  if (tokens.state == nullptr) {
    if (threadIdx.x == 0) AddToCounter(&params.step.counters->skipped_slots, 1);
    return;
  }
  if (tokens.Overwrites()) {
    const int32_t closed = lane.first / kCsaRatio;
    const int32_t end = lane.length() / kCsaRatio;
    for (int32_t entry = closed; entry < end && tokens.ReachesBack(entry); ++entry) {
      const int32_t row = lane.entry_row + entry - closed;
      if (params.slots[row] != kNoSlot) DoEntry(tokens, entry, row, pooled);
      __syncthreads();
    }
  }
  for (const CheckpointRecord* at = checkpoints.begin; at < checkpoints.end; ++at) {
    TakeCheckpoint(tokens, *at);
  }
  if (tokens.Overwrites()) __syncthreads();
  UpdateRings(tokens);
}

template <bool kBf16>
__device__ __forceinline__ void DoEntryOfRow(const CompressParams& params, int32_t row,
                                             PooledRows& pooled) {
  const PlanHeader& header = *params.step.header;
  if (row >= min(params.max_entry_rows, header.num_entry_rows[params.pool_index])) return;
  const CompressLane lane = LoadLane(params, FindLane(params, header.num_lanes, row));
  const Tokens<kBf16> tokens = {params, lane, StateOf(params, lane)};
  const int32_t entry = lane.first / kCsaRatio + row - lane.entry_row;
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
