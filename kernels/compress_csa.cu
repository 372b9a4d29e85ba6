// Compress, CSA. Grid: blocks for one or several lanes, then a block an entry. An entry's block has
// a thread for two channels: 8 warps for the latent's, and two, where there is one, for the indexer
// key's. All 8 rows of the entry are on their way at once.
//
// A lane's threads keep its rings, two warps a token. In a step of at most D + 1 tokens it
// overwrites nothing that an entry of the step reads. In a longer one their block pools those that
// reach back to the rings itself, before they are written: there are two at most.

#include "kernels/compress.h"
#include "kernels/compress_entry.cuh"
#include "kernels/launch.cuh"
#include "terrace/counters.h"

namespace terrace {
namespace {

constexpr int kGroupThreads = 2 * kWarpLanes;  // that copy a row
// Entries whose rows are put on their way to the L2 while the kernel before this one runs: those of
// a decode step, one for each multiprocessor of an H100. More would take the memory from the rows
// that are wanted first.
constexpr int32_t kEarlyEntries = 132;

TERRACE_HOST_DEVICE int BlockThreads(const CompressParams& params) {
  return kLatentThreads + (params.num_planes > 1 ? kIndexerThreads : 0);
}
// With a token for each lane a group of threads has a lane: the fewer blocks, the more room is
// there for those of the next launch. With more tokens a lane has a block, whose groups take turns.
TERRACE_HOST_DEVICE int LanesPerBlock(const CompressParams& params) {
  return params.max_token_rows > params.max_lanes ? 1 : BlockThreads(params) / kGroupThreads;
}
TERRACE_HOST_DEVICE int32_t LaneBlocks(const CompressParams& params) {
  const int32_t lanes = LanesPerBlock(params);
  return (params.max_lanes + lanes - 1) / lanes;
}

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
    const uint8_t* input_kv =
        Input(begin, {.plane = kPlane, .is_score = false, .half = 0, .channel = channel});
    const uint8_t* input_score =
        Input(begin, {.plane = kPlane, .is_score = true, .half = 0, .channel = channel});
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
      if (j % kCsaRatio == 0) {
        const int32_t position = max(begin + j, 0);
        kept =
            Kept(position, {.plane = kPlane, .is_score = false, .half = half, .channel = channel});
        left = layout.rows(half) - position % layout.rows(half);
      }
      if (j < kCsaRatio && begin < 0) {  // nothing is before the first window
        kv[j] = {0.0f, 0.0f};
        score[j] = {-INFINITY, -INFINITY};
      } else if (kBf16 && begin + j >= lane.first) {
        load_input(j);
      } else {
        const bool is_kept = begin + j < lane.first;
        const int half_bytes = half * kChannels * kInputBytes;
        kv[j] = LoadPair<false>(
            is_kept ? kept : reinterpret_cast<const float*>(input_kv + half_bytes), 0);
        score[j] = LoadPair<false>(
            is_kept ? kept + kChannels : reinterpret_cast<const float*>(input_score + half_bytes),
            0);
      }
      input_kv += kv_pitch;
      input_score += score_pitch;
      kept += (--left == 0 ? 1 - layout.rows(half) : 1) * layout.row_floats();
    }
  }

  __device__ __forceinline__ int32_t EntryOfRow(int32_t row) const {
    return lane.first / kCsaRatio + row - lane.entry_row;
  }
  // Of the entries that close in the step, those that the lane's block pools: they read rows of the
  // rings that the step overwrites.
  __device__ __forceinline__ int32_t EntriesOfLane() const {
    if (lane.count <= params.max_drafts + 1 || lane.first == 0) return 0;
    const int32_t reaching_back = lane.first % kCsaRatio == 0 ? 1 : 2;
    return min(reaching_back, lane.length() / kCsaRatio - lane.first / kCsaRatio);
  }
};

template <bool kBf16>
__device__ __forceinline__ Tokens<kBf16> TokensOf(const CompressParams& params, int32_t record) {
  const CompressLane lane = LoadLane(params, record);
  return {params, lane, StateOf(params, lane)};
}

// The part of a lane's work that a thread or a group of threads has: item `first`, and every
// `stride`-th.
struct Share {
  int first;
  int stride;
};

