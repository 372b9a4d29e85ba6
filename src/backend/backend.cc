#include "terrace/backend.h"

#include <algorithm>
#include <thread>

#include "absl/strings/str_cat.h"
#include "src/backend/host/host_backend.h"
#if defined(TERRACE_HAS_CUDA)
#include "src/backend/cuda/cuda_backend.h"
#endif

namespace terrace {
namespace {

constexpr int32_t kMaxHostThreads = 1024;

std::unique_ptr<Backend> MakeHostBackend(int32_t threads, MemoryResource* memory) {
  if (threads == 0) threads = static_cast<int32_t>(std::thread::hardware_concurrency());
  return std::make_unique<internal::HostBackend>(std::max(threads, 1), memory);
}

#if defined(TERRACE_HAS_CUDA)
using internal::MakeCudaBackend;
#else
absl::StatusOr<std::unique_ptr<Backend>> MakeCudaBackend(int /*device*/, MemoryResource* /*memory*/,
                                                         bool /*nvtx*/) {
  return absl::FailedPreconditionError(
      "this build of Terrace has no CUDA backend: use the host backend, or build with nvcc");
}
#endif

}  // namespace

absl::StatusOr<std::unique_ptr<Backend>> MakeBackend(const BackendOptions& options) {
  if (options.device < 0) {
    return absl::InvalidArgumentError(absl::StrCat("device is ", options.device, ", negative"));
  }
  if (options.host_threads < 0 || options.host_threads > kMaxHostThreads) {
    return absl::InvalidArgumentError(
        absl::StrCat("host_threads is ", options.host_threads, ", not in 0..", kMaxHostThreads));
  }
  switch (options.kind) {
    case BackendKind::kHost:
      return MakeHostBackend(options.host_threads, options.memory);
    case BackendKind::kCuda:
      return MakeCudaBackend(options.device, options.memory, options.nvtx);
    case BackendKind::kAuto:
      if (auto cuda = MakeCudaBackend(options.device, options.memory, options.nvtx); cuda.ok())
        return cuda;
      return MakeHostBackend(options.host_threads, options.memory);
  }
  return absl::InvalidArgumentError(
      absl::StrCat("unknown kind of backend ", static_cast<int>(options.kind)));
}

}  // namespace terrace
