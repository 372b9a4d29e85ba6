// BackendBuffer owns an array in a backend's memory: device memory of the cuda backend, ordinary
// memory of the host backend.
//
//   auto rows = BackendBuffer<uint16_t>::MakeFrom(backend, values, stream);
//   if (!rows.ok()) return rows.status();
//   store.Write(layer, {.swa = {.data = rows->data()}}, stream);
//
// REQUIRES: the backend outlives the buffer.
// Thread-safe: no.
// Stream: memory goes back in the order of the buffer's stream: the one that it was made with,
// until set_stream names another. What touches the memory on other streams must have run by then.

#ifndef TERRACE_BACKEND_BUFFER_H_
#define TERRACE_BACKEND_BUFFER_H_

#include <cstdint>
#include <limits>
#include <type_traits>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "terrace/backend.h"

namespace terrace {

template <typename T>
class BackendBuffer {
  static_assert(std::is_trivially_copyable_v<T>);

 public:
  // `size` zero-filled elements.
  // Errors: InvalidArgument for a negative size; those of Backend::Allocate.
  static absl::StatusOr<BackendBuffer> Make(Backend& backend, int64_t size, Stream stream) {
    BackendBuffer buffer;
    if (absl::Status status = buffer.Allocate(backend, size, stream); !status.ok()) return status;
    return buffer;
  }

  // A copy of `values`, there for what comes behind it on `stream`.
  static absl::StatusOr<BackendBuffer> MakeFrom(Backend& backend, absl::Span<const T> values,
                                                Stream stream) {
    absl::StatusOr<BackendBuffer> buffer =
        Make(backend, static_cast<int64_t>(values.size()), stream);
    if (!buffer.ok()) return buffer;
    if (absl::Status status = buffer->Upload(values, stream); !status.ok()) return status;
    return buffer;
  }

  BackendBuffer() = default;  // owns nothing
  BackendBuffer(BackendBuffer&& other) noexcept { Swap(other); }
  BackendBuffer& operator=(BackendBuffer&& other) noexcept {
    BackendBuffer taken(std::move(other));
    Swap(taken);
    return *this;
  }
  ~BackendBuffer() {
    if (backend_ != nullptr) backend_->Free(data_, stream_);
  }

  // The same in place of what the buffer held, which goes back first.
  absl::Status Allocate(Backend& backend, int64_t size, Stream stream) {
    *this = BackendBuffer();
    if (size < 0 || size > std::numeric_limits<int64_t>::max() / int64_t{sizeof(T)}) {
      return absl::InvalidArgumentError(absl::StrCat("a buffer cannot have ", size, " elements"));
    }
    absl::StatusOr<void*> memory = backend.Allocate(size * int64_t{sizeof(T)}, stream);
    if (!memory.ok()) return memory.status();
    backend_ = &backend;
    data_ = static_cast<T*>(*memory);
    size_ = size;
    stream_ = stream;
    return absl::OkStatus();
  }

  T* data() { return data_; }
  const T* data() const { return data_; }
  int64_t size() const { return size_; }
  Stream stream() const { return stream_; }
  void set_stream(Stream stream) { stream_ = stream; }

  // Replaces the elements from `first` on. `values` may be reused as soon as the call returns.
  // Errors: InvalidArgument for elements that the buffer does not have; those of Backend::Upload.
  absl::Status Upload(absl::Span<const T> values, Stream stream, int64_t first = 0) {
    const int64_t count = static_cast<int64_t>(values.size());
    if (absl::Status status = CheckRange(first, count); !status.ok() || count == 0) return status;
    return backend_->Upload(data_ + first, values.data(), count * int64_t{sizeof(T)}, stream);
  }

  // `count` elements from `first` on. Waits for the stream.
  // Errors: as Upload.
  absl::StatusOr<std::vector<T>> Download(int64_t count, Stream stream, int64_t first = 0) const {
    if (absl::Status status = CheckRange(first, count); !status.ok()) return status;
    std::vector<T> values(count);
    if (count == 0) return values;
    absl::Status status =
        backend_->Download(values.data(), data_ + first, count * int64_t{sizeof(T)}, stream);
    if (!status.ok()) return status;
    return values;
  }

 private:
  void Swap(BackendBuffer& other) {
    std::swap(backend_, other.backend_);
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    std::swap(stream_, other.stream_);
  }

  absl::Status CheckRange(int64_t first, int64_t count) const {
    if (first >= 0 && count >= 0 && first <= size_ && count <= size_ - first) {
      return absl::OkStatus();
    }
    return absl::InvalidArgumentError(
        absl::StrCat("elements ", first, " + ", count, " are not in a buffer of ", size_));
  }

  Backend* backend_ = nullptr;
  T* data_ = nullptr;
  int64_t size_ = 0;
  Stream stream_;
};

}  // namespace terrace

#endif  // TERRACE_BACKEND_BUFFER_H_
