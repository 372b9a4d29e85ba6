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

// Where things are in a row of one format. A group of `flashmla_v4` is 64 channels; its last group
// is the RoPE part, stored as bf16 with a scale byte of zero.
template <RowFormat F>
struct RowShape {
  static constexpr RowLayout kLayout = LayoutOf(F);
  static constexpr int kChannels = kLayout.channels;
  static constexpr int kPackets = kChannels / kPacketChannels;
  static constexpr int kFirstRopeChannel = kChannels - kRopeChannels;
  static constexpr int kFirstRopePacket = kFirstRopeChannel / kPacketChannels;

  static constexpr bool kE2m1 = F == RowFormat::kNvfp4 || F == RowFormat::kIndexerMxfp4;
  // Channels below this one are quantized, the rest stay bf16.
  static constexpr int kQuantizedChannels =
      F == RowFormat::kBf16 ? 0 : (F == RowFormat::kFlashMlaV4 ? kFirstRopeChannel : kChannels);
  static constexpr int kQuantizedPackets = kQuantizedChannels / kPacketChannels;
  static constexpr int kQuantizedPacketBytes = kE2m1 ? kPacketChannels / 2 : kPacketChannels;

  static constexpr int kGroupChannels = kLayout.group > 0 ? kLayout.group : kChannels;
  static constexpr int kGroupPackets = kGroupChannels / kPacketChannels;
  static constexpr int kGroups = kChannels / kGroupChannels;
  static constexpr int kQuantizedGroups = kQuantizedChannels / kGroupChannels;
  static constexpr int kScaleBytes = kLayout.scale_bytes / kGroups;  // of one group

  static_assert(kChannels % kPacketChannels == 0 && kGroupChannels % kPacketChannels == 0);
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
