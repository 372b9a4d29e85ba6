// e2m1 ("fp4"): sign, 2 exponent bits with bias 1, 1 mantissa bit. The values by code are
// 0 .5 1 1.5 2 3 4 6, the sign is bit 3. Two codes share a byte, the even channel in the low
// nibble. One conversion in software and one in hardware (the `a` and `f` variants of SM100 and
// SM120) give the same bits.

#ifndef TERRACE_E2M1_H_
#define TERRACE_E2M1_H_

#include <cstdint>
#include <cstring>

#include "terrace/bf16.h"
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
TERRACE_HOST_DEVICE float FloatFromE2m1(uint8_t code) {
  const float value = FloatFromMinifloat<1, 1>(code & 7);
  return FloatFromBits(BitsFromFloat(value) | (static_cast<uint32_t>(code & 8) << 28));
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

// Packs kChannels codes of e2m1(channels[i] / divisor), an IEEE division, two to a byte.
// Divisors that are powers of two divide exactly.
template <int kChannels>
TERRACE_HOST_DEVICE void EncodeE2m1(const uint16_t* channels, float divisor, uint8_t* packed) {
#if defined(TERRACE_HARDWARE_E2M1)
  for (int i = 0; i < kChannels / 2; ++i) {
    packed[i] = E2m1PairFromFloats(DivRn(FloatFromBf16(channels[2 * i]), divisor),
                                   DivRn(FloatFromBf16(channels[2 * i + 1]), divisor));
  }
#else
  alignas(16) uint8_t codes[kChannels];
  for (int i = 0; i < kChannels; ++i) {
    codes[i] = E2m1FromFloatSoftware(DivRn(FloatFromBf16(channels[i]), divisor));
  }
  for (int i = 0; i < kChannels / 2; ++i) {
    uint16_t pair;
    std::memcpy(&pair, codes + 2 * i, sizeof(pair));
    packed[i] = static_cast<uint8_t>(pair | (pair >> 4));
  }
#endif
}

// channels[i] = bf16((value(code i) * scale) * global_scale), saturating.
template <int kChannels>
TERRACE_HOST_DEVICE void DecodeE2m1(const uint8_t* packed, float scale, float global_scale,
                                    uint16_t* channels) {
  alignas(16) uint8_t codes[kChannels];
  for (int i = 0; i < kChannels / 2; ++i) {
    const uint16_t pair = static_cast<uint16_t>((packed[i] | (packed[i] << 4)) & 0x0F0F);
    std::memcpy(codes + 2 * i, &pair, sizeof(pair));
  }
  for (int i = 0; i < kChannels; ++i) {
    channels[i] = Bf16FromFloat(MulRn(MulRn(FloatFromE2m1(codes[i]), scale), global_scale));
  }
}

}  // namespace terrace

#endif  // TERRACE_E2M1_H_
