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
  constexpr explicit Stream(void* cuda_stream) : handle(cuda_stream) {}
  void* handle = nullptr;
};

enum class BackendKind : int32_t {
  kAuto = 0,  // cuda where a device is usable, else host
  kHost = 1,
  kCuda = 2,
};

// MemoryResource is where a backend takes the memory that it hands out, if it is not to ask the
// system: an engine's own pool, say. Pools of pages, tables and buffers come from it; the backend's
// staging buffers and counters do not.
//
// REQUIRES: it outlives the backend, does not throw, and does not call the backend.
// Thread-safe: need not be, for one backend: a backend has one caller at a time.
// Stream: `stream` is what the caller of the backend named. The backend fills what it takes with
// zeros on that stream and waits for them. What it gives back may still be in use by work that was
// enqueued on that stream: whoever has it next comes behind it in the stream's order.
class MemoryResource {
 public:
  virtual ~MemoryResource() = default;

  // `bytes` (at least 1) of the device that BackendOptions names, or of the host for the host
  // backend, at a multiple of `alignment`; null where there are none.
  virtual void* Allocate(int64_t bytes, int64_t alignment, Stream stream) = 0;

  // What Allocate returned for `bytes`; once for each.
  virtual void Deallocate(void* memory, int64_t bytes, Stream stream) = 0;
};

class Backend {
 public:
  virtual ~Backend() = default;

  virtual absl::string_view name() const = 0;  // "host", "cuda"

  // Zero-filled, 256-byte aligned, ready for every stream. Released by Free; BackendBuffer does it
  // by itself (backend_buffer.h). Waits for `stream`, so it cannot be captured.
  // Errors: ResourceExhausted with the size asked for and, of the system's memory, what is free;
  // InvalidArgument for a size that is negative or beyond any address space.
  virtual absl::StatusOr<void*> Allocate(int64_t bytes, Stream stream) = 0;
  // Once the work enqueued on `stream` so far is done with `memory`. Null, and what is none of the
  // backend's any more, is left alone.
  virtual void Free(void* memory, Stream stream) = 0;

  // Copies host bytes through a ring of staging buffers: `from` may be reused as soon as the call
  // returns, and the staged bytes outlive the copy. Waits only where the ring is full of copies
  // that have not run yet. Of 0 bytes, nothing.
  // Errors: InvalidArgument for a null address, or a size as Allocate's; nothing was enqueued then.
  // FailedPrecondition on a stream that is being captured. Otherwise the device's.
  virtual absl::Status Upload(void* to, const void* from, int64_t bytes, Stream stream) = 0;

  // Copies to the host and waits. For tests and tools.
  // Errors: as Upload.
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
  int32_t device = 0;                // cuda: ordinal
  int32_t host_threads = 0;          // host: 0 = one a core
  MemoryResource* memory = nullptr;  // null: the system's; else it outlives the backend
};

// Errors: FailedPrecondition for kCuda where the library was built without CUDA or no device is
// usable, with the runtime's own reason; InvalidArgument for a negative number.
absl::StatusOr<std::unique_ptr<Backend>> MakeBackend(const BackendOptions& options);

}  // namespace terrace

#endif  // TERRACE_BACKEND_H_
