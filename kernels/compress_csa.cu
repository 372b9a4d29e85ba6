// Compress, CSA. Grid: a block a lane, then a block an entry. A thread has two channels: 8 warps
// the latent's, and two, where there is one, the indexer key's. All 8 rows of an entry are on their
// way at once.
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

__device__ __forceinline__ CsaStateLayout CsaLayoutOf(const CompressParams& params) {
  return {params.num_planes > 1 ? kIndexerChannels : 0, params.max_drafts};
}

__device__ __forceinline__ constexpr int ChannelsOf(int plane) {
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

// A row of a state or overlap page is four numbers for each thread of a block, with an indexer
// plane or without. Which they are of a token's row, and where in the page's:
__device__ __forceinline__ int OffsetInRow() { return 4 * static_cast<int>(threadIdx.x); }
__device__ __forceinline__ Part PartOfThread(int half) {
  int at = OffsetInRow();
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

  static constexpr int kInputBytes = kBf16 ? sizeof(uint16_t) : sizeof(float);

  // REQUIRES: position is of the step.
  __device__ __forceinline__ const uint8_t* Input(int32_t position, const Part& part) const {
    const CompressPlane& in = params.planes[part.plane];
    const int64_t at = lane.row_of(position) * (part.is_score ? in.score_pitch : in.kv_pitch) +
                       part.half * ChannelsOf(part.plane) + part.channel;
    return static_cast<const uint8_t*>(part.is_score ? in.score : in.kv) + at * kInputBytes;
  }
  // REQUIRES: position is before the step.
  __device__ __forceinline__ const float* Kept(int32_t position, const Part& part) const {
    return state + CsaLayoutOf(params).row_offset(part.half, position) +
           CsaStateLayout::plane_offset(part.plane) + (part.is_score ? ChannelsOf(part.plane) : 0) +
           part.channel;
  }

  // Two channels of the 8 tokens from `begin` on, half 0 of the first four and half 1 of the
  // others.
  template <int kPlane>
  __device__ __forceinline__ void LoadWindows(int32_t begin, int channel, Pair (&kv)[kCsaRows],
                                              Pair (&score)[kCsaRows]) const {
    constexpr int kChannels = ChannelsOf(kPlane);
    const CompressPlane& in = params.planes[kPlane];
    const int64_t kv_pitch = in.kv_pitch * kInputBytes;
    const int64_t score_pitch = in.score_pitch * kInputBytes;
    const uint8_t* input_kv = Input(begin, {kPlane, false, 0, channel});
    const uint8_t* input_score = Input(begin, {kPlane, true, 0, channel});
    const auto load_input = [&](int j) {
      constexpr int kHalfBytes = kChannels * kInputBytes;
      kv[j] = LoadPair<kBf16>(input_kv + j / kCsaRatio * kHalfBytes, 0);
      score[j] = LoadPair<kBf16>(input_score + j / kCsaRatio * kHalfBytes, 0);
    };
    if (begin >= lane.first) {
#pragma unroll
      for (int j = 0; j < kCsaRows; ++j) {
        load_input(j);
        input_kv += kv_pitch;
        input_score += score_pitch;
      }
      return;
    }
    const CsaStateLayout layout = CsaLayoutOf(params);
    const float* kept = nullptr;
    int32_t left = 0;  // rows before the ring's end
#pragma unroll
    for (int j = 0; j < kCsaRows; ++j) {
      const int half = j / kCsaRatio;
      const int32_t position = begin + j;
      if (j % kCsaRatio == 0) {
        kept = Kept(max(position, 0), {kPlane, false, half, channel});
        left = layout.rows(half) - max(position, 0) % layout.rows(half);
      }
      if (position >= lane.first) {
        load_input(j);
      } else if (position >= 0) {
        kv[j] = LoadPair<false>(kept, 0);
        score[j] = LoadPair<false>(kept, kChannels);
      } else {  // nothing is before the first window
        kv[j] = {0.0f, 0.0f};
        score[j] = {-INFINITY, -INFINITY};
      }
      input_kv += kv_pitch;
      input_score += score_pitch;
      kept += (--left == 0 ? 1 - layout.rows(half) : 1) * layout.row_floats();
    }
  }

  // Of the entries that close in the step, those that the lane's block pools: they read rows of the
  // rings that the step overwrites.
  __device__ __forceinline__ int32_t EntriesOfLane() const {
    if (lane.count <= params.max_drafts + 1 || lane.first == 0) return 0;
    const int32_t reaching_back = lane.first % kCsaRatio == 0 ? 1 : 2;
    return min(reaching_back, lane.length() / kCsaRatio - lane.first / kCsaRatio);
  }
};

// Puts all that the entry pools on its way to the L2. Called by one warp: a lane for the kv or the
// score of one of 8 tokens in one of two planes.
template <bool kBf16>
__device__ __forceinline__ void PrefetchEntry(const Tokens<kBf16>& tokens, int32_t entry) {
  static_assert(kMaxPlanes * 2 * kCsaRows == kWarpLanes);
  const int thread = threadIdx.x % kWarpLanes;
  const int j = thread % kCsaRows;
  const int32_t position = (entry - 1) * kCsaRatio + j;
  const Part part = {thread / (2 * kCsaRows), thread / kCsaRows % 2 == 1, j / kCsaRatio, 0};
  if (part.plane >= tokens.params.num_planes || position < 0) return;
  const int channels = ChannelsOf(part.plane);
  if (position >= tokens.lane.first) {
    PrefetchL2(tokens.Input(position, part), channels * Tokens<kBf16>::kInputBytes);
  } else {
    PrefetchL2(tokens.Kept(position, part), channels * sizeof(float));
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
    PrefetchL2(tokens.Input(begin + i / rows_of_token, {plane, i % 2 == 1, 0, 0}),
               2 * ChannelsOf(plane) * Tokens<kBf16>::kInputBytes);
  }
}

// Pools and stores a plane of an entry. Called by the plane's threads.
template <int kPlane, bool kBf16>
__device__ __forceinline__ void DoPlane(const Tokens<kBf16>& tokens, int32_t entry,
                                        EntryPlace place, int thread, RowShared& shared) {
  constexpr int kChannels = ChannelsOf(kPlane);
  const CompressParams& params = tokens.params;
  const CompressPlane& plane = params.planes[kPlane];
  Pair kv[kCsaRows];
  Pair score[kCsaRows];
  tokens.template LoadWindows<kPlane>((entry - 1) * kCsaRatio, 2 * thread, kv, score);
  const EntryFactors factors = LoadFactors<kChannels>(plane, place, thread);
  float kvs[2][kCsaRows];
  float scores[2][kCsaRows];
#pragma unroll
  for (int j = 0; j < kCsaRows; ++j) {
    const int column = 2 * thread + j / kCsaRatio * kChannels;
    const Pair ape = LoadPair<false>(plane.ape, j % kCsaRatio * (2 * kChannels) + column);
    scores[0][j] = AddRn(score[j].even, ape.even);
    scores[1][j] = AddRn(score[j].odd, ape.odd);
    kvs[0][j] = kv[j].even;
    kvs[1][j] = kv[j].odd;
  }
  int bad = 0;
  float pooled[2];
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    float sum;
    float weighted;
    PoolWindow<kCsaRows>(scores[i], kvs[i], sum, weighted);
    pooled[i] = Pooled(sum, weighted, bad);
  }
  CountRare(bad, &params.step.counters->nonfinite_values);
  StoreEntry<kChannels>(plane, {pooled[0], pooled[1]}, factors, place, thread, shared,
                        params.step.counters);
}

