// An empty kernel whose attributes tell whether there is code for the current device.

#include "kernels/device_support.h"

#include <cuda_runtime.h>

// CMake before 3.26 falls back to C++17 silently.
static_assert(__cplusplus >= 202002L, "compile with -std=c++20");

namespace terrace {
namespace {

__global__ void EmptyKernel() {}

}  // namespace

int CheckKernelsRunHere() {
  cudaFuncAttributes attributes;
  return cudaFuncGetAttributes(&attributes, EmptyKernel);
}

}  // namespace terrace
