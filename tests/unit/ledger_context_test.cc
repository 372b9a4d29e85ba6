// The end of the longest context: 512 rows, and one id more that is sampled after the last of them.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <vector>

#include "tests/support/ledger_testing.h"
#include "tests/support/use_of.h"

namespace terrace::testing {
namespace {

using absl::StatusCode;
using ::testing::HasSubstr;

constexpr int32_t kContext = 512;
constexpr Limits kLimits = {.max_sequences = 8,
                            .max_step_tokens = 4096,
                            .max_drafts = 4,
                            .max_context_tokens = kContext,
                            .store_whole_chunk = false};

class LedgerContextTest : public ::testing::TestWithParam<int32_t> {
 protected:
  // A sequence whose last step, with as many drafts as the parameter says, fills the context.
  SequenceId Fill() {
    const int32_t drafts = GetParam();
    const SequenceId id = f.Allocate(kContext - drafts);
    if (kContext - drafts > 1) f.Append({{id, kContext - drafts - 1}});
    f.Append({{id, 1 + drafts, drafts}});
    EXPECT_EQ(f.Info(id).length, kContext);
    return id;
  }
  LedgerFixture f{{.limits = kLimits}};
};

TEST_P(LedgerContextTest, AllAcceptedDraftsAndTheLastSampledIdAreCommitted) {
  const SequenceId id = Fill();
  f.Commit(id, GetParam() + 1);
  EXPECT_EQ(f.Info(id).known, kContext + 1);
  EXPECT_EQ(f.Info(id).settled, kContext);
  EXPECT_EQ(f.Info(id).undecided_drafts, 0);
}

TEST_P(LedgerContextTest, BeyondTheLastSampledIdNothingIsCommitted) {
  const SequenceId id = Fill();
  const std::vector<int32_t> ids(GetParam() + 2);
  const absl::Status status = f.ledger->Commit(id, ids);
  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("max_context_tokens, 512"));
  f.Commit(id, GetParam() + 1);
  EXPECT_EQ(f.ledger->Commit(id, {7}).code(), StatusCode::kInvalidArgument);
}

TEST_P(LedgerContextTest, AFullSequenceTakesNoStepAndGoesInTheOrdinaryWay) {
  const SequenceId id = Fill();
  f.Commit(id, GetParam() + 1);
  const absl::Status status = f.ledger->Append({{id, 1}}).status();
  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
  EXPECT_FALSE(ShortageOf(status).has_value());
  EXPECT_TRUE(f.ledger->ExtendMatch(id).ok());
  const absl::StatusOr<SequenceId> fork = f.ledger->Fork(id);
  ASSERT_TRUE(fork.ok()) << fork.status();
  f.Free(*fork);
  f.Free(id);
  EXPECT_EQ(f.ledger->Use(PoolIndex(1))->free, 100);
}

TEST_P(LedgerContextTest, RejectedDraftsAreTakenBackAndFedAgain) {
  const SequenceId id = Fill();
  f.Truncate(id, kContext - GetParam());
  f.Commit(id, 1);
  for (int32_t i = 0; i < GetParam(); ++i) {
    f.Append({{id, 1}});
    f.Commit(id, 1);
  }
  EXPECT_EQ(f.Info(id).length, kContext);
  EXPECT_EQ(f.Info(id).known, kContext + 1);
}

TEST_P(LedgerContextTest, ItStartsOverWithTheIdThatIsNeverFed) {
  const SequenceId id = Fill();
  f.Commit(id, GetParam() + 1);
  ASSERT_TRUE(f.ledger->Abandon(f.ledger->last_plan()).ok());
  f.ledger->CheckInvariants();
  EXPECT_EQ(f.Info(id).known, kContext + 1);
  f.Append({{id, kContext - f.Info(id).length}});
}

INSTANTIATE_TEST_SUITE_P(Drafts, LedgerContextTest, ::testing::Values(0, 1, 2, 3, 4));

TEST(LedgerLongestContextTest, APromptHasNoIdBeyondIt) {
  LedgerFixture f({.limits = kLimits});
  const std::vector<int32_t> prompt(kContext + 1);
  EXPECT_EQ(f.ledger->AllocateSequence({prompt}).status().code(), StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace terrace::testing
