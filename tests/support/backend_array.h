// BackendArray<T>: elements in a backend's memory, for tests that run on host and device alike.

#ifndef TERRACE_TESTS_SUPPORT_BACKEND_ARRAY_H_
#define TERRACE_TESTS_SUPPORT_BACKEND_ARRAY_H_

#include <cstdint>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "terrace/backend_buffer.h"

namespace terrace::testing {

template <typename T>
std::vector<T> DownloadArray(Backend& backend, const void* from, int64_t count) {
  std::vector<T> values(count);
  const absl::Status status = backend.Download(values.data(), from, count * sizeof(T), Stream{});
  EXPECT_TRUE(status.ok()) << status;
  return values;
}

// A BackendBuffer whose failures are the test's.
template <typename T>
class BackendArray {
 public:
  // Zeros.
  BackendArray(Backend& backend, int64_t size) : backend_(backend) {
    absl::StatusOr<BackendBuffer<T>> buffer = BackendBuffer<T>::Make(backend, size, Stream{});
    EXPECT_TRUE(buffer.ok()) << buffer.status();
    if (buffer.ok()) buffer_ = *std::move(buffer);
  }
  BackendArray(Backend& backend, const std::vector<T>& values)
      : BackendArray(backend, static_cast<int64_t>(values.size())) {
    const absl::Status status = buffer_.Upload(values, Stream{});
    EXPECT_TRUE(status.ok()) << status;
  }
  ~BackendArray() {
    EXPECT_TRUE(backend_.Synchronize(Stream{}).ok());  // nothing reads it any more
  }
  BackendArray(const BackendArray&) = delete;
  BackendArray& operator=(const BackendArray&) = delete;

  T* data() { return buffer_.data(); }
  std::vector<T> Read() { return DownloadArray<T>(backend_, buffer_.data(), buffer_.size()); }

 private:
  Backend& backend_;
  BackendBuffer<T> buffer_;
};

}  // namespace terrace::testing

#endif  // TERRACE_TESTS_SUPPORT_BACKEND_ARRAY_H_
