// Compress, HCA. A thread has two channels. Grid: a CTA a sequence, with a whole row, then the
// whole groups: those whose tokens are all fed and final in the step, which need no state. A group
// is folded by slices of 64 channels, a warp for each segment of its tokens. From SM90 on a group
// has a cluster, a CTA for each slice; elsewhere one CTA folds them one after the other.
//
// A sequence's CTA folds the rest into its state, token after token: of a decoding one its token,
// of a prefill piece the end of the group that it finds open and the beginning of the one that it
// leaves open.

#include "kernels/common/cluster.cuh"
#include "kernels/common/launch.cuh"
#include "kernels/compress.h"
#include "kernels/compress/entry.cuh"
#include "kernels/compress/hca_sums.cuh"
#include "terrace/counters.h"

namespace terrace::internal {
namespace {

constexpr int kThreads = kLatentThreads;
constexpr int kSliceChannels = 2 * kWarpLanes;
constexpr int kSlices = kLatentChannels / kSliceChannels;
static_assert(kThreads == kHcaSegments * kWarpLanes, "a warp for each segment");

struct Shared {
  RowShared row;
  alignas(16) float pooled[kLatentChannels];
  alignas(16) SoftmaxSums<kSliceChannels> segments[kHcaSegments];  // of a slice
  Inbox inbox;
};

__device__ __forceinline__ bool IsWhole(const CompressSequence& sequence, int32_t entry) {
  return entry * kHcaRatio >= sequence.first &&
         (entry + 1) * kHcaRatio <= sequence.length() - sequence.drafts;
}

// A group as it fills, up to a position.
struct Group {
  PairSums finished;  // its finished segments
  PairSums open;

  // Called when the tokens before `position` are in.
  __device__ __forceinline__ void FinishSegment(int32_t position) {
    if (position % kHcaSegmentTokens != 0) return;
    finished.AddPart(open);
    open = {};
  }
};

// What a sequence's CTA goes through.
template <bool kBf16>
struct SequenceWork {
  const CompressParams& params;
  const CompressSequence sequence;
  float* const state;
  Shared& shared;

  __device__ __forceinline__ const CompressPlane& plane() const { return params.planes[0]; }
  __device__ __forceinline__ static int channel() { return 2 * static_cast<int>(threadIdx.x); }
  __device__ __forceinline__ HcaState& page() const { return *reinterpret_cast<HcaState*>(state); }
  __device__ __forceinline__ float* ring_row(int32_t position) const {
    return state + HcaStateLayout{params.max_drafts}.row_offset(position) + channel();
  }

  // Called when the tokens before `position` are in: finishes the segment and the group that end
  // there. Groups that ended before the step have their entry already.
  __device__ __forceinline__ void Finish(int32_t position, Group& group) const {
    group.FinishSegment(position);
    if (position % kHcaRatio != 0) return;
    if (position > sequence.first) {
      const int32_t row =
          sequence.entry_row + position / kHcaRatio - 1 - sequence.first / kHcaRatio;
      const EntryDestination place = DestinationOf(params, row);
      if (place.slot != kNoSlot) {
        const int thread = OpaqueThread();
        const EntryFactors factors = LoadFactors<kLatentChannels>(plane(), place, thread);
        int bad = 0;
        const Pair pooled = group.finished.Pool(bad);
        CountRare(bad, &params.step.counters->nonfinite_values);
        StoreEntry<kLatentChannels>(plane(), pooled, factors, place, thread, shared.row,
                                    params.step.counters);
        __syncthreads();  // before another entry shares anything
      }
    }
    group = {};
  }

  // Keeps the group as it is before `end`, which is final; the page then stands behind the step.
  // `ends_segment`: one has ended since the state was kept last.
  __device__ __forceinline__ void Save(const Group& group, int32_t end, bool ends_segment) const {
    if (ends_segment) StoreSums(group.finished, page().group.finished, channel());
    StoreSums(group.open, page().group.open, channel());
    __syncthreads();  // all threads have read it
    if (threadIdx.x == 0) RangeOf(state) = {end, sequence.length()};
  }

  // A draft of this step, which goes to the ring, or of the one before, which comes from there.
  __device__ __forceinline__ void AddDraft(int32_t position, PairSums& open) const {
    Token token;
    if (position < sequence.first) {
      token.kv = LoadPair<false>(ring_row(position), 0);
      token.score = LoadPair<false>(ring_row(position), kLatentChannels);
    } else {
      token = LoadInput<kBf16>(plane(), sequence, position, channel());
      StorePair(token.kv, ring_row(position));
      StorePair(token.score, ring_row(position) + kLatentChannels);
    }
    open.AddToken(token.kv, token.score, LoadApe(plane(), position, channel()));
  }

