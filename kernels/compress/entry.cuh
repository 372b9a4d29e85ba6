// From a pooled row to its page: RMSNorm, RoPE, Hadamard, quantization. As everywhere in Compress,
// a thread has two neighbouring channels, so a latent takes 8 warps and an indexer key 2: what a
// row costs is the length of one thread's work.

#ifndef TERRACE_KERNELS_COMPRESS_ENTRY_CUH_
#define TERRACE_KERNELS_COMPRESS_ENTRY_CUH_

#include <cstdint>
#include <cstring>
#include <type_traits>

#include "kernels/common/packet.cuh"
#include "kernels/common/warp.cuh"
#include "kernels/compress.h"
#include "src/plan/step_expand.h"
#include "terrace/formats/compress_math.h"

namespace terrace::internal {

inline constexpr int kLatentThreads = kLatentChannels / 2;
inline constexpr int kIndexerThreads = kIndexerChannels / 2;

// threadIdx.x, of which the compiler knows nothing: what follows from it is worked out where it is
// used. A loop over entries would otherwise begin with all of it, for every format, and have no
// registers left.
__device__ __forceinline__ int OpaqueThread() {
  int thread = threadIdx.x;
  asm volatile("" : "+r"(thread));
  return thread;
}

// What Compress needs of a sequence step, in registers.
struct CompressSequence {
  int32_t sequence_index;
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

__device__ __forceinline__ CompressSequence LoadSequence(const CompressParams& params,
                                                         int32_t record) {
  const SequenceStep& sequence = StepsOf(*params.step.header)[record];
  return {sequence.sequence_index, sequence.first,     sequence.count,
          sequence.drafts,         sequence.token_row, sequence.entry_row[params.pool_index]};
}

// The sequence's page of the state pool, or null.
__device__ __forceinline__ float* StateOf(const CompressParams& params,
                                          const CompressSequence& sequence) {
  return PageOfBlock(params.state, params.state_table[sequence.sequence_index]);
}

__device__ __forceinline__ FedRange& RangeOf(float* state) {
  return reinterpret_cast<StateHeader*>(state)->range;
}

// Counts the sequence's page if the step does not begin where it stood. Called by one thread.
__device__ __forceinline__ void CheckState(const CompressParams& params,
                                           const CompressSequence& sequence, FedRange range) {
  if (!IsStale(range, sequence.first, params.max_drafts)) return;
  Counters* const counters = params.step.counters;
  AddToCounter(&counters->stale_states, 1);
  atomicMax(reinterpret_cast<unsigned long long*>(&counters->first_stale_state),
            StaleStateOf(params, sequence.sequence_index, sequence.first, range));
}

// Two neighbouring channels.
struct Pair {
  float even;
  float odd;
};

// Two numbers, float32 or bf16, in one access. REQUIRES: `at` is even.
template <bool kBf16>
__device__ __forceinline__ Pair LoadPair(const void* data, int64_t at) {
  if constexpr (kBf16) {
    const uint32_t word =
        *reinterpret_cast<const uint32_t*>(static_cast<const uint16_t*>(data) + at);
    return {FloatFromBits(word << 16), FloatFromBits(word & 0xFFFF0000u)};
  } else {
    const float2 pair = *reinterpret_cast<const float2*>(static_cast<const float*>(data) + at);
    return {pair.x, pair.y};
  }
}
__device__ __forceinline__ void StorePair(Pair pair, float* to) {
  *reinterpret_cast<float2*>(to) = make_float2(pair.even, pair.odd);
}

// Four numbers likewise. REQUIRES: `at` is aligned to four of them.
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

// Where an entry goes.
struct EntryDestination {
  int32_t slot;      // -1: nowhere
  int32_t position;  // of its rotation
};
__device__ __forceinline__ EntryDestination DestinationOf(const CompressParams& params,
                                                          int32_t row) {
  return {params.slots[row], params.positions[row]};
}

// What the warps of a row tell each other while it is stored.
struct RowShared {
  float squares[kLatentThreads / kWarpLanes];
  uint32_t largest[kLatentThreads / kWarpLanes];
  Pair keys[kIndexerThreads];
};

// The threads of a row: thread t has channels 2t and 2t + 1. All of them call every function.
template <int kChannels>
struct RowThreads {
  static constexpr int kThreads = kChannels / 2;
  static constexpr int kWarps = kThreads / kWarpLanes;
  static constexpr int kBarrier = kChannels == kLatentChannels ? 1 : 2;

