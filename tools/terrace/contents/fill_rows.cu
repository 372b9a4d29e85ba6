// Grid: (row tiles, segments). A warp makes one row at a time, and each warp lane 16 bytes of it.

#include <cuda_runtime.h>

#include "tools/terrace/contents/fill_rows.h"

namespace terrace::tools {
namespace {

constexpr int kWarps = 8;
constexpr int kThreads = 32 * kWarps;
constexpr int kMostTiles = 4096;  // a grid-stride loop does the rest

__global__ void __launch_bounds__(kThreads) FillRowsKernel(const FillSegment* segments) {
  const FillSegment segment = segments[blockIdx.y];
  const int32_t count = *segment.count;
  const int32_t lane = threadIdx.x % 32;
  const int32_t packets = segment.channels / 8;
  for (int32_t row = blockIdx.x * kWarps + threadIdx.x / 32; row < count;
       row += gridDim.x * kWarps) {
    if (segment.slots[row] < 0) continue;
    const uint64_t seed = SeedOfRow(segment, row);
    uint4* const out = reinterpret_cast<uint4*>(segment.rows + int64_t{row} * segment.channels);
    for (int32_t packet = lane; packet < packets; packet += 32) {
      const uint32_t pair = static_cast<uint32_t>(4 * packet);
      out[packet] = make_uint4(ContentPair(seed, pair), ContentPair(seed, pair + 1),
                               ContentPair(seed, pair + 2), ContentPair(seed, pair + 3));
    }
  }
}

}  // namespace

int LaunchFillRows(const FillSegment* segments, int32_t num_segments, int32_t max_rows,
                   CUstream_st* stream) {
  if (num_segments == 0 || max_rows == 0) return cudaSuccess;
  const int32_t tiles = (max_rows + kWarps - 1) / kWarps;
  const dim3 grid(tiles < kMostTiles ? tiles : kMostTiles, num_segments);
  FillRowsKernel<<<grid, kThreads, 0, stream>>>(segments);
  return cudaGetLastError();
}

}  // namespace terrace::tools
