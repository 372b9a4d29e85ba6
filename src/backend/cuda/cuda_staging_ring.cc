#include "src/backend/cuda/cuda_staging_ring.h"

#include <algorithm>
#include <cstring>

#include "src/backend/cuda/cuda_status.h"

namespace terrace::internal {

absl::Status CheckNotCapturing(cudaStream_t stream) {
  cudaStreamCaptureStatus capture = cudaStreamCaptureStatusNone;
  absl::Status status =
      StatusFromCuda(cudaStreamIsCapturing(stream, &capture), "cudaStreamIsCapturing");
  if (!status.ok()) return status;
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
    absl::Status status =
        StatusFromCuda(cudaHostAlloc(&bytes, buffer_bytes, cudaHostAllocDefault), "cudaHostAlloc");
    if (!status.ok()) return status;
    buffer.bytes = static_cast<std::byte*>(bytes);
    status = StatusFromCuda(cudaEventCreateWithFlags(&buffer.read, cudaEventDisableTiming),
                            "cudaEventCreateWithFlags");
    if (!status.ok()) return status;
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
  absl::Status status = CheckNotCapturing(stream);
  if (!status.ok()) return status;
  Buffer& buffer = buffers_[next_];
  status = StatusFromCuda(cudaEventSynchronize(buffer.read), "cudaEventSynchronize");
  if (!status.ok()) return status;
  std::memcpy(buffer.bytes, from, bytes);
  status = enqueue(buffer.bytes);
  if (!status.ok()) return status;
  next_ = (next_ + 1) % buffers_.size();
  status = StatusFromCuda(cudaEventRecord(buffer.read, stream), "cudaEventRecord");
  if (!status.ok()) cudaStreamSynchronize(stream);  // nothing else tells when it has been read
  return status;
}

absl::Status CudaStagingRing::Upload(void* to, const void* from, int64_t bytes,
                                     cudaStream_t stream) {
  for (int64_t done = 0; done < bytes; done += buffer_bytes_) {
    const int64_t piece = std::min(buffer_bytes_, bytes - done);
    absl::Status status = Stage(
        static_cast<const std::byte*>(from) + done, piece, stream, [&](const std::byte* staged) {
          return StatusFromCuda(cudaMemcpyAsync(static_cast<std::byte*>(to) + done, staged, piece,
                                                cudaMemcpyHostToDevice, stream),
                                "cudaMemcpyAsync");
        });
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

}  // namespace terrace::internal
