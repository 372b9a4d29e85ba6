// The scales of the row formats, written once for host and device (docs/formats.md):
//
//   MakeGroupScale                 a group's scale from its largest magnitude
//   StoreScale, LoadScale          in a scale row
//   ScaleValue                     the float32 that it stands for
//
// Thread-safe: yes, nothing is shared.

#ifndef TERRACE_FORMATS_ROW_SCALE_H_
#define TERRACE_FORMATS_ROW_SCALE_H_

#include <cstdint>
#include <cstring>

#include "terrace/formats/bf16.h"
#include "terrace/formats/e2m1.h"
#include "terrace/formats/e4m3.h"
#include "terrace/formats/float_bits.h"
#include "terrace/formats/host_device.h"
#include "terrace/formats/row_format.h"
#include "terrace/formats/row_shape.h"
#include "terrace/formats/ue8m0.h"

namespace terrace {

// What EncodePacket needs of a group's scale, and what its scale row keeps.
struct GroupScale {
  float factor;     // formats with e4m3 scales divide by it, the others multiply
  uint32_t stored;  // the bits of the scale: UE8M0, e4m3, bf16 or float32
};

// fl32(value / 6) of a bf16 that is not negative. On the device a product that the remainder
// corrects: exact for each of them, and a third of the instructions.
TERRACE_HOST_DEVICE float SixthRn(float value) {
#if defined(__CUDA_ARCH__)
  constexpr float kSixth = 1.0f / 6;
  const float product = MulRn(value, kSixth);
  return __fmaf_rn(__fmaf_rn(-6.0f, product, value), kSixth, product);
#else
  return DivRn(value, 6.0f);
#endif
}

// The value of an e4m3 code, by an instruction where the architecture has it.
TERRACE_HOST_DEVICE float ValueOfE4m3(uint8_t code) {
  const uint8_t codes[2] = {code, 0};
  float values[2];
  DecodeE4m3<2>(codes, values);
  return values[0];
}

// The least power of two that e4m3 codes are scaled with, as a UE8M0 byte: 2^-13 in rows that
// FlashMLA's interleaved readers define (amax / 448 is at least 1e-4), otherwise 2^-22 (amax is).
template <RowFormat F>
inline constexpr int kLeastScaleByte = F == RowFormat::kMxfp8V41Il ? 127 - 13 : 127 - 22;

// The scale of group `group` whose largest magnitude has the bits `largest` (bf16, finite).
// Formats without HasGlobalScale do not read `global_scale`; those without scales have one group,
// and do not read `largest`.
// REQUIRES: global_scale is finite and positive.
template <RowFormat F>
TERRACE_HOST_DEVICE GroupScale MakeGroupScale(int group, uint16_t largest, float global_scale) {
  using Shape = RowShape<F>;
  constexpr ScaleCode kScale = Shape::kLayout.scale;
  const float magnitude = FloatFromBf16(largest);
  if constexpr (Shape::kQuantizedChannels == 0) {
    return {1.0f, 0};
  } else if constexpr (kScale == ScaleCode::kNone) {
    // A tiny global scale has no finite reciprocal. The largest float32 stands in: it saturates
    // what it must, and zeros stay zeros.
    constexpr float kLargest = 0x1.fffffep127f;
    const float factor = DivRn(1.0f, global_scale);
    return {factor < kLargest ? factor : kLargest, 0};
  } else if constexpr (kScale == ScaleCode::kBf16) {
    const float floored = magnitude > 1e-12f ? magnitude : 1e-12f;
    return {DivRn(kE4m3Largest, floored), Bf16FromFloat(DivRn(floored, kE4m3Largest))};
  } else if constexpr (kScale == ScaleCode::kE4m3) {
    constexpr float kSmallestScale = 0x1p-9f;
    float scale = SixthRn(magnitude);
    if (global_scale != 1.0f) scale = DivRn(scale, global_scale);
    scale = scale > kSmallestScale ? scale : kSmallestScale;
    scale = scale < kE4m3Largest ? scale : kE4m3Largest;
    const uint8_t code = E4m3FromFloat(scale);
    // A tiny global scale can underflow the product to 0. The smallest float32 stands in: it gives
    // the same codes, and no 0 / 0.
    const float product = MulRn(ValueOfE4m3(code), global_scale);
    const float factor = product > 0x1p-149f ? product : 0x1p-149f;
    return {factor, group < Shape::kQuantizedGroups ? uint32_t{code} : 0};
  } else if constexpr (Shape::kE2m1) {
    const uint32_t byte = Ue8m0Scale<kE2m1LargestBf16, 1, 125 + 127>(largest);
    return {InverseUe8m0(byte), byte};
  } else {  // e4m3 with a power-of-two scale; every code decodes to a finite bf16
    const uint32_t byte = Ue8m0Scale<kE4m3LargestBf16, kLeastScaleByte<F>, 119 + 127>(largest);
    if constexpr (kScale == ScaleCode::kFloat32) {
      return {InverseUe8m0(byte), BitsFromFloat(FloatFromUe8m0(byte))};
    }
    return {InverseUe8m0(byte), group < Shape::kQuantizedGroups ? byte : 0};
  }
}

// Writes or reads the scale of one group in a scale row.
// REQUIRES: on the device, the scale row is aligned to kScaleBytes (pages are aligned to 16).
template <RowFormat F>
TERRACE_HOST_DEVICE void StoreScale(uint8_t* scale_row, int group, uint32_t stored) {
  constexpr int kBytes = RowShape<F>::kScaleBytes;
  static_assert(kBytes == 0 || kBytes == 1 || kBytes == 2 || kBytes == 4);
  if constexpr (kBytes == 1) {
    scale_row[group] = static_cast<uint8_t>(stored);
  } else if constexpr (kBytes > 1) {
#if defined(__CUDA_ARCH__)
    if constexpr (kBytes == 2) {
      reinterpret_cast<uint16_t*>(scale_row)[group] = static_cast<uint16_t>(stored);
    } else {
      reinterpret_cast<uint32_t*>(scale_row)[group] = stored;
    }
#else
    std::memcpy(scale_row + group * kBytes, &stored, kBytes);  // little-endian
#endif
  }
}

template <RowFormat F>
TERRACE_HOST_DEVICE uint32_t LoadScale(const uint8_t* scale_row, int group) {
  constexpr int kBytes = RowShape<F>::kScaleBytes;
  if constexpr (kBytes == 0) {
    return 0;
  } else if constexpr (kBytes == 1) {
    return scale_row[group];
  } else {
#if defined(__CUDA_ARCH__)
    if constexpr (kBytes == 2) {
      return reinterpret_cast<const uint16_t*>(scale_row)[group];
    } else {
      return reinterpret_cast<const uint32_t*>(scale_row)[group];
    }
#else
    uint32_t stored = 0;
    std::memcpy(&stored, scale_row + group * kBytes, kBytes);
    return stored;
#endif
  }
}

// The float32 that a stored scale stands for.
template <RowFormat F>
TERRACE_HOST_DEVICE float ScaleValue(uint32_t stored) {
  constexpr ScaleCode kScale = LayoutOf(F).scale;
  if constexpr (kScale == ScaleCode::kNone) {
    return 1.0f;
  } else if constexpr (kScale == ScaleCode::kBf16) {
    return FloatFromBf16(static_cast<uint16_t>(stored));
  } else if constexpr (kScale == ScaleCode::kE4m3) {
    return ValueOfE4m3(static_cast<uint8_t>(stored));
  } else if constexpr (kScale == ScaleCode::kFloat32) {
    return FloatFromBits(stored);
  } else {
    return FloatFromUe8m0(stored);
  }
}

}  // namespace terrace

#endif  // TERRACE_FORMATS_ROW_SCALE_H_
