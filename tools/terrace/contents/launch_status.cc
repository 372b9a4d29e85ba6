#include "tools/terrace/contents/launch_status.h"

#include <cuda_runtime_api.h>

#include <string>

#include "absl/strings/str_cat.h"

namespace terrace::tools {

absl::Status StatusOfLaunch(int error, const char* launch) {
  const cudaError_t code = static_cast<cudaError_t>(error);
  if (code == cudaSuccess) return absl::OkStatus();
  cudaGetLastError();
  const std::string message =
      absl::StrCat(launch, ": ", cudaGetErrorName(code), " (", cudaGetErrorString(code), ")");
  return code == cudaErrorNoKernelImageForDevice ? absl::FailedPreconditionError(message)
                                                 : absl::InternalError(message);
}

}  // namespace terrace::tools
