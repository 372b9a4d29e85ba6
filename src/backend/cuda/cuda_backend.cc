#include "src/backend/cuda/cuda_backend.h"

#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstdint>
#include <new>
#include <utility>

#include "absl/strings/str_cat.h"
#include "kernels/begin.h"
#include "kernels/compress.h"
#include "kernels/copy_blocks.h"
#include "kernels/device_support.h"
#include "kernels/gather.h"
#include "kernels/translate.h"
#include "kernels/write.h"
#include "src/backend/allocations.h"
#include "src/backend/byte_checks.h"
#include "src/backend/cuda/cuda_staging_ring.h"
#include "src/backend/cuda/cuda_status.h"
#include "src/backend/kernel_backend.h"
#include "src/base/status_macros.h"

namespace terrace::internal {
namespace {

// A plan of a few hundred sequences fits one buffer; the ring is 4 MiB of pinned memory.
constexpr int kStagingBuffers = 32;
constexpr int64_t kStagingBufferBytes = 128 << 10;
static_assert(kMaxStagedPlanBytes <= kStagingBufferBytes);

cudaStream_t StreamOf(Stream stream) { return static_cast<cudaStream_t>(stream.handle); }

class CudaBackend final : public KernelBackend {
 public:
  CudaBackend(int device, MemoryResource* memory) : device_(device), memory_(memory) {}

  // Results are ignored: where the runtime is shutting down, it has taken everything back.
  ~CudaBackend() override {
    CudaDeviceGuard guard(device_);
    ring_.reset();
    allocations_.RemoveAll([&](void* memory, int64_t bytes) { Release(memory, bytes, Stream{}); });
    if (counter_stream_ != nullptr) cudaStreamDestroy(counter_stream_);
    cudaFree(device_counters_);  // waits for kernels that may still raise them
    cudaFreeHost(host_counters_);
  }

  absl::Status Init() {
    CudaDeviceGuard guard(device_);
    early_ = KernelsCanLaunchEarly();
    TERRACE_ASSIGN_OR_RETURN(void* const counters, AllocateOnDevice(sizeof(Counters)));
    device_counters_ = static_cast<Counters*>(counters);
    TERRACE_RETURN_IF_ERROR(
        StatusFromCuda(cudaMemset(device_counters_, 0, sizeof(Counters)), "cudaMemset"));
    TERRACE_RETURN_IF_ERROR(Synchronize(Stream{}));
    void* pinned = nullptr;
    TERRACE_RETURN_IF_ERROR(StatusFromCuda(
        cudaHostAlloc(&pinned, sizeof(Counters), cudaHostAllocDefault), "cudaHostAlloc"));
    host_counters_ = new (pinned) Counters();
    TERRACE_RETURN_IF_ERROR(
        StatusFromCuda(cudaStreamCreateWithFlags(&counter_stream_, cudaStreamNonBlocking),
                       "cudaStreamCreateWithFlags"));
    TERRACE_ASSIGN_OR_RETURN(ring_, CudaStagingRing::Create(kStagingBuffers, kStagingBufferBytes));
    return absl::OkStatus();
  }

  absl::string_view name() const override { return "cuda"; }

  absl::StatusOr<void*> Allocate(int64_t bytes, Stream stream) override {
    if (absl::Status status = CheckAllocation(bytes); !status.ok()) return status;
    CudaDeviceGuard guard(device_);
    bytes = std::max<int64_t>(bytes, 1);
    TERRACE_ASSIGN_OR_RETURN(void* const memory, memory_ != nullptr
                                                     ? AllocateFrom(*memory_, bytes, stream)
                                                     : AllocateOnDevice(bytes));
    absl::Status status =
        StatusFromCuda(cudaMemsetAsync(memory, 0, static_cast<size_t>(bytes), StreamOf(stream)),
                       "cudaMemsetAsync");
    // Zeros must be there before any stream looks, one that does not wait for this one too.
    if (status.ok()) status = Synchronize(stream);
    if (!status.ok()) {
      Release(memory, bytes, stream);
      return status;
    }
    allocations_.Add(memory, bytes);
    return memory;
  }

  void Free(void* memory, Stream stream) override {
    const int64_t bytes = allocations_.Remove(memory);
    if (bytes < 0) return;
    CudaDeviceGuard guard(device_);
    Release(memory, bytes, stream);
  }

  absl::Status Upload(void* to, const void* from, int64_t bytes, Stream stream) override {
    if (absl::Status status = CheckTransfer(to, from, bytes); !status.ok()) return status;
    CudaDeviceGuard guard(device_);
    return ring_->Upload(to, from, bytes, StreamOf(stream));
  }

  absl::Status Download(void* to, const void* from, int64_t bytes, Stream stream) override {
    if (absl::Status status = CheckTransfer(to, from, bytes); !status.ok()) return status;
    CudaDeviceGuard guard(device_);
    const absl::Status status =
        StatusFromCuda(cudaMemcpyAsync(to, from, static_cast<size_t>(bytes), cudaMemcpyDeviceToHost,
                                       StreamOf(stream)),
                       "cudaMemcpyAsync");
    return status.ok() ? Synchronize(stream) : status;
  }

  absl::Status Synchronize(Stream stream) override {
    CudaDeviceGuard guard(device_);
    return StatusFromCuda(cudaStreamSynchronize(StreamOf(stream)), "cudaStreamSynchronize");
  }

