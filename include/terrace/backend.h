// Backend is where a store's bytes live and its kernels run: host memory and threads, or one CUDA
// device. It knows nothing of models or plans. MakeBackend makes the two that there are; a store
// takes no other.
//
// Stream: a backend's calls on one stream run in order. The host backend runs each call to its end
// before it returns, whatever the stream. The cuda backend takes a cudaStream_t.
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

namespace internal {
class KernelBackend;
}

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

  // Where kernels raise their counters, and what they read now, without waiting for the device:
  // work that has not run yet is not counted yet.
  virtual Counters* counters() = 0;
  virtual Counters ReadCounters() const = 0;

 private:
  friend class internal::KernelBackend;
  // What a store calls, of the library's own backends; null of any other.
  virtual internal::KernelBackend* kernels() { return nullptr; }
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
