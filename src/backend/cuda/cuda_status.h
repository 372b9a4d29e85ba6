// StatusFromCuda: the one place where a CUDA failure becomes a status.

#ifndef TERRACE_SRC_BACKEND_CUDA_CUDA_STATUS_H_
#define TERRACE_SRC_BACKEND_CUDA_CUDA_STATUS_H_

#include <cuda_runtime_api.h>

#include "absl/status/status.h"

namespace terrace::internal {

// Ok for cudaSuccess; otherwise names the call and the error, and clears the runtime's last error,
// so that it is reported once.
// Errors: ResourceExhausted where memory ran out; FailedPrecondition where no device, driver or
// code for the device is there; Internal for the rest.
absl::Status StatusFromCuda(cudaError_t error, const char* call);

// Makes `device` current in this scope and the former one after it. Failures show in the calls that
// follow.
class CudaDeviceGuard {
 public:
  explicit CudaDeviceGuard(int device);
  ~CudaDeviceGuard();
  CudaDeviceGuard(const CudaDeviceGuard&) = delete;
  CudaDeviceGuard& operator=(const CudaDeviceGuard&) = delete;

 private:
  int former_ = 0;
  bool changed_ = false;
};

}  // namespace terrace::internal

#endif  // TERRACE_SRC_BACKEND_CUDA_CUDA_STATUS_H_
