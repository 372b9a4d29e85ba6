// The store's conformance suite over the cuda backend, and host and cuda pools byte for byte.

#include <utility>
#include <vector>

#include "tests/conformance/store_conformance.h"
#include "tests/support/store_driver.h"

namespace terrace::testing {
namespace {

absl::StatusOr<std::shared_ptr<Backend>> BackendOf(BackendKind kind) {
  auto backend = MakeBackend({.kind = kind});
  if (!backend.ok()) return backend.status();
  return std::shared_ptr<Backend>(*std::move(backend));
}

const BackendFactory kCudaFactory = [] { return BackendOf(BackendKind::kCuda); };

INSTANTIATE_TEST_SUITE_P(Cuda, StoreTest, ::testing::Values(kCudaFactory));
INSTANTIATE_TEST_SUITE_P(Cuda, StoreRandomTest,
                         ::testing::Combine(::testing::Values(kCudaFactory),
                                            ::testing::Range(0, kNumScenarios, kScenarioStride)));

// The bytes of all pools after some steps of a scenario, store by store.
std::vector<std::vector<std::vector<uint8_t>>> PoolsAfter(const Scenario& scenario,
                                                          BackendKind kind) {
  std::vector<std::vector<std::vector<uint8_t>>> pools;
  std::vector<std::unique_ptr<StoreDriver>> drivers;
  for (const LayerRange& layers : scenario.stores) {
    auto backend = BackendOf(kind);
    EXPECT_TRUE(backend.ok()) << backend.status();
    drivers.push_back(std::make_unique<StoreDriver>(scenario, layers, *backend));
  }
  Traffic traffic(scenario);
  for (int i = 0; i < kScenarioSteps; ++i) {
    const TrafficStep step = traffic.Next();
    for (const auto& driver : drivers) driver->Run(step);
  }
  for (const auto& driver : drivers) pools.push_back(driver->PoolBytes());
  return pools;
}

class HostAndCudaTest : public ::testing::TestWithParam<int> {};

TEST_P(HostAndCudaTest, PoolsAreByteIdenticalAfterTheSamePlans) {
  if (auto cuda = kCudaFactory(); !cuda.ok()) GTEST_SKIP() << cuda.status();
  const Scenario scenario = MakeScenario(1'000 + GetParam());
  SCOPED_TRACE(scenario.ToString());
  const auto host = PoolsAfter(scenario, BackendKind::kHost);
  const auto cuda = PoolsAfter(scenario, BackendKind::kCuda);
  ASSERT_FALSE(HasFailure());
  EXPECT_TRUE(host == cuda);
}

INSTANTIATE_TEST_SUITE_P(Seeds, HostAndCudaTest, ::testing::Range(0, 30));

}  // namespace
}  // namespace terrace::testing
