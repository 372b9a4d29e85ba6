// e2m1 ("fp4"): sign, 2 exponent bits with bias 1, 1 mantissa bit. The values by code are
// 0 .5 1 1.5 2 3 4 6, the sign is bit 3. Two codes share a byte, the even channel in the low
// nibble. One conversion in software and one in hardware (the `a` and `f` variants of SM100 and
// SM120) give the same bits.

#ifndef TERRACE_E2M1_H_
#define TERRACE_E2M1_H_

#include <cstdint>

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

// Shape: values [kCount], packed [kCount / 2].
template <int kCount>
TERRACE_HOST_DEVICE void EncodeE2m1(const float* values, uint8_t* packed) {
  for (int i = 0; i < kCount / 2; ++i) {
#if defined(TERRACE_HARDWARE_E2M1)
    packed[i] = E2m1PairFromFloats(values[2 * i], values[2 * i + 1]);
#else
    packed[i] = static_cast<uint8_t>(E2m1FromFloatSoftware(values[2 * i]) |
                                     (E2m1FromFloatSoftware(values[2 * i + 1]) << 4));
#endif
  }
}

template <int kCount>
TERRACE_HOST_DEVICE void DecodeE2m1(const uint8_t* packed, float* values) {
  for (int i = 0; i < kCount / 2; ++i) {
    const uint32_t pair = packed[i];
    values[2 * i] = FloatFromE2m1(pair);
    values[2 * i + 1] = FloatFromE2m1(pair >> 4);
  }
}

}  // namespace terrace

#endif  // TERRACE_E2M1_H_
