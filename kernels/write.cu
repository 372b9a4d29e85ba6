// Write. Grid: the segments one after the other, kWarps warps a CTA; a lane holds a packet of 16
// channels, so a warp takes one latent row or four indexer rows. A row is loaded, mended, rotated,
// quantized and stored without leaving the registers; its group maxima and scale bytes travel
// through shuffles. What can be done before the kernel before this one has ended is (launch.cuh).

#include "kernels/common/launch.cuh"
#include "kernels/common/packet.cuh"
#include "kernels/write.h"
#include "src/plan/step_expand.h"
#include "terrace/counters.h"

namespace terrace::internal {
namespace {

constexpr int kWarps = 4;
constexpr int kThreads = kWarps * kWarpLanes;

TERRACE_HOST_DEVICE constexpr int RowsPerCta(RowFormat format) {
  return kThreads / (LayoutOf(format).channels / kPacketChannels);
}

struct WriteLaunch {
  WriteParams params;
  int32_t first_cta[kMaxWriteSegments];
};

template <RowFormat F>
__device__ __forceinline__ void WriteRows(const WriteSegment& segment, int32_t cta,
                                          Counters* counters) {
  using Shape = RowShape<F>;
  static_assert(kWarpLanes % Shape::kPackets == 0, "a row lies in one warp");
  constexpr int kRowsPerCta = RowsPerCta(F);
  const int index = threadIdx.x % Shape::kPackets;
  const int rope_packet = index - Shape::kFirstRopePacket;
  const int32_t row = cta * kRowsPerCta + threadIdx.x / Shape::kPackets;
  const bool rotates = segment.rope.data != nullptr;

  // The row is put on its way to the L2, and where it goes is read, while the kernel before this
  // one still runs. Up to max_rows the buffers hold something.
  if (!segment.of_step) AwaitPrecedingKernel();
  const bool in_buffers = row < segment.max_rows;
  const uint8_t* from = reinterpret_cast<const uint8_t*>(segment.rows + row * segment.row_pitch);
  if (in_buffers) PrefetchL2(from + index * kPacketBf16Bytes);
  const bool exists = in_buffers && (segment.count == nullptr || row < *segment.count);
  const int32_t slot = in_buffers ? __ldcg(segment.slots + row) : kNoSlot;
  const int32_t position = in_buffers && rotates ? __ldcg(segment.positions + row) : 0;
  const bool in_pool = exists && slot >= 0 && slot < segment.pages.num_slots;
  const bool in_table = !rotates || (position >= 0 && position < segment.rope.positions);
  const bool live = in_pool && in_table;
  const bool turns = rotates && rope_packet >= 0 && in_table;
  if (exists && turns) PrefetchL2(RopeOfPacket(segment.rope.data, position, rope_packet));
  AwaitPrecedingKernel();

  if (!__any_sync(kAllLanes, exists)) return;

  // The row does not wait for its slot: rows that are skipped are rare.
  Packet packet = LoadBf16Packet(from, index, exists);
  PacketRope rope = {};
  if (exists && turns) rope = LoadRope(segment.rope.data, position, rope_packet);
  const bool counts = exists && index == 0;
  CountRare(counts && !in_pool && slot != kNoSlot, &counters->skipped_slots);
  CountRare(counts && in_pool && !in_table, &counters->skipped_positions);
  int bad_values = 0;
  if (HasNonfinite(packet)) {
    Channels channels = Unpack(packet);
    bad_values = SanitizeBf16<kPacketChannels>(channels.values);
    packet = Pack(channels);
  }
  CountRare(live ? bad_values : 0, &counters->nonfinite_values);
  if (exists && turns) {
    packet = Rotate(packet, rope);
  }

  RowAddress to = {};
  if (live) to = AddressOfRow<F>(segment.pages, slot);
  if constexpr (F == RowFormat::kBf16) {
    StoreBf16Packet(to.data, index, packet, live);
  } else {
    uint32_t largest = 0;
    if constexpr (Shape::kHasScales) {
      largest = GroupMax<Shape::kGroupPackets>(LargestMagnitude(packet));
    }
    const GroupScale scale = MakeGroupScale<F>(
        index / Shape::kGroupPackets, static_cast<uint16_t>(largest), segment.pages.global_scale);
    const Packet codes = Encode<F>(index, packet, scale);
    if (live) StoreCodes<F>(to.data, index, codes);
    StoreScales<F>(to.scale, index, scale.stored, live);
  }
}

// Segments have one of kFormats each.
template <RowFormat... kFormats>
__global__ void __launch_bounds__(kThreads)
    WriteKernel(const __grid_constant__ WriteLaunch launch) {
  int index = 0;
  const int32_t cta = blockIdx.x;
#pragma unroll
  for (int i = 1; i < kMaxWriteSegments; ++i) {
    if (i < launch.params.num_segments && cta >= launch.first_cta[i]) index = i;
  }
  const WriteSegment& segment = launch.params.segments[index];
  const int32_t cta_of_segment = cta - launch.first_cta[index];
  ((segment.pages.format == kFormats
        ? WriteRows<kFormats>(segment, cta_of_segment, launch.params.counters)
        : void()),
   ...);
}

using Kernel = void (*)(const WriteLaunch);

constexpr uint32_t BitOf(RowFormat format) { return 1u << static_cast<int>(format); }

// The kernel that knows kFormats, if those are all that a launch has, and otherwise `fallback`.
template <RowFormat... kFormats>
Kernel KernelFor(uint32_t formats, Kernel fallback) {
  constexpr uint32_t kKnown = (BitOf(kFormats) | ...);
  return (formats & ~kKnown) == 0 ? WriteKernel<kFormats...> : fallback;
}

// Kernels for layers that keep all their latent rows in one format, with either indexer key.
template <RowFormat... kLatents>
Kernel KernelForOneOf(uint32_t formats, Kernel fallback) {
  ((fallback = KernelFor<kLatents, RowFormat::kIndexerMxfp4>(formats, fallback)), ...);
  ((fallback = KernelFor<kLatents, RowFormat::kIndexerFp8>(formats, fallback)), ...);
  return fallback;
}

// A kernel that knows few formats needs few registers, so a launch gets the narrowest one: of one
// latent format, of the two that DeepSeek-V4.1 has, or of all.
Kernel ChooseKernel(const WriteParams& params) {
  uint32_t formats = 0;
  for (int i = 0; i < params.num_segments; ++i) {
    formats |= BitOf(params.segments[i].pages.format);
  }
  Kernel kernel =
      WriteKernel<RowFormat::kBf16, RowFormat::kFp8PerToken, RowFormat::kNvfp4,
                  RowFormat::kFlashMlaV4, RowFormat::kMxfp8V41, RowFormat::kMxfp8V41Il,
                  RowFormat::kNvfp4V41Il, RowFormat::kFp8PerTensor, RowFormat::kNvfp4Rope,
                  RowFormat::kIndexerFp8, RowFormat::kIndexerMxfp4>;
  kernel =
      KernelFor<RowFormat::kMxfp8V41, RowFormat::kNvfp4, RowFormat::kIndexerMxfp4>(formats, kernel);
  kernel = KernelFor<RowFormat::kMxfp8V41Il, RowFormat::kNvfp4V41Il, RowFormat::kIndexerMxfp4>(
      formats, kernel);
  return KernelForOneOf<RowFormat::kBf16, RowFormat::kFp8PerToken, RowFormat::kNvfp4,
                        RowFormat::kMxfp8V41, RowFormat::kMxfp8V41Il, RowFormat::kNvfp4V41Il,
                        RowFormat::kFp8PerTensor, RowFormat::kNvfp4Rope, RowFormat::kFlashMlaV4>(
      formats, kernel);
}

}  // namespace

int LaunchWrite(const WriteParams& params, LaunchTarget target) {
  WriteLaunch launch = {.params = params, .first_cta = {}};
  int64_t ctas = 0;
  for (int i = 0; i < params.num_segments; ++i) {
    const WriteSegment& segment = params.segments[i];
    launch.first_cta[i] = static_cast<int32_t>(ctas);
    ctas += CeilDiv(segment.max_rows, RowsPerCta(segment.pages.format));
  }
  return LaunchAwaiting(ChooseKernel(params), {ctas, 1, kThreads}, target, launch);
}

}  // namespace terrace::internal
