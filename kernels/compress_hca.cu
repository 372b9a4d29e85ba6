// Compress, HCA. Grid: a block a lane, then a block an entry. A block is 8 groups of 128 threads,
// one for each segment of a window; a thread has four channels of its segment. The segments are
// then added up in their order, group after group, in shared memory, and one warp stores the row.
//
// An entry whose tokens are all fed and final in the step needs nothing else. A lane's block does
// the others, at most the window that the step finds open, the one that it leaves open, and what
// drafts close, and rewrites the state.

#include "kernels/compress.h"
#include "kernels/compress_entry.cuh"
#include "kernels/launch.cuh"
#include "terrace/counters.h"

namespace terrace {
namespace {

constexpr int kGroupThreads = kLatentChannels / 4;
constexpr int kThreads = kHcaSegments * kGroupThreads;

// Sums of all channels, as they lie in the state and in shared memory.
struct Sums {
  float max[kLatentChannels];
  float sum[kLatentChannels];
  float weighted[kLatentChannels];
};

struct Shared {
  alignas(16) Sums finished;
  alignas(16) float pooled[kLatentChannels];
};

__device__ __forceinline__ int Group() { return threadIdx.x / kGroupThreads; }
__device__ __forceinline__ int Channel() { return threadIdx.x % kGroupThreads * 4; }

__device__ __forceinline__ FourSums LoadSums(const Sums& from) {
  const float4 max = *reinterpret_cast<const float4*>(from.max + Channel());
  const float4 sum = *reinterpret_cast<const float4*>(from.sum + Channel());
  const float4 weighted = *reinterpret_cast<const float4*>(from.weighted + Channel());
  return {{{max.x, sum.x, weighted.x},
           {max.y, sum.y, weighted.y},
           {max.z, sum.z, weighted.z},
           {max.w, sum.w, weighted.w}}};
}

__device__ __forceinline__ void StoreSums(const FourSums& four, Sums& to) {
  const SoftmaxSum* c = four.channel;
  *reinterpret_cast<float4*>(to.max + Channel()) = {c[0].max, c[1].max, c[2].max, c[3].max};
  *reinterpret_cast<float4*>(to.sum + Channel()) = {c[0].sum, c[1].sum, c[2].sum, c[3].sum};
  *reinterpret_cast<float4*>(to.weighted + Channel()) = {c[0].weighted, c[1].weighted,
                                                         c[2].weighted, c[3].weighted};
}

__device__ __forceinline__ FourSums EmptySums() {
  FourSums four;
  four.Clear();
  return four;
}

__device__ __forceinline__ const LaneRecord* Lanes(const CompressParams& params) {
  return reinterpret_cast<const LaneRecord*>(params.step.header + 1);
}

__device__ __forceinline__ bool IsWhole(const LaneRecord& lane, int32_t entry) {
  return entry * kHcaRatio >= lane.first &&
         (entry + 1) * kHcaRatio <= lane.first + lane.count - lane.drafts;
}

struct Token {
  float4 kv;
  float4 score;
};

template <bool kBf16>
__device__ __forceinline__ Token LoadInput(const CompressPlane& plane, const LaneRecord& lane,
                                           int32_t position) {
  const int64_t row = int64_t{lane.token_row} + position - lane.first;
  return {LoadFour<kBf16>(plane.kv, row * plane.kv_pitch + Channel()),
          LoadFour<kBf16>(plane.score, row * plane.score_pitch + Channel())};
}

__device__ __forceinline__ void AddToken(const CompressPlane& plane, const Token& token,
                                         int32_t position, FourSums& open) {
  open.AddToken(token.kv, token.score,
                LoadFour<false>(plane.ape, position % kHcaRatio * kLatentChannels + Channel()));
}

// Adds the input tokens begin .. end - 1, of one segment.
template <bool kBf16>
__device__ __forceinline__ void AddInputs(const CompressPlane& plane, const LaneRecord& lane,
                                          int32_t begin, int32_t end, FourSums& open) {
#pragma unroll 2
  for (int32_t t = begin; t < end; ++t) AddToken(plane, LoadInput<kBf16>(plane, lane, t), t, open);
}

// Adds segments begin .. end - 1 of the window to shared.finished, in their order; `open` is then
// what each group has beyond them. Called by all threads.
__device__ __forceinline__ void FinishSegments(int begin, int end, FourSums& open, Shared& shared) {
  __syncthreads();
  for (int segment = begin; segment < end; ++segment, __syncthreads()) {
    if (segment != Group()) continue;
    FourSums finished = LoadSums(shared.finished);
    finished.AddPart(open);
    StoreSums(finished, shared.finished);
    open = EmptySums();
  }
}

// Stores the entry of the window in shared.finished. Called by all threads.
__device__ __forceinline__ void StoreWindow(const CompressParams& params, int32_t row,
                                            Shared& shared) {
  if (Group() == 0) {
    int bad = 0;
    *reinterpret_cast<float4*>(shared.pooled + Channel()) = LoadSums(shared.finished).Pool(bad);
    CountRare(bad, &params.step.counters->nonfinite_values);
  }
  __syncthreads();
  if (threadIdx.x < kWarpLanes) {
    StoreEntry<kLatentChannels>(params.planes[0], shared.pooled, params.slots[row],
                                params.positions[row], params.step.counters);
  }
  __syncthreads();
}

template <bool kBf16>
__device__ __forceinline__ void DoWholeEntry(const CompressParams& params, int32_t row,
                                             Shared& shared) {
  const PlanHeader& header = *params.step.header;
  const LaneRecord& lane =
      Lanes(params)[LaneOfEntryRow(Lanes(params), header.num_lanes, params.pool_index, row)];
  const int32_t entry =
      EntriesClosed(params.pool, lane.first) + row - lane.entry_row[params.pool_index];
  if (!IsWhole(lane, entry) || params.slots[row] == kNoSlot) return;
  const int32_t begin = entry * kHcaRatio + Group() * kHcaSegmentTokens;
  FourSums open = EmptySums();
  AddInputs<kBf16>(params.planes[0], lane, begin, begin + kHcaSegmentTokens, open);
  if (Group() == 0) StoreSums(EmptySums(), shared.finished);
  FinishSegments(0, kHcaSegments, open, shared);
  StoreWindow(params, row, shared);
}

// A lane's part: what its state says, and where its tokens lie.
template <bool kBf16>
struct LaneWork {
  const CompressParams& params;
  const LaneRecord& lane;
  float* state;
  int32_t folded;
  int32_t final_end;

