// One suite over every backend; each backend's test instantiates StoreTest and StoreRandomTest with
// its factory.

#ifndef TERRACE_TESTS_STORE_CONFORMANCE_H_
#define TERRACE_TESTS_STORE_CONFORMANCE_H_

#include <memory>
#include <tuple>
#include <vector>

#include "tests/store_checkpoints.h"
#include "tests/store_driver.h"
#include "tests/store_errors.h"
#include "tests/store_fixture.h"
#include "tests/store_operations.h"

namespace terrace {

inline constexpr int kNumScenarios = 60;  // all formats x block sizes x layouts
#ifdef TERRACE_SANITIZED
inline constexpr int kScenarioStride = 11;  // each format and each block size at least once
#else
inline constexpr int kScenarioStride = 1;
#endif
inline constexpr int kScenarioSteps = 30;

class StoreRandomTest : public testing::TestWithParam<std::tuple<BackendFactory, int>> {};

TEST_P(StoreRandomTest, RandomPlansStoreAndGiveBackEveryRow) {
  const auto& [factory, seed] = GetParam();
  const Scenario scenario = MakeScenario(seed);
  SCOPED_TRACE(scenario.ToString());
  std::vector<std::unique_ptr<StoreDriver>> drivers;
  for (const LayerRange& layers : scenario.stores) {
    absl::StatusOr<std::shared_ptr<Backend>> backend = factory();
    if (!backend.ok()) GTEST_SKIP() << backend.status();
    drivers.push_back(std::make_unique<StoreDriver>(scenario, layers, *backend));
  }
  Traffic traffic(scenario);
  for (int i = 0; i < kScenarioSteps; ++i) {
    const TrafficStep step = traffic.Next();
    SCOPED_TRACE(absl::StrCat("step ", step.plan.number().value()));
    for (const auto& driver : drivers) {
      driver->Run(step);
      ASSERT_FALSE(HasFailure());
    }
  }
  traffic.ledger().CheckInvariants();
  for (const auto& driver : drivers) driver->CheckBytes();
}

}  // namespace terrace

#endif  // TERRACE_TESTS_STORE_CONFORMANCE_H_
