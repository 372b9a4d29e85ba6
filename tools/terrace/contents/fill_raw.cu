// Grid: (token tiles). A warp makes the rows of one token at a time. Each warp lane makes 16 bytes
// of kv and 16 of score at a time.

#include <cuda_runtime.h>

#include "tools/terrace/contents/fill_raw.h"
#include "tools/terrace/contents/raw_contents.h"

namespace terrace::tools {
namespace {

constexpr int kWarps = 8;
constexpr int kThreads = 32 * kWarps;
constexpr int kMostTiles = 4096;  // a grid-stride loop does the rest

__global__ void __launch_bounds__(kThreads)
    FillRawKernel(const __grid_constant__ RawSegment segment, int32_t tokens) {
  const int32_t lane = threadIdx.x % 32;
  for (int32_t token = blockIdx.x * kWarps + threadIdx.x / 32; token < tokens;
       token += gridDim.x * kWarps) {
    const uint64_t key = KeyOfToken(segment, token);
    for (int p = 0; p < segment.num_planes; ++p) {
      const RawPlane& plane = segment.planes[p];
      const uint64_t seed = ContentSeed(key, segment.positions[token], plane.plane);
      const int64_t row = int64_t{token} * plane.columns;
      float4* const kv = reinterpret_cast<float4*>(plane.kv + row);
      float4* const score = reinterpret_cast<float4*>(plane.score + row);
      for (int32_t i = lane; i < plane.columns / 4; i += 32) {
        const int32_t c = 4 * i;
        kv[i] =
            make_float4(RawKv(seed, c), RawKv(seed, c + 1), RawKv(seed, c + 2), RawKv(seed, c + 3));
        score[i] = make_float4(RawScore(seed, c), RawScore(seed, c + 1), RawScore(seed, c + 2),
                               RawScore(seed, c + 3));
      }
    }
  }
}

}  // namespace

int LaunchFillRaw(const RawSegment& segment, int32_t tokens, CUstream_st* stream) {
  if (tokens == 0) return cudaSuccess;
  const int32_t tiles = (tokens + kWarps - 1) / kWarps;
  const dim3 grid(tiles < kMostTiles ? tiles : kMostTiles);
  FillRawKernel<<<grid, kThreads, 0, stream>>>(segment, tokens);
  return cudaGetLastError();
}

}  // namespace terrace::tools
