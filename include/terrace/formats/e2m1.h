// e2m1 ("fp4"): sign, 2 exponent bits with bias 1, 1 mantissa bit. The sign is bit 3.
//
//   code    0   1   2   3   4   5   6   7
//   value   0  .5   1 1.5   2   3   4   6
//
// Two codes share a byte, the even channel in the low nibble. One conversion in software and one in
// hardware (the `a` and `f` variants of SM100 and SM120) give the same bits.

#ifndef TERRACE_FORMATS_E2M1_H_
#define TERRACE_FORMATS_E2M1_H_

#include <cstdint>
#include <cstring>

#include "terrace/formats/bf16.h"
#include "terrace/formats/float_bits.h"
#include "terrace/formats/host_device.h"
#include "terrace/formats/minifloat.h"

#if defined(__CUDA_ARCH_FEAT_SM100_ALL) || defined(__CUDA_ARCH_FEAT_SM103_ALL) || \
    defined(__CUDA_ARCH_FEAT_SM120_ALL) || defined(__CUDA_ARCH_FEAT_SM121_ALL)
#define TERRACE_HARDWARE_E2M1 1
#elif defined(__CUDA_ARCH_FAMILY_SPECIFIC__)
#if __CUDA_ARCH_FAMILY_SPECIFIC__ >= 1000
#define TERRACE_HARDWARE_E2M1 1
#endif
#endif

