// CopyBlocks. Grid: tiles, all tiles of a block next to each other; a thread moves kWords words
// of 16 bytes, all loads before the first store. What pool a copy is in is known on the device
// alone, so the grid is sized for the largest block; tiles beyond a smaller one have nothing to do.

#include "kernels/common/config.h"
#include "kernels/common/launch.cuh"
#include "kernels/copy_blocks.h"

namespace terrace::internal {
namespace {

constexpr int kThreads = 256;
constexpr int kWords = 8;
constexpr int kWordBytes = 16;
constexpr int64_t kTileBytes = int64_t{kThreads} * kWords * kWordBytes;

struct CopyLaunch {
  CopyParams params;
  int64_t tiles_per_copy;
  int64_t tiles;
};

__device__ __forceinline__ void CopyTile(const uint8_t* from, uint8_t* to, int64_t bytes) {
  uint4 words[kWords];
#pragma unroll
  for (int i = 0; i < kWords; ++i) {
    const int64_t at = (int64_t{i} * kThreads + threadIdx.x) * kWordBytes;
    if (at < bytes) words[i] = *reinterpret_cast<const uint4*>(from + at);
  }
#pragma unroll
  for (int i = 0; i < kWords; ++i) {
    const int64_t at = (int64_t{i} * kThreads + threadIdx.x) * kWordBytes;
    if (at < bytes) *reinterpret_cast<uint4*>(to + at) = words[i];
  }
}

__global__ void __launch_bounds__(kThreads)
    CopyBlocksKernel(const __grid_constant__ CopyLaunch launch) {
  AwaitPrecedingKernel();
  for (int64_t tile = blockIdx.x; tile < launch.tiles; tile += gridDim.x) {
    const BlockCopy& copy = launch.params.copies[tile / launch.tiles_per_copy];
    const CopyPool& pool = launch.params.pools[copy.pool];
    const int64_t tiles_per_piece = (pool.piece_bytes + kTileBytes - 1) / kTileBytes;
    const int64_t tile_of_copy = tile % launch.tiles_per_copy;
    if (tile_of_copy >= tiles_per_piece * pool.pieces) continue;
    const int64_t piece = tile_of_copy / tiles_per_piece;
    const int64_t begin = tile_of_copy % tiles_per_piece * kTileBytes;
    uint8_t* place = pool.base + piece * pool.piece_stride + begin;
    CopyTile(place + copy.source * pool.block_stride, place + copy.destination * pool.block_stride,
             min(kTileBytes, pool.piece_bytes - begin));
  }
}

}  // namespace

int LaunchCopyBlocks(const CopyParams& params, LaunchTarget target) {
  CopyLaunch launch = {.params = params, .tiles_per_copy = 0, .tiles = 0};
  for (const CopyPool& pool : params.pools) {
    const int64_t tiles = CeilDiv(pool.piece_bytes, kTileBytes) * pool.pieces;
    if (tiles > launch.tiles_per_copy) launch.tiles_per_copy = tiles;
  }
  launch.tiles = launch.tiles_per_copy * params.count;
  const int64_t ctas = launch.tiles < kCopyMaxCtas ? launch.tiles : kCopyMaxCtas;
  return LaunchAwaiting(CopyBlocksKernel, {ctas, 1, kThreads}, target, launch);
}

}  // namespace terrace::internal
