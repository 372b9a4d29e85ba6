// From a pooled row to its page: RMSNorm, RoPE, Hadamard, quantization, by one warp. A lane holds a
// packet of 16 channels, as in Write; an indexer key takes 8 lanes, and the others look on.

#ifndef TERRACE_KERNELS_COMPRESS_ENTRY_CUH_
#define TERRACE_KERNELS_COMPRESS_ENTRY_CUH_

#include <cstdint>
#include <cstring>

#include "kernels/compress.h"
#include "kernels/packet.cuh"
#include "kernels/warp.cuh"
#include "terrace/compress_math.h"
#include "terrace/expand.h"

namespace terrace {

// What Compress needs of a lane record, in registers.
struct CompressLane {
  int32_t lane;
  int32_t first;
  int32_t count;
  int32_t drafts;
  int32_t token_row;
  int32_t entry_row;  // of the layer's full pool

  __device__ __forceinline__ int32_t length() const { return first + count; }
  __device__ __forceinline__ int64_t row_of(int32_t position) const {
    return int64_t{token_row} + position - first;
  }
};

__device__ __forceinline__ const LaneRecord* Lanes(const CompressParams& params) {
  return reinterpret_cast<const LaneRecord*>(params.step.header + 1);
}

__device__ __forceinline__ CompressLane LoadLane(const CompressParams& params, int32_t record) {
  const LaneRecord& lane = Lanes(params)[record];
  return {lane.lane,   lane.first,     lane.count,
          lane.drafts, lane.token_row, lane.entry_row[params.pool_index]};
}

// The lane's page of the state pool, or null.
__device__ __forceinline__ float* StateOf(const CompressParams& params, const CompressLane& lane) {
  const int32_t block = params.state_table[lane.lane];
  if (block < 0 || block >= params.state.num_blocks) return nullptr;
  return reinterpret_cast<float*>(params.state.base + block * params.state.block_stride);
}

// Four consecutive numbers, float32 or bf16. REQUIRES: `at` is aligned to four of them.
template <bool kBf16>
__device__ __forceinline__ float4 LoadFour(const void* data, int64_t at) {
  if constexpr (kBf16) {
    const uint2 words = *reinterpret_cast<const uint2*>(static_cast<const uint16_t*>(data) + at);
    return {FloatFromBits(words.x << 16), FloatFromBits(words.x & 0xFFFF0000u),
            FloatFromBits(words.y << 16), FloatFromBits(words.y & 0xFFFF0000u)};
  } else {
    return *reinterpret_cast<const float4*>(static_cast<const float*>(data) + at);
  }
}

// The running softmax of four neighbouring channels.
struct FourSums {
  SoftmaxSum channel[4];