namespace terrace {

inline constexpr float kE2m1Largest = 6.0f;
inline constexpr uint32_t kE2m1LargestBf16 = 0x40C0;

// Round to nearest even, saturating at 6; a zero keeps its sign. NaN becomes 6 of its sign: callers
// sanitize first.
TERRACE_HOST_DEVICE uint8_t E2m1FromFloatSoftware(float value) {
  const uint32_t bits = BitsFromFloat(value);
  const int32_t magnitude = static_cast<int32_t>(bits & 0x7FFFFFFFu);
  const int32_t clamped = magnitude < 0x40C00000 ? magnitude : 0x40C00000;  // 6.0
  const int32_t code = MinifloatFromMagnitude<1, 1>(clamped);
  return static_cast<uint8_t>(static_cast<uint32_t>(code) | ((bits >> 28) & 8u));
}

// The value of the low four bits of `code`, exactly.
TERRACE_HOST_DEVICE float FloatFromE2m1(uint32_t code) {
  const float value = FloatFromMinifloat<1, 1>(static_cast<int32_t>(code & 7));
  return FloatFromBits(BitsFromFloat(value) | ((code & 8) << 28));
}

#if defined(TERRACE_HARDWARE_E2M1)
// Codes of `low` (bits 0-3) and `high` (bits 4-7).
__device__ __forceinline__ uint8_t E2m1PairFromFloats(float low, float high) {
  uint16_t pair;
  asm("{ .reg .b8 b; cvt.rn.satfinite.e2m1x2.f32 b, %1, %2; cvt.u16.u8 %0, b; }"
      : "=h"(pair)
      : "f"(high), "f"(low));
  return static_cast<uint8_t>(pair);
}
#endif

#if defined(__CUDA_ARCH__)
// Two float32 as bf16 with the same e2m1 codes: each is cut, and its last bit set if anything was
// cut off, which keeps it on its side of every tie.
__device__ __forceinline__ uint32_t CutToBf16Pair(float low, float high) {
  const uint32_t cut = __byte_perm(BitsFromFloat(low), BitsFromFloat(high), 0x5410);
  return __byte_perm(BitsFromFloat(low), BitsFromFloat(high), 0x7632) | __vminu2(cut, 0x00010001u);
}

// Codes of two bf16, given their magnitudes and, apart from them, values of the same signs: in bits
// 0-3 and 16-19; bits 8-15 and 24-31 hold something else. A magnitude is cut into what lies below
// 2, between 2 and 4, and above 4, where codes are 0.5, 1 and 2 apart, and each part is added, in
// codes, to 128, where bf16 are 1 apart: the sum rounds to nearest even. A part is zero unless
// those below it are full, so that only one sum rounds. Multiply-adds do it, because a write of
// e2m1 is short of everything else (docs/kernels.md).
__device__ __forceinline__ uint32_t E2m1HalvesFromBf16(uint32_t magnitudes, uint32_t signs) {
  constexpr uint32_t kHalf = 0x3F003F00u;
  constexpr uint32_t kOne = 0x3F803F80u;
  constexpr uint32_t kTwo = 0x40004000u;
  constexpr uint32_t kFour = 0x40804080u;
  constexpr uint32_t kSix = 0x40C040C0u;
  constexpr uint32_t k128 = 0x43004300u;
  constexpr uint32_t kMinus = 0x80008000u;
  const uint32_t clamped = __vminu2(magnitudes, kSix);
  const uint32_t above_two = FmaBf16Pair<true>(clamped, kOne, kMinus | kTwo);
  const uint32_t above_four = FmaBf16Pair<true>(clamped, kOne, kMinus | kFour);
  const uint32_t below_two = FmaBf16Pair(above_two, kMinus | kOne, clamped);
  const uint32_t between = FmaBf16Pair(above_four, kMinus | kOne, above_two);
  uint32_t codes = FmaBf16Pair(below_two, kTwo, k128);
  codes = FmaBf16Pair(between, kOne, codes);
  codes = FmaBf16Pair(above_four, kHalf, codes);
  return codes | ((signs >> 12) & 0x00080008u);
}

// Packs the codes of four E2m1HalvesFromBf16, in order, the first in the lowest bits.
__device__ __forceinline__ uint32_t PackE2m1Halves(uint32_t a, uint32_t b, uint32_t c, uint32_t d) {
  const uint32_t ab = __byte_perm(a, b, 0x6240);  // low codes of both, then high codes
  const uint32_t cd = __byte_perm(c, d, 0x6240);
  return __byte_perm(ab, cd, 0x5410) + (__byte_perm(ab, cd, 0x7632) << 4);
}

// fl32(magnitude / divisor) as far as its e2m1 code depends on it, given fl32(1 / divisor): with
// the remainder, which is exact, one step corrects the product to the rounded quotient (Markstein
// 1990). Beyond the range it comes out as infinity or NaN.
// REQUIRES: magnitude is not negative; DividesByInverse(divisor).
__device__ __forceinline__ float QuotientForE2m1(float magnitude, float divisor, float inverse) {
  const float product = MulRn(magnitude, inverse);
  return __fmaf_rn(__fmaf_rn(-product, divisor, magnitude), inverse, product);
}
// Whether divisor and inverse are far from the ends of the range of float32.
__device__ __forceinline__ bool DividesByInverse(float divisor) {
  return divisor > 0x1p-60f && divisor < 0x1p60f;
}

// Codes of 2 * kPairs bf16, the first of each pair in its low half.
// Shape: magnitudes and signs [kPairs], packed [kPairs].
template <int kPairs>
__device__ __forceinline__ void EncodeE2m1Bf16(const uint32_t* magnitudes, const uint32_t* signs,
                                               uint8_t* packed) {
  static_assert(kPairs == 1 || kPairs % 4 == 0);
  constexpr int kBatch = kPairs == 1 ? 1 : 4;
#pragma unroll
  for (int i = 0; i < kPairs; i += kBatch) {
    uint32_t halves[4] = {};
    for (int j = 0; j < kBatch; ++j) {
      halves[j] = E2m1HalvesFromBf16(magnitudes[i + j], signs[i + j]);
    }
    const uint32_t word = PackE2m1Halves(halves[0], halves[1], halves[2], halves[3]);
    std::memcpy(packed + i, &word, kBatch);
  }
}

// The f16 values of two codes each: code i of `word` is its bits 4i .. 4i + 3. An e2m1 code is an
// f16 without 2^14 of its exponent: sign, exponent and mantissa bit keep their order, subnormals
// included.
__device__ __forceinline__ void F16FromE2m1Word(uint32_t word, uint32_t (&pairs)[4]) {
  const uint32_t low = ((word << 1) & 0x0E0E0E0Eu) | ((word << 4) & 0x80808080u);
  const uint32_t high = ((word >> 3) & 0x0E0E0E0Eu) | (word & 0x80808080u);
  const uint32_t codes[4] = {__byte_perm(low, high, 0x4000), __byte_perm(low, high, 0x5010),
                             __byte_perm(low, high, 0x6020), __byte_perm(low, high, 0x7030)};
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    asm("mul.rn.f16x2 %0, %1, %2;"
        : "=r"(pairs[i])
        : "r"(codes[i] & 0xFF00FF00u), "r"(0x74007400u));
  }
}
#endif

