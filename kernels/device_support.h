// Whether the kernels of this build run on the current device, and a kernel that does nothing.

#ifndef TERRACE_KERNELS_DEVICE_SUPPORT_H_
#define TERRACE_KERNELS_DEVICE_SUPPORT_H_

struct CUstream_st;

namespace terrace::internal {

// cudaErrorNoKernelImageForDevice where no compiled architecture fits. Returns a cudaError_t.
int CheckKernelsRunHere();

// Whether the kernels that run here were compiled for SM90 or later and so wait for the kernel
// before them themselves (launch_target.h). An SM80 kernel that the driver translates for a newer
// device does not.
bool KernelsCanLaunchEarly();

// The least that a launch costs, for benches. Stream-ordered; returns a cudaError_t.
int LaunchEmpty(CUstream_st* stream);

}  // namespace terrace::internal

#endif  // TERRACE_KERNELS_DEVICE_SUPPORT_H_