  __device__ __forceinline__ void Clear() {
    for (SoftmaxSum& sum : channel) sum = kEmptySoftmaxSum;
  }
  __device__ __forceinline__ void AddToken(float4 kv, float4 score, float4 ape) {
    Accumulate({AddRn(score.x, ape.x), 1.0f, kv.x}, channel[0]);
    Accumulate({AddRn(score.y, ape.y), 1.0f, kv.y}, channel[1]);
    Accumulate({AddRn(score.z, ape.z), 1.0f, kv.z}, channel[2]);
    Accumulate({AddRn(score.w, ape.w), 1.0f, kv.w}, channel[3]);
  }
  __device__ __forceinline__ void AddPart(const FourSums& part) {
    for (int i = 0; i < 4; ++i) Accumulate(part.channel[i], channel[i]);
  }
  __device__ __forceinline__ float4 Pool(int& bad) const {
    return {Pooled(channel[0].sum, channel[0].weighted, bad),
            Pooled(channel[1].sum, channel[1].weighted, bad),
            Pooled(channel[2].sum, channel[2].weighted, bad),
            Pooled(channel[3].sum, channel[3].weighted, bad)};
  }
};

// Sixteen weights of one packet.
__device__ __forceinline__ void LoadWeights(const CompressPlane& plane, int packet,
                                            float* weights) {
#pragma unroll
  for (int i = 0; i < kPacketChannels; i += 4) {
    const int64_t at = packet * kPacketChannels + i;
    const float4 four = plane.bf16_weight ? LoadFour<true>(plane.norm_weight, at)
                                          : LoadFour<false>(plane.norm_weight, at);
    std::memcpy(weights + i, &four, sizeof(four));
  }
}

// The transform of a row that lies in 8 lanes.
__device__ __forceinline__ void Hadamard(int index, Channels& channels) {
  constexpr int kLanes = kIndexerChannels / kPacketChannels;
  float values[kPacketChannels];
#pragma unroll
  for (int i = 0; i < kPacketChannels; ++i) values[i] = FloatFromBf16(channels.values[i]);
  HadamardSteps<kPacketChannels>(values);
#pragma unroll
  for (int distance = 1; distance < kLanes; distance *= 2) {
#pragma unroll
    for (int i = 0; i < kPacketChannels; ++i) {
      const float partner = __shfl_xor_sync(kAllLanes, values[i], distance);
      values[i] = HadamardPair(values[i], partner, (index & distance) != 0);
    }
  }
#pragma unroll
  for (int i = 0; i < kPacketChannels; ++i) values[i] = MulRn(values[i], kHadamardScale);
  RoundToBf16<kPacketChannels>(values, channels.values);
}

// Stores the pooled row [channels] that lies in shared memory, 16-byte aligned. Called by all 32
// lanes.
// REQUIRES: slot is not -1; others outside the pool are counted.
template <RowFormat F>
__device__ __forceinline__ void StoreEntryAs(const CompressPlane& plane, const float* pooled,
                                             int32_t slot, int32_t position, Counters* counters) {
  using Shape = RowShape<F>;
  const int lane = threadIdx.x % kWarpLanes;
  const int index = lane % Shape::kPackets;
  const bool rotates = plane.rope.data != nullptr;
  const bool in_pool = slot >= 0 && slot < plane.pages.num_slots;
  const bool in_table = !rotates || (position >= 0 && position < plane.rope.positions);
  CountRare(lane == 0 && in_table && !in_pool, &counters->skipped_slots);
  CountRare(lane == 0 && !in_table, &counters->skipped_positions);
  if (!in_pool || !in_table) return;
  const bool live = lane < Shape::kPackets;

  float values[kPacketChannels];
#pragma unroll
  for (int i = 0; i < kPacketChannels; i += 4) {
    const float4 four = LoadFour<false>(pooled, index * kPacketChannels + i);
    std::memcpy(values + i, &four, sizeof(four));
  }
  float squares = SumOfSquares<kPacketChannels>(values);
#pragma unroll
  for (int half = Shape::kPackets / 2; half > 0; half /= 2) {
    squares = AddRn(squares, __shfl_xor_sync(kAllLanes, squares, half));
  }
  const float scale = RmsScale<Shape::kChannels>(squares, plane.eps);
  float weights[kPacketChannels];
  LoadWeights(plane, index, weights);
#pragma unroll
  for (int i = 0; i < kPacketChannels; ++i) values[i] = Normed(values[i], scale, weights[i]);

  Channels channels;
  RoundToBf16<kPacketChannels>(values, channels.values);
  if (rotates && index >= Shape::kFirstRopePacket) {
    const PacketRope rope = LoadRope(plane.rope.data, position, index - Shape::kFirstRopePacket);
    RotateRounded<kPacketChannels / 2>(values, rope.cosines, rope.sines, channels.values);
  }
  if constexpr (Shape::kChannels == kIndexerChannels) {
    if (plane.hadamard) Hadamard(index, channels);
  }
  CountRare(live ? SanitizeBf16<kPacketChannels>(channels.values) : 0, &counters->nonfinite_values);

  const Packet packet = Pack(channels);
  const RowPlace place = PlaceOfSlot<F>(plane.pages, slot);
  if constexpr (F == RowFormat::kBf16) {
    StoreBf16Packet(place.data, index, packet, live);
  } else {
    const uint32_t largest = GroupMax<Shape::kGroupPackets>(LargestMagnitude(packet));
    const GroupScale group = MakeGroupScale<F>(
        index / Shape::kGroupPackets, static_cast<uint16_t>(largest), plane.pages.global_scale);
    const Packet codes = Encode<F>(index, packet, group);
    if (live) StoreCodes<F>(place.data, index, codes);
    StoreScales<F>(place.scale, index, group.stored, live);
  }
}

template <RowFormat... kFormats>
__device__ __forceinline__ void StoreEntryAsOneOf(const CompressPlane& plane, const float* pooled,
                                                  int32_t slot, int32_t position,
                                                  Counters* counters) {
  ((plane.pages.format == kFormats ? StoreEntryAs<kFormats>(plane, pooled, slot, position, counters)
                                   : void()),
   ...);
}

// kChannels: the latent's, or the indexer key's. A function of its own, so that the code of all
// formats is there once and not wherever an entry is stored.
template <int kChannels>
__device__ __noinline__ void StoreEntry(const CompressPlane& plane, const float* pooled,
                                        int32_t slot, int32_t position, Counters* counters) {
  if constexpr (kChannels == kLatentChannels) {
    StoreEntryAsOneOf<RowFormat::kBf16, RowFormat::kFp8PerToken, RowFormat::kNvfp4,
                      RowFormat::kFlashMlaV4, RowFormat::kMxfp8V41>(plane, pooled, slot, position,
                                                                    counters);
  } else {
    StoreEntryAsOneOf<RowFormat::kIndexerFp8, RowFormat::kIndexerMxfp4>(plane, pooled, slot,
                                                                        position, counters);
  }
}

}  // namespace terrace

#endif  // TERRACE_KERNELS_COMPRESS_ENTRY_CUH_
