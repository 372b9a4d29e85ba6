// Gather. Grid: runs of a query's rows by queries, kWarps warps a CTA. A warp takes one or two
// tiles of 512 channels, each one latent row or four indexer rows: lane r works out the slot of the
// warp's r-th row, all rows are staged in shared memory at once, decoded and stored (stage.cuh).
// With few rows a warp there is little left to do at the end of a grid. Neighbouring CTAs have
// neighbouring rows of a query: they share its lists and tables and write one stretch of memory.

#include "kernels/common/config.h"
#include "kernels/common/launch.cuh"
#include "kernels/common/stage.cuh"
#include "kernels/gather.h"
#include "terrace/counters.h"

namespace terrace::internal {
namespace {

constexpr int kWarps = 2;
constexpr int kThreads = kWarps * kWarpLanes;
constexpr int kTiles = 2;   // of a warp, all under way at once
constexpr int kHalves = 2;  // of a tile: a lane has a vector of each
constexpr int kTileChannels = kHalves * kWarpLanes * kVectorChannels;

template <RowFormat F>
constexpr int kTileRows = kTileChannels / LayoutOf(F).channels;

struct GatherLaunch {
  GatherParams params;
  int32_t tiles_per_warp;  // 1 or kTiles
};

// The row that this lane is to find for its warp, whose first one is `first`. Counts what it skips.
template <RowFormat F, bool kRotates>
__device__ __forceinline__ SelectedRow PickRow(const GatherLaunch& launch, int32_t query,
                                               int32_t first) {
  const Selection& select = launch.params.select;
  const int lane = threadIdx.x % kWarpLanes;
  const int32_t row = first + lane;
  const bool exists = lane < launch.tiles_per_warp * kTileRows<F> && row < select.rows_per_query;
  const int32_t* listed = select.entries + query * select.entries_pitch + row;
  const bool lists = exists && ListsRows(select);

  if (lists) PrefetchL2(listed);
  if (select.query_rows != nullptr) AwaitPrecedingKernel();  // they are the caller's
  const SelectedQuery selected = SelectQuery(select, query);
  AwaitPrecedingKernel();
  const int32_t entry = lists ? *listed : kNoSlot;
  if (select.kind == SelectKind::kVisible && selected.visible > select.rows_per_query && row == 0) {
    AddToCounter(&select.counters->truncated_queries, 1);
  }
  SelectedRow picked = {kNoSlot, 0, false};
  if (exists && row < selected.rows) {
    picked = SelectListedRow(select, selected, query, row, entry);
  }
  Counters* counters = select.counters;
  CountRare(picked.skipped, select.kind == SelectKind::kSlots ? &counters->skipped_slots
                                                              : &counters->skipped_entries);
  if constexpr (kRotates) {
    const bool beyond = picked.slot != kNoSlot &&
                        (picked.position < 0 || picked.position >= launch.params.rope.positions);
    CountRare(beyond, &counters->skipped_positions);
    if (beyond) picked.slot = kNoSlot;
  }
  return picked;
}

// What a warp has in shared memory: rows as they come and as they go.
template <RowFormat F, bool kRotates>
struct WarpMemory {
  static constexpr int kRows = kTiles * kTileRows<F>;
  static constexpr int kRowBytes = LayoutOf(F).channels * static_cast<int>(sizeof(uint16_t));
  alignas(kPieceBytes) uint8_t stages[kRows][Stage<F, kRotates>::kBytes];
  alignas(kPieceBytes) uint8_t rows[kRows][kRowBytes];
};

// Decodes one vector of a tile in each lane, zeros where its row has no slot. `slots`: of the
// warp's rows, lane by lane; `half` of tile `tile`.
template <RowFormat F, bool kRotates>
__device__ __forceinline__ void FinishHalf(const PlanePages& pages, int32_t slots, int tile,
                                           int half, WarpMemory<F, kRotates>& memory) {
  using S = Stage<F, kRotates>;
  const int vector_of_tile = half * kWarpLanes + threadIdx.x % kWarpLanes;
  const int row_of_tile = kTileRows<F> == 1 ? 0 : vector_of_tile / S::kVectors;
  const int row = tile * kTileRows<F> + row_of_tile;
  const int index = vector_of_tile % S::kVectors;
  const int32_t slot = __shfl_sync(kAllLanes, slots, row);
  uint4 vector = {};
  if (slot >= 0) {
    vector = DecodeVector<F, kRotates>(pages, slot, memory.stages[row], index);
    if constexpr (kRotates) {
      if (index >= S::kFirstRopeVector) vector = RotateVector<F>(vector, memory.stages[row], index);
    }
  }
  reinterpret_cast<uint4*>(memory.rows[row])[index] = vector;
}

// Gathers the rows of `query` from `first` on that are this warp's.
template <RowFormat F, bool kRotates>
__device__ __forceinline__ void GatherRows(const GatherLaunch& launch, int32_t query, int32_t first,
                                           WarpMemory<F, kRotates>& memory) {
  using Memory = WarpMemory<F, kRotates>;
  const GatherParams& params = launch.params;
  const SelectedRow picked = PickRow<F, kRotates>(launch, query, first);
#pragma unroll
  for (int row = 0; row < Memory::kRows; ++row) {
    const int32_t slot = __shfl_sync(kAllLanes, picked.slot, row);
    const float* rope = nullptr;
    if constexpr (kRotates) {
      const int64_t position = __shfl_sync(kAllLanes, picked.position, row);
      rope = params.rope.data + position * kRopeChannels;
    }
    if (slot >= 0) StartRow<F, kRotates>(params.pages, slot, rope, memory.stages[row]);
  }
  AwaitCopies();
#pragma unroll
  for (int tile = 0; tile < kTiles; ++tile) {
    if (tile == launch.tiles_per_warp) break;
    FinishHalf(params.pages, picked.slot, tile, 0, memory);
    FinishHalf(params.pages, picked.slot, tile, 1, memory);
  }
  const int32_t rows =
      min(launch.tiles_per_warp * kTileRows<F>, params.select.rows_per_query - first);
  const int64_t pitch = params.out_row_pitch * int64_t{sizeof(uint16_t)};
  uint8_t* out = reinterpret_cast<uint8_t*>(params.out + query * params.out_query_pitch);
  StoreRows<Memory::kRows, Memory::kRowBytes>(memory.rows[0], rows, out + first * pitch, pitch);
  AwaitStores();
}

template <RowFormat F, bool kRotates>
__global__ void __launch_bounds__(kThreads, kGatherCtasPerSm)
    GatherKernel(const __grid_constant__ GatherLaunch launch) {
  __shared__ WarpMemory<F, kRotates> memory[kWarps];
  const Selection& select = launch.params.select;
  const int warp = threadIdx.x / kWarpLanes;
  const int32_t first = (blockIdx.x * kWarps + warp) * launch.tiles_per_warp * kTileRows<F>;
  for (int32_t query = blockIdx.y; query < select.num_queries; query += gridDim.y) {
    GatherRows<F, kRotates>(launch, query, first, memory[warp]);
  }
}

template <RowFormat F>
int LaunchOf(const GatherParams& params, LaunchTarget target) {
  const Selection& select = params.select;
  const int64_t tiles = CeilDiv(select.rows_per_query, kTileRows<F>);
  const GatherLaunch launch = {params, tiles * select.num_queries > kGatherBusyWarps ? kTiles : 1};
  const LaunchShape shape = {.ctas_x = CeilDiv(tiles, kWarps * launch.tiles_per_warp),
                             .ctas_y = min(int64_t{select.num_queries}, kMaxGridY),
                             .threads = kThreads};
  return LaunchAwaiting(
      params.rope.data == nullptr ? GatherKernel<F, false> : GatherKernel<F, true>, shape, target,
      launch);
}

}  // namespace

int LaunchGather(const GatherParams& params, LaunchTarget target) {
  return DispatchRowFormat(params.pages.format,
                           [&]<RowFormat F>() { return LaunchOf<F>(params, target); });
}

}  // namespace terrace::internal
