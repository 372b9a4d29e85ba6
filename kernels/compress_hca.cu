// Compress, HCA. A thread has four channels, a block a whole row. Grid: a block a lane, then the
// whole windows: those whose tokens are all fed and final in the step, which need no state. From
// SM90 on a whole window has a cluster, a block for each segment; elsewhere one block folds all of
// it.
//
// A lane's block folds the rest into its state, token after token: of a decoding lane its token, of
// a chunk the end of the window that it finds open and the beginning of the one that it leaves
// open.

#include <cooperative_groups.h>

#include <utility>

#include "kernels/compress.h"
#include "kernels/compress_entry.cuh"
#include "kernels/launch.cuh"
#include "terrace/counters.h"

namespace terrace {
namespace {

namespace cg = cooperative_groups;

constexpr int kThreads = kLatentChannels / 4;
// Tokens of a segment whose loads are on their way at once: 4 KiB each a block.
constexpr int kBatchTokens = 8;
static_assert(kHcaSegmentTokens % kBatchTokens == 0);

// Sums of all channels, as they lie in the state and in shared memory.
struct Sums {
  float max[kLatentChannels];
  float sum[kLatentChannels];
  float weighted[kLatentChannels];
};

__device__ __forceinline__ int Channel() { return threadIdx.x * 4; }

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

struct Shared {
  alignas(16) float pooled[kLatentChannels];
  alignas(16) Sums segment;  // that a block of a cluster folded
};

__device__ __forceinline__ bool IsWhole(const CompressLane& lane, int32_t entry) {
  return entry * kHcaRatio >= lane.first && (entry + 1) * kHcaRatio <= lane.length() - lane.drafts;
}

struct Token {
  float4 kv;
  float4 score;
};

template <bool kBf16>
__device__ __forceinline__ Token LoadInput(const CompressPlane& plane, const CompressLane& lane,
                                           int32_t position) {
  const int64_t row = lane.row_of(position);
  return {LoadFour<kBf16>(plane.kv, row * plane.kv_pitch + Channel()),
          LoadFour<kBf16>(plane.score, row * plane.score_pitch + Channel())};
}

// Puts an input token on its way to the L2. Called by one thread.
template <bool kBf16>
__device__ __forceinline__ void PrefetchInput(const CompressPlane& plane, const CompressLane& lane,
                                              int32_t position) {
  constexpr int kBytes = kBf16 ? sizeof(uint16_t) : sizeof(float);
  const int64_t row = lane.row_of(position);
  PrefetchL2(static_cast<const uint8_t*>(plane.kv) + row * plane.kv_pitch * kBytes,
             kLatentChannels * kBytes);
  PrefetchL2(static_cast<const uint8_t*>(plane.score) + row * plane.score_pitch * kBytes,
             kLatentChannels * kBytes);
}

__device__ __forceinline__ void AddToken(const CompressPlane& plane, const Token& token,
                                         int32_t position, FourSums& open) {
  open.AddToken(token.kv, token.score,
                LoadFour<false>(plane.ape, position % kHcaRatio * kLatentChannels + Channel()));
}

// Adds the input tokens begin .. end - 1, of one segment.
template <bool kBf16>
__device__ __forceinline__ void AddInputs(const CompressPlane& plane, const CompressLane& lane,
                                          int32_t begin, int32_t end, FourSums& open) {
  int32_t t = begin;
  for (; t + kBatchTokens <= end; t += kBatchTokens) {
    Token tokens[kBatchTokens];
#pragma unroll
    for (int i = 0; i < kBatchTokens; ++i) tokens[i] = LoadInput<kBf16>(plane, lane, t + i);
#pragma unroll
    for (int i = 0; i < kBatchTokens; ++i) AddToken(plane, tokens[i], t + i, open);
  }
  for (; t < end; ++t) AddToken(plane, LoadInput<kBf16>(plane, lane, t), t, open);
}

// Stores the entry of a window whose segments are all in `finished`. Called by all threads.
__device__ __forceinline__ void StoreWindow(const CompressParams& params, int32_t row,
                                            const FourSums& finished, Shared& shared) {
  int bad = 0;
  *reinterpret_cast<float4*>(shared.pooled + Channel()) = finished.Pool(bad);
  CountRare(bad, &params.step.counters->nonfinite_values);
  __syncthreads();
  if (threadIdx.x < kWarpLanes) {
    StoreEntry<kLatentChannels>(params.planes[0], shared.pooled, params.slots[row],
                                params.positions[row], params.step.counters);
  }
}

// A window as it fills, up to a position.
struct Window {
  FourSums finished;  // its finished segments
  FourSums open;

  __device__ __forceinline__ void Clear() {
    finished.Clear();
    open.Clear();
  }
  // Called when the tokens before `position` are in.
  __device__ __forceinline__ void FinishSegment(int32_t position) {
    if (position % kHcaSegmentTokens != 0) return;
    finished.AddPart(open);
    open.Clear();
  }
};

// What a lane's block goes through.
template <bool kBf16>
struct LaneWork {
  const CompressParams& params;
  const CompressLane lane;
  float* const state;
  Shared& shared;

