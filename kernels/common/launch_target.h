// Where a kernel is launched.

#ifndef TERRACE_KERNELS_COMMON_LAUNCH_TARGET_H_
#define TERRACE_KERNELS_COMMON_LAUNCH_TARGET_H_

struct CUstream_st;

namespace terrace::internal {

struct LaunchTarget {
  LaunchTarget(CUstream_st* stream, bool early = false)  // NOLINT: a stream is passed as it is
      : stream(stream), early(early) {}

  CUstream_st* stream;
  // Launch while the kernel before it in the stream still runs (programmatic dependent launch),
  // which hides most of what a launch costs.
  // REQUIRES: KernelsCanLaunchEarly() (device_support.h).
  bool early;
};

}  // namespace terrace::internal

#endif  // TERRACE_KERNELS_COMMON_LAUNCH_TARGET_H_
