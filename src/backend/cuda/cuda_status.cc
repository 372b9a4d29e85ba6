#include "src/backend/cuda/cuda_status.h"

#include "absl/strings/str_cat.h"

namespace terrace::internal {

absl::Status StatusFromCuda(cudaError_t error, const char* call) {
  if (error == cudaSuccess) return absl::OkStatus();
  cudaGetLastError();
  const std::string message =
      absl::StrCat(call, ": ", cudaGetErrorName(error), " (", cudaGetErrorString(error), ")");
  switch (error) {
    case cudaErrorMemoryAllocation:
      return absl::ResourceExhaustedError(message);
    case cudaErrorInsufficientDriver:
    case cudaErrorInitializationError:
    case cudaErrorNoDevice:
    case cudaErrorInvalidDevice:
    case cudaErrorDevicesUnavailable:
    case cudaErrorDeviceUninitialized:
    case cudaErrorNoKernelImageForDevice:
    case cudaErrorSystemDriverMismatch:
    case cudaErrorSystemNotReady:
    case cudaErrorCompatNotSupportedOnDevice:
      return absl::FailedPreconditionError(message);
    default:
      return absl::InternalError(message);
  }
}

CudaDeviceGuard::CudaDeviceGuard(int device) {
  if (cudaGetDevice(&former_) != cudaSuccess || former_ == device) return;
  changed_ = cudaSetDevice(device) == cudaSuccess;
}

CudaDeviceGuard::~CudaDeviceGuard() {
  if (changed_) cudaSetDevice(former_);
}

}  // namespace terrace::internal
