// Backend is where a store's bytes live and its kernels run: host memory and threads, or one CUDA
// device. It knows nothing of models or plans; a Store validates, fills the parameter structs and
// calls it.
//
// Stream: a backend's calls on one stream run in order. The host backend runs each call to its end
// before it returns, whatever the stream. The cuda backend takes a cudaStream_t and never
// synchronizes or allocates in the calls that take a parameter struct.
// Thread-safe: no; one caller at a time.

#ifndef TERRACE_BACKEND_H_
#define TERRACE_BACKEND_H_

#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "terrace/counters.h"

namespace terrace {

struct BeginParams;
struct PatchParams;
struct WriteParams;
struct TranslateParams;
struct GatherParams;
struct CopyParams;
struct CompressParams;
struct CaptureOverlapParams;
struct RestoreStateParams;

// A cudaStream_t, or nothing for the host backend and the default stream.
struct Stream {
  constexpr Stream() = default;
  // NOLINTNEXTLINE(google-explicit-constructor): a stream is passed as it is
  constexpr Stream(void* cuda_stream) : handle(cuda_stream) {}
  void* handle = nullptr;
};

enum class BackendKind : int32_t {
  kAuto = 0,  // cuda where a device is usable, else host
  kHost = 1,
  kCuda = 2,
};

class Backend {
 public:
  virtual ~Backend() = default;

  virtual absl::string_view name() const = 0;  // "host", "cuda"

  // Zero-filled, 256-byte aligned. Released by Free, which accepts null.
  // Errors: ResourceExhausted with the size asked for and what is free.
  virtual absl::StatusOr<void*> Allocate(int64_t bytes) = 0;
  virtual void Free(void* memory) = 0;

  // Copies host bytes through a ring of staging buffers: `from` may be reused as soon as the call
  // returns, and the staged bytes outlive the copy. Waits only where the ring is full of copies
  // that have not run yet.
  virtual absl::Status Upload(void* to, const void* from, int64_t bytes, Stream stream) = 0;

  // Copies to the host and waits. For tests and tools.
  virtual absl::Status Download(void* to, const void* from, int64_t bytes, Stream stream) = 0;
  virtual absl::Status Synchronize(Stream stream) = 0;

  // Takes the plan like Upload: it may be reused as soon as the call returns.
  // Errors: FailedPrecondition on a stream that is being captured, whose replays would repeat this
  // plan.
  virtual absl::Status Begin(const BeginParams& params, Stream stream) = 0;
  virtual absl::Status Patch(const PatchParams& params, Stream stream) = 0;
  virtual absl::Status Write(const WriteParams& params, Stream stream) = 0;
  virtual absl::Status Translate(const TranslateParams& params, Stream stream) = 0;
  virtual absl::Status Gather(const GatherParams& params, Stream stream) = 0;
  virtual absl::Status CopyBlocks(const CopyParams& params, Stream stream) = 0;
  virtual absl::Status Compress(const CompressParams& params, Stream stream) = 0;
  virtual absl::Status CaptureOverlap(const CaptureOverlapParams& params, Stream stream) = 0;
  virtual absl::Status RestoreState(const RestoreStateParams& params, Stream stream) = 0;

  // Where kernels raise their counters, and what they read now, without waiting for the device:
  // work that has not run yet is not counted yet.
  virtual Counters* counters() = 0;
  virtual Counters ReadCounters() const = 0;
};

struct BackendOptions {
  BackendKind kind = BackendKind::kAuto;
  int32_t device = 0;        // cuda: ordinal
  int32_t host_threads = 0;  // host: 0 = one a core
};

// Errors: FailedPrecondition for kCuda where the library was built without CUDA or no device is
// usable, with the runtime's own reason; InvalidArgument for a negative number.
absl::StatusOr<std::unique_ptr<Backend>> MakeBackend(const BackendOptions& options);

}  // namespace terrace

#endif  // TERRACE_BACKEND_H_
