// The arithmetic of the row formats, written once for host and device (docs/formats.md).
//
// The unit is a packet: 16 consecutive channels, 32 bytes of bf16. Every group that shares a scale
// is a whole number of packets, and on the device a warp lane owns one packet (a warp has a row of
// 512 channels, or four indexer keys). A row is encoded in steps that both sides share:
//
//   SanitizeBf16, RotatePairs      on the bf16 channels (bf16.h, rope.h)
//   LargestMagnitudeBf16           of a packet, then reduced over the group: a loop or shuffles
//   MakeGroupScale                 the group's scale from its largest magnitude (row_scale.h)
//   EncodePacket, StoreScale       bytes
//
// and decoded by LoadScale, ScaleValue, DecodePacket. EncodeRow and DecodeRow do a row on the host.
// The bits are the same in every program that includes this, whatever instructions it is compiled
// for: no product is fused with a sum (float_bits.h). The store's own loops are faster, because the
// library's files are compiled without such fusing.
//
// Thread-safe: yes, nothing is shared.

#ifndef TERRACE_FORMATS_ROW_CODEC_H_
#define TERRACE_FORMATS_ROW_CODEC_H_

#include <cstdint>
#include <cstring>

#include "terrace/formats/bf16.h"
#include "terrace/formats/e2m1.h"
#include "terrace/formats/e4m3.h"
#include "terrace/formats/float_bits.h"
#include "terrace/formats/host_device.h"
#include "terrace/formats/rope.h"
#include "terrace/formats/row_format.h"
#include "terrace/formats/row_scale.h"
#include "terrace/formats/row_shape.h"

