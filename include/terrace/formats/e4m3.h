// e4m3 (the finite kind, "e4m3fn"): sign, 4 exponent bits with bias 7, 3 mantissa bits, largest
// value 448, no infinity, NaN is 0x7F. One conversion in software and one in hardware (SM89 and
// newer) give the same bits.

#ifndef TERRACE_FORMATS_E4M3_H_
#define TERRACE_FORMATS_E4M3_H_

#include <cstdint>
#include <cstring>

#include "terrace/formats/bf16.h"
#include "terrace/formats/float_bits.h"
#include "terrace/formats/host_device.h"
#include "terrace/formats/minifloat.h"

#if defined(__CUDA_ARCH__)
#if __CUDA_ARCH__ >= 890
#define TERRACE_HARDWARE_E4M3 1
#endif
#endif

namespace terrace {

inline constexpr float kE4m3Largest = 448.0f;
inline constexpr uint32_t kE4m3LargestBf16 = 0x43E0;

// Round to nearest even, saturating at 448; a zero keeps its sign. REQUIRES: |value| < 2^30.
TERRACE_HOST_DEVICE uint8_t E4m3FromBoundedFloat(float value) {
  const uint32_t bits = BitsFromFloat(value);
  int32_t code = MinifloatFromMagnitude<3, 7>(static_cast<int32_t>(bits & 0x7FFFFFFFu));
  code = code < 0x7E ? code : 0x7E;
  return static_cast<uint8_t>(static_cast<uint32_t>(code) | ((bits >> 24) & 0x80u));
}

// The same for every float: infinities saturate, NaN becomes 0x7F.
TERRACE_HOST_DEVICE uint8_t E4m3FromFloatSoftware(float value) {
  const float low = value > -kE4m3Largest ? value : -kE4m3Largest;
  const float clamped = low < kE4m3Largest ? low : kE4m3Largest;
  return value != value ? 0x7F : E4m3FromBoundedFloat(clamped);
}

// The value of a code, exactly; 0x7F and 0xFF give NaN.
TERRACE_HOST_DEVICE float FloatFromE4m3(uint8_t code) {
  const int32_t magnitude = code & 0x7F;
  const uint32_t nan = magnitude == 0x7F ? 0x7FC00000u : 0u;
  const uint32_t sign = static_cast<uint32_t>(code & 0x80) << 24;
  return FloatFromBits(BitsFromFloat(FloatFromMinifloat<3, 7>(magnitude)) | nan | sign);
}

// What a magnitude lacks to `bound`; 0 where it is at least that.
TERRACE_HOST_DEVICE uint8_t LackingTo(uint8_t bound, uint8_t magnitude) {
  return static_cast<uint8_t>((magnitude > bound ? magnitude : bound) - magnitude);
}

// The bf16 bits of a code's value times 2^(exponent - 127), exactly; NaN codes give kBf16NaN. All
// in 8 and 16 bits, where a vector holds more than of float32.
// REQUIRES: kLeastE4m3Exponent <= exponent <= kMostE4m3Exponent, so that no result is subnormal or
// too large.
inline constexpr uint32_t kLeastE4m3Exponent = 10;
inline constexpr uint32_t kMostE4m3Exponent = 246;
TERRACE_HOST_DEVICE uint16_t Bf16FromE4m3(uint8_t code, uint32_t exponent) {
  const uint8_t magnitude = code & 0x7F;
  // The magnitude of a normal code, shifted, is added to the exponent. A subnormal is doubled until
  // it has a leading one, and its exponent is as much less: the line of magnitudes bends at 8, 4
  // and 2.
  const uint8_t bend = static_cast<uint8_t>(LackingTo(4, magnitude) + 2 * LackingTo(2, magnitude));
  const int8_t line = static_cast<int8_t>(magnitude - LackingTo(8, magnitude) - 2 * bend);
  const int32_t bits = static_cast<int32_t>((exponent - 7) << 7) + line * 16;
  const uint16_t sign = static_cast<int8_t>(code) & 0x8000;
  const uint16_t value = static_cast<uint16_t>(magnitude == 0 ? sign : (bits | sign));
  return magnitude == 0x7F ? kBf16NaN : value;
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

// Shape: values, codes [kCount]. REQUIRES: |values[i]| < 2^30.
template <int kCount>
TERRACE_HOST_DEVICE void EncodeE4m3(const float* values, uint8_t* codes) {
#if defined(TERRACE_HARDWARE_E4M3)
  for (int i = 0; i < kCount; i += 2) {
    const uint16_t pair = E4m3PairFromFloats(values[i], values[i + 1]);
    std::memcpy(codes + i, &pair, sizeof(pair));
  }
#else
  for (int i = 0; i < kCount; ++i) codes[i] = E4m3FromBoundedFloat(values[i]);
#endif
}

template <int kCount>
TERRACE_HOST_DEVICE void DecodeE4m3(const uint8_t* codes, float* values) {
#if defined(TERRACE_HARDWARE_E4M3)
  for (int i = 0; i < kCount; i += 2) {
    uint16_t pair;
    std::memcpy(&pair, codes + i, sizeof(pair));
    // By way of f16, which holds every e4m3 value.
    asm("{ .reg .b32 pair; .reg .b16 low, high; cvt.rn.f16x2.e4m3x2 pair, %2; "
        "mov.b32 {low, high}, pair; cvt.f32.f16 %0, low; cvt.f32.f16 %1, high; }"
        : "=f"(values[i]), "=f"(values[i + 1])
        : "h"(pair));
  }
#else
  for (int i = 0; i < kCount; ++i) values[i] = FloatFromE4m3(codes[i]);
#endif
}

}  // namespace terrace

#endif  // TERRACE_FORMATS_E4M3_H_
