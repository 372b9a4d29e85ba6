// LateCopies. Grid: few blocks, so that the kernel behind them finds room to start; each waits and
// then copies every kBlocks-th piece.

#include "kernels/common/launch.cuh"
#include "tests/cuda/cuda_overlap_kernels.h"

namespace terrace::testing {
namespace {

constexpr int kThreads = 256;
constexpr int kBlocks = 16;

__device__ uint64_t Nanoseconds() {
  uint64_t now;
  asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(now));
  return now;
}

__global__ void __launch_bounds__(kThreads)
    LateCopiesKernel(const __grid_constant__ LateCopies params) {
#if __CUDA_ARCH__ >= 900
  cudaTriggerProgrammaticLaunchCompletion();
#endif
  const uint64_t end = Nanoseconds() + params.delay_ns;
  while (Nanoseconds() < end) {
  }
  for (int i = 0; i < params.num_copies; ++i) {
    const LateCopies::Copy& copy = params.copies[i];
    for (int64_t at = blockIdx.x * kThreads + threadIdx.x; at < copy.bytes;
         at += kBlocks * kThreads) {
      static_cast<uint8_t*>(copy.to)[at] = static_cast<const uint8_t*>(copy.from)[at];
    }
  }
}

struct Architecture {
  int32_t* architecture;
};

__global__ void ArchitectureKernel(const __grid_constant__ Architecture params) {
#if defined(__CUDA_ARCH__)
  *params.architecture = __CUDA_ARCH__;
#endif
}

}  // namespace

int LaunchLateCopies(const LateCopies& params, CUstream_st* stream) {
  return internal::Launch(LateCopiesKernel, {kBlocks, 1, kThreads}, stream, params);
}

int LaunchArchitecture(int32_t* architecture, CUstream_st* stream) {
  return internal::Launch(ArchitectureKernel, {1, 1, 1}, stream, Architecture{architecture});
}

}  // namespace terrace::testing
