// Launch: the one way kernels are started. The kernel's parameter type must match exactly, so a
// wrong struct fails to compile. No work returns before launching; nothing is allocated or waited
// for, so a launch can be captured in a CUDA graph.

#ifndef TERRACE_KERNELS_COMMON_LAUNCH_CUH_
#define TERRACE_KERNELS_COMMON_LAUNCH_CUH_

#include <cuda_runtime.h>

#include <cstdint>

#include "kernels/common/launch_target.h"

namespace terrace::internal {

inline constexpr int64_t kMaxGridX = 0x7FFFFFFF;
inline constexpr int64_t kMaxGridY = 65535;

// CTAs in x and y. REQUIRES: ctas_y <= kMaxGridY.
struct LaunchShape {
  int64_t ctas_x;
  int64_t ctas_y;
  int threads;
  int shared_bytes = 0;  // dynamic
  int cluster = 1;       // CTAs in x of a cluster, a divisor of ctas_x; more than 1 from SM90 on
};

// Launches overlap by programmatic dependent launch (SM90 on): a kernel started by LaunchAwaiting
// may begin while the one before it still runs. The rule that makes this safe:
//
//  (1) Every thread of such a kernel calls AwaitPrecedingKernel, which waits until the kernel
//      before it has ended and its writes are visible. That one waited in turn, so everything
//      before it has ended too. A caller's own kernel that is launched so must do the same.
//  (2) Only after that a kernel lets the next one begin: whoever has not waited yet runs beside one
//      kernel at most, and that one has waited.
//  (3) Begin's kernels are started by Launch, let nobody begin early, and end with a fence: who
//      begins after them finds what they wrote, and they begin after all who read it have ended.
//
// CaptureOverlap and RestoreState are launched as any other:
// what they write is touched after the wait.
//
// Hence what Begin wrote (the plan's header, the step's rows, the block tables) may be read before
// AwaitPrecedingKernel. All else is touched after it, since the kernel before may be writing it:
// inputs, what callers list, pages, outputs. Prefetching into the L2 may come first whatever the
// address, because the L2 is where writes arrive.
__device__ __forceinline__ void AwaitPrecedingKernel() {
#if __CUDA_ARCH__ >= 900
  cudaGridDependencySynchronize();
  cudaTriggerProgrammaticLaunchCompletion();
#endif
}

__device__ __forceinline__ void PrefetchL2(const void* address) {
  asm volatile("prefetch.global.L2 [%0];" ::"l"(address));
}
// The same of many bytes: a multiple of 16, 16-byte aligned. Before SM90 nothing, because kernels
// do not overlap there.
__device__ __forceinline__ void PrefetchL2(const void* address, uint32_t bytes) {
#if __CUDA_ARCH__ >= 900
  asm volatile("cp.async.bulk.prefetch.L2.global [%0], %1;" ::"l"(address), "r"(bytes));
#endif
}

template <typename Params>
int LaunchWith(cudaLaunchAttribute* attributes, unsigned num_attributes,
               void (*kernel)(const Params), const LaunchShape& shape, cudaStream_t stream,
               const Params& params) {
  if (shape.ctas_x <= 0 || shape.ctas_y <= 0) return cudaSuccess;
  if (shape.ctas_x > kMaxGridX || shape.ctas_y > kMaxGridY) return cudaErrorInvalidValue;
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(static_cast<unsigned>(shape.ctas_x), static_cast<unsigned>(shape.ctas_y));
  config.blockDim = dim3(static_cast<unsigned>(shape.threads));
  config.dynamicSmemBytes = static_cast<size_t>(shape.shared_bytes);
  config.stream = stream;
  config.attrs = attributes;
  config.numAttrs = num_attributes;
  return cudaLaunchKernelEx(&config, kernel, params);
}

template <typename Params>
int Launch(void (*kernel)(const Params), const LaunchShape& shape, cudaStream_t stream,
           const Params& params) {
  return LaunchWith(nullptr, 0, kernel, shape, stream, params);
}

// REQUIRES: the kernel follows the rule above.
template <typename Params>
int LaunchAwaiting(void (*kernel)(const Params), const LaunchShape& shape, LaunchTarget target,
                   const Params& params) {
  cudaLaunchAttribute attributes[2] = {};
  int count = 0;
  if (target.early) {
    attributes[count].id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attributes[count++].val.programmaticStreamSerializationAllowed = 1;
  }
  if (shape.cluster > 1) {
    attributes[count].id = cudaLaunchAttributeClusterDimension;
    attributes[count++].val.clusterDim = {static_cast<unsigned>(shape.cluster), 1, 1};
  }
  return LaunchWith(attributes, count, kernel, shape, target.stream, params);
}

inline constexpr int64_t CeilDiv(int64_t value, int64_t divisor) {
  return (value + divisor - 1) / divisor;
}

}  // namespace terrace::internal

#endif  // TERRACE_KERNELS_COMMON_LAUNCH_CUH_