  __device__ __forceinline__ const CompressPlane& plane() const { return params.planes[0]; }
  __device__ __forceinline__ Sums& finished() const {
    return *reinterpret_cast<Sums*>(state + HcaStateLayout::kFinished);
  }
  __device__ __forceinline__ Sums& open() const {
    return *reinterpret_cast<Sums*>(state + HcaStateLayout::kOpen);
  }
  __device__ __forceinline__ float* ring_row(int32_t position) const {
    return state + HcaStateLayout{params.max_drafts}.row_offset(position) + Channel();
  }

  // Called when the tokens before `position` are in: finishes the segment and the window that end
  // there. Windows that ended before the step have their entry already.
  __device__ __forceinline__ void Finish(int32_t position, Window& window) const {
    window.FinishSegment(position);
    if (position % kHcaRatio != 0) return;
    if (position > lane.first) {
      const int32_t row = lane.entry_row + position / kHcaRatio - 1 - lane.first / kHcaRatio;
      if (params.slots[row] != kNoSlot) StoreWindow(params, row, window.finished, shared);
      __syncthreads();
    }
    window.Clear();
  }

  __device__ __forceinline__ void Run(int32_t folded) const {
    const int32_t length = lane.length();
    const int32_t final_end = length - lane.drafts;
    const bool goes_on = folded % kHcaRatio != 0;  // from what the state has of its window
    const auto ends_segment = [&](int32_t end) {
      return end / kHcaSegmentTokens != folded / kHcaSegmentTokens;
    };
    Window window;
    window.Clear();
    if (goes_on) window.open = LoadSums(open());
    if (goes_on && ends_segment(length)) window.finished = LoadSums(finished());
    for (int32_t t = folded; t < lane.first; ++t) {  // drafts of the step before, final by now
      const float* row = ring_row(t);
      AddToken(plane(), {LoadFour<false>(row, 0), LoadFour<false>(row, kLatentChannels)}, t,
               window.open);
      Finish(t + 1, window);
    }
    for (int32_t t = lane.first; t < final_end;) {
      if (t % kHcaRatio == 0 && IsWhole(lane, t / kHcaRatio)) {  // so are all up to the last
        t = final_end / kHcaRatio * kHcaRatio;
        continue;
      }
      const int32_t end = min(final_end, (t / kHcaSegmentTokens + 1) * kHcaSegmentTokens);
      AddInputs<kBf16>(plane(), lane, t, end, window.open);
      Finish(end, window);
      t = end;
    }
    if (!goes_on || ends_segment(final_end)) StoreSums(window.finished, finished());
    StoreSums(window.open, open());
    if (threadIdx.x == 0) *reinterpret_cast<int32_t*>(state) = final_end;
    for (int32_t t = final_end; t < length; ++t) {  // drafts
      const Token token = LoadInput<kBf16>(plane(), lane, t);
      *reinterpret_cast<float4*>(ring_row(t)) = token.kv;
      *reinterpret_cast<float4*>(ring_row(t) + kLatentChannels) = token.score;
      AddToken(plane(), token, t, window.open);
      Finish(t + 1, window);
    }
  }
};

// Puts what the lane's block folds on its way to the L2: its open segment, and its tokens of no
// whole window.
template <bool kBf16>
__device__ __forceinline__ void PrefetchLane(const CompressParams& params, const CompressLane& lane,
                                             const float* state) {
  const int32_t length = lane.length();
  const int32_t window_end = (lane.first + kHcaRatio - 1) / kHcaRatio * kHcaRatio;
  const int32_t head_end = min(length, window_end);
  const int32_t tail = max(head_end, (length - lane.drafts) / kHcaRatio * kHcaRatio);
  const int32_t thread = threadIdx.x;
  if (thread == 0 && state != nullptr) {
    PrefetchL2(state + HcaStateLayout::kOpen, sizeof(Sums));
  }
  for (int32_t t = lane.first + thread; t < head_end; t += kThreads) {
    PrefetchInput<kBf16>(params.planes[0], lane, t);
  }
  for (int32_t t = tail + thread; t < length; t += kThreads) {
    PrefetchInput<kBf16>(params.planes[0], lane, t);
  }
}

template <bool kBf16>
__device__ __forceinline__ void DoLane(const CompressParams& params, const CompressLane& lane,
                                       Shared& shared) {
  float* const state = StateOf(params, lane);
  PrefetchLane<kBf16>(params, lane, state);
  AwaitPrecedingKernel();
  if (state == nullptr) {
    if (threadIdx.x == 0) AddToCounter(&params.step.counters->skipped_slots, 1);
    return;
  }
  int32_t folded = *reinterpret_cast<const int32_t*>(state);
  // Nothing but a state that a missed step left behind is elsewhere.
  if (folded > lane.first || folded < lane.first - params.max_drafts) folded = lane.first;
  __syncthreads();  // before it is written
  LaneWork<kBf16>{params, lane, state, shared}.Run(folded);
}

// Folds the tokens of a whole window from `begin` on. With a cluster each of its blocks has a
// segment; only the first one has all of them in the end, and the others are done.
template <bool kBf16, bool kCluster>
__device__ __forceinline__ bool FoldWindow(const CompressPlane& plane, const CompressLane& lane,
                                           int32_t begin, Shared& shared, FourSums& finished) {
  finished.Clear();
  FourSums open;
  if constexpr (!kCluster) {
    for (int segment = 0; segment < kHcaSegments; ++segment, begin += kHcaSegmentTokens) {
      open.Clear();
      AddInputs<kBf16>(plane, lane, begin, begin + kHcaSegmentTokens, open);
      finished.AddPart(open);
    }
    return true;
  } else {
#if __CUDA_ARCH__ >= 900
    const cg::cluster_group cluster = cg::this_cluster();
    const int segment = cluster.block_rank();
    begin += segment * kHcaSegmentTokens;
    if (threadIdx.x < kHcaSegmentTokens) PrefetchInput<kBf16>(plane, lane, begin + threadIdx.x);
    AwaitPrecedingKernel();
    open.Clear();
    AddInputs<kBf16>(plane, lane, begin, begin + kHcaSegmentTokens, open);
    if (segment > 0) StoreSums(open, shared.segment);
    cluster.sync();
    if (segment == 0) {
      FourSums others[kHcaSegments - 1];
#pragma unroll
      for (int i = 0; i < kHcaSegments - 1; ++i) {
        others[i] = LoadSums(*cluster.map_shared_rank(&shared.segment, i + 1));
      }
      finished.AddPart(open);
#pragma unroll
      for (int i = 0; i < kHcaSegments - 1; ++i) finished.AddPart(others[i]);
    }
    // Shared memory that is read elsewhere stays until it was.
    auto was_read = cluster.barrier_arrive();
    if (segment > 0) cluster.barrier_wait(std::move(was_read));
    return segment == 0;
#else
    return true;
#endif
  }
}

// A whole window has 128 consecutive token rows, so just one whose number divides by 128.
template <bool kBf16, bool kCluster>
__device__ __forceinline__ void DoWindow(const CompressParams& params, int32_t token_row,
                                         Shared& shared) {
  if (token_row >= min(params.max_token_rows, params.step.header->num_token_rows)) return;
  const CompressLane lane = LoadLane(params, params.step.token_record[token_row]);
  const int32_t entry = (lane.first + token_row - lane.token_row) / kHcaRatio;
  if (!IsWhole(lane, entry)) return;
  const int32_t row = lane.entry_row + entry - lane.first / kHcaRatio;
  if (params.slots[row] == kNoSlot) return;
  if constexpr (!kCluster) AwaitPrecedingKernel();
  FourSums finished;
  if (!FoldWindow<kBf16, kCluster>(params.planes[0], lane, entry * kHcaRatio, shared, finished)) {
    return;
  }
  StoreWindow(params, row, finished, shared);
}

// kCluster: blocks of whole windows come in clusters of kHcaSegments, and so do all others.
template <bool kBf16, bool kCluster>
__global__ void __launch_bounds__(kThreads, 4)
    CompressHcaKernel(const __grid_constant__ CompressParams params) {
  __shared__ Shared shared;
  constexpr int32_t kCopies = kCluster ? kHcaSegments : 1;
  const int32_t block = blockIdx.x;
  const int32_t lanes_end = (params.max_lanes + kCopies - 1) / kCopies * kCopies;
  if (block < lanes_end) {
    if (block < min(params.max_lanes, params.step.header->num_lanes)) {
      DoLane<kBf16>(params, LoadLane(params, block), shared);
    }
  } else {
    DoWindow<kBf16, kCluster>(params, (block - lanes_end) / kCopies * kHcaRatio, shared);
  }
  AwaitPrecedingKernel();
}

template <bool kCluster>
int LaunchAs(const CompressParams& params, LaunchTarget target) {
  constexpr int kCopies = kCluster ? kHcaSegments : 1;
  const int64_t blocks =
      (CeilDiv(params.max_lanes, kCopies) + CeilDiv(params.max_token_rows, kHcaRatio)) * kCopies;
  return LaunchAwaiting(
      params.planes[0].bf16_rows ? CompressHcaKernel<true, kCluster>
                                 : CompressHcaKernel<false, kCluster>,
      {.blocks_x = blocks, .blocks_y = 1, .threads = kThreads, .cluster = kCopies}, target, params);
}

}  // namespace

int LaunchCompressHca(const CompressParams& params, LaunchTarget target) {
  return target.early ? LaunchAs<true>(params, target) : LaunchAs<false>(params, target);
}

}  // namespace terrace
