// The arithmetic of compression (docs/formats.md section 5), written once for host and device. Both
// give the same bits: every operation is rounded once, fused only where FmaRn says so, and the
// order of every sum is fixed here.
//
//   Accumulate      tokens into a running softmax, segments into a group
//   Pooled          the group's weighted mean
//   PoolGroup       all tokens of a group into its softmax at once
//   RmsScale        from the squares of a row, added up by neighbours
//   RotateRounded   the RoPE channels, from float32 to bf16
//   HadamardSteps   and HadamardPair: the transform of an indexer key
//
// Thread-safe: yes, nothing is shared.

#ifndef TERRACE_FORMATS_COMPRESS_MATH_H_
#define TERRACE_FORMATS_COMPRESS_MATH_H_

#include <cstdint>
#include <cstring>

#include "terrace/formats/bf16.h"
#include "terrace/formats/float_bits.h"
#include "terrace/formats/host_device.h"
#include "terrace/formats/row_format.h"

namespace terrace {

// e^x for x <= 0, within two units in the last place near 0; the error grows by 2^-26 |x| of the
// value, which a softmax does not notice. Below -87, where the result would leave the normal
// numbers, it stays at e^-87; NaN gives that too.
TERRACE_HOST_DEVICE float ExpNonPositive(float x) {
  constexpr float kInverseLn2 = 0x1.715476p+0f;
  // Added to a small number it leaves the nearest integer in the low mantissa bits.
  constexpr float kRound = 0x1.8p23f;
  x = LargerOf(x, -87.0f);
  const float rounded = FmaRn(x, kInverseLn2, kRound);
  const float r = FmaRn(x, kInverseLn2, -SubRn(rounded, kRound));  // |r| <= 1/2
  float q = 0x1.5bba14p-10f;  // (2^r - 1) / r, its largest relative error made least
  q = FmaRn(q, r, 0x1.3cea88p-7f);
  q = FmaRn(q, r, 0x1.c6b752p-5f);
  q = FmaRn(q, r, 0x1.ebf9bcp-3f);
  q = FmaRn(q, r, 0x1.62e42ap-1f);
  const float e = FmaRn(q, r, 1.0f);
  return FloatFromBits(BitsFromFloat(e) + (BitsFromFloat(rounded) << 23));  // times 2^n
}

// The softmax of some scores, taken apart so that more can come: the largest score, the sum of
// e^(score - max), and the values weighted with it.
struct SoftmaxSum {
  float max;
  float sum;
  float weighted;
};

// Of no scores. Its max is a number, so that no difference to it is NaN.
inline constexpr SoftmaxSum kEmptySoftmaxSum = {-0x1.fffffep+127f, 0.0f, 0.0f};

// Adds `part` to `total`. A token is the part {score, 1, value}. A score of NaN or minus infinity
// weighs no more than e^-87.
TERRACE_HOST_DEVICE void Accumulate(float part_max, float part_sum, float part_weighted, float& max,
                                    float& sum, float& weighted) {
  const float difference = SubRn(part_max, max);
  const bool rises = difference > 0.0f;
  const float e = ExpNonPositive(-MagnitudeOf(difference));  // scales the lower one down
  const float low_sum = rises ? sum : part_sum;
  const float high_sum = rises ? part_sum : sum;
  const float low_weighted = rises ? weighted : part_weighted;
  const float high_weighted = rises ? part_weighted : weighted;
  max = rises ? part_max : max;
  sum = FmaRn(low_sum, e, high_sum);
  weighted = FmaRn(low_weighted, e, high_weighted);
}

TERRACE_HOST_DEVICE void Accumulate(const SoftmaxSum& part, SoftmaxSum& total) {
  Accumulate(part.max, part.sum, part.weighted, total.max, total.sum, total.weighted);
}

// The softmax of a channel's whole group, whose scores are all at hand: one pass for the largest
// score, one that adds up. A score of NaN or minus infinity weighs no more than e^-87.
template <int kCount>
TERRACE_HOST_DEVICE void PoolGroup(const float (&scores)[kCount], const float (&values)[kCount],
                                   float& sum, float& weighted) {
  float max = kEmptySoftmaxSum.max;
  for (int i = 0; i < kCount; ++i) max = LargerOf(scores[i], max);
  sum = weighted = 0.0f;
  for (int i = 0; i < kCount; ++i) {
    const float e = ExpNonPositive(SubRn(scores[i], max));
    sum = AddRn(sum, e);
    weighted = FmaRn(e, values[i], weighted);
  }
}

// The pooled value of a channel. What is not finite becomes +0, so that it does not spoil the row,
// and raises `bad`.
TERRACE_HOST_DEVICE float Pooled(float sum, float weighted, int& bad) {
  constexpr uint32_t kInfinity = 0x7F800000u;
  const float value = DivRn(weighted, sum);
  const bool finite = (BitsFromFloat(value) & kInfinity) != kInfinity;
  bad += finite ? 0 : 1;
  return finite ? value : 0.0f;
}

// The sum of squares of a pair of channels. A row's pairs are added by neighbours until one is
// left: 0 and 1, 2 and 3; then those two; and so on.
TERRACE_HOST_DEVICE float SumOfSquares(float even, float odd) {
  return FmaRn(odd, odd, MulRn(even, even));
}

// What RMSNorm multiplies a row of kChannels with, beside the weight.
template <int kChannels>
TERRACE_HOST_DEVICE float RmsScale(float sum_of_squares, float eps) {
  static_assert((kChannels & (kChannels - 1)) == 0, "the mean is exact");
  return DivRn(1.0f, SqrtRn(AddRn(MulRn(sum_of_squares, 1.0f / kChannels), eps)));
}

TERRACE_HOST_DEVICE float Normed(float pooled, float rms_scale, float weight) {
  return MulRn(MulRn(pooled, rms_scale), weight);
}

// RotatePairs (rope.h) of float32 values, rounded to bf16 once, after the rotation.
// Shape: values, channels [2 * kPairs]; cosines, sines [kPairs].
template <int kPairs>
TERRACE_HOST_DEVICE void RotateRounded(const float* values, const float* cosines,
                                       const float* sines, uint16_t* channels) {
  for (int i = 0; i < kPairs; ++i) {
    const float even = values[2 * i];
    const float odd = values[2 * i + 1];
    const uint32_t pair = Bf16PairFromFloats(SubRn(MulRn(even, cosines[i]), MulRn(odd, sines[i])),
                                             AddRn(MulRn(even, sines[i]), MulRn(odd, cosines[i])));
    std::memcpy(channels + 2 * i, &pair, sizeof(pair));
  }
}

// The orthonormal Hadamard transform of an indexer key is seven steps of sums and differences over
// the distances 1, 2, 4 .. 64, then one product. HadamardSteps does those within kCount channels,
// HadamardPair one of a channel and its partner elsewhere.
inline constexpr float kHadamardScale = 0x1.6a09e6p-4f;  // 1 / sqrt(128)

template <int kCount>
TERRACE_HOST_DEVICE void HadamardSteps(float* values) {
  for (int distance = 1; distance < kCount; distance *= 2) {
    for (int begin = 0; begin < kCount; begin += 2 * distance) {
      for (int i = begin; i < begin + distance; ++i) {
        const float low = values[i];
        const float high = values[i + distance];
        values[i] = AddRn(low, high);
        values[i + distance] = SubRn(low, high);
      }
    }
  }
}

// `is_high`: `own` is the channel of the two that lies higher.
TERRACE_HOST_DEVICE float HadamardPair(float own, float partner, bool is_high) {
  return is_high ? SubRn(partner, own) : AddRn(own, partner);
}

}  // namespace terrace

#endif  // TERRACE_FORMATS_COMPRESS_MATH_H_
