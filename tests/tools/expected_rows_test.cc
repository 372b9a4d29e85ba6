#include "tools/terrace/verify/expected_rows.h"

#include <cstdint>

#include "gtest/gtest.h"
#include "terrace/model.h"
#include "terrace/pool_kinds.h"
#include "tests/tools/flash_model.h"
#include "tools/terrace/contents/contents.h"
#include "tools/terrace/engine/step_runner.h"
#include "tools/terrace/trace/prefix_keys.h"
#include "tools/terrace/trace/trace.h"

namespace terrace::testing {
namespace {

using tools::ContentPlane;
using tools::EntriesInSight;
using tools::ExpectedSeed;
using tools::MustHoldWindowRow;
using tools::PrefixKeys;
using tools::StepSequence;
using tools::TraceRequest;

TEST(ExpectedRowsTest, TheWindowHoldsWhatALaterStepCanSee) {
  const StepSequence prefill{.first = 0, .count = 1000};
  EXPECT_FALSE(MustHoldWindowRow(Flash(), false, prefill, 872));
  EXPECT_TRUE(MustHoldWindowRow(Flash(), false, prefill, 873));  // the next query's oldest
  EXPECT_TRUE(MustHoldWindowRow(Flash(), true, prefill, 0));
  const StepSequence drafts{.first = 1000, .count = 5, .drafts = 4};
  EXPECT_TRUE(MustHoldWindowRow(Flash(), false, drafts, 874));
}

TEST(ExpectedRowsTest, ARefeedWithoutCheckpointHasNoWindowBeforeItBegan) {
  const StepSequence part{.first = 1024, .count = 300, .shared = {.window_from = 1024}};
  EXPECT_FALSE(MustHoldWindowRow(Flash(), false, part, 1023));
  EXPECT_TRUE(MustHoldWindowRow(Flash(), false, part, 1323));
  const StepSequence later{.first = 1100, .count = 1, .shared = {.window_from = 1024}};
  EXPECT_FALSE(MustHoldWindowRow(Flash(), false, later, 1023));
  EXPECT_TRUE(MustHoldWindowRow(Flash(), false, later, 1024));
}

TEST(ExpectedRowsTest, RejectedRowsHaveOtherContents) {
  const PrefixKeys keys({TraceRequest{.input_length = 990, .output_length = 50}});
  const PoolSpec& csa = Pool("csa");
  const StepSequence kept{.sequence = 7, .first = 1000, .count = 4, .drafts = 3, .accepted = 3};
  const StepSequence rejected{.sequence = 7, .first = 1000, .count = 4, .drafts = 3, .accepted = 2};
  const ContentPlane plane{1, 0, 0};
  const auto seed = [&](const StepSequence& part, int32_t position) {
    return ExpectedSeed(csa, plane, keys, part, position);
  };
  EXPECT_NE(seed(kept, 1000), seed(rejected, 1000));
  EXPECT_EQ(seed(kept, 996), seed(rejected, 996));
}

TEST(ExpectedRowsTest, EntriesInSightFollowTheRule) {
  PoolSpec pool = Pool("csa");
  EXPECT_EQ(EntriesInSight(pool, 2), 0);
  EXPECT_EQ(EntriesInSight(pool, 3), 1);
  pool.rule = EntryRule::kStrided;
  EXPECT_EQ(EntriesInSight(pool, 0), 1);
  EXPECT_EQ(EntriesInSight(pool, 3), 1);
  EXPECT_EQ(EntriesInSight(pool, 4), 2);
}

}  // namespace
}  // namespace terrace::testing
