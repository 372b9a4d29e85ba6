// Translate. Grid: a block a query. A thread works out four neighbouring slots and stores them
// together; the length is the largest index over the block.

#include "kernels/launch.cuh"
#include "kernels/translate.h"
#include "kernels/warp.cuh"
#include "terrace/counters.h"

namespace terrace {
namespace {

constexpr int kMaxThreads = 256;
constexpr int kSlotsPerThread = 4;
static_assert(kSlotsPerThread * sizeof(int32_t) == sizeof(int4));

struct TranslateLaunch {
  TranslateParams params;
  bool aligned;  // the four slots of a thread are one 16-byte store
};

__global__ void __launch_bounds__(kMaxThreads)
    TranslateKernel(const __grid_constant__ TranslateLaunch launch) {
  const TranslateParams& params = launch.params;
  const Selection& select = params.select;
  const int32_t query = blockIdx.x;
  const SelectedQuery selected = SelectQuery(select, query);
  int32_t* out = params.slots + query * params.slots_pitch;

  __shared__ int32_t length;
  if (threadIdx.x == 0) {
    length = 0;
    if (select.kind == SelectKind::kVisible && selected.visible > select.rows_per_query) {
      atomicAdd_system(
          reinterpret_cast<unsigned long long*>(&select.step.counters->truncated_queries), 1ull);
    }
  }
  __syncthreads();

  int32_t last = 0;
  uint32_t skipped = 0;
  const int32_t stride = blockDim.x * kSlotsPerThread;
  for (int32_t first = threadIdx.x * kSlotsPerThread; first < params.padded_rows; first += stride) {
    int32_t slots[kSlotsPerThread];
#pragma unroll
    for (int i = 0; i < kSlotsPerThread; ++i) {
      slots[i] = kNoSlot;
      if (first + i < selected.rows) {
        const SelectedRow row = SelectRow(select, selected, query, first + i);
        slots[i] = row.slot;
        skipped += row.skipped;
        if (row.slot != kNoSlot) last = first + i + 1;
      }
    }
    if (launch.aligned) {
      *reinterpret_cast<int4*>(out + first) = make_int4(slots[0], slots[1], slots[2], slots[3]);
    } else {
#pragma unroll
      for (int i = 0; i < kSlotsPerThread; ++i) {
        if (first + i < params.padded_rows) out[first + i] = slots[i];
      }
    }
  }

  Counters* counters = select.step.counters;
  CountRare(skipped, select.kind == SelectKind::kSlots ? &counters->skipped_slots
                                                       : &counters->skipped_entries);
  if (params.lengths == nullptr) return;
  const int32_t warp_last = __reduce_max_sync(kAllLanes, last);
  if (threadIdx.x % kWarpLanes == 0) atomicMax(&length, warp_last);
  __syncthreads();
  if (threadIdx.x == 0) params.lengths[query] = length;
}

}  // namespace

int LaunchTranslate(const TranslateParams& params, CUstream_st* stream) {
  const TranslateLaunch launch = {
      .params = params,
      .aligned = reinterpret_cast<uintptr_t>(params.slots) % sizeof(int4) == 0 &&
                 params.slots_pitch % kSlotsPerThread == 0 &&
                 params.padded_rows % kSlotsPerThread == 0,
  };
  const int64_t warps = CeilDiv(params.padded_rows, kWarpLanes * kSlotsPerThread);
  const int64_t threads = warps * kWarpLanes;
  return Launch(TranslateKernel,
                {params.select.num_queries, 1,
                 static_cast<int>(threads < kMaxThreads ? (threads > 0 ? threads : kWarpLanes)
                                                        : kMaxThreads)},
                stream, launch);
}

}  // namespace terrace