  absl::Status CheckCanBegin(Stream stream) override {
    CudaDeviceGuard guard(device_);
    return CheckNotCapturing(StreamOf(stream));
  }
  absl::Status Begin(const BeginParams& params, Stream stream) override {
    CudaDeviceGuard guard(device_);
    const int64_t bytes = BytesToBegin(params);
    BeginParams begin = params;
    const auto launch = [&](const std::byte* plan) {
      begin.plan = plan;
      return StatusFromCuda(static_cast<cudaError_t>(LaunchBegin(begin, StreamOf(stream))),
                            "launch of Begin");
    };
    // The kernel reads the staged bytes itself: one launch instead of a copy and two.
    if (bytes <= kMaxStagedPlanBytes) {
      return ring_->Stage(params.plan, bytes, StreamOf(stream), launch);
    }
    std::byte* const uploaded = reinterpret_cast<std::byte*>(params.step.header);
    TERRACE_RETURN_IF_ERROR(ring_->Upload(uploaded, params.plan, bytes, StreamOf(stream)));
    const auto* patches =
        reinterpret_cast<const BlockPatch*>(uploaded + params.header.patches_offset);
    TERRACE_RETURN_IF_ERROR(
        Patch({params.geometry, params.step, patches, PatchesToBegin(params)}, stream));
    return launch(nullptr);
  }
  absl::Status Patch(const PatchParams& params, Stream stream) override {
    CudaDeviceGuard guard(device_);
    return StatusFromCuda(static_cast<cudaError_t>(LaunchPatch(params, StreamOf(stream))),
                          "launch of Patch");
  }
  absl::Status Write(const WriteParams& params, Stream stream) override {
    return Run(LaunchWrite, params, stream, "launch of Write");
  }
  absl::Status Translate(const TranslateParams& params, Stream stream) override {
    return Run(LaunchTranslate, params, stream, "launch of Translate");
  }
  absl::Status Gather(const GatherParams& params, Stream stream) override {
    return Run(LaunchGather, params, stream, "launch of Gather");
  }
  absl::Status CopyBlocks(const CopyParams& params, Stream stream) override {
    return Run(LaunchCopyBlocks, params, stream, "launch of CopyBlocks");
  }
  absl::Status Compress(const CompressParams& params, Stream stream) override {
    return Run(params.pool.ratio == kCsaRatio ? LaunchCompressCsa : LaunchCompressHca, params,
               stream, "launch of Compress");
  }
  absl::Status CaptureOverlap(const CaptureOverlapParams& params, Stream stream) override {
    return Run(LaunchCaptureOverlap, params, stream, "launch of CaptureOverlap");
  }
  absl::Status RestoreState(const RestoreStateParams& params, Stream stream) override {
    return Run(LaunchRestoreState, params, stream, "launch of RestoreState");
  }

  Counters* counters() override { return device_counters_; }

  // Where the copy fails they are those of the last reading.
  Counters ReadCounters() const override {
    CudaDeviceGuard guard(device_);
    cudaMemcpyAsync(host_counters_, device_counters_, sizeof(Counters), cudaMemcpyDeviceToHost,
                    counter_stream_);
    cudaStreamSynchronize(counter_stream_);
    return *host_counters_;
  }

 private:
  template <typename Params>
  absl::Status Run(int (*launch)(const Params&, LaunchTarget), const Params& params, Stream stream,
                   const char* call) {
    CudaDeviceGuard guard(device_);
    return StatusFromCuda(static_cast<cudaError_t>(launch(params, {StreamOf(stream), early_})),
                          call);
  }

  absl::StatusOr<void*> AllocateOnDevice(int64_t bytes) {
    void* memory = nullptr;
    const absl::Status status =
        StatusFromCuda(cudaMalloc(&memory, static_cast<size_t>(bytes)), "cudaMalloc");
    if (status.ok()) return memory;
    if (!absl::IsResourceExhausted(status)) return status;
    size_t free = 0;
    size_t total = 0;
    cudaMemGetInfo(&free, &total);
    return absl::ResourceExhaustedError(absl::StrCat("cannot allocate ", bytes,
                                                     " bytes on CUDA device ", device_, ": ", free,
                                                     " of ", total, " bytes are free"));
  }

  // cudaFree waits for all work of the device, and so for the stream's.
  void Release(void* memory, int64_t bytes, Stream stream) {
    if (memory_ != nullptr) return memory_->Deallocate(memory, bytes, stream);
    cudaFree(memory);
  }

  const int device_;
  MemoryResource* const memory_;  // null: cudaMalloc
  Allocations allocations_;
  bool early_ = false;  // KernelsCanLaunchEarly
  Counters* device_counters_ = nullptr;
  Counters* host_counters_ = nullptr;  // what was read last, pinned
  cudaStream_t counter_stream_ = nullptr;
  std::unique_ptr<CudaStagingRing> ring_;
};

absl::Status CheckDevice(int device) {
  if (device < 0) {
    return absl::InvalidArgumentError(absl::StrCat("CUDA device ", device, " is negative"));
  }
  int count = 0;
  absl::Status status = StatusFromCuda(cudaGetDeviceCount(&count), "cudaGetDeviceCount");
  if (!status.ok()) {
    return absl::FailedPreconditionError(absl::StrCat("no usable GPU: ", status.message()));
  }
  if (device >= count) {
    return absl::FailedPreconditionError(
        absl::StrCat("there is no CUDA device ", device, ": this machine has ", count));
  }
  CudaDeviceGuard guard(device);
  status = StatusFromCuda(static_cast<cudaError_t>(CheckKernelsRunHere()), "cudaFuncGetAttributes");
  if (!status.ok()) {
    return absl::FailedPreconditionError(
        absl::StrCat("CUDA device ", device, " cannot run this build: ", status.message()));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<Backend>> MakeCudaBackend(int device, MemoryResource* memory) {
  TERRACE_RETURN_IF_ERROR(CheckDevice(device));
  auto backend = std::make_unique<CudaBackend>(device, memory);
  TERRACE_RETURN_IF_ERROR(backend->Init());
  return backend;
}

}  // namespace terrace::internal