// Called by all threads.
template <bool kBf16>
__device__ __forceinline__ void DoEntry(const Tokens<kBf16>& tokens, int32_t entry,
                                        EntryPlace place, RowShared (&shared)[kMaxPlanes]) {
  int thread = threadIdx.x;
  // What follows from it is worked out where it is used: a loop over entries would begin with all
  // of it, for every format, and have no registers left.
  asm volatile("" : "+r"(thread));
  if (thread < kLatentThreads) {
    DoPlane<0>(tokens, entry, place, thread, shared[0]);
  } else {
    DoPlane<1>(tokens, entry, place, thread - kLatentThreads, shared[1]);
  }
}

// Brings both rings up to the end of the step.
template <bool kBf16>
__device__ __forceinline__ void UpdateRings(const Tokens<kBf16>& tokens) {
  constexpr int kBatch = 4;  // rows whose loads are on their way at once
  const CsaStateLayout layout = CsaLayoutOf(tokens.params);
  const int32_t length = tokens.lane.length();
  const int32_t rows[2] = {min(tokens.lane.count, layout.rows(0)),
                           min(tokens.lane.count, layout.rows(1))};
  for (int32_t begin = 0; begin < rows[0] + rows[1]; begin += kBatch) {
    float4 fours[kBatch];
    float* to[kBatch];
#pragma unroll
    for (int i = 0; i < kBatch; ++i) {
      const int32_t row = begin + i;
      if (row >= rows[0] + rows[1]) break;
      const int half = row < rows[0] ? 0 : 1;
      const int32_t position = length - (half == 0 ? rows[0] : rows[0] + rows[1]) + row;
      fours[i] = LoadFour<kBf16>(tokens.Input(position, PartOfThread(half)), 0);
      to[i] = tokens.state + layout.row_offset(half, position) + OffsetInRow();
    }
#pragma unroll
    for (int i = 0; i < kBatch; ++i) {
      if (begin + i < rows[0] + rows[1]) *reinterpret_cast<float4*>(to[i]) = fours[i];
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
  const Part part = PartOfThread(0);
  float4 fours[kCsaRatio];
#pragma unroll
  for (int i = 0; i < kCsaRatio; ++i) {
    const int32_t position = checkpoint.position - kCsaRatio + i;
    fours[i] = position >= tokens.lane.first ? LoadFour<kBf16>(tokens.Input(position, part), 0)
                                             : LoadFour<false>(tokens.Kept(position, part), 0);
  }
#pragma unroll
  for (int i = 0; i < kCsaRatio; ++i) {
    *reinterpret_cast<float4*>(page + i * row_floats + OffsetInRow()) = fours[i];
  }
}

// Does what block `block` of the grid is for. One call pools, be it a lane's entries or one.
template <bool kBf16>
__device__ __forceinline__ void DoBlock(const CompressParams& params, int32_t block,
                                        RowShared (&shared)[kMaxPlanes]) {
  const PlanHeader& header = *params.step.header;
  const bool is_lane = block < params.max_lanes;
  const int32_t entry_row = block - params.max_lanes;
  if (is_lane ? block >= header.num_lanes
              : entry_row >= min(params.max_entry_rows, header.num_entry_rows[params.pool_index])) {
    return;
  }
  const int32_t record = is_lane ? block : FindLane(params, header.num_lanes, entry_row);
  const CompressLane lane = LoadLane(params, record);
  const Tokens<kBf16> tokens = {params, lane, StateOf(params, lane)};
  const int32_t of_lane = lane.entry_row + tokens.EntriesOfLane();
  int32_t row = is_lane ? lane.entry_row : entry_row;
  const int32_t end = is_lane ? of_lane : entry_row + 1;
  if (!is_lane && row < of_lane) return;
  const auto entry_of = [&](int32_t at) { return lane.first / kCsaRatio + at - lane.entry_row; };
  EntryPlace place = row < end ? PlaceOfEntry(params, row) : EntryPlace{kNoSlot, 0};
  if (is_lane) {
    PrefetchRings(tokens);
  } else if (place.slot != kNoSlot && tokens.state != nullptr && threadIdx.x < kWarpLanes) {
    PrefetchEntry(tokens, entry_of(row));
  }
  AwaitPrecedingKernel();
  if (tokens.state == nullptr) {
    if (is_lane && threadIdx.x == 0) AddToCounter(&params.step.counters->skipped_slots, 1);
    return;
  }
  while (row < end) {
    if (place.slot != kNoSlot) DoEntry(tokens, entry_of(row), place, shared);
    if (!is_lane) return;
    __syncthreads();  // before the rings are written, and what the warps share
    if (++row < end) place = PlaceOfEntry(params, row);
  }
  if (!is_lane) return;
  const StepCheckpoints checkpoints = CheckpointsOf(header, record);
  for (const CheckpointRecord* at = checkpoints.begin; at < checkpoints.end; ++at) {
    TakeCheckpoint(tokens, *at);
  }
  if (lane.count > params.max_drafts + 1) __syncthreads();  // checkpoints read the rings, too
  UpdateRings(tokens);
}

template <bool kBf16>
__global__ void __launch_bounds__(kLatentThreads + kIndexerThreads, 3)
    CompressCsaKernel(const __grid_constant__ CompressParams params) {
  __shared__ RowShared shared[kMaxPlanes];
  DoBlock<kBf16>(params, blockIdx.x, shared);
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
