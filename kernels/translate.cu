// Translate. Grid: a block a query. A thread works out two runs of four neighbouring slots and
// stores each together; the length is the largest index over the block.

#include "kernels/launch.cuh"
#include "kernels/translate.h"
#include "kernels/warp.cuh"
#include "terrace/counters.h"

namespace terrace {
namespace {

constexpr int kMaxThreads = 256;
constexpr int kSlotsPerThread = 8;  // all loads of a thread before their first use
constexpr int kSlotsPerChunk = 4;
static_assert(kSlotsPerChunk * sizeof(int32_t) == sizeof(int4));

struct TranslateLaunch {
  TranslateParams params;
  bool aligned_entries;  // four entries or slots are one 16-byte access
  bool aligned_slots;
};

// The entries listed from `first` on, as far as there are any.
__device__ __forceinline__ int4 LoadEntries(const TranslateLaunch& launch, int32_t query,
                                            int32_t first) {
  const Selection& select = launch.params.select;
  const int32_t* entries = select.entries + query * select.entries_pitch + first;
  const int32_t left = select.rows_per_query - first;
  if (launch.aligned_entries && left >= kSlotsPerChunk) {
    return *reinterpret_cast<const int4*>(entries);
  }
  return make_int4(left > 0 ? entries[0] : kNoSlot, left > 1 ? entries[1] : kNoSlot,
                   left > 2 ? entries[2] : kNoSlot, left > 3 ? entries[3] : kNoSlot);
}

__global__ void __launch_bounds__(kMaxThreads)
    TranslateKernel(const __grid_constant__ TranslateLaunch launch) {
  AwaitPrecedingKernel();
  const TranslateParams& params = launch.params;
  const Selection& select = params.select;
  const int32_t query = blockIdx.x;
  const bool lists = ListsRows(select);
  const int32_t stride = blockDim.x * kSlotsPerChunk;
  const int32_t first_of_thread = threadIdx.x * kSlotsPerChunk;
  constexpr int kChunks = kSlotsPerThread / kSlotsPerChunk;
  const int4 none = make_int4(kNoSlot, kNoSlot, kNoSlot, kNoSlot);
  int4 listed[kChunks];
  const auto load = [&](int32_t first) {
#pragma unroll
    for (int i = 0; i < kChunks; ++i) {
      listed[i] = lists ? LoadEntries(launch, query, first + i * stride) : none;
    }
  };
  load(first_of_thread);  // on its way while the query is looked up
  const SelectedQuery selected = SelectQuery(select, query);
  if (select.kind == SelectKind::kVisible && selected.visible > select.rows_per_query &&
      threadIdx.x == 0) {
    AddToCounter(&select.counters->truncated_queries, 1);
  }

  int32_t* out = params.slots + query * params.slots_pitch;
  int32_t last = 0;
  uint32_t skipped = 0;
  for (int32_t first = first_of_thread; first < params.padded_rows; first += kChunks * stride) {
    if (first != first_of_thread) load(first);
#pragma unroll
    for (int i = 0; i < kChunks; ++i) {
      const int32_t begin = first + i * stride;
      const int32_t entries[kSlotsPerChunk] = {listed[i].x, listed[i].y, listed[i].z, listed[i].w};
      int32_t slots[kSlotsPerChunk];
#pragma unroll
      for (int j = 0; j < kSlotsPerChunk; ++j) {
        slots[j] = kNoSlot;
        if (begin + j >= selected.rows) continue;
        const SelectedRow row = SelectListedRow(select, selected, query, begin + j, entries[j]);
        slots[j] = row.slot;
        skipped += row.skipped;
        if (row.slot != kNoSlot) last = begin + j + 1;
      }
      if (launch.aligned_slots && begin + kSlotsPerChunk <= params.padded_rows) {
        *reinterpret_cast<int4*>(out + begin) = make_int4(slots[0], slots[1], slots[2], slots[3]);
      } else {
#pragma unroll
        for (int j = 0; j < kSlotsPerChunk; ++j) {
          if (begin + j < params.padded_rows) out[begin + j] = slots[j];
        }
      }
    }
  }

  Counters* counters = select.counters;
  CountRare(skipped, select.kind == SelectKind::kSlots ? &counters->skipped_slots
                                                       : &counters->skipped_entries);
  if (params.lengths == nullptr) return;
  __shared__ int32_t last_of_warp[kMaxThreads / kWarpLanes];
  const int32_t warp_last = __reduce_max_sync(kAllLanes, last);
  if (threadIdx.x % kWarpLanes == 0) last_of_warp[threadIdx.x / kWarpLanes] = warp_last;
  __syncthreads();
  if (threadIdx.x != 0) return;
  int32_t length = 0;
  for (int warp = 0; warp < blockDim.x / kWarpLanes; ++warp) {
    length = max(length, last_of_warp[warp]);
  }
  params.lengths[query] = length;
}

}  // namespace

int LaunchTranslate(const TranslateParams& params, LaunchTarget target) {
  const auto aligned = [](const int32_t* base, int64_t pitch) {
    return reinterpret_cast<uintptr_t>(base) % sizeof(int4) == 0 && pitch % kSlotsPerChunk == 0;
  };
  const TranslateLaunch launch = {
      .params = params,
      .aligned_entries = aligned(params.select.entries, params.select.entries_pitch),
      .aligned_slots = aligned(params.slots, params.slots_pitch),
  };
  const int64_t warps = CeilDiv(params.padded_rows, kWarpLanes * kSlotsPerThread);
  const int64_t threads = min(max(warps, int64_t{1}) * kWarpLanes, int64_t{kMaxThreads});
  return LaunchAwaiting(TranslateKernel, {params.select.num_queries, 1, static_cast<int>(threads)},
                        target, launch);
}

}  // namespace terrace