  __device__ __forceinline__ Sums& finished() const {
    return *reinterpret_cast<Sums*>(state + HcaStateLayout::kFinished);
  }
  __device__ __forceinline__ Sums& open() const {
    return *reinterpret_cast<Sums*>(state + HcaStateLayout::kOpen);
  }
  __device__ __forceinline__ float* ring_row(int32_t position) const {
    return state + HcaStateLayout{params.max_drafts}.row_offset(position) + Channel();
  }
  __device__ __forceinline__ int32_t row_of(int32_t entry) const {
    return entry - EntriesClosed(params.pool, lane.first) + lane.entry_row[params.pool_index];
  }

  // The final tokens of one window, those of the ring first. `open` is the group's, and
  // shared.finished the window's, at its end or at final_end.
  __device__ __forceinline__ void AddWindow(int32_t window, FourSums& open_sums,
                                            Shared& shared) const {
    const int32_t window_begin = window * kHcaRatio;
    const bool goes_on = folded > window_begin;  // from what the state has of it
    const int32_t from = goes_on ? folded : window_begin;
    const int32_t to = min(window_begin + kHcaRatio, final_end);
    const int32_t segment = window_begin + Group() * kHcaSegmentTokens;
    const int32_t begin = max(from, segment);
    const int32_t end = min(to, segment + kHcaSegmentTokens);
    open_sums = EmptySums();
    const int first_segment = (from - window_begin) / kHcaSegmentTokens;
    if (goes_on && Group() == first_segment) open_sums = LoadSums(open());
    for (int32_t t = begin; t < min(end, lane.first); ++t) {
      const float* row = ring_row(t);
      AddToken(params.planes[0], {LoadFour<false>(row, 0), LoadFour<false>(row, kLatentChannels)},
               t, open_sums);
    }
    AddInputs<kBf16>(params.planes[0], lane, max(begin, lane.first), end, open_sums);
    if (Group() == 0) {
      StoreSums(goes_on ? LoadSums(finished()) : EmptySums(), shared.finished);
    }
    FinishSegments(first_segment, (to - window_begin) / kHcaSegmentTokens, open_sums, shared);
  }

