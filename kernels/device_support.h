// Whether the kernels of this build run on the current device.

#ifndef TERRACE_KERNELS_DEVICE_SUPPORT_H_
#define TERRACE_KERNELS_DEVICE_SUPPORT_H_

namespace terrace {

// cudaErrorNoKernelImageForDevice where no compiled architecture fits. Returns a cudaError_t.
int CheckKernelsRunHere();

}  // namespace terrace

#endif  // TERRACE_KERNELS_DEVICE_SUPPORT_H_
