// What tests of the compressor run over: every backend, those skipped that the machine has not.

#ifndef TERRACE_TESTS_SUPPORT_COMPRESS_FIXTURE_H_
#define TERRACE_TESTS_SUPPORT_COMPRESS_FIXTURE_H_

#include <memory>
#include <string>
#include <utility>

#include "gtest/gtest.h"
#include "terrace/backend.h"

namespace terrace::testing {

inline absl::StatusOr<std::shared_ptr<Backend>> BackendOf(BackendKind kind) {
  auto backend = MakeBackend({.kind = kind, .host_threads = 3});
  if (!backend.ok()) return backend.status();
  return std::shared_ptr<Backend>(*std::move(backend));
}

class CompressTest : public ::testing::TestWithParam<BackendKind> {
 protected:
  void SetUp() override {
    absl::StatusOr<std::shared_ptr<Backend>> backend = BackendOf(GetParam());
    if (!backend.ok()) GTEST_SKIP() << backend.status();
    backend_ = *std::move(backend);
  }

  std::shared_ptr<Backend> backend_;
};

inline const auto kEveryBackend = ::testing::Values(BackendKind::kHost, BackendKind::kCuda);
inline std::string NameOfBackend(const ::testing::TestParamInfo<BackendKind>& backend) {
  return backend.param == BackendKind::kHost ? "Host" : "Cuda";
}

}  // namespace terrace::testing

#endif  // TERRACE_TESTS_SUPPORT_COMPRESS_FIXTURE_H_
