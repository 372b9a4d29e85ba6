// What no step can say, though each of its records could be.

#include <gtest/gtest.h>

#include <cstdint>
#include <utility>

#include "src/plan/plan_builder.h"
#include "terrace/plan.h"
#include "tests/support/test_geometry.h"

namespace terrace::testing {
namespace {

using internal::PlanBuilder;

TEST(PlanLimitsTest, MoreCheckpointsThanAnyStepCanLeaveAreRefused) {
  const Geometry geometry = MakeTestGeometry({.full_blocks = 100, .overlap_blocks = 20});
  const auto most = static_cast<int32_t>(MaxCheckpoints(geometry));
  EXPECT_EQ(most, (4096 + 8 * 255) / 256 + 8);  // chunks that end in a step, and one a sequence
  for (const int32_t count : {most, most + 1}) {
    const Geometry wide = MakeTestGeometry({.overlap_blocks = most + 1});
    PlanBuilder builder(wide, PlanKind::kStep, {.checkpoints = count});
    for (int32_t i = 0; i < count; ++i) {
      builder.AddCheckpoint(
          {.sequence_index = 0, .position = 256, .overlap_block = i, .state_block = kNoBlock});
    }
    const Plan plan = std::move(builder).Build(1, PlanNumber(1));
    EXPECT_EQ(Plan::Parse(plan.bytes(), wide).ok(), count == most);
  }
}

}  // namespace
}  // namespace terrace::testing
