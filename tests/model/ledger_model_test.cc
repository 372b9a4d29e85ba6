// Random operations on a ledger against a dumb model (ledger_model.h), over geometries that put
// borders where they hurt. How each is carried out: ledger_trial.h.

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <optional>
#include <string>

#include "tests/model/ledger_trial.h"
#include "tests/support/random_choices.h"
#include "tests/support/random_run.h"
#include "tests/support/test_geometry.h"

namespace terrace::testing {
namespace {

#if defined(TERRACE_SANITIZED) || !defined(NDEBUG)
constexpr int64_t kOperations = 20'000;  // of each geometry
#else
constexpr int64_t kOperations = 125'000;
#endif

struct ModelCase {
  const char* name;
  TestGeometryOptions geometry;
  int32_t in_flight_plans = 0;
};
std::ostream& operator<<(std::ostream& out, const ModelCase& c) { return out << c.name; }

class Generator : public RandomChoices<LedgerModel> {
 public:
  using RandomChoices::RandomChoices;

  LedgerInstruction Next(const LedgerModel& model) {
    LookAt(model);
    const int32_t roll = Below(100);
    if (live_.empty() || roll < 6) return Allocate();
    if (roll < 9) return {.kind = Kind::kFree, .id = Handle(Oldest().id)};
    if (roll < 11) return Retire(model);
    if (roll < 12) return {.kind = Kind::kSnapshot};
    if (MustRetire(model)) return Retire(model);
    if (roll < 50) return Decide();
    return {.kind = Kind::kAppend,
            .batch = Batch([this](const Live& live, int32_t room) { return Step(live, room); })};
  }

 private:
  using Kind = LedgerInstruction::Kind;

  LedgerInstruction Allocate() {
    const int32_t tokens = Rarely() ? geometry_.max_context_tokens + 1 : Below(400);
    return {.kind = Kind::kAllocate, .number = tokens};
  }

  LedgerInstruction Retire(const LedgerModel& model) {
    return {.kind = Kind::kRetire, .number = static_cast<int32_t>(PickPlan(model))};
  }

  // Settles or takes back: drafts if there are any, else ids of rows that have none yet.
  LedgerInstruction Decide() {
    const Live& live = AnyThat([](const ModelSequence& s) { return s.undecided() > 0; });
    if (const std::optional<int32_t> length = TakenBack(live)) {
      return {.kind = Kind::kTruncate, .id = Handle(live.id), .number = *length};
    }
    const int32_t open = std::max(0, live.sequence->length - live.sequence->known) + 1;
    return {.kind = Kind::kCommit, .id = Handle(live.id), .number = Below(3) ? open : Below(open)};
  }

  StepRequest Step(const Live& live, int32_t room) {
    int32_t tokens = StepTokens();
    if (!Rarely()) tokens = std::clamp(tokens, 1, std::max(1, room));
    int32_t drafts = Below(std::min(tokens, geometry_.max_drafts) + 1);
    if (Rarely()) drafts += 1;
    if (Rarely()) tokens = Below(2) - 1;
    return {Handle(live.id), tokens, drafts};
  }
};

class LedgerModelTest : public ::testing::TestWithParam<ModelCase> {};

TEST_P(LedgerModelTest, RandomOperationsAgreeWithADumbModel) {
  const RandomRun run(kOperations);
  const ModelCase& c = GetParam();
  const Geometry geometry = MakeTestGeometry(c.geometry);
  LedgerTrial trial(geometry, c.in_flight_plans);
  Generator generator(geometry, c.in_flight_plans, run.seed);
  for (int64_t i = 0; i < run.operations; ++i) {
    const std::string fault = trial.Step(generator.Next(trial.model()));
    ASSERT_EQ(fault, "") << "operation " << i << " of seed " << run.seed << " after\n"
                         << trial.History();
  }
  // The run is worth something only if it got to the places that matter.
  EXPECT_GT(trial.counts().steps, run.operations / 16);
  EXPECT_GT(trial.counts().injected, run.operations / 50);
  EXPECT_GT(trial.counts().short_of_blocks, run.operations / 1000);
  std::printf("%d operations: %d steps, %d shortages, %d injected\n",
              static_cast<int>(run.operations), static_cast<int>(trial.counts().steps),
              static_cast<int>(trial.counts().short_of_blocks),
              static_cast<int>(trial.counts().injected));
}

INSTANTIATE_TEST_SUITE_P(
    Geometries, LedgerModelTest,
    ::testing::Values(
        ModelCase{"DeepSeekV4",
                  {.window_blocks = 22, .full_blocks = 20, .limits = kRandomRunLimits}},
        ModelCase{"TwoPlansInFlight",
                  {.window_blocks = 24, .full_blocks = 22, .limits = kRandomRunLimits},
                  2},
        ModelCase{"ThreePlansInFlightSmallWindowBlocks",
                  {.swa_block_tokens = 16,
                   .window_blocks = 60,
                   .full_blocks = 20,
                   .limits = WithDrafts(kRandomRunLimits, 7)},
                  3},
        ModelCase{"WindowBlocksOfOneToken",
                  {.swa_block_tokens = 1,
                   .window_blocks = 700,
                   .full_blocks = 20,
                   .limits = WithDrafts(kRandomRunLimits, 2)}},
        ModelCase{"WindowBlocksOfAWindow",
                  {.swa_block_tokens = 128,
                   .chunk_tokens = 128,
                   .window_blocks = 12,
                   .full_blocks = 34,
                   .limits = WithDrafts(kRandomRunLimits, 0)},
                  1},
        ModelCase{"WholeChunkStored",
                  {.swa_block_tokens = 16,
                   .window_blocks = 110,
                   .full_blocks = 20,
                   .limits = WholeChunk(kRandomRunLimits)}},
        ModelCase{"StridedRatiosOneTwoAndFour",
                  {.ratios = {0, 1, 2, 4},
                   .rule = EntryRule::kStrided,
                   .swa_block_tokens = 32,
                   .chunk_tokens = 128,
                   .window_blocks = 34,
                   .full_blocks = 26,
                   .limits = kRandomRunLimits},
                  1},
        ModelCase{
            "PoolsSmallerThanOneSequence",
            {.window_blocks = 5, .full_blocks = 5, .limits = WithDrafts(kRandomRunLimits, 130)}}),
    [](const ::testing::TestParamInfo<ModelCase>& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace terrace::testing