  // The drafts of the step before, which are final by now; the step's tokens but those of whole
  // groups; then its drafts.
  __device__ __forceinline__ void Run() const {
    const int32_t length = sequence.length();
    const int32_t final_end = length - sequence.drafts;
    const FedRange range = RangeOf(state);
    // Loaded whether it goes on from them or not, which is only known when `folded` is there.
    Group group = {.finished = {}, .open = LoadSums(page().group.open, channel())};
    Batch<1> first;
    Inputs<kBf16> inputs(plane(), sequence, sequence.first, channel());
    inputs.Load(first);
    // A stale page is gone on from as if it stood at the step.
    const bool is_at_step =
        sequence.first != 0 && !IsStale(range, sequence.first, params.max_drafts);
    const int32_t folded = is_at_step ? range.folded : sequence.first;
    if (threadIdx.x == 0) CheckState(params, sequence, range);
    const bool goes_on = folded % kHcaRatio != 0;
    const auto ends_segment = [&](int32_t end) {
      return end / kHcaSegmentTokens != folded / kHcaSegmentTokens;
    };
    if (!goes_on) {
      group.open = {};
    } else if (ends_segment(length)) {
      group.finished = LoadSums(page().group.finished, channel());
    }
    for (int32_t t = folded;;) {
      if (t == final_end) Save(group, t, !goes_on || ends_segment(t));
      if (t == length) break;
      if (t < sequence.first || t >= final_end) {
        AddDraft(t, group.open);
        ++t;
      } else if (t % kHcaRatio == 0 && IsWhole(sequence, t / kHcaRatio)) {
        t = final_end / kHcaRatio * kHcaRatio;  // so are all up to the last
        continue;
      } else {
        const int32_t end = min(final_end, (t / kHcaSegmentTokens + 1) * kHcaSegmentTokens);
        if (t == sequence.first) {
          first.AddTo(group.open);
          ++t;
        } else {
          inputs = Inputs<kBf16>(plane(), sequence, t, channel());
        }
        AddTokens(inputs, end - t, group.open);
        t = end;
      }
      Finish(t, group);
    }
  }
};

// Puts what the sequence's CTA folds on its way to the L2: how far it is, its open segment, and its
// tokens of no whole group.
template <bool kBf16>
__device__ __forceinline__ void PrefetchSequence(const CompressParams& params,
                                                 const CompressSequence& sequence,
                                                 const float* state) {
  const int32_t length = sequence.length();
  const int32_t group_end = (sequence.first + kHcaRatio - 1) / kHcaRatio * kHcaRatio;
  const int32_t head_end = min(length, group_end);
  const int32_t tail = max(head_end, (length - sequence.drafts) / kHcaRatio * kHcaRatio);
  const int32_t thread = threadIdx.x;
  if (thread == 0 && state != nullptr) {
    PrefetchL2(state);
    const HcaState& page = *reinterpret_cast<const HcaState*>(state);
    PrefetchL2(&page.group.open, sizeof(page.group.open));
  }
  for (int32_t t = sequence.first + thread; t < head_end; t += kThreads) {
    PrefetchToken<kBf16>(params.planes[0], sequence, t);
  }
  for (int32_t t = tail + thread; t < length; t += kThreads) {
    PrefetchToken<kBf16>(params.planes[0], sequence, t);
  }
}

template <bool kBf16>
__device__ __forceinline__ void DoSequence(const CompressParams& params,
                                           const CompressSequence& sequence, Shared& shared) {
  float* const state = StateOf(params, sequence);
  PrefetchSequence<kBf16>(params, sequence, state);
  AwaitPrecedingKernel();
  if (state == nullptr) {
    if (threadIdx.x == 0) AddToCounter(&params.step.counters->skipped_slots, 1);
    return;
  }
  SequenceWork<kBf16>{params, sequence, state, shared}.Run();
}

// Pools channels of a slice of the whole group that begins at `begin`, one in each of the first
// kSliceChannels threads. Called by all of them.
template <bool kBf16>
__device__ __forceinline__ float PoolSlice(const CompressParams& params,
                                           const CompressSequence& sequence, int32_t begin,
                                           int slice, Shared& shared) {
  const int segment = static_cast<int>(threadIdx.x) / kWarpLanes;
  const int channel_of_slice = 2 * (static_cast<int>(threadIdx.x) % kWarpLanes);
  begin += segment * kHcaSegmentTokens;
  PairSums open;
  AddSegment(
      Inputs<kBf16>(params.planes[0], sequence, begin, slice * kSliceChannels + channel_of_slice),
      open);
  StoreSums(open, shared.segments[segment], channel_of_slice);
  __syncthreads();
  if (threadIdx.x >= kSliceChannels) return 0.0f;
  SoftmaxSum finished = kEmptySoftmaxSum;
#pragma unroll
  for (int i = 0; i < kHcaSegments; ++i) {
    const SoftmaxSums<kSliceChannels>& part = shared.segments[i];
    Accumulate({part.max[threadIdx.x], part.sum[threadIdx.x], part.weighted[threadIdx.x]},
               finished);
  }
  int bad = 0;
  const float pooled = Pooled(finished.sum, finished.weighted, bad);
  CountRare(bad, &params.step.counters->nonfinite_values);
  return pooled;
}

// Pools all slices of the whole group that begins at `begin` into shared.pooled. With a cluster
// each of its CTAs does one; only the first has all of them in the end, and the others are done.
template <bool kBf16, bool kCluster>
__device__ __forceinline__ bool PoolWhole(const CompressParams& params,
                                          const CompressSequence& sequence, int32_t begin,
                                          Shared& shared) {
  if constexpr (!kCluster) {
    AwaitPrecedingKernel();
    for (int slice = 0; slice < kSlices; ++slice) {
      const float pooled = PoolSlice<kBf16>(params, sequence, begin, slice, shared);
      if (threadIdx.x < kSliceChannels) {
        shared.pooled[slice * kSliceChannels + threadIdx.x] = pooled;
      }
      __syncthreads();
    }
    return true;
  } else {
#if __CUDA_ARCH__ >= 900
    shared.inbox.Open(sizeof(shared.pooled));
    const int slice = Inbox::CtaRank();
    AwaitPrecedingKernel();
    const float pooled = PoolSlice<kBf16>(params, sequence, begin, slice, shared);
    shared.inbox.AwaitOpening();
    if (threadIdx.x < kSliceChannels) {
      shared.inbox.Send(pooled, shared.pooled + slice * kSliceChannels + threadIdx.x);
    }
    if (slice != 0) return false;
    shared.inbox.AwaitAll();
#endif
    return true;
  }
}

// A whole group has 128 consecutive token rows, so just one whose number divides by 128.
template <bool kBf16, bool kCluster>
__device__ __forceinline__ void DoGroup(const CompressParams& params, int32_t token_row,
                                        Shared& shared) {
  if (token_row >= min(params.max_token_rows, params.step.header->num_token_rows)) return;
  const CompressSequence sequence = LoadSequence(params, params.step.token_record[token_row]);
  const int32_t entry = (sequence.first + token_row - sequence.token_row) / kHcaRatio;
  if (!IsWhole(sequence, entry)) return;
  const EntryDestination place =
      DestinationOf(params, sequence.entry_row + entry - sequence.first / kHcaRatio);
  if (place.slot == kNoSlot) return;
  if (!PoolWhole<kBf16, kCluster>(params, sequence, entry * kHcaRatio, shared)) return;
  const CompressPlane& plane = params.planes[0];
  const int thread = threadIdx.x;
  const EntryFactors factors = LoadFactors<kLatentChannels>(plane, place, thread);
  StoreEntry<kLatentChannels>(plane, LoadPair<false>(shared.pooled, 2 * thread), factors, place,
                              thread, shared.row, params.step.counters);
}

// kCluster: CTAs of whole groups come in clusters of kSlices, and so do all others.
template <bool kBf16, bool kCluster>
__global__ void __launch_bounds__(kThreads, 3)
    CompressHcaKernel(const __grid_constant__ CompressParams params) {
  __shared__ Shared shared;
  constexpr int32_t kCopies = kCluster ? kSlices : 1;
  const int32_t cta = blockIdx.x;
  const int32_t sequences_end = (params.max_sequences + kCopies - 1) / kCopies * kCopies;
  if (cta < sequences_end) {
    if (cta < min(params.max_sequences, params.step.header->num_sequences)) {
      DoSequence<kBf16>(params, LoadSequence(params, cta), shared);
    }
  } else {
    DoGroup<kBf16, kCluster>(params, (cta - sequences_end) / kCopies * kHcaRatio, shared);
  }
  AwaitPrecedingKernel();
}

template <bool kCluster>
int LaunchAs(const CompressParams& params, LaunchTarget target) {
  constexpr int kCopies = kCluster ? kSlices : 1;
  const int64_t ctas =
      (CeilDiv(params.max_sequences, kCopies) + CeilDiv(params.max_token_rows, kHcaRatio)) *
      kCopies;
  return LaunchAwaiting(params.planes[0].bf16_rows ? CompressHcaKernel<true, kCluster>
                                                   : CompressHcaKernel<false, kCluster>,
                        {.ctas_x = ctas, .ctas_y = 1, .threads = kThreads, .cluster = kCopies},
                        target, params);
}

}  // namespace

int LaunchCompressHca(const CompressParams& params, LaunchTarget target) {
  return target.early ? LaunchAs<true>(params, target) : LaunchAs<false>(params, target);
}

}  // namespace terrace::internal
