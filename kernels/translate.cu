// Translate. A group of 32 to 128 threads takes a query; a thread takes runs of four neighbouring
// slots, loads the entries of kRuns of them before the first use and stores each run together. What
// Begin wrote (the query's token row) is read before the kernel waits for the one before it.

#include "kernels/launch.cuh"
#include "kernels/translate.h"
#include "kernels/warp.cuh"
#include "terrace/counters.h"

namespace terrace {
namespace {

constexpr int kThreads = 128;
constexpr int kSlotsPerRun = 4;
constexpr int kRuns = 2;
static_assert(kSlotsPerRun * sizeof(int32_t) == sizeof(int4));

// Up to so many runs every thread has one: the way of one query is what takes the time. Beyond, a
// group is one warp, and the device is full.
constexpr int64_t kFewRuns = 1 << 18;

struct TranslateLaunch {
  TranslateParams params;
  int32_t log2_group;    // threads of a query
  bool aligned_entries;  // four entries or slots are one 16-byte access
  bool aligned_slots;
};

__device__ __forceinline__ void PrefetchL2(const void* address) {
  asm volatile("prefetch.global.L2 [%0];" ::"l"(address));
}

// The entries listed from `first` on, as far as there are any.
__device__ __forceinline__ int4 LoadEntries(const int32_t* entries, int32_t first, int32_t rows,
                                            bool aligned) {
  const int32_t left = rows - first;
  entries += first;
  if (aligned && left >= kSlotsPerRun) return *reinterpret_cast<const int4*>(entries);
  return make_int4(left > 0 ? entries[0] : kNoSlot, left > 1 ? entries[1] : kNoSlot,
                   left > 2 ? entries[2] : kNoSlot, left > 3 ? entries[3] : kNoSlot);
}

template <SelectKind kKind>
__global__ void __launch_bounds__(kThreads)
    TranslateKernel(const __grid_constant__ TranslateLaunch launch) {
  __shared__ int32_t lengths[kThreads / kWarpLanes];
  const TranslateParams& params = launch.params;
  Selection select = params.select;
  select.kind = kKind;  // known to the compiler from here on: no branches a slot
  const int threads = 1 << launch.log2_group;
  const int group = threadIdx.x >> launch.log2_group;
  const int thread = threadIdx.x & (threads - 1);
  const int32_t query = blockIdx.x * (kThreads >> launch.log2_group) + group;
  const bool exists = query < select.num_queries;
  const int32_t* entries = select.entries + query * select.entries_pitch;
  const int32_t first_of_thread = thread * kSlotsPerRun;

  // On their way to the L2, whoever still writes them.
  if (ListsRows(select) && exists && first_of_thread < select.rows_per_query) {
    PrefetchL2(entries + first_of_thread);
  }
  if (select.query_rows != nullptr) AwaitPrecedingKernel();  // they are the caller's
  SelectedQuery selected{};
  if (exists) selected = SelectQuery(select, query);
  if (thread == 0) lengths[group] = 0;
  __syncthreads();
  AwaitPrecedingKernel();
  if (kKind == SelectKind::kVisible && selected.visible > select.rows_per_query && thread == 0) {
    AddToCounter(&select.counters->truncated_queries, 1);
  }

  int32_t* out = params.slots + query * params.slots_pitch;
  int32_t last = 0;
  uint32_t skipped = 0;
  const int32_t padded_rows = exists ? params.padded_rows : 0;
  const int32_t stride = threads * kSlotsPerRun;
  for (int32_t from = first_of_thread; from < padded_rows; from += kRuns * stride) {
    int4 listed[kRuns];
#pragma unroll
    for (int i = 0; i < kRuns; ++i) {
      listed[i] = make_int4(kNoSlot, kNoSlot, kNoSlot, kNoSlot);
      if (ListsRows(select)) {
        listed[i] = LoadEntries(entries, from + i * stride, selected.rows, launch.aligned_entries);
      }
    }
#pragma unroll
    for (int i = 0; i < kRuns; ++i) {
      const int32_t first = from + i * stride;
      const int32_t run[kSlotsPerRun] = {listed[i].x, listed[i].y, listed[i].z, listed[i].w};
      int32_t slots[kSlotsPerRun];
#pragma unroll
      for (int j = 0; j < kSlotsPerRun; ++j) {
        SelectedRow row = {kNoSlot, 0, false};
        if (first + j < selected.rows) {
          row = SelectListedRow(select, selected, query, first + j, run[j]);
        }
        slots[j] = row.slot;
        skipped += row.skipped;
        if (row.slot != kNoSlot) last = first + j + 1;
      }
      if (launch.aligned_slots && first + kSlotsPerRun <= padded_rows) {
        *reinterpret_cast<int4*>(out + first) = make_int4(slots[0], slots[1], slots[2], slots[3]);
      } else {
#pragma unroll
        for (int j = 0; j < kSlotsPerRun; ++j) {
          if (first + j < padded_rows) out[first + j] = slots[j];
        }
      }
    }
  }

  CountRare(skipped, &select.counters->skipped_entries);
  if (params.lengths == nullptr) return;
  const int32_t last_of_warp = __reduce_max_sync(kAllLanes, last);
  if (threadIdx.x % kWarpLanes == 0) atomicMax(&lengths[group], last_of_warp);
  __syncthreads();
  if (thread == 0 && exists) params.lengths[query] = lengths[group];
}

}  // namespace

int LaunchTranslate(const TranslateParams& params, LaunchTarget target) {
  const auto aligned = [](const int32_t* base, int64_t pitch) {
    return reinterpret_cast<uintptr_t>(base) % sizeof(int4) == 0 && pitch % kSlotsPerRun == 0;
  };
  TranslateLaunch launch = {
      .params = params,
      .log2_group = 5,
      .aligned_entries = aligned(params.select.entries, params.select.entries_pitch),
      .aligned_slots = aligned(params.slots, params.slots_pitch),
  };
  const int64_t runs = CeilDiv(params.padded_rows, kSlotsPerRun);
  if (params.select.num_queries * runs <= kFewRuns) {
    while (1 << launch.log2_group < min(runs, int64_t{kThreads})) ++launch.log2_group;
  }
  const int64_t blocks = CeilDiv(params.select.num_queries, kThreads >> launch.log2_group);
  const SelectKind kind = params.select.kind;
  const auto kernel = kind == SelectKind::kTopK      ? TranslateKernel<SelectKind::kTopK>
                      : kind == SelectKind::kVisible ? TranslateKernel<SelectKind::kVisible>
                                                     : TranslateKernel<SelectKind::kWindow>;
  return LaunchAwaiting(kernel, {blocks, 1, kThreads}, target, launch);
}

}  // namespace terrace
