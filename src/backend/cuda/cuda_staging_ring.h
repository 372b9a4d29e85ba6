// CudaStagingRing copies host bytes to a device through pinned buffers, so that the caller may
// reuse its own memory at once and the copy needs no synchronization.
//
// A buffer is free or in flight. Stage makes it in flight: bytes in, what reads them enqueued (a
// copy, or a kernel: the device reads pinned memory at its host address), event recorded behind
// that. It is free again once that event has completed.
//
// Invariants:
//  (1) a buffer is written only while free;
//  (2) buffers are freed only after everything that reads them has completed.
//
// Stream: reads are ordered on the caller's.
// Thread-safe: no.
// Errors: whatever the runtime reports; FailedPrecondition on a capturing stream, because a replay
// would copy what the buffer holds then.

#ifndef TERRACE_SRC_BACKEND_CUDA_CUDA_STAGING_RING_H_
#define TERRACE_SRC_BACKEND_CUDA_CUDA_STAGING_RING_H_

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace terrace::internal {

// Errors: FailedPrecondition on a stream that is being captured.
absl::Status CheckNotCapturing(cudaStream_t stream);

class CudaStagingRing {
 public:
  // Allocates on the current device. REQUIRES: num_buffers >= 1, buffer_bytes >= 1.
  static absl::StatusOr<std::unique_ptr<CudaStagingRing>> Create(int num_buffers,
                                                                 int64_t buffer_bytes);
  ~CudaStagingRing();
  CudaStagingRing(const CudaStagingRing&) = delete;
  CudaStagingRing& operator=(const CudaStagingRing&) = delete;

  // Copies `bytes` into a buffer and calls `enqueue` with its address, to enqueue on `stream` what
  // reads it; returns its status. Waits only where every buffer is in flight, and then for the
  // oldest.
  // REQUIRES: the ring's device is current; bytes <= buffer_bytes.
  absl::Status Stage(const void* from, int64_t bytes, cudaStream_t stream,
                     absl::FunctionRef<absl::Status(const std::byte*)> enqueue);

  // Stages and copies; more than a buffer's bytes are split.
  // REQUIRES: the ring's device is current.
  absl::Status Upload(void* to, const void* from, int64_t bytes, cudaStream_t stream);

 private:
  struct Buffer {
    std::byte* bytes = nullptr;
    cudaEvent_t read = nullptr;
  };

  explicit CudaStagingRing(int64_t buffer_bytes) : buffer_bytes_(buffer_bytes) {}

  const int64_t buffer_bytes_;
  std::vector<Buffer> buffers_;  // an event that was never recorded counts as completed
  size_t next_ = 0;              // the one used longest ago
};

}  // namespace terrace::internal

#endif  // TERRACE_SRC_BACKEND_CUDA_CUDA_STAGING_RING_H_
