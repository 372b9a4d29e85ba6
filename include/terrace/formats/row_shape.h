// RowShape: packets, groups and scales of a row of one format, known when compiled
// (docs/formats.md).
// Thread-safe: yes, nothing is shared.

#ifndef TERRACE_FORMATS_ROW_SHAPE_H_
#define TERRACE_FORMATS_ROW_SHAPE_H_

#include "terrace/formats/host_device.h"
#include "terrace/formats/row_format.h"

namespace terrace {

inline constexpr int kPacketChannels = 16;
inline constexpr int kPacketBf16Bytes = 2 * kPacketChannels;

// Where things are in a row of one format. `flashmla_v4` and `nvfp4_rope` store the RoPE part as
// bf16: its groups have a scale byte of zero.
template <RowFormat F>
struct RowShape {
  static constexpr RowLayout kLayout = LayoutOf(F);
  static constexpr int kChannels = kLayout.channels;
  static constexpr int kPackets = kChannels / kPacketChannels;
  static constexpr int kFirstRopeChannel = kChannels - kRopeChannels;
  static constexpr int kFirstRopePacket = kFirstRopeChannel / kPacketChannels;

  static constexpr bool kE2m1 = kLayout.code == ChannelCode::kE2m1;
  // Channels below this one are quantized, the rest stay bf16.
  static constexpr int kQuantizedChannels = kLayout.quantized;
  static constexpr int kQuantizedPackets = kQuantizedChannels / kPacketChannels;
  static constexpr int kQuantizedPacketBytes = kE2m1 ? kPacketChannels / 2 : kPacketChannels;

  static constexpr int kGroupChannels = kLayout.group > 0 ? kLayout.group : kChannels;
  static constexpr int kGroupPackets = kGroupChannels / kPacketChannels;
  static constexpr int kGroups = kChannels / kGroupChannels;
  static constexpr int kQuantizedGroups = kQuantizedChannels / kGroupChannels;
  static constexpr bool kHasScales = kLayout.scale != ScaleCode::kNone;
  static constexpr int kScaleBytes = kLayout.scale_bytes / kGroups;  // of one group

  static_assert(kChannels % kPacketChannels == 0 && kGroupChannels % kPacketChannels == 0);
  static_assert(kQuantizedChannels % kGroupChannels == 0);
  static_assert(kQuantizedPackets * kQuantizedPacketBytes +
                    (kPackets - kQuantizedPackets) * kPacketBf16Bytes ==
                kLayout.data_bytes);

  // Bytes of a packet, and its first byte in the data row.
  TERRACE_HOST_DEVICE static constexpr int PacketBytes(int packet) {
    return packet < kQuantizedPackets ? kQuantizedPacketBytes : kPacketBf16Bytes;
  }
  TERRACE_HOST_DEVICE static constexpr int PacketOffset(int packet) {
    return packet < kQuantizedPackets ? packet * kQuantizedPacketBytes
                                      : kQuantizedPackets * kQuantizedPacketBytes +
                                            (packet - kQuantizedPackets) * kPacketBf16Bytes;
  }
};

}  // namespace terrace

#endif  // TERRACE_FORMATS_ROW_SHAPE_H_
