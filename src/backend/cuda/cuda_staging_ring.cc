#include "src/backend/cuda/cuda_staging_ring.h"

#include <algorithm>
#include <cstring>

#include "src/backend/cuda/cuda_status.h"
#include "src/base/status_macros.h"

namespace terrace::internal {

absl::Status CheckNotCapturing(cudaStream_t stream) {
  cudaStreamCaptureStatus capture = cudaStreamCaptureStatusNone;
  TERRACE_RETURN_IF_ERROR(
      StatusFromCuda(cudaStreamIsCapturing(stream, &capture), "cudaStreamIsCapturing"));
  if (capture != cudaStreamCaptureStatusNone) {
    return absl::FailedPreconditionError(
        "the stream is being captured: begin a step before the capture, not in it");
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<CudaStagingRing>> CudaStagingRing::Create(int num_buffers,
                                                                         int64_t buffer_bytes) {
  auto ring = std::unique_ptr<CudaStagingRing>(new CudaStagingRing(buffer_bytes));
  ring->buffers_.resize(num_buffers);
  for (Buffer& buffer : ring->buffers_) {
    void* bytes = nullptr;
    TERRACE_RETURN_IF_ERROR(
        StatusFromCuda(cudaHostAlloc(&bytes, buffer_bytes, cudaHostAllocDefault), "cudaHostAlloc"));
    buffer.bytes = static_cast<std::byte*>(bytes);
    TERRACE_RETURN_IF_ERROR(
        StatusFromCuda(cudaEventCreateWithFlags(&buffer.read, cudaEventDisableTiming),
                       "cudaEventCreateWithFlags"));
  }
  return ring;
}

// Results are ignored: where the runtime is shutting down, it has taken everything back.
CudaStagingRing::~CudaStagingRing() {
  for (const Buffer& buffer : buffers_) {
    if (buffer.read != nullptr) {
      cudaEventSynchronize(buffer.read);
      cudaEventDestroy(buffer.read);
    }
    if (buffer.bytes != nullptr) cudaFreeHost(buffer.bytes);
  }
}

absl::Status CudaStagingRing::Stage(const void* from, int64_t bytes, cudaStream_t stream,
                                    absl::FunctionRef<absl::Status(const std::byte*)> enqueue) {
  TERRACE_RETURN_IF_ERROR(CheckNotCapturing(stream));
  Buffer& buffer = buffers_[next_];
  TERRACE_RETURN_IF_ERROR(
      StatusFromCuda(cudaEventSynchronize(buffer.read), "cudaEventSynchronize"));
  std::memcpy(buffer.bytes, from, bytes);
  TERRACE_RETURN_IF_ERROR(enqueue(buffer.bytes));
  next_ = (next_ + 1) % buffers_.size();
  absl::Status status = StatusFromCuda(cudaEventRecord(buffer.read, stream), "cudaEventRecord");
  if (!status.ok()) cudaStreamSynchronize(stream);  // nothing else tells when it has been read
  return status;
}

absl::Status CudaStagingRing::Upload(void* to, const void* from, int64_t bytes,
                                     cudaStream_t stream) {
  for (int64_t done = 0; done < bytes; done += buffer_bytes_) {
    const int64_t piece = std::min(buffer_bytes_, bytes - done);
    const auto copy = [&](const std::byte* staged) {
      return StatusFromCuda(cudaMemcpyAsync(static_cast<std::byte*>(to) + done, staged, piece,
                                            cudaMemcpyHostToDevice, stream),
                            "cudaMemcpyAsync");
    };
    TERRACE_RETURN_IF_ERROR(Stage(static_cast<const std::byte*>(from) + done, piece, stream, copy));
  }
  return absl::OkStatus();
}

}  // namespace terrace::internal