// values[i] = fl32(values[i] / divisor), or what has the same e2m1 code. REQUIRES: divisor > 0.
template <int kCount>
TERRACE_HOST_DEVICE void DivideForE2m1(float* values, float divisor) {
#if defined(__CUDA_ARCH__)
  if (DividesByInverse(divisor)) {
    const float inverse = __frcp_rn(divisor);
    for (int i = 0; i < kCount; ++i) {
      const float quotient = QuotientForE2m1(fabsf(values[i]), divisor, inverse);
      values[i] = copysignf(fminf(quotient, kE2m1Largest), values[i]);  // a NaN becomes 6
    }
    return;
  }
#endif
  for (int i = 0; i < kCount; ++i) values[i] = DivRn(values[i], divisor);
}

// Shape: values [kCount], packed [kCount / 2].
template <int kCount>
TERRACE_HOST_DEVICE void EncodeE2m1(const float* values, uint8_t* packed) {
#if defined(__CUDA_ARCH__) && !defined(TERRACE_HARDWARE_E2M1)
  uint32_t pairs[kCount / 2];
  uint32_t magnitudes[kCount / 2];
  for (int i = 0; i < kCount / 2; ++i) {
    pairs[i] = CutToBf16Pair(values[2 * i], values[2 * i + 1]);
    magnitudes[i] = pairs[i] & kBf16Magnitudes;
  }
  EncodeE2m1Bf16<kCount / 2>(magnitudes, pairs, packed);
#else
  for (int i = 0; i < kCount / 2; ++i) {
#if defined(TERRACE_HARDWARE_E2M1)
    packed[i] = E2m1PairFromFloats(values[2 * i], values[2 * i + 1]);
#else
    packed[i] = static_cast<uint8_t>(E2m1FromFloatSoftware(values[2 * i]) |
                                     (E2m1FromFloatSoftware(values[2 * i + 1]) << 4));
#endif
  }
#endif
}

template <int kCount>
TERRACE_HOST_DEVICE void DecodeE2m1(const uint8_t* packed, float* values) {
#if defined(__CUDA_ARCH__)
  static_assert(kCount % 8 == 0);
  for (int i = 0; i < kCount; i += 8) {
    uint32_t word;
    uint32_t pairs[4];
    std::memcpy(&word, packed + i / 2, sizeof(word));
    F16FromE2m1Word(word, pairs);
    for (int j = 0; j < 4; ++j) {
      asm("{ .reg .b16 low, high; mov.b32 {low, high}, %2; cvt.f32.f16 %0, low; "
          "cvt.f32.f16 %1, high; }"
          : "=f"(values[i + 2 * j]), "=f"(values[i + 2 * j + 1])
          : "r"(pairs[j]));
    }
  }
#else
  for (int i = 0; i < kCount / 2; ++i) {
    const uint32_t pair = packed[i];
    values[2 * i] = FloatFromE2m1(pair);
    values[2 * i + 1] = FloatFromE2m1(pair >> 4);
  }
#endif
}

}  // namespace terrace

#endif  // TERRACE_FORMATS_E2M1_H_
