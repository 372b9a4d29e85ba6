// An empty kernel: its attributes tell whether there is code for the current device.

#include "kernels/common/launch.cuh"
#include "kernels/device_support.h"

// CMake before 3.26 falls back to C++17 silently.
static_assert(__cplusplus >= 202002L, "compile with -std=c++20");

namespace terrace::internal {
namespace {

struct Nothing {};

__global__ void EmptyKernel(const __grid_constant__ Nothing) {}

}  // namespace

int CheckKernelsRunHere() {
  cudaFuncAttributes attributes;
  return cudaFuncGetAttributes(&attributes, EmptyKernel);
}

bool KernelsCanLaunchEarly() {
  cudaFuncAttributes attributes;
  return cudaFuncGetAttributes(&attributes, EmptyKernel) == cudaSuccess &&
         attributes.ptxVersion >= 90;
}

int LaunchEmpty(CUstream_st* stream) { return Launch(EmptyKernel, {1, 1, 32}, stream, Nothing{}); }

}  // namespace terrace::internal
