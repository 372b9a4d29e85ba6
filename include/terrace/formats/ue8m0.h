// UE8M0: a power of two as one byte, exponent + 127. 255 is NaN.

#ifndef TERRACE_FORMATS_UE8M0_H_
#define TERRACE_FORMATS_UE8M0_H_

#include <cstdint>

#include "terrace/formats/float_bits.h"
#include "terrace/formats/host_device.h"

namespace terrace {

// The UE8M0 byte of the smallest power of two 2^e with largest / top <= 2^e, between two bounds. A
// bf16 is either at least 2^-8 of itself away from top * 2^e or equal to it, so that the quotient
// rounded to float32 gives the same e as the exact one, and comparing mantissas is enough: adding
// what top's mantissa lacks to a full one carries into the exponent iff a larger power is needed.
template <uint32_t kTopBits, int kSmallest, int kLargest>
TERRACE_HOST_DEVICE uint32_t Ue8m0Scale(uint16_t largest) {
  constexpr int kTopExponent = static_cast<int>(kTopBits >> 7) - 127;
  constexpr int kToFull = 0x7F - static_cast<int>(kTopBits & 0x7F);
  const int byte = ((largest + kToFull) >> 7) - kTopExponent;
  const int floored = byte > kSmallest ? byte : kSmallest;
  return static_cast<uint32_t>(floored < kLargest ? floored : kLargest);
}

// The power of two of a byte, exactly: 0 is the float32 subnormal 2^-127, 255 is NaN.
TERRACE_HOST_DEVICE float FloatFromUe8m0(uint32_t byte) {
  const uint32_t bits = byte == 0 ? 0x00400000u : byte << 23;
  return FloatFromBits(byte == 255 ? 0x7FC00000u : bits);
}

// 1 / FloatFromUe8m0(byte), exactly. REQUIRES: 1 <= byte <= 253.
TERRACE_HOST_DEVICE float InverseUe8m0(uint32_t byte) { return FloatFromBits((254u - byte) << 23); }

}  // namespace terrace

#endif  // TERRACE_FORMATS_UE8M0_H_