// Puts all that an entry pools on its way to the L2. Called by one warp: a lane for the kv or the
// score of one of 8 tokens in one of two planes.
template <bool kBf16>
__device__ __forceinline__ void PrefetchEntry(const Tokens<kBf16>& tokens, int32_t entry) {
  static_assert(kMaxPlanes * 2 * kCsaRows == kWarpLanes);
  const int thread = threadIdx.x % kWarpLanes;
  const int j = thread % kCsaRows;
  const int32_t position = (entry - 1) * kCsaRatio + j;
  const Part part = {.plane = thread / (2 * kCsaRows),
                     .is_score = thread / kCsaRows % 2 == 1,
                     .half = j / kCsaRatio,
                     .channel = 0};
  if (part.plane >= tokens.params.num_planes || position < 0) return;
  const int channels = ChannelsOf(part.plane);
  if (position >= tokens.lane.first) {
    PrefetchL2(tokens.Input(position, part), channels * Tokens<kBf16>::kInputBytes);
  } else if (tokens.state != nullptr) {
    PrefetchL2(tokens.Kept(position, part), channels * sizeof(float));
  }
}

// Puts the rows that the rings take over on their way to the L2. Called by all threads that share
// the lane, `share` being this one's.
template <bool kBf16>
__device__ __forceinline__ void PrefetchRings(const Tokens<kBf16>& tokens, Share share) {
  const int32_t length = tokens.lane.length();
  const int32_t begin = max(tokens.lane.first, length - CsaLayoutOf(tokens.params).rows(0));
  const int rows_of_token = 2 * tokens.params.num_planes;  // kv and score of each plane
  for (int i = share.first; i < (length - begin) * rows_of_token; i += share.stride) {
    const int plane = i % rows_of_token / 2;
    PrefetchL2(tokens.Input(begin + i / rows_of_token,
                            {.plane = plane, .is_score = i % 2 == 1, .half = 0, .channel = 0}),
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
  const int thread = OpaqueThread();
  if (thread < kLatentThreads) {
    DoPlane<0>(tokens, entry, place, thread, shared[0]);
  } else {
    DoPlane<1>(tokens, entry, place, thread - kLatentThreads, shared[1]);
  }
}

// Half of a token's raw row as a group of threads copies it, and as it lies in a page: fours of
// numbers, from thread to thread. Two of the latent's kv, two of its scores, and of the indexer
// key's kv and score one.
struct RowFours {
  static constexpr int kFours = 5;
  static constexpr int kStride = 4 * kGroupThreads;
  static_assert(2 * kStride == kLatentChannels && kStride == 2 * kIndexerChannels);

  float4 fours[kFours];

  __device__ __forceinline__ static int OffsetInRow() {
    return 4 * (static_cast<int>(threadIdx.x) % kGroupThreads);
  }
  __device__ __forceinline__ void LoadPage(const float* row, int num_planes) {
    row += OffsetInRow();
#pragma unroll
    for (int i = 0; i < kFours; ++i) {
      if (i < kFours - 1 || num_planes > 1) fours[i] = LoadFour<false>(row, i * kStride);
    }
  }
  __device__ __forceinline__ void StorePage(float* row, int num_planes) const {
    row += OffsetInRow();
#pragma unroll
    for (int i = 0; i < kFours; ++i) {
      if (i < kFours - 1 || num_planes > 1) {
        *reinterpret_cast<float4*>(row + i * kStride) = fours[i];
      }
    }
  }
};

// What a thread copies of a row of the step.
template <bool kBf16>
struct RowInputs {
  const uint8_t* kv;
  const uint8_t* score;
  const uint8_t* indexer;  // kv or score; null: none

  __device__ __forceinline__ RowInputs(const Tokens<kBf16>& tokens, int32_t position) {
    const int offset = RowFours::OffsetInRow();
    const bool is_score = offset >= kIndexerChannels;
    kv = tokens.Input(position, {.plane = 0, .is_score = false, .half = 0, .channel = offset});
    score = tokens.Input(position, {.plane = 0, .is_score = true, .half = 0, .channel = offset});
    indexer = nullptr;
    if (tokens.params.num_planes > 1) {
      indexer = tokens.Input(
          position,
          {.plane = 1, .is_score = is_score, .half = 0, .channel = offset % kIndexerChannels});
    }
  }
  __device__ __forceinline__ void Load(int half, RowFours& row) const {
    const int latent = half * kLatentChannels;
    row.fours[0] = LoadFour<kBf16>(kv, latent);
    row.fours[1] = LoadFour<kBf16>(kv, latent + RowFours::kStride);
    row.fours[2] = LoadFour<kBf16>(score, latent);
    row.fours[3] = LoadFour<kBf16>(score, latent + RowFours::kStride);
    if (indexer != nullptr) row.fours[4] = LoadFour<kBf16>(indexer, half * kIndexerChannels);
  }
};

// Brings both rings up to the end of the step. Waits for the kernel before this one itself, once
// its addresses are worked out. Called by groups of threads, each with its share of the tokens.
template <bool kBf16>
__device__ __forceinline__ void UpdateRings(const Tokens<kBf16>& tokens, Share share) {
  const CompressParams& params = tokens.params;
  const CompressLane& lane = tokens.lane;
  const CsaStateLayout layout = CsaLayoutOf(params);
  const int32_t begin[2] = {max(lane.first, lane.length() - layout.rows(0)),
                            max(lane.first, lane.length() - layout.rows(1))};
  int32_t position = begin[0] + share.first;
  int32_t row[2] = {position % layout.rows(0), position % layout.rows(1)};
  RowInputs<kBf16> inputs(tokens, position);
  AwaitPrecedingKernel();
  while (position < lane.length()) {
    RowFours halves[2];
    inputs.Load(0, halves[0]);
    if (position >= begin[1]) inputs.Load(1, halves[1]);
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      if (position < begin[half]) continue;
      halves[half].StorePage(
          tokens.state + layout.ring_offset(half) + row[half] * layout.row_floats(),
          params.num_planes);
    }
    position += share.stride;
    if (position >= lane.length()) break;
    inputs = RowInputs<kBf16>(tokens, position);
    for (int half = 0; half < 2; ++half) row[half] = position % layout.rows(half);
  }
}

// Takes a lane's checkpoints, by groups of threads.
template <bool kBf16>
__device__ __forceinline__ void TakeCheckpoints(const Tokens<kBf16>& tokens,
                                                const StepCheckpoints& checkpoints, Share share) {
  const CompressParams& params = tokens.params;
  const StatePages& overlap = params.overlap;
  const CsaStateLayout layout = CsaLayoutOf(params);
  for (const CheckpointRecord* at = checkpoints.begin + share.first; at < checkpoints.end;
       at += share.stride) {
    const int32_t block = at->overlap_block;
    if (overlap.base == nullptr || block < 0 || block >= overlap.num_blocks) continue;
    float* const page = reinterpret_cast<float*>(overlap.base + block * overlap.block_stride);
    constexpr int kBatch = 2;  // rows at once: what the registers hold
    for (int begin = 0; begin < kCsaRatio; begin += kBatch) {
      RowFours rows[kBatch];
#pragma unroll
      for (int i = 0; i < kBatch; ++i) {
        const int32_t position = at->position - kCsaRatio + begin + i;
        if (position >= tokens.lane.first) {
          RowInputs<kBf16>(tokens, position).Load(0, rows[i]);
        } else {
          rows[i].LoadPage(tokens.state + layout.row_offset(0, position), params.num_planes);
        }
      }
#pragma unroll
      for (int i = 0; i < kBatch; ++i) {
        rows[i].StorePage(page + (begin + i) * layout.row_floats(), params.num_planes);
      }
    }
  }
}

// Whether a lane's block may have to read its rings before it writes them.
__device__ __forceinline__ bool ReadsRings(const CompressParams& params, int32_t record) {
  const StepCheckpoints checkpoints = CheckpointsOf(*params.step.header, record);
  return Lanes(params)[record].count > params.max_drafts + 1 || checkpoints.begin < checkpoints.end;
}

// Pools the entries of a lane that reach back to its rings. Called by all threads of the block.
template <bool kBf16>
__device__ __forceinline__ void DoEntriesOfLane(const CompressParams& params, int32_t record,
                                                RowShared (&shared)[kMaxPlanes]) {
  if (record >= params.step.header->num_lanes) return;
  const Tokens<kBf16> tokens = TokensOf<kBf16>(params, record);
  if (tokens.state == nullptr) return;
  const int32_t first_row = tokens.lane.entry_row;
  const int32_t end_row = first_row + tokens.EntriesOfLane();
  for (int32_t row = first_row; row < end_row; ++row) {
    const EntryPlace place = PlaceOfEntry(params, row);
    if (place.slot != kNoSlot) DoEntry(tokens, tokens.EntryOfRow(row), place, shared);
    __syncthreads();  // before the warps share anything else
  }
}

template <bool kBf16>
__device__ __forceinline__ void DoLanes(const CompressParams& params, int32_t block,
                                        RowShared (&shared)[kMaxPlanes]) {
  const PlanHeader& header = *params.step.header;
  const int lanes = LanesPerBlock(params);
  const int groups = static_cast<int>(blockDim.x) / kGroupThreads;
  const int group = static_cast<int>(threadIdx.x) / kGroupThreads;
  const bool is_shared = lanes == 1;
  const int32_t first_record = block * lanes;
  const int32_t record = first_record + (is_shared ? 0 : group);
  const bool has_lane = record < header.num_lanes;
  const Share of_group = is_shared ? Share{group, groups} : Share{0, 1};
  if (has_lane) {
    const int thread = static_cast<int>(threadIdx.x) % kGroupThreads;
    PrefetchRings(TokensOf<kBf16>(params, record),
                  {of_group.first * kGroupThreads + thread, of_group.stride * kGroupThreads});
  }
  if (__syncthreads_or(has_lane && ReadsRings(params, record))) {
    AwaitPrecedingKernel();
    for (int i = 0; i < lanes; ++i) DoEntriesOfLane<kBf16>(params, first_record + i, shared);
    if (has_lane) {
      const Tokens<kBf16> tokens = TokensOf<kBf16>(params, record);
      if (tokens.state != nullptr) {
        TakeCheckpoints(tokens, CheckpointsOf(header, record), of_group);
      }
    }
    __syncthreads();  // the rings are read
  }
  if (!has_lane) return;
  const Tokens<kBf16> tokens = TokensOf<kBf16>(params, record);
  if (tokens.state != nullptr) {
    UpdateRings(tokens, of_group);
  } else if (threadIdx.x % (is_shared ? blockDim.x : kGroupThreads) == 0) {
    AddToCounter(&params.step.counters->skipped_slots, 1);
  }
}

template <bool kBf16>
__device__ __forceinline__ void DoEntryOfRow(const CompressParams& params, int32_t row,
                                             RowShared (&shared)[kMaxPlanes]) {
  const PlanHeader& header = *params.step.header;
  if (row >= min(params.max_entry_rows, header.num_entry_rows[params.pool_index])) return;
  const Tokens<kBf16> tokens = TokensOf<kBf16>(params, FindLane(params, header.num_lanes, row));
  const EntryPlace place = PlaceOfEntry(params, row);
  const bool of_lane = row - tokens.lane.entry_row < tokens.EntriesOfLane();
  if (of_lane || tokens.state == nullptr || place.slot == kNoSlot) return;
  const int32_t entry = tokens.EntryOfRow(row);
  if (row < kEarlyEntries && threadIdx.x < kWarpLanes) PrefetchEntry(tokens, entry);
  AwaitPrecedingKernel();
  DoEntry(tokens, entry, place, shared);
}

template <bool kBf16>
__global__ void __launch_bounds__(kLatentThreads + kIndexerThreads, 3)
    CompressCsaKernel(const __grid_constant__ CompressParams params) {
  __shared__ RowShared shared[kMaxPlanes];
  const int32_t block = blockIdx.x;
  if (block < LaneBlocks(params)) {
    DoLanes<kBf16>(params, block, shared);
  } else {
    DoEntryOfRow<kBf16>(params, block - LaneBlocks(params), shared);
  }
  AwaitPrecedingKernel();
}

}  // namespace

int LaunchCompressCsa(const CompressParams& params, LaunchTarget target) {
  const int64_t blocks = int64_t{LaneBlocks(params)} + params.max_entry_rows;
  return LaunchAwaiting(
      params.planes[0].bf16_rows ? CompressCsaKernel<true> : CompressCsaKernel<false>,
      {blocks, 1, BlockThreads(params)}, target, params);
}

}  // namespace terrace
