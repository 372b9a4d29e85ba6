// Launch: the one way kernels are started. The kernel's parameter type must match exactly, so a
// wrong struct fails to compile. No work returns before launching; nothing is allocated or waited
// for, so a launch can be captured in a CUDA graph.

#ifndef TERRACE_KERNELS_LAUNCH_CUH_
#define TERRACE_KERNELS_LAUNCH_CUH_

#include <cuda_runtime.h>

#include <cstdint>

#include "kernels/launch_target.h"

namespace terrace {

inline constexpr int64_t kMaxGridX = 0x7FFFFFFF;
inline constexpr int64_t kMaxGridY = 65535;

// Blocks in x and y. REQUIRES: blocks_y <= kMaxGridY.
struct LaunchShape {
  int64_t blocks_x;
  int64_t blocks_y;
  int threads;
  int shared_bytes = 0;  // dynamic
};

// What a kernel started by LaunchAwaiting calls before it touches memory: waits until the kernel
// before it in the stream has ended and its writes are visible, and lets the next launch begin in
// turn.
__device__ __forceinline__ void AwaitPrecedingKernel() {
#if __CUDA_ARCH__ >= 900
  cudaTriggerProgrammaticLaunchCompletion();
  cudaGridDependencySynchronize();
#endif
}

namespace internal {

template <typename Params>
int LaunchWith(cudaLaunchAttribute* attributes, unsigned num_attributes,
               void (*kernel)(const Params), const LaunchShape& shape, cudaStream_t stream,
               const Params& params) {
  if (shape.blocks_x <= 0 || shape.blocks_y <= 0) return cudaSuccess;
  if (shape.blocks_x > kMaxGridX || shape.blocks_y > kMaxGridY) return cudaErrorInvalidValue;
  cudaLaunchConfig_t config = {};
  config.gridDim =
      dim3(static_cast<unsigned>(shape.blocks_x), static_cast<unsigned>(shape.blocks_y));
  config.blockDim = dim3(static_cast<unsigned>(shape.threads));
  config.dynamicSmemBytes = static_cast<size_t>(shape.shared_bytes);
  config.stream = stream;
  config.attrs = attributes;
  config.numAttrs = num_attributes;
  return cudaLaunchKernelEx(&config, kernel, params);
}

}  // namespace internal

template <typename Params>
int Launch(void (*kernel)(const Params), const LaunchShape& shape, cudaStream_t stream,
           const Params& params) {
  return internal::LaunchWith(nullptr, 0, kernel, shape, stream, params);
}

// REQUIRES: the kernel calls AwaitPrecedingKernel first.
template <typename Params>
int LaunchAwaiting(void (*kernel)(const Params), const LaunchShape& shape, LaunchTarget target,
                   const Params& params) {
  cudaLaunchAttribute early = {};
  early.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  early.val.programmaticStreamSerializationAllowed = 1;
  return internal::LaunchWith(&early, target.early ? 1 : 0, kernel, shape, target.stream, params);
}

inline constexpr int64_t CeilDiv(int64_t value, int64_t divisor) {
  return (value + divisor - 1) / divisor;
}

}  // namespace terrace

#endif  // TERRACE_KERNELS_LAUNCH_CUH_
