// How HCA adds tokens: the running softmax of two channels, as registers, state and shared memory
// hold it, and the rows of the step that go into it.

#ifndef TERRACE_KERNELS_COMPRESS_HCA_SUMS_CUH_
#define TERRACE_KERNELS_COMPRESS_HCA_SUMS_CUH_

#include <cstdint>

#include "kernels/common/launch.cuh"
#include "kernels/compress.h"
#include "kernels/compress/entry.cuh"
#include "src/model/state_pages.h"
#include "terrace/formats/compress_math.h"

namespace terrace::internal {

// The running softmax of two neighbouring channels.
struct PairSums {
  SoftmaxSum even = kEmptySoftmaxSum;
  SoftmaxSum odd = kEmptySoftmaxSum;

  __device__ __forceinline__ void AddToken(Pair kv, Pair score, Pair ape) {
    Accumulate({AddRn(score.even, ape.even), 1.0f, kv.even}, even);
    Accumulate({AddRn(score.odd, ape.odd), 1.0f, kv.odd}, odd);
  }
  __device__ __forceinline__ void AddPart(const PairSums& part) {
    Accumulate(part.even, even);
    Accumulate(part.odd, odd);
  }
  __device__ __forceinline__ Pair Pool(int& bad) const {
    return {Pooled(even.sum, even.weighted, bad), Pooled(odd.sum, odd.weighted, bad)};
  }
};

template <int kChannels>
__device__ __forceinline__ PairSums LoadSums(const SoftmaxSums<kChannels>& from, int channel) {
  const Pair max = LoadPair<false>(from.max, channel);
  const Pair sum = LoadPair<false>(from.sum, channel);
  const Pair weighted = LoadPair<false>(from.weighted, channel);
  return {{max.even, sum.even, weighted.even}, {max.odd, sum.odd, weighted.odd}};
}
template <int kChannels>
__device__ __forceinline__ void StoreSums(const PairSums& sums, SoftmaxSums<kChannels>& to,
                                          int channel) {
  StorePair({sums.even.max, sums.odd.max}, to.max + channel);
  StorePair({sums.even.sum, sums.odd.sum}, to.sum + channel);
  StorePair({sums.even.weighted, sums.odd.weighted}, to.weighted + channel);
}

struct Token {
  Pair kv;
  Pair score;
};

template <bool kBf16>
__device__ __forceinline__ Token LoadInput(const CompressPlane& plane,
                                           const CompressSequence& sequence, int32_t position,
                                           int channel) {
  const int64_t row = sequence.row_of(position);
  return {LoadPair<kBf16>(plane.kv, row * plane.kv_pitch + channel),
          LoadPair<kBf16>(plane.score, row * plane.score_pitch + channel)};
}

// Puts an input token on its way to the L2. Called by one thread.
template <bool kBf16>
__device__ __forceinline__ void PrefetchToken(const CompressPlane& plane,
                                              const CompressSequence& sequence, int32_t position) {
  constexpr int kBytes = kBf16 ? sizeof(uint16_t) : sizeof(float);
  const int64_t row = sequence.row_of(position);
  PrefetchL2(static_cast<const uint8_t*>(plane.kv) + row * plane.kv_pitch * kBytes,
             kLatentChannels * kBytes);
  PrefetchL2(static_cast<const uint8_t*>(plane.score) + row * plane.score_pitch * kBytes,
             kLatentChannels * kBytes);
}

__device__ __forceinline__ Pair LoadApe(const CompressPlane& plane, int32_t position, int channel) {
  return LoadPair<false>(plane.ape, position % kHcaRatio * kLatentChannels + channel);
}

// Tokens on their way, and what is added to their scores.
template <int kTokens>
struct Batch {
  Token tokens[kTokens];
  Pair ape[kTokens];

  __device__ __forceinline__ void AddTo(PairSums& open) const {
#pragma unroll
    for (int i = 0; i < kTokens; ++i) open.AddToken(tokens[i].kv, tokens[i].score, ape[i]);
  }
};

// The input tokens of a group from a position on.
template <bool kBf16>
struct Inputs {
  const uint8_t* kv;
  const uint8_t* score;
  const float* ape;
  int64_t kv_bytes;  // from one row to the next
  int64_t score_bytes;

  __device__ __forceinline__ Inputs(const CompressPlane& plane, const CompressSequence& sequence,
                                    int32_t position, int channel) {
    constexpr int kBytes = kBf16 ? sizeof(uint16_t) : sizeof(float);
    kv_bytes = plane.kv_pitch * kBytes;
    score_bytes = plane.score_pitch * kBytes;
    const int64_t row = sequence.row_of(position);
    kv = static_cast<const uint8_t*>(plane.kv) + row * kv_bytes + channel * kBytes;
    score = static_cast<const uint8_t*>(plane.score) + row * score_bytes + channel * kBytes;
    ape = plane.ape + position % kHcaRatio * kLatentChannels + channel;
  }

  // The next ones.
  template <int kTokens>
  __device__ __forceinline__ void Load(Batch<kTokens>& batch) {
#pragma unroll
    for (int i = 0; i < kTokens; ++i) {
      batch.tokens[i] = {LoadPair<kBf16>(kv, 0), LoadPair<kBf16>(score, 0)};
      batch.ape[i] = LoadPair<false>(ape, i * kLatentChannels);
      kv += kv_bytes;
      score += score_bytes;
    }
    ape += kTokens * kLatentChannels;
  }
};

// Adds a whole segment: while some tokens are added the next are on their way.
template <bool kBf16>
__device__ __forceinline__ void AddSegment(Inputs<kBf16> inputs, PairSums& open) {
  constexpr int kTokens = 4;
  Batch<kTokens> even;
  Batch<kTokens> odd;
  inputs.Load(even);
#pragma unroll
  for (int done = 0; done < kHcaSegmentTokens; done += 2 * kTokens) {
    inputs.Load(odd);
    even.AddTo(open);
    if (done + 2 * kTokens < kHcaSegmentTokens) inputs.Load(even);
    odd.AddTo(open);
  }
}

// Adds `count` tokens of one segment.
template <bool kBf16>
__device__ __forceinline__ void AddTokens(Inputs<kBf16> inputs, int count, PairSums& open) {
  constexpr int kTokens = 8;
  for (; count >= kTokens; count -= kTokens) {
    Batch<kTokens> batch;
    inputs.Load(batch);
    batch.AddTo(open);
  }
  for (; count > 0; --count) {
    Batch<1> token;
    inputs.Load(token);
    token.AddTo(open);
  }
}

}  // namespace terrace::internal

#endif  // TERRACE_KERNELS_COMPRESS_HCA_SUMS_CUH_