  const int thread;
  RowShared& shared;

  __device__ __forceinline__ int warp() const { return thread / kWarpLanes; }
  __device__ __forceinline__ void Sync() const { SyncThreads<kBarrier, kThreads>(); }

  // The sum over the row, by neighbours.
  __device__ __forceinline__ float Sum(float value) const {
#pragma unroll
    for (int distance = 1; distance < kWarpLanes; distance *= 2) {
      value = AddRn(value, __shfl_xor_sync(kAllLanes, value, distance));
    }
    if (thread % kWarpLanes == 0) shared.squares[warp()] = value;
    Sync();
    float sums[kWarps];
#pragma unroll
    for (int i = 0; i < kWarps; ++i) sums[i] = shared.squares[i];
#pragma unroll
    for (int left = kWarps / 2; left > 0; left /= 2) {
      for (int i = 0; i < left; ++i) sums[i] = AddRn(sums[2 * i], sums[2 * i + 1]);
    }
    return sums[0];
  }

  // The largest value of the row.
  __device__ __forceinline__ uint32_t Max(uint32_t value) const {
    value = GroupMax<kWarpLanes>(value);
    if (thread % kWarpLanes == 0) shared.largest[warp()] = value;
    Sync();
#pragma unroll
    for (int i = 0; i < kWarps; ++i) value = max(value, shared.largest[i]);
    return value;
  }

  // The Hadamard transform of an indexer key.
  __device__ __forceinline__ Pair Hadamard(Pair key) const {
    key = {HadamardPair(key.even, key.odd, false), HadamardPair(key.odd, key.even, true)};
#pragma unroll
    for (int distance = 1; distance < kWarpLanes; distance *= 2) {
      const Pair partner = {__shfl_xor_sync(kAllLanes, key.even, distance),
                            __shfl_xor_sync(kAllLanes, key.odd, distance)};
      key = Step(key, partner, distance);
    }
    static_assert(kIndexerThreads == 2 * kWarpLanes);
    shared.keys[thread] = key;
    Sync();
    key = Step(key, shared.keys[thread ^ kWarpLanes], kWarpLanes);
    return {MulRn(key.even, kHadamardScale), MulRn(key.odd, kHadamardScale)};
  }

