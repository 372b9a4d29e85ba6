// A kernel that lets the one behind it start at once and does its own work late, and one that says
// what it was compiled for.

#ifndef TERRACE_TESTS_CUDA_CUDA_OVERLAP_KERNELS_H_
#define TERRACE_TESTS_CUDA_CUDA_OVERLAP_KERNELS_H_

#include <cstdint>

struct CUstream_st;

namespace terrace::testing {

inline constexpr int kMaxLateCopies = 9;

struct LateCopies {
  struct Copy {
    const void* from;
    void* to;
    int64_t bytes;
  };
  int64_t delay_ns;  // before the first byte is copied
  int32_t num_copies;
  Copy copies[kMaxLateCopies];
};

// Stream-ordered; return a cudaError_t.
int LaunchLateCopies(const LateCopies& params, CUstream_st* stream);

// *architecture = __CUDA_ARCH__ of the code that runs, 900 for SM90.
int LaunchArchitecture(int32_t* architecture, CUstream_st* stream);

}  // namespace terrace::testing

#endif  // TERRACE_TESTS_CUDA_CUDA_OVERLAP_KERNELS_H_
