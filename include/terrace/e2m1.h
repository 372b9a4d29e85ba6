// e2m1 ("fp4"): sign, 2 exponent bits with bias 1, 1 mantissa bit. The values by code are
// 0 .5 1 1.5 2 3 4 6, the sign is bit 3. Two codes share a byte, the even channel in the low
// nibble. One conversion in software and one in hardware (the `a` and `f` variants of SM100 and
// SM120) give the same bits.

#ifndef TERRACE_E2M1_H_
#define TERRACE_E2M1_H_

#include <cstdint>
#include <cstring>

#include "terrace/float_bits.h"
#include "terrace/host_device.h"
#include "terrace/minifloat.h"

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
// Codes of `low` (bits 0-3) and `high` (bits 16-19), both halves of a word at once. Each float32 is
// first cut to bf16 with its last bit set if anything was cut off, which keeps it on its side of
// every tie. Adding 2^6 of its own binade (at least that of 1) then rounds to nearest even at the
// step of e2m1 there, because that is the last place of the bf16 sum; what the sum has beyond the
// power of two counts steps, and a step is a code.
__device__ __forceinline__ uint32_t E2m1HalvesFromFloats(float low, float high) {
  constexpr uint32_t kOne = 0x3F803F80u;
  constexpr uint32_t kSix = 0x40C040C0u;
  const uint32_t cut = __byte_perm(BitsFromFloat(low), BitsFromFloat(high), 0x5410);
  const uint32_t values =
      __byte_perm(BitsFromFloat(low), BitsFromFloat(high), 0x7632) | __vminu2(cut, 0x00010001u);
  const uint32_t magnitudes = __vminu2(values & 0x7FFF7FFFu, kSix);
  const uint32_t binades = __vmaxu2(magnitudes & 0x7F807F80u, kOne);
  const uint32_t anchors = binades + 0x03000300u;
  uint32_t sums;
  asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(sums) : "r"(magnitudes), "r"(kOne), "r"(anchors));
  return (sums - anchors + ((binades - kOne) >> 6)) | ((values >> 12) & 0x00080008u);
}

// Packs the codes of four E2m1HalvesFromFloats, in order, the first in the lowest bits.
__device__ __forceinline__ uint32_t PackE2m1Halves(uint32_t a, uint32_t b, uint32_t c, uint32_t d) {
  const uint32_t ab = __byte_perm(a, b, 0x6240);  // low codes of both, then high codes
  const uint32_t cd = __byte_perm(c, d, 0x6240);
  return __byte_perm(ab, cd, 0x5410) + (__byte_perm(ab, cd, 0x7632) << 4);
}

// fl32(value / divisor) as far as its e2m1 code depends on it, from inverse = fl32(1 / divisor):
// with the remainder, which is exact, one step corrects the product to the rounded quotient
// (Markstein 1990). A quotient beyond the range comes out as infinity or NaN with the sign of the
// value. REQUIRES: divisor and inverse are far from the ends of the range of float32.
__device__ __forceinline__ float QuotientForE2m1(float value, float divisor, float inverse) {
  const float product = MulRn(value, inverse);
  const float corrected = __fmaf_rn(__fmaf_rn(-product, divisor, value), inverse, product);
#if defined(TERRACE_HARDWARE_E2M1)
  return copysignf(fminf(fabsf(corrected), kE2m1Largest), value);
#else
  return copysignf(corrected, value);  // whose bits are clamped
#endif
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
  if (divisor > 0x1p-60f && divisor < 0x1p60f) {
    const float inverse = DivRn(1.0f, divisor);
    for (int i = 0; i < kCount; ++i) values[i] = QuotientForE2m1(values[i], divisor, inverse);
    return;
  }
#endif
  for (int i = 0; i < kCount; ++i) values[i] = DivRn(values[i], divisor);
}

// Shape: values [kCount], packed [kCount / 2].
template <int kCount>
TERRACE_HOST_DEVICE void EncodeE2m1(const float* values, uint8_t* packed) {
#if defined(__CUDA_ARCH__) && !defined(TERRACE_HARDWARE_E2M1)
  static_assert(kCount % 8 == 0);
  for (int i = 0; i < kCount; i += 8) {
    const uint32_t word = PackE2m1Halves(E2m1HalvesFromFloats(values[i], values[i + 1]),
                                         E2m1HalvesFromFloats(values[i + 2], values[i + 3]),
                                         E2m1HalvesFromFloats(values[i + 4], values[i + 5]),
                                         E2m1HalvesFromFloats(values[i + 6], values[i + 7]));
    std::memcpy(packed + i / 2, &word, sizeof(word));
  }
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

#endif  // TERRACE_E2M1_H_
