// Packets in a warp: 16 channels a lane, moved 16 bytes at a time (row_codec.h). Functions that
// shuffle are called by all 32 lanes; `live` says which of them touch memory.

#ifndef TERRACE_KERNELS_COMMON_PACKET_CUH_
#define TERRACE_KERNELS_COMMON_PACKET_CUH_

#include <cstdint>
#include <cstring>

#include "kernels/common/warp.cuh"
#include "src/ops/pages.h"
#include "terrace/formats/row_codec.h"

namespace terrace::internal {

// What one lane holds of a row: 16 bf16 channels, or the bytes they are encoded to (8, 16 or 32 of
// them). Kept as words: bytes and halves that live across a branch would take a register each.
struct Packet {
  uint4 first;
  uint4 second;
};
static_assert(sizeof(Packet) == kPacketBf16Bytes);

// A packet as the codecs take it. Lives in registers, because every index is a constant.
struct alignas(16) Channels {
  uint16_t values[kPacketChannels];
};
static_assert(sizeof(Channels) == sizeof(Packet));

__device__ __forceinline__ Channels Unpack(const Packet& packet) {
  Channels channels;
  std::memcpy(channels.values, &packet, sizeof(packet));
  return channels;
}

__device__ __forceinline__ Packet Pack(const Channels& channels) {
  Packet packet;
  std::memcpy(&packet, channels.values, sizeof(packet));
  return packet;
}

__device__ __forceinline__ uint4 LoadVector(const uint8_t* from) {
  return *reinterpret_cast<const uint4*>(from);
}
__device__ __forceinline__ void StoreVector(uint8_t* to, uint4 vector) {
  *reinterpret_cast<uint4*>(to) = vector;
}

// Lanes 2j and 2j+1 hold two 16-byte vectors each, 64 consecutive bytes. If a lane stored its own
// 32 bytes, each of its two stores would write half of every sector, so neighbours split the work:
// the first store of the pair covers the first 32 bytes, the second the last.
__device__ __forceinline__ Packet SwapHalves(const Packet& packet) {
  const bool odd = threadIdx.x % 2 != 0;
  uint4 sent = odd ? packet.first : packet.second;
  sent.x = __shfl_xor_sync(kAllLanes, sent.x, 1);
  sent.y = __shfl_xor_sync(kAllLanes, sent.y, 1);
  sent.z = __shfl_xor_sync(kAllLanes, sent.z, 1);
  sent.w = __shfl_xor_sync(kAllLanes, sent.w, 1);
  return odd ? Packet{sent, packet.second} : Packet{packet.first, sent};
}

// First byte, in a bf16 row, of the vector that the lane of packet `index` stores first; its second
// is 32 bytes on.
__device__ __forceinline__ int SplitOffset(int index) {
  return (index / 2) * 64 + (index % 2) * 16;
}

// Loads packet `index` of a bf16 row, zeros where not live. Both accesses touch the same sectors;
// the second finds them in the L1, which is cheaper than shuffles.
// REQUIRES: row is 16-byte aligned.
__device__ __forceinline__ Packet LoadBf16Packet(const uint8_t* row, int index, bool live) {
  if (!live) return {};
  const uint8_t* from = row + index * kPacketBf16Bytes;
  return {LoadVector(from), LoadVector(from + 16)};
}

__device__ __forceinline__ void StoreBf16Packet(uint8_t* row, int index, const Packet& packet,
                                                bool live) {
  const Packet split = SwapHalves(packet);
  if (live) {
    uint8_t* to = row + SplitOffset(index);
    StoreVector(to, split.first);
    StoreVector(to + 32, split.second);
  }
}

// Whether a channel is NaN or infinite: 0 * x is 0 for all others, and multiply-adds are what a
// write has to spare.
__device__ __forceinline__ bool HasNonfinite(const Packet& packet) {
  const uint4& a = packet.first;
  const uint4& b = packet.second;
  uint32_t sum = 0;
  for (const uint32_t pair : {a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w}) {
    sum = FmaBf16Pair(pair, 0, sum);
  }
  return sum != 0;
}

// The bits of max|x| of finite bf16 channels, two an instruction where the architecture has it.
__device__ __forceinline__ uint32_t LargestMagnitude(const Packet& packet) {
  const uint4& a = packet.first;
  const uint4& b = packet.second;
  const uint32_t x = __vmaxu2(a.x & kBf16Magnitudes, b.x & kBf16Magnitudes);
  const uint32_t y = __vmaxu2(a.y & kBf16Magnitudes, b.y & kBf16Magnitudes);
  const uint32_t z = __vmaxu2(a.z & kBf16Magnitudes, b.z & kBf16Magnitudes);
  const uint32_t w = __vmaxu2(a.w & kBf16Magnitudes, b.w & kBf16Magnitudes);
  const uint32_t pair = __vmaxu2(__vmaxu2(x, y), __vmaxu2(z, w));
  return max(pair & 0xFFFFu, pair >> 16);
}

// The table's cosines and sines of one packet: 8 pairs.
struct PacketRope {
  float cosines[kPacketChannels / 2];
  float sines[kPacketChannels / 2];
};

// Where the cosines of a packet are; its sines are kRopePairs on. `rope_packet`: counted from the
// row's first rotated packet.
// REQUIRES: 0 <= position < the table's positions.
__device__ __forceinline__ const float* RopeOfPacket(const float* table, int32_t position,
                                                     int rope_packet) {
  return table + int64_t{position} * kRopeChannels + rope_packet * (kPacketChannels / 2);
}

// REQUIRES: as RopeOfPacket; the table is 16-byte aligned.
__device__ __forceinline__ PacketRope LoadRope(const float* table, int32_t position,
                                               int rope_packet) {
  constexpr int kPairs = kPacketChannels / 2;
  const float4* cosines =
      reinterpret_cast<const float4*>(RopeOfPacket(table, position, rope_packet));
  const float4* sines = cosines + kRopePairs / 4;
  PacketRope rope;
#pragma unroll
  for (int i = 0; i < kPairs / 4; ++i) {
    const float4 cosine = cosines[i];
    const float4 sine = sines[i];
    std::memcpy(rope.cosines + 4 * i, &cosine, sizeof(cosine));
    std::memcpy(rope.sines + 4 * i, &sine, sizeof(sine));
  }
  return rope;
}

__device__ __forceinline__ Packet Rotate(const Packet& packet, const PacketRope& rope) {
  Channels channels = Unpack(packet);
  RotatePairs<kPacketChannels / 2>(channels.values, rope.cosines, rope.sines);
  return Pack(channels);
}

// Stores a packet's codes: 8, 16 or 32 bytes.
template <RowFormat F>
__device__ __forceinline__ void StoreCodes(uint8_t* data, int index, const Packet& codes) {
  using Shape = RowShape<F>;
  uint8_t* to = data + Shape::PacketOffset(index);
  const bool is_bf16 = Shape::PacketBytes(index) == kPacketBf16Bytes;
  if constexpr (!Shape::kE2m1) {
    StoreVector(to, codes.first);
    if (is_bf16) StoreVector(to + 16, codes.second);
  } else if (is_bf16) {
    StoreVector(to, codes.first);
    StoreVector(to + 16, codes.second);
  } else {
    *reinterpret_cast<uint2*>(to) = make_uint2(codes.first.x, codes.first.y);
  }
}

// EncodePacket for a warp whose packets may be of both kinds: every lane converts as if its packet
// were quantized (the first one always is), and those of the bf16 part keep what they had, which is
// cheaper than to part ways.
template <RowFormat F>
__device__ __forceinline__ Packet Encode(int index, const Packet& packet, GroupScale scale) {
  if constexpr (RowShape<F>::kQuantizedPackets == 0) {
    return packet;
  } else {
    alignas(16) uint8_t bytes[kPacketChannels] = {};
    EncodePacket<F>(0, Unpack(packet).values, scale, bytes);
    Packet codes = packet;
    if (index < RowShape<F>::kQuantizedPackets) std::memcpy(&codes.first, bytes, sizeof(bytes));
    return codes;
  }
}

// Writes a row's scales as 4-byte words, all words of a row in one instruction. `stored` is the
// scale of the lane's group.
template <RowFormat F>
__device__ __forceinline__ void StoreScales(uint8_t* scale_row, int index, uint32_t stored,
                                            bool live) {
  using Shape = RowShape<F>;
  if constexpr (Shape::kScaleBytes == 1) {
    constexpr int kGroupLanes = Shape::kGroupPackets;
    constexpr int kWordLanes = 4 * kGroupLanes;
    static_assert(kWordLanes <= Shape::kPackets, "a word of scales belongs to one row");
    uint32_t word = stored << (8 * (index / kGroupLanes % 4));
    word |= __shfl_xor_sync(kAllLanes, word, kGroupLanes);
    word |= __shfl_xor_sync(kAllLanes, word, 2 * kGroupLanes);
    if (live && index % kWordLanes == 0) {
      reinterpret_cast<uint32_t*>(scale_row)[index / kWordLanes] = word;
    }
  } else if constexpr (Shape::kScaleBytes > 1) {
    static_assert(Shape::kGroups == 1);
    if (live && index == 0) StoreScale<F>(scale_row, 0, stored);
  }
}

}  // namespace terrace::internal

#endif  // TERRACE_KERNELS_COMMON_PACKET_CUH_
