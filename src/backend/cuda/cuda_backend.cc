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
#include "src/backend/cuda/cuda_staging_ring.h"
#include "src/backend/cuda/cuda_status.h"
#include "src/backend/kernel_backend.h"

namespace terrace::internal {
namespace {

// A plan of a few hundred sequences fits one buffer; the ring is 4 MiB of pinned memory.
constexpr int kStagingBuffers = 32;
constexpr int64_t kStagingBufferBytes = 128 << 10;
static_assert(kMaxStagedPlanBytes <= kStagingBufferBytes);

cudaStream_t StreamOf(Stream stream) { return static_cast<cudaStream_t>(stream.handle); }

class CudaBackend final : public KernelBackend {
 public:
  explicit CudaBackend(int device) : device_(device) {}

  // Results are ignored: where the runtime is shutting down, it has taken everything back.
  ~CudaBackend() override {
    CudaDeviceGuard guard(device_);
    ring_.reset();
    if (counter_stream_ != nullptr) cudaStreamDestroy(counter_stream_);
    cudaFree(device_counters_);  // waits for kernels that may still raise them
    cudaFreeHost(host_counters_);
  }

  absl::Status Init() {
    CudaDeviceGuard guard(device_);
    early_ = KernelsCanLaunchEarly();
    absl::StatusOr<void*> counters = Allocate(sizeof(Counters));
    if (!counters.ok()) return counters.status();
    device_counters_ = static_cast<Counters*>(*counters);
    void* pinned = nullptr;
    absl::Status status = StatusFromCuda(
        cudaHostAlloc(&pinned, sizeof(Counters), cudaHostAllocDefault), "cudaHostAlloc");
    if (!status.ok()) return status;
    host_counters_ = new (pinned) Counters();
    status = StatusFromCuda(cudaStreamCreateWithFlags(&counter_stream_, cudaStreamNonBlocking),
                            "cudaStreamCreateWithFlags");
    if (!status.ok()) return status;
    auto ring = CudaStagingRing::Create(kStagingBuffers, kStagingBufferBytes);
    if (!ring.ok()) return ring.status();
    ring_ = *std::move(ring);
    return absl::OkStatus();
  }

  absl::string_view name() const override { return "cuda"; }

  absl::StatusOr<void*> Allocate(int64_t bytes) override {
    if (bytes < 0) return absl::InvalidArgumentError(absl::StrCat("cannot allocate ", bytes));
    CudaDeviceGuard guard(device_);
    void* memory = nullptr;
    const size_t size = static_cast<size_t>(std::max<int64_t>(bytes, 1));
    absl::Status status = StatusFromCuda(cudaMalloc(&memory, size), "cudaMalloc");
    if (absl::IsResourceExhausted(status)) {
      size_t free = 0;
      size_t total = 0;
      cudaMemGetInfo(&free, &total);
      return absl::ResourceExhaustedError(absl::StrCat("cannot allocate ", bytes,
                                                       " bytes on CUDA device ", device_, ": ",
                                                       free, " of ", total, " bytes are free"));
    }
    if (!status.ok()) return status;
    status = StatusFromCuda(cudaMemset(memory, 0, size), "cudaMemset");
    // Zeros must be there before any stream looks, one that does not wait for the default stream
    // too.
    if (status.ok()) {
      status = StatusFromCuda(cudaStreamSynchronize(cudaStreamLegacy), "cudaStreamSynchronize");
    }
    if (!status.ok()) {
      cudaFree(memory);
      return status;
    }
    return memory;
  }

  void Free(void* memory) override {
    if (memory == nullptr) return;
    CudaDeviceGuard guard(device_);
    cudaFree(memory);
  }

  absl::Status Upload(void* to, const void* from, int64_t bytes, Stream stream) override {
    CudaDeviceGuard guard(device_);
    return ring_->Upload(to, from, bytes, StreamOf(stream));
  }

  absl::Status Download(void* to, const void* from, int64_t bytes, Stream stream) override {
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
    absl::Status status = ring_->Upload(uploaded, params.plan, bytes, StreamOf(stream));
    if (!status.ok()) return status;
    const auto* patches =
        reinterpret_cast<const BlockPatch*>(uploaded + params.header.patches_offset);
    status = Patch({params.geometry, params.step, patches, PatchesToBegin(params)}, stream);
    return status.ok() ? launch(nullptr) : status;
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

  const int device_;
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

absl::StatusOr<std::unique_ptr<Backend>> MakeCudaBackend(int device) {
  absl::Status status = CheckDevice(device);
  if (!status.ok()) return status;
  auto backend = std::make_unique<CudaBackend>(device);
  status = backend->Init();
  if (!status.ok()) return status;
  return backend;
}

}  // namespace terrace::internal
