// The host backend: pages in ordinary memory, kernels as loops over a few threads. Memory that is
// not a MemoryResource's is mapped zero-filled, with huge pages where the system gives them, and
// becomes resident page by page as it is written, so a large pool costs what is used of it.
//
// Calls have run to their end when they return; the stream is ignored.

#ifndef TERRACE_SRC_BACKEND_HOST_HOST_BACKEND_H_
#define TERRACE_SRC_BACKEND_HOST_HOST_BACKEND_H_

#include <cstdint>
#include <memory>

#include "src/backend/allocations.h"
#include "src/backend/kernel_backend.h"
#include "src/base/thread_pool.h"

namespace terrace::internal {

class HostBackend final : public KernelBackend {
 public:
  // REQUIRES: threads >= 1, the caller included.
  explicit HostBackend(int threads, MemoryResource* memory = nullptr)
      : pool_(threads), memory_(memory) {}
  ~HostBackend() override;

  absl::string_view name() const override { return "host"; }

  absl::StatusOr<void*> Allocate(int64_t bytes, Stream stream) override;
  void Free(void* memory, Stream stream) override;
  absl::Status Upload(void* to, const void* from, int64_t bytes, Stream stream) override;
  absl::Status Download(void* to, const void* from, int64_t bytes, Stream stream) override;
  absl::Status Synchronize(Stream stream) override;

  absl::Status CheckCanBegin(Stream /*stream*/) override { return absl::OkStatus(); }
  absl::Status Begin(const BeginParams& params, Stream stream) override;
  absl::Status Patch(const PatchParams& params, Stream stream) override;
  absl::Status Write(const WriteParams& params, Stream stream) override;
  absl::Status Translate(const TranslateParams& params, Stream stream) override;
  absl::Status Gather(const GatherParams& params, Stream stream) override;
  absl::Status CopyBlocks(const CopyParams& params, Stream stream) override;
  absl::Status Compress(const CompressParams& params, Stream stream) override;
  absl::Status CaptureOverlap(const CaptureOverlapParams& params, Stream stream) override;
  absl::Status RestoreState(const RestoreStateParams& params, Stream stream) override;

  Counters* counters() override { return &counters_; }
  Counters ReadCounters() const override;

 private:
  void Release(void* memory, int64_t bytes, Stream stream);

  ThreadPool pool_;
  MemoryResource* const memory_;  // null: the system maps it
  Allocations allocations_;
  mutable Counters counters_;  // raised by several threads through std::atomic_ref
};

}  // namespace terrace::internal

#endif  // TERRACE_SRC_BACKEND_HOST_HOST_BACKEND_H_
