// BackendMemory owns an array in a backend's memory.

#ifndef TERRACE_TOOLS_TERRACE_CONTENTS_BACKEND_MEMORY_H_
#define TERRACE_TOOLS_TERRACE_CONTENTS_BACKEND_MEMORY_H_

#include <cstdint>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "terrace/backend.h"

namespace terrace::tools {

// Thread-safe: no. The backend must outlive it.
template <typename T>
class BackendMemory {
 public:
  BackendMemory() = default;
  ~BackendMemory() { Reset(); }
  BackendMemory(BackendMemory&& other) noexcept { *this = std::move(other); }
  BackendMemory& operator=(BackendMemory&& other) noexcept {
    if (this == &other) return *this;
    Reset();
    backend_ = std::exchange(other.backend_, nullptr);
    data_ = std::exchange(other.data_, nullptr);
    size_ = std::exchange(other.size_, 0);
    return *this;
  }

  // `size` zero-filled elements in place of what it held.   Errors: those of Backend::Allocate.
  absl::Status Allocate(Backend& backend, int64_t size) {
    Reset();
    absl::StatusOr<void*> memory = backend.Allocate(size * int64_t{sizeof(T)});
    if (!memory.ok()) return memory.status();
    backend_ = &backend;
    data_ = static_cast<T*>(*memory);
    size_ = size;
    return absl::OkStatus();
  }

  T* data() const { return data_; }
  int64_t size() const { return size_; }

 private:
  void Reset() {
    if (backend_ != nullptr) backend_->Free(data_);
    backend_ = nullptr;
  }

  Backend* backend_ = nullptr;
  T* data_ = nullptr;
  int64_t size_ = 0;
};

}  // namespace terrace::tools

#endif  // TERRACE_TOOLS_TERRACE_CONTENTS_BACKEND_MEMORY_H_
