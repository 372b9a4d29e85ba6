// UE8M0: a power of two as one byte, exponent + 127. 255 is NaN.

#ifndef TERRACE_UE8M0_H_
#define TERRACE_UE8M0_H_

#include <cstdint>

#include "terrace/float_bits.h"
#include "terrace/host_device.h"

namespace terrace {

// The byte of the smallest power of two that is not below `value`.
// REQUIRES: value is positive, normal and at most 2^127.
TERRACE_HOST_DEVICE int32_t Ue8m0AtLeast(float value) {
  return static_cast<int32_t>((BitsFromFloat(value) + 0x7FFFFFu) >> 23);
}

// The power of two of a byte, exactly: 0 is the float32 subnormal 2^-127, 255 is NaN.
TERRACE_HOST_DEVICE float FloatFromUe8m0(uint32_t byte) {
  const uint32_t bits = byte == 0 ? 0x00400000u : byte << 23;
  return FloatFromBits(byte == 255 ? 0x7FC00000u : bits);
}

// 1 / FloatFromUe8m0(byte), exactly. REQUIRES: 1 <= byte <= 253.
TERRACE_HOST_DEVICE float InverseUe8m0(uint32_t byte) { return FloatFromBits((254u - byte) << 23); }

}  // namespace terrace

#endif  // TERRACE_UE8M0_H_
