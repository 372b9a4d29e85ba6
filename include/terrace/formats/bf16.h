// bf16 as its 16 bits in a uint16_t.

#ifndef TERRACE_FORMATS_BF16_H_
#define TERRACE_FORMATS_BF16_H_

#include <cstdint>

#include "terrace/formats/float_bits.h"
#include "terrace/formats/host_device.h"

namespace terrace {

inline constexpr uint16_t kBf16Largest = 0x7F7F;  // the largest finite value
inline constexpr uint16_t kBf16NaN = 0x7FFF;      // the one that conversions give

TERRACE_HOST_DEVICE float FloatFromBf16(uint16_t bits) {
  return FloatFromBits(static_cast<uint32_t>(bits) << 16);
}

// Round to nearest even. Saturates: what is too large, infinities included, becomes the largest
// finite value of its sign. NaN becomes kBf16NaN, positive: arithmetic keeps a NaN's sign on some
// processors and not on others.
TERRACE_HOST_DEVICE uint16_t Bf16FromFloatSoftware(float value) {
  const uint32_t bits = BitsFromFloat(value);
  const uint32_t magnitude = bits & 0x7FFFFFFFu;
  int32_t rounded = static_cast<int32_t>((magnitude + 0x7FFFu + ((magnitude >> 16) & 1u)) >> 16);
  rounded = rounded < kBf16Largest ? rounded : kBf16Largest;
  rounded |= static_cast<int32_t>((bits >> 16) & 0x8000u);
  rounded = static_cast<int32_t>(magnitude) > 0x7F800000 ? kBf16NaN : rounded;
  return static_cast<uint16_t>(rounded);
}

// Two at once: `low` in bits 0-15, `high` in bits 16-31. One instruction on every device, which
// gives the same bits.
TERRACE_HOST_DEVICE uint32_t Bf16PairFromFloats(float low, float high) {
#if defined(__CUDA_ARCH__)
  uint32_t pair;
  asm("cvt.rn.satfinite.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
#else
  return Bf16FromFloatSoftware(low) | (uint32_t{Bf16FromFloatSoftware(high)} << 16);
#endif
}

TERRACE_HOST_DEVICE uint16_t Bf16FromFloat(float value) {
#if defined(__CUDA_ARCH__)
  return static_cast<uint16_t>(Bf16PairFromFloats(value, 0.0f));
#else
  return Bf16FromFloatSoftware(value);
#endif
}

#if defined(__CUDACC__)
inline constexpr uint32_t kBf16Magnitudes = 0x7FFF7FFFu;  // of a pair

// a * b + c of two pairs, each rounded once to nearest even. kRelu: negative results become 0.
template <bool kRelu = false>
__device__ __forceinline__ uint32_t FmaBf16Pair(uint32_t a, uint32_t b, uint32_t c) {
  uint32_t result;
  if constexpr (kRelu) {
    asm("fma.rn.relu.bf16x2 %0, %1, %2, %3;" : "=r"(result) : "r"(a), "r"(b), "r"(c));
  } else {
    asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(result) : "r"(a), "r"(b), "r"(c));
  }
  return result;
}
#endif

// Replaces NaN by +0 and an infinity by the largest finite value of its sign, in place. Returns how
// many values it replaced.
template <int kChannels>
TERRACE_HOST_DEVICE int SanitizeBf16(uint16_t* channels) {
  uint16_t bad = 0;
  for (int i = 0; i < kChannels; ++i) {
    const uint16_t bits = channels[i];
    const uint16_t magnitude = bits & 0x7FFF;
    const uint16_t finite = magnitude == 0x7F80 ? static_cast<uint16_t>(bits - 1) : bits;
    channels[i] = magnitude > 0x7F80 ? static_cast<uint16_t>(0) : finite;
    // 1 where magnitude exceeds the largest finite value, as arithmetic, which vectorizes.
    const uint16_t below = static_cast<uint16_t>(kBf16Largest - magnitude);
    bad = static_cast<uint16_t>(bad + (below >> 15));
  }
  return bad;
}

// The bits of max|x|. The order of finite magnitudes is the order of their bits.
template <int kChannels>
TERRACE_HOST_DEVICE uint16_t LargestMagnitudeBf16(const uint16_t* channels) {
  uint16_t largest = 0;
  for (int i = 0; i < kChannels; ++i) {
    const uint16_t magnitude = channels[i] & 0x7FFF;
    largest = magnitude > largest ? magnitude : largest;
  }
  return largest;
}

}  // namespace terrace

#endif  // TERRACE_FORMATS_BF16_H_
