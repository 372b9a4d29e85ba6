// The store's conformance suite over the host backend.

#include "tests/conformance/store_conformance.h"

namespace terrace::testing {
namespace {

absl::StatusOr<std::shared_ptr<Backend>> HostBackendOf(int32_t threads) {
  auto backend = MakeBackend({.kind = BackendKind::kHost, .host_threads = threads});
  if (!backend.ok()) return backend.status();
  return std::shared_ptr<Backend>(*std::move(backend));
}

INSTANTIATE_TEST_SUITE_P(Host, StoreTest, ::testing::Values([] { return HostBackendOf(3); }));
INSTANTIATE_TEST_SUITE_P(Host, StoreRandomTest,
                         ::testing::Combine(::testing::Values([] { return HostBackendOf(3); }),
                                            ::testing::Range(0, kNumScenarios, kScenarioStride)));

}  // namespace
}  // namespace terrace::testing
