// BackendArray<T>: elements in a backend's memory, for tests that run on host and device alike.

#ifndef TERRACE_TESTS_SUPPORT_BACKEND_ARRAY_H_
#define TERRACE_TESTS_SUPPORT_BACKEND_ARRAY_H_

#include <cstdint>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "terrace/backend.h"

namespace terrace::testing {

template <typename T>
std::vector<T> DownloadArray(Backend& backend, const void* from, int64_t count) {
  std::vector<T> values(count);
  const absl::Status status = backend.Download(values.data(), from, count * sizeof(T), Stream{});
  EXPECT_TRUE(status.ok()) << status;
  return values;
}

template <typename T>
class BackendArray {
 public:
  // Zeros.
  BackendArray(Backend& backend, int64_t size) : backend_(&backend), size_(size) {
    absl::StatusOr<void*> memory = backend.Allocate(size * sizeof(T) + kSlack);
    EXPECT_TRUE(memory.ok()) << memory.status();
    if (memory.ok()) data_ = static_cast<T*>(*memory);
  }
  BackendArray(Backend& backend, const std::vector<T>& values)
      : BackendArray(backend, static_cast<int64_t>(values.size())) {
    const absl::Status status = backend.Upload(data_, values.data(), size_ * sizeof(T), Stream{});
    EXPECT_TRUE(status.ok()) << status;
  }
  ~BackendArray() {
    EXPECT_TRUE(backend_->Synchronize(Stream{}).ok());  // nothing reads it any more
    backend_->Free(data_);
  }
  BackendArray(const BackendArray&) = delete;
  BackendArray& operator=(const BackendArray&) = delete;

  T* data() { return data_; }
  std::vector<T> Read() { return DownloadArray<T>(*backend_, data_, size_); }

 private:
  static constexpr int64_t kSlack = 16;  // so that an array of nothing has an address

  Backend* backend_;
  int64_t size_;
  T* data_ = nullptr;
};

}  // namespace terrace::testing

#endif  // TERRACE_TESTS_SUPPORT_BACKEND_ARRAY_H_