 private:
  __device__ __forceinline__ Pair Step(Pair key, Pair partner, int distance) const {
    const bool is_high = (thread & distance) != 0;
    return {HadamardPair(key.even, partner.even, is_high),
            HadamardPair(key.odd, partner.odd, is_high)};
  }
};

// Quantizes and scatters a row of bf16 channels, two in each thread.
template <RowFormat F>
__device__ __forceinline__ void EncodeEntry(const PlanePages& pages, int32_t slot,
                                            const RowThreads<RowShape<F>::kChannels>& threads,
                                            const uint16_t (&channels)[2]) {
  using Shape = RowShape<F>;
  constexpr int kGroupThreads = Shape::kGroupChannels / 2;
  const RowAddress address = AddressOfRow<F>(pages, slot);
  const int first = 2 * threads.thread;
  const int packet = first / kPacketChannels;
  uint8_t* const to = address.data + Shape::PacketOffset(packet) +
                      Shape::PacketBytes(packet) * (first % kPacketChannels) / kPacketChannels;
  if constexpr (F != RowFormat::kBf16) {
    uint32_t largest = LargestMagnitudeBf16<2>(channels);
    if constexpr (!Shape::kHasScales) {
      largest = 0;
    } else if constexpr (kGroupThreads > kWarpLanes) {
      static_assert(Shape::kGroups == 1);
      largest = threads.Max(largest);
    } else {
      largest = GroupMax<kGroupThreads>(largest);
    }
    const int group = threads.thread / kGroupThreads;
    const GroupScale scale =
        MakeGroupScale<F>(group, static_cast<uint16_t>(largest), pages.global_scale);
    if (threads.thread % kGroupThreads == 0) StoreScale<F>(address.scale, group, scale.stored);
    if (packet < Shape::kQuantizedPackets) {
      using Codes = std::conditional_t<Shape::kE2m1, uint8_t, uint16_t>;
      uint8_t bytes[sizeof(Codes)];
      Codes codes;
      EncodeChannels<F, 2>(channels, scale, bytes);
      std::memcpy(&codes, bytes, sizeof(codes));
      *reinterpret_cast<Codes*>(to) = codes;
      return;
    }
  }
  if constexpr (Shape::kQuantizedChannels < Shape::kChannels) {
    *reinterpret_cast<uint32_t*>(to) = channels[0] | (uint32_t{channels[1]} << 16);
  }
}

template <RowFormat... kFormats, int kChannels>
__device__ __forceinline__ void EncodeAsOneOf(const PlanePages& pages, int32_t slot,
                                              const RowThreads<kChannels>& threads,
                                              const uint16_t (&channels)[2]) {
  ((pages.format == kFormats ? EncodeEntry<kFormats>(pages, slot, threads, channels) : void()),
   ...);
}

// What a thread's two pooled channels are multiplied with. Loaded early, because its rows are far
// away.
struct EntryFactors {
  Pair weight;
  float cosine;
  float sine;
  bool turns;
};

// The first of a row's channels that RoPE rotates.
template <int kChannels>
inline constexpr int kFirstRopeChannel = kChannels - kRopeChannels;

__device__ __forceinline__ bool IsInTable(const CompressPlane& plane, EntryDestination place) {
  return plane.rope.data == nullptr ||
         (place.position >= 0 && place.position < plane.rope.positions);
}

template <int kChannels>
__device__ __forceinline__ EntryFactors LoadFactors(const CompressPlane& plane,
                                                    EntryDestination place, int thread) {
  const int first = 2 * thread;
  EntryFactors factors = {};
  factors.weight = plane.bf16_weight ? LoadPair<true>(plane.norm_weight, first)
                                     : LoadPair<false>(plane.norm_weight, first);
  factors.turns = plane.rope.data != nullptr && first >= kFirstRopeChannel<kChannels>;
  if (factors.turns && IsInTable(plane, place)) {
    const float* const rope = plane.rope.data + int64_t{place.position} * kRopeChannels +
                              (first - kFirstRopeChannel<kChannels>) / 2;
    factors.cosine = rope[0];
    factors.sine = rope[kRopePairs];
  }
  return factors;
}

// Stores a row whose pooled channels lie in the threads that call it. Slots outside the pool are
// counted.
template <int kChannels>
__device__ __forceinline__ void StoreEntry(const CompressPlane& plane, Pair pooled,
                                           const EntryFactors& factors, EntryDestination place,
                                           int thread, RowShared& shared, Counters* counters) {
  const bool in_pool = place.slot >= 0 && place.slot < plane.pages.num_slots;
  const bool in_table = IsInTable(plane, place);
  CountRare(thread == 0 && in_table && !in_pool, &counters->skipped_slots);
  CountRare(thread == 0 && !in_table, &counters->skipped_positions);
  if (!in_pool || !in_table) return;

  const RowThreads<kChannels> threads = {thread, shared};
  const float squares = threads.Sum(SumOfSquares(pooled.even, pooled.odd));
  const float scale = RmsScale<kChannels>(squares, plane.eps);
  const float values[2] = {Normed(pooled.even, scale, factors.weight.even),
                           Normed(pooled.odd, scale, factors.weight.odd)};
  uint16_t channels[2];
  if (factors.turns) {
    RotateRounded<1>(values, &factors.cosine, &factors.sine, channels);
  } else {
    RoundToBf16<2>(values, channels);
  }
  if constexpr (kChannels == kIndexerChannels) {
    if (plane.hadamard) {
      const Pair key = threads.Hadamard({FloatFromBf16(channels[0]), FloatFromBf16(channels[1])});
      const float transformed[2] = {key.even, key.odd};
      RoundToBf16<2>(transformed, channels);
    }
  }
  CountRare(SanitizeBf16<2>(channels), &counters->nonfinite_values);
  if constexpr (kChannels == kLatentChannels) {
    EncodeAsOneOf<RowFormat::kBf16, RowFormat::kFp8PerToken, RowFormat::kNvfp4,
                  RowFormat::kFlashMlaV4, RowFormat::kMxfp8V41, RowFormat::kMxfp8V41Il,
                  RowFormat::kNvfp4V41Il, RowFormat::kFp8PerTensor, RowFormat::kNvfp4Rope>(
        plane.pages, place.slot, threads, channels);
  } else {
    EncodeAsOneOf<RowFormat::kIndexerFp8, RowFormat::kIndexerMxfp4>(plane.pages, place.slot,
                                                                    threads, channels);
  }
}

}  // namespace terrace::internal

#endif  // TERRACE_KERNELS_COMPRESS_ENTRY_CUH_
