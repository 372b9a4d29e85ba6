// Where the raw rows of CSA are: those of a sequence's tokens before the step in the rings of its
// state (src/model/state_pages.h), the others among the rows of the step.

#ifndef TERRACE_KERNELS_COMPRESS_CSA_TOKENS_CUH_
#define TERRACE_KERNELS_COMPRESS_CSA_TOKENS_CUH_

#include <cstdint>

#include "kernels/common/launch.cuh"
#include "kernels/common/warp.cuh"
#include "kernels/compress.h"
#include "kernels/compress/entry.cuh"
#include "src/model/state_pages.h"

namespace terrace::internal {

__device__ __forceinline__ constexpr int ChannelsOf(int plane) {
  return plane == 0 ? kLatentChannels : kIndexerChannels;
}

// Some numbers of a token's raw row: kv or score of a plane, one half of its columns from `channel`
// on.
struct Part {
  int plane;
  bool is_score;
  int half;
  int channel;
};

// A sequence's tokens: those before the step in the rings, the others among the rows of the step.
template <bool kBf16>
struct Tokens {
  const CompressParams& params;
  const CompressSequence sequence;
  float* const state;

  static constexpr int kInputBytes = kBf16 ? sizeof(uint16_t) : sizeof(float);

  // REQUIRES: position is of the step.
  __device__ __forceinline__ const uint8_t* Input(int32_t position, const Part& part) const {
    const CompressPlane& in = params.planes[part.plane];
    const int64_t at = sequence.row_of(position) * (part.is_score ? in.score_pitch : in.kv_pitch) +
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
  __device__ __forceinline__ void LoadGroups(int32_t begin, int channel, Pair (&kv)[kCsaRows],
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
    if (begin >= sequence.first) {
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
        left = layout.rows(half) - layout.row(half, position);
      }
      if (j < kCsaRatio && begin < 0) {  // nothing is before the first group
        kv[j] = {0.0f, 0.0f};
        score[j] = {-INFINITY, -INFINITY};
      } else if (kBf16 && begin + j >= sequence.first) {
        load_input(j);
      } else {
        const bool is_kept = begin + j < sequence.first;
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
    return sequence.first / kCsaRatio + row - sequence.entry_row;
  }
  // Of the entries that close in the step, those that the sequence's CTA pools: they read rows of
  // the rings that the step overwrites.
  __device__ __forceinline__ int32_t EntriesOfSequence() const {
    if (sequence.count <= params.max_drafts + 1 || sequence.first == 0) return 0;
    const int32_t reaching_back = sequence.first % kCsaRatio == 0 ? 1 : 2;
    return min(reaching_back, sequence.length() / kCsaRatio - sequence.first / kCsaRatio);
  }
};

template <bool kBf16>
__device__ __forceinline__ Tokens<kBf16> TokensOf(const CompressParams& params, int32_t record) {
  const CompressSequence sequence = LoadSequence(params, record);
  return {params, sequence, StateOf(params, sequence)};
}

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
  if (position >= tokens.sequence.first) {
    PrefetchL2(tokens.Input(position, part), channels * Tokens<kBf16>::kInputBytes);
  } else if (tokens.state != nullptr) {
    PrefetchL2(tokens.Kept(position, part), channels * sizeof(float));
  }
}

}  // namespace terrace::internal

#endif  // TERRACE_KERNELS_COMPRESS_CSA_TOKENS_CUH_