namespace terrace {

// The steps between bf16 channels and codes. Each works on kCount consecutive quantized channels;
// those of the scale stay within one group.
template <RowFormat F, int kCount>
TERRACE_HOST_DEVICE void ScaleDown(const uint16_t* channels, GroupScale scale, float* values) {
  for (int i = 0; i < kCount; ++i) values[i] = FloatFromBf16(channels[i]);
  if constexpr (LayoutOf(F).scale == ScaleCode::kE4m3) {
    DivideForE2m1<kCount>(values, scale.factor);
  } else {
    for (int i = 0; i < kCount; ++i) values[i] = MulRn(values[i], scale.factor);
  }
}

#if defined(__CUDA_ARCH__) && !defined(TERRACE_HARDWARE_E2M1)
// The same for e2m1: from magnitudes, two bf16 a word, to bf16 that have the codes of the
// quotients.
// Shape: magnitudes [kPairs].
template <RowFormat F, int kPairs>
__device__ __forceinline__ void ScaleDownForE2m1(uint32_t* magnitudes, GroupScale scale) {
  if constexpr (LayoutOf(F).scale == ScaleCode::kUe8m0) {
    // By a power of two, exact but where the code is zero.
    const uint32_t factor = __byte_perm(BitsFromFloat(scale.factor), 0, 0x3232);
    for (int i = 0; i < kPairs; ++i) magnitudes[i] = FmaBf16Pair(magnitudes[i], factor, 0);
    return;
  }
  const float divisor = scale.factor;
  const auto replace = [&](const auto& to_bf16_pair) {
    for (int i = 0; i < kPairs; ++i) {
      magnitudes[i] = to_bf16_pair(FloatFromBits(magnitudes[i] << 16),
                                   FloatFromBits(magnitudes[i] & 0xFFFF0000u));
    }
  };
  if (!DividesByInverse(divisor)) {
    replace([&](float low, float high) {
      return CutToBf16Pair(DivRn(low, divisor), DivRn(high, divisor));
    });
    return;
  }
  const float inverse = __frcp_rn(divisor);
  constexpr uint32_t kBeyondE4m3 = 0x000FFFFFu;  // bits of a mantissa
  if ((BitsFromFloat(divisor) & kBeyondE4m3) == 0) {
    // The divisor has 4 significant bits, as with a global scale of 1, and a channel has 8: their
    // quotient is a tie or at least 1/255 of itself away from it, and an approximation rounded to
    // bf16 stays on its side.
    replace([&](float low, float high) {
      return Bf16PairFromFloats(MulRn(low, inverse), MulRn(high, inverse));
    });
  } else {
    replace([&](float low, float high) {
      return CutToBf16Pair(QuotientForE2m1(low, divisor, inverse),
                           QuotientForE2m1(high, divisor, inverse));
    });
  }
}
#endif

template <RowFormat F, int kCount>
TERRACE_HOST_DEVICE void EncodeValues(const float* values, uint8_t* codes) {
  if constexpr (RowShape<F>::kE2m1) {
    EncodeE2m1<kCount>(values, codes);
  } else {
    EncodeE4m3<kCount>(values, codes);
  }
}

template <RowFormat F, int kCount>
TERRACE_HOST_DEVICE void DecodeValues(const uint8_t* codes, float* values) {
  if constexpr (RowShape<F>::kE2m1) {
    DecodeE2m1<kCount>(codes, values);
  } else {
    DecodeE4m3<kCount>(codes, values);
  }
}

template <RowFormat F, int kCount>
TERRACE_HOST_DEVICE void ScaleUp(float* values, float scale, float global_scale) {
  for (int i = 0; i < kCount; ++i) {
    const float value = RowShape<F>::kHasScales ? MulRn(values[i], scale) : values[i];
    values[i] = HasGlobalScale(F) ? MulRn(value, global_scale) : value;
  }
}

template <int kCount>
TERRACE_HOST_DEVICE void RoundToBf16(const float* values, uint16_t* channels) {
#if defined(__CUDA_ARCH__)
  for (int i = 0; i < kCount; i += 2) {
    const uint32_t pair = Bf16PairFromFloats(values[i], values[i + 1]);
    std::memcpy(channels + i, &pair, sizeof(pair));
  }
#else
  for (int i = 0; i < kCount; ++i) channels[i] = Bf16FromFloatSoftware(values[i]);
#endif
}

// Quantizes kCount bf16 channels of one group to their codes, one or half a byte each.
template <RowFormat F, int kCount>
TERRACE_HOST_DEVICE void EncodeChannels(const uint16_t* channels, GroupScale scale,
                                        uint8_t* codes) {
#if defined(__CUDA_ARCH__) && !defined(TERRACE_HARDWARE_E2M1)
  if constexpr (RowShape<F>::kE2m1) {
    constexpr int kPairs = kCount / 2;
    uint32_t pairs[kPairs];
    uint32_t magnitudes[kPairs];
    std::memcpy(pairs, channels, sizeof(pairs));
    for (int i = 0; i < kPairs; ++i) magnitudes[i] = pairs[i] & kBf16Magnitudes;
    ScaleDownForE2m1<F, kPairs>(magnitudes, scale);
    EncodeE2m1Bf16<kPairs>(magnitudes, pairs, codes);
    return;
  }
#endif
  float values[kCount];
  ScaleDown<F, kCount>(channels, scale, values);
  EncodeValues<F, kCount>(values, codes);
}

// Packet `packet` of a row to its RowShape<F>::PacketBytes(packet) bytes, and back.
// Shape: channels [16], bytes [PacketBytes].
template <RowFormat F>
TERRACE_HOST_DEVICE void EncodePacket(int packet, const uint16_t* channels, GroupScale scale,
                                      uint8_t* bytes) {
  if (packet < RowShape<F>::kQuantizedPackets) {
    EncodeChannels<F, kPacketChannels>(channels, scale, bytes);
  } else {
    std::memcpy(bytes, channels, kPacketBf16Bytes);
  }
}

template <RowFormat F>
TERRACE_HOST_DEVICE void DecodePacket(int packet, const uint8_t* bytes, float scale,
                                      float global_scale, uint16_t* channels) {
  if (packet < RowShape<F>::kQuantizedPackets) {
    float values[kPacketChannels];
    DecodeValues<F, kPacketChannels>(bytes, values);
    ScaleUp<F, kPacketChannels>(values, scale, global_scale);
    RoundToBf16<kPacketChannels>(values, channels);
  } else {
    std::memcpy(channels, bytes, kPacketBf16Bytes);
  }
}

// Encodes one row on the host: sanitizes, rotates if `rope` is given (64 floats of rope.h), and
// quantizes. Returns how many NaN and infinities it replaced. The same steps as packet by packet,
// each over the whole row, which vectorizes better.
// Shape: row [channels] bf16, data [data_bytes], scale [scale_bytes]; they do not overlap.
template <RowFormat F>
TERRACE_HOST_DEVICE int EncodeRow(const uint16_t* row, const float* rope, float global_scale,
                                  uint8_t* data, uint8_t* scale) {
  using Shape = RowShape<F>;
  alignas(64) uint16_t channels[Shape::kChannels];
  std::memcpy(channels, row, sizeof(channels));
  const int bad_values = SanitizeBf16<Shape::kChannels>(channels);
  if (rope != nullptr) {
    RotatePairs<kRopePairs>(channels + Shape::kFirstRopeChannel, rope, rope + kRopePairs);
  }
  if constexpr (Shape::kQuantizedGroups > 0) {
    uint16_t largest[Shape::kQuantizedGroups] = {};
    GroupScale scales[Shape::kQuantizedGroups];
    alignas(64) float values[Shape::kQuantizedChannels];
    for (int group = 0; Shape::kHasScales && group < Shape::kQuantizedGroups; ++group) {
      largest[group] =
          LargestMagnitudeBf16<Shape::kGroupChannels>(channels + group * Shape::kGroupChannels);
    }
    for (int group = 0; group < Shape::kQuantizedGroups; ++group) {
      scales[group] = MakeGroupScale<F>(group, largest[group], global_scale);
    }
    for (int group = 0; group < Shape::kQuantizedGroups; ++group) {
      StoreScale<F>(scale, group, scales[group].stored);
      ScaleDown<F, Shape::kGroupChannels>(channels + group * Shape::kGroupChannels, scales[group],
                                          values + group * Shape::kGroupChannels);
    }
    EncodeValues<F, Shape::kQuantizedChannels>(values, data);
  }
  if constexpr (Shape::kQuantizedChannels < Shape::kChannels) {
    std::memcpy(data + Shape::PacketOffset(Shape::kQuantizedPackets),
                channels + Shape::kQuantizedChannels,
                2 * (Shape::kChannels - Shape::kQuantizedChannels));
    for (int group = Shape::kQuantizedGroups; group < Shape::kGroups; ++group) {
      StoreScale<F>(scale, group, 0);
    }
  }
  return bad_values;
}

// Whether Bf16FromE4m3 decodes all codes of a row, their scales being powers of two: always, if
// EncodeRow wrote it.
template <RowFormat F>
TERRACE_HOST_DEVICE bool ShiftsCodes(const uint8_t* scale) {
  constexpr RowLayout kLayout = LayoutOf(F);
  if constexpr (kLayout.code == ChannelCode::kE4m3 && kLayout.scale == ScaleCode::kUe8m0) {
    int outside = 0;
    for (int group = 0; group < RowShape<F>::kQuantizedGroups; ++group) {
      outside += scale[group] < kLeastE4m3Exponent || scale[group] > kMostE4m3Exponent;
    }
    return outside == 0;
  }
  return false;
}

// Decodes one row on the host, and rotates it afterwards if `rope` is given. Any bytes are
// accepted: NaN codes and NaN scales give NaN, bf16 parts come back as they are.
// Shape: as EncodeRow; row [channels] is written.
template <RowFormat F>
TERRACE_HOST_DEVICE void DecodeRow(const uint8_t* data, const uint8_t* scale, const float* rope,
                                   float global_scale, uint16_t* row) {
  using Shape = RowShape<F>;
  if (ShiftsCodes<F>(scale)) {
    for (int group = 0; group < Shape::kQuantizedGroups; ++group) {
      const uint32_t exponent = LoadScale<F>(scale, group);
      const int first = group * Shape::kGroupChannels;
      for (int i = first; i < first + Shape::kGroupChannels; ++i) {
        row[i] = Bf16FromE4m3(data[i], exponent);
      }
    }
  } else if constexpr (Shape::kQuantizedGroups > 0) {
    alignas(64) float values[Shape::kQuantizedChannels];
    DecodeValues<F, Shape::kQuantizedChannels>(data, values);
    for (int group = 0; group < Shape::kQuantizedGroups; ++group) {
      ScaleUp<F, Shape::kGroupChannels>(values + group * Shape::kGroupChannels,
                                        ScaleValue<F>(LoadScale<F>(scale, group)), global_scale);
    }
    RoundToBf16<Shape::kQuantizedChannels>(values, row);
  }
  if constexpr (Shape::kQuantizedChannels < Shape::kChannels) {
    std::memcpy(row + Shape::kQuantizedChannels,
                data + Shape::PacketOffset(Shape::kQuantizedPackets),
                2 * (Shape::kChannels - Shape::kQuantizedChannels));
  }
  if (rope != nullptr) {
    RotatePairs<kRopePairs>(row + Shape::kFirstRopeChannel, rope, rope + kRopePairs);
  }
}

// Calls `function.template operator()<F>()` with the format as a template argument: the one switch.
//
//   DispatchRowFormat(format, [&]<RowFormat F>() { EncodeRows<F>(...); });
//
// A lambda is compiled for the base instruction set: call a TERRACE_MULTIVERSION function in it.
// REQUIRES: format is one of the enumerators.
template <typename Function>
decltype(auto) DispatchRowFormat(RowFormat format, Function&& function) {
  switch (format) {
    case RowFormat::kBf16:
      break;
    case RowFormat::kFp8PerToken:
      return function.template operator()<RowFormat::kFp8PerToken>();
    case RowFormat::kNvfp4:
      return function.template operator()<RowFormat::kNvfp4>();
    case RowFormat::kFlashMlaV4:
      return function.template operator()<RowFormat::kFlashMlaV4>();
    case RowFormat::kMxfp8V41:
      return function.template operator()<RowFormat::kMxfp8V41>();
    case RowFormat::kIndexerFp8:
      return function.template operator()<RowFormat::kIndexerFp8>();
    case RowFormat::kIndexerMxfp4:
      return function.template operator()<RowFormat::kIndexerMxfp4>();
    case RowFormat::kMxfp8V41Il:
      return function.template operator()<RowFormat::kMxfp8V41Il>();
    case RowFormat::kNvfp4V41Il:
      return function.template operator()<RowFormat::kNvfp4V41Il>();
    case RowFormat::kFp8PerTensor:
      return function.template operator()<RowFormat::kFp8PerTensor>();
    case RowFormat::kNvfp4Rope:
      return function.template operator()<RowFormat::kNvfp4Rope>();
  }
  return function.template operator()<RowFormat::kBf16>();
}

}  // namespace terrace

#endif  // TERRACE_FORMATS_ROW_CODEC_H_
