// Translate. A group of 32 to 128 threads takes a query; a thread takes runs of neighbouring slots,
// loads the entries of kRuns of them before the first use, then a whole run's words of the block
// table before the first of those is used, and stores the run together. What Begin wrote (the
// query's token row) is read before the kernel waits for the one before it.

#include "kernels/common/config.h"
#include "kernels/common/launch.cuh"
#include "kernels/common/warp.cuh"
#include "kernels/translate.h"
#include "terrace/counters.h"

namespace terrace::internal {
namespace {

constexpr int kThreads = 128;
constexpr int kWide = 4;  // slots of a run that is one 16-byte access

constexpr int kManyRuns = 4;

struct TranslateLaunch {
  TranslateParams params;
  int32_t log2_group;  // threads of a query
};

template <int kSlots>
struct alignas(kSlots * sizeof(int32_t)) Run {
  int32_t values[kSlots];
};

// kSlots is that of a run: with kWide, lists and outputs are whole, aligned runs.
template <SelectKind kKind, int kRuns, int kSlots>
__global__ void __launch_bounds__(kThreads)
    TranslateKernel(const __grid_constant__ TranslateLaunch launch) {
  __shared__ int32_t lengths[kThreads / kWarpLanes];
  const TranslateParams& params = launch.params;
  Selection select = params.select;
  select.kind = kKind;  // known to the compiler from here on
  const int threads = 1 << launch.log2_group;
  const int group = threadIdx.x >> launch.log2_group;
  const int thread = threadIdx.x & (threads - 1);
  const int32_t query = blockIdx.x * (kThreads >> launch.log2_group) + group;
  const bool exists = query < select.num_queries;
  const int32_t* entries = select.entries + query * select.entries_pitch;
  const int32_t stride = threads * kSlots;

  // On its way to the L2, whoever still writes it. Where many queries wait for the memory, asking
  // it earlier gains nothing.
  if (ListsRows(select) && kRuns == 1 && exists && thread * kSlots < select.rows_per_query) {
    PrefetchL2(entries + thread * kSlots);
  }
  if (select.query_rows != nullptr) AwaitPrecedingKernel();  // they are the caller's
  SelectedQuery selected{};
  if (exists) selected = SelectQuery(select, query);
  AwaitPrecedingKernel();
  if (kKind == SelectKind::kVisible && selected.visible > select.rows_per_query && thread == 0) {
    AddToCounter(&select.counters->truncated_queries, 1);
  }

  int32_t* out = params.slots + query * params.slots_pitch;
  int32_t last = 0;
  uint32_t skipped = 0;
  const int32_t padded_rows = exists ? params.padded_rows : 0;
  for (int32_t from = thread * kSlots; from < padded_rows; from += kRuns * stride) {
    Run<kSlots> listed[kRuns];
#pragma unroll
    for (int i = 0; i < kRuns; ++i) {
      const int32_t first = from + i * stride;
#pragma unroll
      for (int32_t& entry : listed[i].values) entry = kNoSlot;
      if (ListsRows(select) && first < selected.rows) {
        listed[i] = *reinterpret_cast<const Run<kSlots>*>(entries + first);
      }
    }
#pragma unroll
    for (int i = 0; i < kRuns; ++i) {
      const int32_t first = from + i * stride;
      if (first >= padded_rows) break;
      SelectedEntry found[kSlots];
      int32_t blocks[kSlots];
#pragma unroll
      for (int j = 0; j < kSlots; ++j) {
        found[j] = SelectEntry(select, selected, first + j, listed[i].values[j]);
        if (!ListsRows(select) && first + j >= selected.rows) found[j].found = false;
        blocks[j] = kNoSlot;
        if (found[j].found) {
          blocks[j] =
              selected.sequence_blocks[found[j].entry >> select.pool.log2_entries_per_block];
        }
      }
      Run<kSlots> slots;
#pragma unroll
      for (int j = 0; j < kSlots; ++j) {
        slots.values[j] = SlotInBlock(select.pool, blocks[j], found[j].entry);
        if (slots.values[j] != kNoSlot) last = first + j + 1;
        skipped += found[j].skipped;
      }
      *reinterpret_cast<Run<kSlots>*>(out + first) = slots;
    }
  }

  CountRare(skipped, &select.counters->skipped_entries);
  if (params.lengths == nullptr) return;
  if (thread == 0) lengths[group] = 0;
  __syncthreads();
  const int32_t last_of_warp = __reduce_max_sync(kAllLanes, last);
  if (threadIdx.x % kWarpLanes == 0) atomicMax(&lengths[group], last_of_warp);
  __syncthreads();
  if (thread == 0 && exists) params.lengths[query] = lengths[group];
}

using Kernel = void (*)(const TranslateLaunch);

template <SelectKind kKind>
Kernel KernelOf(bool wide, bool few) {
  if (!wide) return TranslateKernel<kKind, kManyRuns, 1>;
  return few ? TranslateKernel<kKind, 1, kWide> : TranslateKernel<kKind, kManyRuns, kWide>;
}

Kernel ChooseKernel(SelectKind kind, bool wide, bool few) {
  switch (kind) {
    case SelectKind::kVisible:
      return KernelOf<SelectKind::kVisible>(wide, few);
    case SelectKind::kWindow:
      return KernelOf<SelectKind::kWindow>(wide, few);
    default:
      return KernelOf<SelectKind::kTopK>(wide, few);
  }
}

}  // namespace

int LaunchTranslate(const TranslateParams& params, LaunchTarget target) {
  const Selection& select = params.select;
  const auto whole_runs = [](const int32_t* base, int64_t pitch, int32_t rows) {
    return reinterpret_cast<uintptr_t>(base) % sizeof(Run<kWide>) == 0 && pitch % kWide == 0 &&
           rows % kWide == 0;
  };
  const bool wide = whole_runs(params.slots, params.slots_pitch, params.padded_rows) &&
                    (!ListsRows(select) ||
                     whole_runs(select.entries, select.entries_pitch, select.rows_per_query));
  const bool few = int64_t{select.num_queries} * params.padded_rows <= kTranslateFewSlots;
  const int64_t runs = CeilDiv(params.padded_rows, wide ? kWide : 1);
  TranslateLaunch launch = {params, 5};
  while (few && 1 << launch.log2_group < min(runs, int64_t{kThreads})) ++launch.log2_group;
  const int64_t ctas = CeilDiv(select.num_queries, kThreads >> launch.log2_group);
  return LaunchAwaiting(ChooseKernel(select.kind, wide, few), {ctas, 1, kThreads}, target, launch);
}

}  // namespace terrace::internal
