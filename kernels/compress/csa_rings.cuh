// How a sequence's raw rows are kept: copied to the rings of its state, and to the overlap pages of
// its checkpoints. A group of threads copies a row.

#ifndef TERRACE_KERNELS_COMPRESS_CSA_RINGS_CUH_
#define TERRACE_KERNELS_COMPRESS_CSA_RINGS_CUH_

#include <cstdint>

#include "kernels/common/launch.cuh"
#include "kernels/common/warp.cuh"
#include "kernels/compress.h"
#include "kernels/compress/csa_tokens.cuh"
#include "kernels/compress/entry.cuh"
#include "src/model/state_pages.h"
#include "src/plan/step_expand.h"

namespace terrace::internal {

inline constexpr int kGroupThreads = 2 * kWarpLanes;  // that copy a row

// The part of a sequence's work that a thread or a group of threads has: item `first`, and every
// `stride`-th.
struct Share {
  int first;
  int stride;
};

// Puts the page's header and the rows that the rings take over on their way to the L2. Called by
// all threads that share the sequence, `share` being this one's.
template <bool kBf16>
__device__ __forceinline__ void PrefetchRings(const Tokens<kBf16>& tokens, Share share) {
  if (share.first == 0 && tokens.state != nullptr) PrefetchL2(tokens.state);
  const int32_t length = tokens.sequence.length();
  const int32_t begin = max(tokens.sequence.first, length - CsaLayoutOf(tokens.params).rows(0));
  const int rows_of_token = 2 * tokens.params.num_planes;  // kv and score of each plane
  for (int i = share.first; i < (length - begin) * rows_of_token; i += share.stride) {
    const int plane = i % rows_of_token / 2;
    PrefetchL2(tokens.Input(begin + i / rows_of_token,
                            {.plane = plane, .is_score = i % 2 == 1, .half = 0, .channel = 0}),
               2 * ChannelsOf(plane) * Tokens<kBf16>::kInputBytes);
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

// Brings both rings and the header up to the end of the step. Waits for the kernel before this one
// itself, once its addresses are worked out. Called by groups of threads, each with its share of
// the tokens.
template <bool kBf16>
__device__ __forceinline__ void UpdateRings(const Tokens<kBf16>& tokens, Share share) {
  const CompressParams& params = tokens.params;
  const CompressSequence& sequence = tokens.sequence;
  const CsaStateLayout layout = CsaLayoutOf(params);
  const int32_t begin[2] = {max(sequence.first, sequence.length() - layout.rows(0)),
                            max(sequence.first, sequence.length() - layout.rows(1))};
  int32_t position = begin[0] + share.first;
  int32_t row[2] = {layout.row(0, position), layout.row(1, position)};
  RowInputs<kBf16> inputs(tokens, position);
  AwaitPrecedingKernel();
  while (position < sequence.length()) {
    RowFours halves[2];
    inputs.Load(0, halves[0]);
    const bool keeps[2] = {true, position >= begin[1] && CsaStateLayout::keeps(1, position)};
    if (keeps[1]) inputs.Load(1, halves[1]);
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      if (!keeps[half]) continue;
      halves[half].StorePage(
          tokens.state + layout.ring_offset(half) + row[half] * layout.row_floats(),
          params.num_planes);
    }
    position += share.stride;
    if (position >= sequence.length()) break;
    inputs = RowInputs<kBf16>(tokens, position);
    for (int half = 0; half < 2; ++half) row[half] = layout.row(half, position);
  }
  if (share.first != 0 || threadIdx.x % kGroupThreads != 0) return;
  CheckState(params, sequence, RangeOf(tokens.state));
  RangeOf(tokens.state) = {sequence.length() - sequence.drafts, sequence.length()};
}

// Takes a sequence's checkpoints, by groups of threads.
template <bool kBf16>
__device__ __forceinline__ void CaptureCheckpoints(const Tokens<kBf16>& tokens,
                                                   const StepCheckpoints& checkpoints,
                                                   Share share) {
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
        if (position >= tokens.sequence.first) {
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

}  // namespace terrace::internal

#endif  // TERRACE_KERNELS_COMPRESS_CSA_RINGS_CUH_
