// The class that a row is counted in.

#include <cstdint>

#include "gtest/gtest.h"
#include "terrace/model.h"
#include "tests/tools/flash_model.h"
#include "tools/terrace/engine/step_runner.h"
#include "tools/terrace/verify/expected_rows.h"
#include "tools/terrace/verify/sampler.h"

namespace terrace::testing {
namespace {

using tools::RowClass;
using tools::SampledQuery;
using tools::Sampler;
using tools::StepSequence;

TEST(RowClassTest, ClassesAreWhatTheySay) {
  const Sampler sampler(Flash(), 1, 1);
  const PoolSpec& swa = Pool("swa");
  const StepSequence decode{.first = 1000, .count = 1};
  const SampledQuery query{.position = 1000};
  const auto window = [&](const StepSequence& part, int32_t position) {
    return sampler.ClassOfWindowRow(swa, part, query, position);
  };
  EXPECT_EQ(window(decode, 1000), RowClass::kWindow);
  EXPECT_EQ(window(decode, 873), RowClass::kWindow);
  EXPECT_EQ(window(decode, 896), RowClass::kBlock);  // 14 * 64
  EXPECT_EQ(window(decode, 959), RowClass::kBlock);
  EXPECT_EQ(window(decode, 900), RowClass::kInterior);
  const SampledQuery early{.position = 300};
  EXPECT_EQ(sampler.ClassOfWindowRow(swa, {.first = 300, .count = 1}, early, 255),
            RowClass::kChunk);

  const StepSequence drafting{.first = 1000, .count = 3, .drafts = 2, .accepted = 1};
  EXPECT_EQ(window(drafting, 1002), RowClass::kRollback);  // will be taken back
  EXPECT_EQ(window(drafting, 1001), RowClass::kRollback);  // the last that stays
  const StepSequence after{
      .first = 1000, .count = 1, .taken_back_begin = 990, .taken_back_end = 992};
  EXPECT_EQ(window(after, 988), RowClass::kInterior);
  EXPECT_EQ(window(after, 989), RowClass::kRollback);
  EXPECT_EQ(window(after, 991), RowClass::kRollback);
  EXPECT_EQ(window(after, 992), RowClass::kInterior);

  const PoolSpec& csa = Pool("csa");
  EXPECT_EQ(sampler.ClassOfEntry(csa, decode, 64), RowClass::kChunk);
  EXPECT_EQ(sampler.ClassOfEntry(csa, decode, 127), RowClass::kChunk);
  EXPECT_EQ(sampler.ClassOfEntry(csa, decode, 100), RowClass::kInterior);
  EXPECT_EQ(sampler.ClassOfEntry(csa, after, 247), RowClass::kRollback);  // tokens 988..991
  EXPECT_EQ(sampler.ClassOfEntry(csa, after, 246), RowClass::kInterior);

  const StepSequence resumed{
      .first = 1000, .count = 1, .shared = {.resumed_at = 900, .write_from = 768}};
  EXPECT_EQ(window(resumed, 899), RowClass::kShared);
  EXPECT_EQ(window(resumed, 900), RowClass::kInterior);
  EXPECT_EQ(sampler.ClassOfEntry(csa, resumed, 191), RowClass::kShared);
  EXPECT_EQ(sampler.ClassOfEntry(csa, resumed, 192), RowClass::kChunk);
}

}  // namespace
}  // namespace terrace::testing
