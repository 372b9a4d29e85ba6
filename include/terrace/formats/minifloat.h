// Conversion between float32 and the magnitude bits of a small float with `kMantissaBits` mantissa
// bits and exponent bias `kBias`: round to nearest even, subnormals included, no branches. Signs,
// saturation and NaN belong to e4m3.h and e2m1.h.

#ifndef TERRACE_FORMATS_MINIFLOAT_H_
#define TERRACE_FORMATS_MINIFLOAT_H_

#include <cstdint>

#include "terrace/formats/float_bits.h"
#include "terrace/formats/host_device.h"

namespace terrace {

// `magnitude` holds the bits of a float32 whose sign is cleared. The result may exceed the largest
// code of the format: the caller saturates.
template <int kMantissaBits, int kBias>
TERRACE_HOST_DEVICE int32_t MinifloatFromMagnitude(int32_t magnitude) {
  constexpr int kShift = 23 - kMantissaBits;
  // Normal results: round the float32 mantissa in place (a carry moves into the exponent), then
  // rebias the exponent.
  const int32_t even = (magnitude >> kShift) & 1;
  const int32_t normal =
      ((magnitude + ((1 << (kShift - 1)) - 1) + even) >> kShift) - ((127 - kBias) << kMantissaBits);
  // Subnormal results: adding a float32 whose last place is the smallest subnormal rounds to a
  // multiple of it, and leaves the multiple in the low bits.
  constexpr uint32_t kAnchor = static_cast<uint32_t>(127 + 1 - kBias + kShift) << 23;
  const float sum = AddRn(FloatFromBits(static_cast<uint32_t>(magnitude)), FloatFromBits(kAnchor));
  const int32_t subnormal = static_cast<int32_t>(BitsFromFloat(sum) - kAnchor);
  constexpr int32_t kSmallestNormal = (127 + 1 - kBias) << 23;
  return magnitude < kSmallestNormal ? subnormal : normal;
}

// The float32 value of magnitude bits, exactly.
template <int kMantissaBits, int kBias>
TERRACE_HOST_DEVICE float FloatFromMinifloat(int32_t code) {
  constexpr int kShift = 23 - kMantissaBits;
  constexpr int32_t kRebias = (127 - kBias) << 23;
  constexpr int32_t kSmallestNormal = kRebias + (1 << 23);
  // A subnormal code gets the implicit one that it lacks, which is then subtracted. No float32
  // subnormal (slow on some processors) appears on the way.
  const bool subnormal = code < (1 << kMantissaBits);
  const int32_t bits = (code << kShift) + (subnormal ? kSmallestNormal : kRebias);
  const int32_t excess = subnormal ? kSmallestNormal : 0;
  return SubRn(FloatFromBits(static_cast<uint32_t>(bits)),
               FloatFromBits(static_cast<uint32_t>(excess)));
}

}  // namespace terrace

#endif  // TERRACE_FORMATS_MINIFLOAT_H_