  // Called by all threads; `position` is the last of a window of this step.
  __device__ __forceinline__ void Close(int32_t position, Shared& shared) const {
    const int32_t row = row_of(position / kHcaRatio);
    if (params.slots[row] != kNoSlot) StoreWindow(params, row, shared);
  }
};

template <bool kBf16>
__device__ __forceinline__ void DoLane(const CompressParams& params, const LaneRecord& lane,
                                       Shared& shared) {
  const int32_t block = params.state_table[lane.lane];
  if (block < 0 || block >= params.state.num_blocks) {
    if (threadIdx.x == 0) AddToCounter(&params.step.counters->skipped_slots, 1);
    return;
  }
  float* state = reinterpret_cast<float*>(params.state.base + block * params.state.block_stride);
  int32_t folded = *reinterpret_cast<const int32_t*>(state);
  if (folded > lane.first || folded < lane.first - params.max_drafts) folded = lane.first;
  const int32_t length = lane.first + lane.count;
  const LaneWork<kBf16> work = {params, lane, state, folded, length - lane.drafts};

  FourSums open;
  const int32_t last = work.final_end / kHcaRatio;
  for (int32_t window = folded / kHcaRatio; window <= last; ++window) {
    if (IsWhole(lane, window)) {
      window = last - 1;  // all up to the last are
      continue;
    }
    work.AddWindow(window, open, shared);
    const int32_t end = (window + 1) * kHcaRatio;
    if (window < last && end > lane.first) work.Close(end - 1, shared);
  }

  const int open_group = work.final_end % kHcaRatio / kHcaSegmentTokens;
  if (Group() == open_group) {
    StoreSums(open, work.open());
    StoreSums(LoadSums(shared.finished), work.finished());
  }
  if (threadIdx.x == 0) *reinterpret_cast<int32_t*>(state) = work.final_end;
  for (int32_t t = work.final_end; t < length;
       ++t) {  // drafts, by the group that has the open sums
    if (Group() == open_group) {
      const Token token = LoadInput<kBf16>(params.planes[0], lane, t);
      *reinterpret_cast<float4*>(work.ring_row(t)) = token.kv;
      *reinterpret_cast<float4*>(work.ring_row(t) + kLatentChannels) = token.score;
      AddToken(params.planes[0], token, t, open);
      if (t % kHcaSegmentTokens == kHcaSegmentTokens - 1) {
        FourSums finished = LoadSums(shared.finished);
        finished.AddPart(open);
        StoreSums(finished, shared.finished);
        open = EmptySums();
      }
    }
    if (t % kHcaRatio != kHcaRatio - 1) continue;
    __syncthreads();
    work.Close(t, shared);
    if (Group() == open_group) StoreSums(EmptySums(), shared.finished);
  }
}

template <bool kBf16>
__global__ void __launch_bounds__(kThreads)
    CompressHcaKernel(const __grid_constant__ CompressParams params) {
  __shared__ Shared shared;
  AwaitPrecedingKernel();
  const PlanHeader& header = *params.step.header;
  const int32_t block = blockIdx.x;
  if (block < params.max_lanes) {
    if (block < header.num_lanes) DoLane<kBf16>(params, Lanes(params)[block], shared);
    return;
  }
  const int32_t row = block - params.max_lanes;
  if (row >= min(params.max_entry_rows, header.num_entry_rows[params.pool_index])) return;
  DoWholeEntry<kBf16>(params, row, shared);
}

}  // namespace

int LaunchCompressHca(const CompressParams& params, LaunchTarget target) {
  const int64_t blocks = int64_t{params.max_lanes} + params.max_entry_rows;
  return LaunchAwaiting(
      params.planes[0].bf16_rows ? CompressHcaKernel<true> : CompressHcaKernel<false>,
      {blocks, 1, kThreads}, target, params);
}

}  // namespace terrace
