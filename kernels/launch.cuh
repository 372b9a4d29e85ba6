// Launch: the one way kernels are started. The kernel's parameter type must match exactly, so a
// wrong struct fails to compile. No work returns before launching; nothing is allocated or waited
// for, so a launch can be captured in a CUDA graph.

#ifndef TERRACE_KERNELS_LAUNCH_CUH_
#define TERRACE_KERNELS_LAUNCH_CUH_

#include <cuda_runtime.h>

#include <cstdint>

namespace terrace {

inline constexpr int64_t kMaxGridX = 0x7FFFFFFF;
inline constexpr int64_t kMaxGridY = 65535;

// Blocks in x and y. REQUIRES: blocks_y <= kMaxGridY.
struct LaunchShape {
  int64_t blocks_x;
  int64_t blocks_y;
  int threads;
};

template <typename Params>
int Launch(void (*kernel)(const Params), const LaunchShape& shape, cudaStream_t stream,
           const Params& params) {
  if (shape.blocks_x <= 0 || shape.blocks_y <= 0) return cudaSuccess;
  if (shape.blocks_x > kMaxGridX || shape.blocks_y > kMaxGridY) return cudaErrorInvalidValue;
  cudaLaunchConfig_t config = {};
  config.gridDim =
      dim3(static_cast<unsigned>(shape.blocks_x), static_cast<unsigned>(shape.blocks_y));
  config.blockDim = dim3(static_cast<unsigned>(shape.threads));
  config.stream = stream;
  return cudaLaunchKernelEx(&config, kernel, params);
}

inline constexpr int64_t CeilDiv(int64_t value, int64_t divisor) {
  return (value + divisor - 1) / divisor;
}

}  // namespace terrace

#endif  // TERRACE_KERNELS_LAUNCH_CUH_
