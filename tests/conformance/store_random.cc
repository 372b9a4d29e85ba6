// Random plans of random models: what every store writes is there to be read, and nothing else is.

#include <memory>
#include <vector>

#include "tests/conformance/store_conformance.h"
#include "tests/support/store_driver.h"

namespace terrace::testing {
namespace {

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

}  // namespace
}  // namespace terrace::testing
