// e4m3 (the finite kind, "e4m3fn"): sign, 4 exponent bits with bias 7, 3 mantissa bits, largest
// value 448, no infinity, NaN is 0x7F. One conversion in software and one in hardware (SM89 and
// newer) give the same bits.

#ifndef TERRACE_E4M3_H_
#define TERRACE_E4M3_H_

#include <cstdint>
#include <cstring>

#include "terrace/bf16.h"
#include "terrace/float_bits.h"
#include "terrace/host_device.h"
#include "terrace/minifloat.h"

#if defined(__CUDA_ARCH__)
#if __CUDA_ARCH__ >= 890
#define TERRACE_HARDWARE_E4M3 1
#endif
#endif

namespace terrace {

inline constexpr float kE4m3Largest = 448.0f;

// Round to nearest even, saturating at 448; NaN becomes 0x7F; a zero keeps its sign.
TERRACE_HOST_DEVICE uint8_t E4m3FromFloatSoftware(float value) {
  const uint32_t bits = BitsFromFloat(value);
  const int32_t magnitude = static_cast<int32_t>(bits & 0x7FFFFFFFu);
  // 2^30 is far above 448 and far below an overflow of the rounding.
  const int32_t clamped = magnitude < 0x4E800000 ? magnitude : 0x4E800000;
  int32_t code = MinifloatFromMagnitude<3, 7>(clamped);
  code = code < 0x7E ? code : 0x7E;
  code = magnitude > 0x7F800000 ? 0x7F : code;
  return static_cast<uint8_t>(static_cast<uint32_t>(code) | ((bits >> 24) & 0x80u));
}

// The value of a code, exactly; 0x7F and 0xFF give NaN.
TERRACE_HOST_DEVICE float FloatFromE4m3(uint8_t code) {
  const int32_t magnitude = code & 0x7F;
  const float value = FloatFromMinifloat<3, 7>(magnitude);
  const uint32_t bits = magnitude == 0x7F ? 0x7FC00000u : BitsFromFloat(value);
  return FloatFromBits(bits | (static_cast<uint32_t>(code & 0x80) << 24));
}

#if defined(TERRACE_HARDWARE_E4M3)
// Codes of `low` (bits 0-7) and `high` (bits 8-15).
__device__ __forceinline__ uint16_t E4m3PairFromFloats(float low, float high) {
  uint16_t pair;
  asm("cvt.rn.satfinite.e4m3x2.f32 %0, %1, %2;" : "=h"(pair) : "f"(high), "f"(low));
  return pair;
}
#endif

TERRACE_HOST_DEVICE uint8_t E4m3FromFloat(float value) {
#if defined(TERRACE_HARDWARE_E4M3)
  return static_cast<uint8_t>(E4m3PairFromFloats(value, 0.0f));
#else
  return E4m3FromFloatSoftware(value);
#endif
}

// codes[i] = e4m3(channels[i] * factor), the product rounded to float32.
template <int kChannels>
TERRACE_HOST_DEVICE void EncodeE4m3(const uint16_t* channels, float factor, uint8_t* codes) {
#if defined(TERRACE_HARDWARE_E4M3)
  for (int i = 0; i < kChannels; i += 2) {
    const uint16_t pair = E4m3PairFromFloats(MulRn(FloatFromBf16(channels[i]), factor),
                                             MulRn(FloatFromBf16(channels[i + 1]), factor));
    std::memcpy(codes + i, &pair, sizeof(pair));
  }
#else
  for (int i = 0; i < kChannels; ++i) {
    codes[i] = E4m3FromFloatSoftware(MulRn(FloatFromBf16(channels[i]), factor));
  }
#endif
}

// channels[i] = bf16(value(codes[i]) * scale), saturating.
template <int kChannels>
TERRACE_HOST_DEVICE void DecodeE4m3(const uint8_t* codes, float scale, uint16_t* channels) {
  for (int i = 0; i < kChannels; ++i) {
    channels[i] = Bf16FromFloat(MulRn(FloatFromE4m3(codes[i]), scale));
  }
}

}  // namespace terrace

#endif  // TERRACE_E4M3_H_
