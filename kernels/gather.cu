// Gather. Grid: queries by tiles of their rows, kWarps warps a block. A warp asks for its query
// once, then lane r works out the slot of its r-th row, so that one chain of dependent loads serves
// all rows of the warp. Rows are then read kBatch at a time, all loads before the first use; a lane
// holds a packet of 16 channels, so a warp reads one latent row or four indexer rows at once.

#include "kernels/gather.h"
#include "kernels/launch.cuh"
#include "kernels/packet.cuh"
#include "terrace/counters.h"

namespace terrace {
namespace {

constexpr int kWarps = 4;
constexpr int kThreads = kWarps * kWarpLanes;

// Loads of this many rows, or groups of rows side by side, are under way at once in a warp.
template <RowFormat F>
constexpr int kBatch = RowShape<F>::kPackets == kWarpLanes ? 2 : 1;

constexpr int kBlocksPerSm = 8;  // caps the registers: latency is hidden by warps

struct GatherLaunch {
  GatherParams params;
  int32_t rows_per_warp;  // a power of two, at most 32
  int32_t tiles;          // of a query: kWarps * rows_per_warp rows each
};

// One row's part in a lane while it is on its way.
struct RowInFlight {
  Packet codes;
  uint32_t scale;
  int32_t position;
  bool live;
};

template <RowFormat F>
__device__ __forceinline__ RowInFlight LoadRow(const PlanePages& pages, int index, int32_t slot,
                                               int32_t position) {
  RowInFlight row = {{}, 0, position, slot >= 0};
  if (row.live) {
    const RowPlace place = PlaceOfSlot<F>(pages, slot);
    row.codes = LoadCodes<F>(place.data, index);
    row.scale = LoadScale<F>(place.scale, index / RowShape<F>::kGroupPackets);
  }
  return row;
}

// The row as it goes out; zeros where it is not live.
template <RowFormat F>
__device__ __forceinline__ Packet FinishRow(const GatherParams& params, int index,
                                            const RowInFlight& row) {
  constexpr int kFirstRopePacket = RowShape<F>::kFirstRopePacket;
  Packet packet = Decode<F>(index, row.codes, ScaleValue<F>(row.scale), params.pages.global_scale);
  if (params.rope.data != nullptr && row.live && index >= kFirstRopePacket) {
    packet = Rotate(packet, LoadRope(params.rope.data, row.position, index - kFirstRopePacket));
  }
  return row.live ? packet : Packet{};
}

// First row of this warp in `tile`.
__device__ __forceinline__ int32_t FirstRow(const GatherLaunch& launch, int32_t tile) {
  return (tile * kWarps + static_cast<int32_t>(threadIdx.x / kWarpLanes)) * launch.rows_per_warp;
}

// What the query's list has for this lane's row, on its way while the query is looked up.
__device__ __forceinline__ int32_t LoadListed(const GatherLaunch& launch, int32_t query,
                                              int32_t first) {
  const Selection& select = launch.params.select;
  const int32_t lane = threadIdx.x % kWarpLanes;
  const int32_t row = first + lane;
  if (!ListsRows(select) || lane >= launch.rows_per_warp || row >= select.rows_per_query) {
    return kNoSlot;
  }
  return select.entries[query * select.entries_pitch + row];
}

// The warp's rows are first .. first + rows_per_warp - 1 of `query`; lane r was given what is
// listed for the r-th.
template <RowFormat F>
__device__ __forceinline__ void GatherRows(const GatherLaunch& launch,
                                           const SelectedQuery& selected, int32_t query,
                                           int32_t first, int32_t listed) {
  using Shape = RowShape<F>;
  constexpr int kSide = kWarpLanes / Shape::kPackets;  // rows side by side in a warp
  const GatherParams& params = launch.params;
  const Selection& select = params.select;
  const int lane = threadIdx.x % kWarpLanes;
  const int index = lane % Shape::kPackets;

  SelectedRow mine = {kNoSlot, 0, false};
  if (lane < launch.rows_per_warp && first + lane < selected.rows) {
    mine = SelectListedRow(select, selected, query, first + lane, listed);
  }
  Counters* counters = select.counters;
  CountRare(mine.skipped, select.kind == SelectKind::kSlots ? &counters->skipped_slots
                                                            : &counters->skipped_entries);
  if (params.rope.data != nullptr) {
    const bool beyond =
        mine.slot != kNoSlot && (mine.position < 0 || mine.position >= params.rope.positions);
    CountRare(beyond, &counters->skipped_positions);
    if (beyond) mine.slot = kNoSlot;
  }

  uint8_t* out = reinterpret_cast<uint8_t*>(params.out + query * params.out_query_pitch);
  for (int batch = 0; batch < launch.rows_per_warp; batch += kBatch<F> * kSide) {
    RowInFlight rows[kBatch<F>];
#pragma unroll
    for (int i = 0; i < kBatch<F>; ++i) {
      const int source = batch + i * kSide + lane / Shape::kPackets;
      const int32_t slot = __shfl_sync(kAllLanes, mine.slot, source % kWarpLanes);
      const int32_t position = __shfl_sync(kAllLanes, mine.position, source % kWarpLanes);
      rows[i] =
          LoadRow<F>(params.pages, index, source < launch.rows_per_warp ? slot : kNoSlot, position);
    }
#pragma unroll
    for (int i = 0; i < kBatch<F>; ++i) {
      const int at = batch + i * kSide + lane / Shape::kPackets;
      const int32_t row = first + at;
      const bool exists = at < launch.rows_per_warp && row < select.rows_per_query;
      const Packet packet = FinishRow<F>(params, index, rows[i]);
      StoreBf16Packet(out + row * params.out_row_pitch * int64_t{sizeof(uint16_t)}, index, packet,
                      exists);
    }
  }
}

template <RowFormat F>
__global__ void __launch_bounds__(kThreads, kBlocksPerSm)
    GatherKernel(const __grid_constant__ GatherLaunch launch) {
  AwaitPrecedingKernel();
  const Selection& select = launch.params.select;
  const int32_t query = blockIdx.x;
  int32_t tile = blockIdx.y;
  int32_t listed = LoadListed(launch, query, FirstRow(launch, tile));
  const SelectedQuery selected = SelectQuery(select, query);
  if (select.kind == SelectKind::kVisible && selected.visible > select.rows_per_query &&
      blockIdx.y == 0 && threadIdx.x == 0) {
    AddToCounter(&select.counters->truncated_queries, 1);
  }
  while (tile < launch.tiles) {
    const int32_t first = FirstRow(launch, tile);
    if (first < select.rows_per_query) GatherRows<F>(launch, selected, query, first, listed);
    tile += gridDim.y;
    if (tile < launch.tiles) listed = LoadListed(launch, query, FirstRow(launch, tile));
  }
}

// Enough rows a warp to share its chain of loads, few enough to keep a large device busy.
int32_t RowsPerWarp(int64_t rows, int32_t rows_side_by_side) {
  constexpr int64_t kWarpsWanted = 8192;
  int32_t rows_per_warp = rows_side_by_side;
  while (rows_per_warp < kWarpLanes && rows / rows_per_warp > kWarpsWanted) rows_per_warp *= 2;
  return rows_per_warp;
}

}  // namespace

int LaunchGather(const GatherParams& params, LaunchTarget target) {
  const Selection& select = params.select;
  const int64_t rows = int64_t{select.num_queries} * select.rows_per_query;
  return DispatchRowFormat(params.pages.format, [&]<RowFormat F>() {
    const int32_t rows_per_warp = RowsPerWarp(rows, kWarpLanes / RowShape<F>::kPackets);
    const int64_t tiles = CeilDiv(select.rows_per_query, kWarps * rows_per_warp);
    const GatherLaunch launch = {params, rows_per_warp, static_cast<int32_t>(tiles)};
    return LaunchAwaiting(GatherKernel<F>,
                          {select.num_queries, tiles < kMaxGridY ? tiles : kMaxGridY, kThreads},
                          target, launch);
  });
}

}  // namespace terrace
