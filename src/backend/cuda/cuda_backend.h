// The cuda backend: one device's memory and kernels. See backend.h for what its calls promise.
//
// Counters live in device memory, because a device need not be able to raise host memory
// atomically. Reading them is a copy on a stream of its own, which waits for no other work.
// Errors: ResourceExhausted where device memory runs out, FailedPrecondition where no device is
// usable, Internal with the call and the error's name for every other CUDA failure. A failure of
// earlier work shows in a later call, as it does in CUDA.

#ifndef TERRACE_SRC_BACKEND_CUDA_CUDA_BACKEND_H_
#define TERRACE_SRC_BACKEND_CUDA_CUDA_BACKEND_H_

#include <memory>

#include "absl/status/statusor.h"
#include "terrace/backend.h"

namespace terrace::internal {

// `memory` and `nvtx`: as BackendOptions has them.
// Errors: InvalidArgument for a negative ordinal; FailedPrecondition with the runtime's own reason
// where there is no such device, no driver for it, or no code for it in this build.
absl::StatusOr<std::unique_ptr<Backend>> MakeCudaBackend(int device,
                                                         MemoryResource* memory = nullptr,
                                                         bool nvtx = false);

}  // namespace terrace::internal

#endif  // TERRACE_SRC_BACKEND_CUDA_CUDA_BACKEND_H_
