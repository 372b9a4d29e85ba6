// BackendArray owns values in a backend's memory: device memory with the cuda backend, host memory
// with the host backend. The examples keep all rows in them, so that they run on both.

#ifndef TERRACE_EXAMPLES_BACKEND_ARRAY_H_
#define TERRACE_EXAMPLES_BACKEND_ARRAY_H_

#include <cstdint>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "terrace/backend.h"

namespace terrace::examples {

// REQUIRES: the backend outlives the array; Upload and Download stay within its size.
template <typename T>
class BackendArray {
 public:
  static absl::StatusOr<BackendArray> Make(Backend& backend, int64_t size) {
    absl::StatusOr<void*> memory = backend.Allocate(size * sizeof(T));
    if (!memory.ok()) return memory.status();
    return BackendArray(&backend, static_cast<T*>(*memory), size);
  }
  static absl::StatusOr<BackendArray> MakeFrom(Backend& backend, absl::Span<const T> values,
                                               Stream stream) {
    absl::StatusOr<BackendArray> array = Make(backend, values.size());
    if (!array.ok()) return array;
    if (absl::Status status = array->Upload(values, stream); !status.ok()) return status;
    return array;
  }

  BackendArray(BackendArray&& other) noexcept
      : backend_(other.backend_),
        data_(std::exchange(other.data_, nullptr)),
        size_(std::exchange(other.size_, 0)) {}
  BackendArray& operator=(BackendArray&&) = delete;
  ~BackendArray() { backend_->Free(data_); }

  T* data() { return data_; }
  int64_t size() const { return size_; }

  absl::Status Upload(absl::Span<const T> values, Stream stream) {
    return backend_->Upload(data_, values.data(), values.size() * sizeof(T), stream);
  }

  // The first `count` values. Waits for the stream.
  absl::StatusOr<std::vector<T>> Download(int64_t count, Stream stream) const {
    std::vector<T> values(count);
    absl::Status status = backend_->Download(values.data(), data_, count * sizeof(T), stream);
    if (!status.ok()) return status;
    return values;
  }

 private:
  BackendArray(Backend* backend, T* data, int64_t size)
      : backend_(backend), data_(data), size_(size) {}

  Backend* backend_;
  T* data_;
  int64_t size_;
};

}  // namespace terrace::examples

#endif  // TERRACE_EXAMPLES_BACKEND_ARRAY_H_
