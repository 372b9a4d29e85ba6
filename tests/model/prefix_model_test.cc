// Random operations on a ledger that reuses prefixes, over geometries and policies that put borders
// where they hurt. What is checked: prefix_trial.h and prefix_model.h.

#include "tests/model/prefix_model.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "terrace/ledger.h"
#include "tests/model/prefix_trial.h"
#include "tests/support/random_choices.h"
#include "tests/support/random_run.h"
#include "tests/support/test_geometry.h"

namespace terrace::testing {
namespace {

#if defined(TERRACE_SANITIZED) || !defined(NDEBUG)
constexpr int64_t kOperations = 5'000;  // of each case
#else
constexpr int64_t kOperations = 100'000;
#endif

struct ModelCase {
  const char* name;
  TestGeometryOptions geometry;
  int32_t in_flight_plans = 0;
  CheckpointPolicy policy = {};
  int32_t num_layers = 0;  // 0: the test model's
  MatchPolicy match = MatchPolicy::kAppended;
};
std::ostream& operator<<(std::ostream& out, const ModelCase& c) { return out << c.name; }

Geometry GeometryOf(const ModelCase& c) {
  Geometry geometry = MakeTestGeometry(c.geometry);
  if (c.num_layers > 0) geometry.num_layers = c.num_layers;
  return geometry;
}

// Prompts are fed before others come, mostly.
class Generator : public RandomChoices<PrefixModel> {
 public:
  using RandomChoices::RandomChoices;

  PrefixInstruction Next(const PrefixModel& model) {
    LookAt(model);
    // What a commit leaves to the next plan is not the sequence's alone any more, or nobody's.
    switch (committed_.has_value() ? Below(6) : -1) {
      case 0:
        return {.kind = Kind::kFree, .id = *std::exchange(committed_, std::nullopt)};
      case 1:
        return {.kind = Kind::kFork, .id = *committed_};
      default:
        committed_.reset();
    }
    const int32_t roll = Below(1000);
    if (live_.empty() || roll < 60) return Request(Kind::kAllocate);
    if (roll < 110) return {.kind = Kind::kFree, .id = Handle(Oldest().id)};
    if (roll < 130) return Request(Kind::kProbe);
    if (roll < 170) return {.kind = Kind::kExtend, .id = Handle(Feeding().id)};
    if (roll < 195) return {.kind = Kind::kFork, .id = Handle(Any().id)};
    if (roll < 200) return {.kind = Kind::kSetTime, .number = now_ms_ += Below(300)};
    if (roll < 202 && Below(4) == 0) return {.kind = Kind::kClear};
    if (roll < 220) return {.kind = Kind::kRetire, .number = PickPlan(model)};
    if (roll < 226) return {.kind = Kind::kAbandon, .number = PickLostPlan(model)};
    if (roll < 232) {
      const Live& live = Any();
      const int32_t from = Below(live.sequence->length + 1) + (Rarely() ? 1 : 0);
      return {.kind = Kind::kDistrust, .id = Handle(live.id), .number = from};
    }
    if (MustRetire(model)) return {.kind = Kind::kRetire, .number = PickPlan(model)};
    return roll < 560 ? Decide() : Append();
  }

 private:
  using Kind = PrefixInstruction::Kind;

  // One whose prompt is not fed yet, if there is one.
  const Live& Feeding() {
    return AnyThat([](const PrefixSequence& s) { return s.known > s.length; });
  }

  // Often the same prompt as the one before, so that two of them are fed at the same time.
  PrefixInstruction Request(Kind kind) {
    if (Below(4) == 0) {
      last_request_.kind = kind;
      return last_request_;
    }
    PrefixInstruction request{.kind = kind, .variant = Below(kNumTexts), .salt = Below(4) == 0};
    for (int i = Below(6) - 2; i > 0; --i) {
      request.marks.push_back(Below(geometry_.max_context_tokens + 1));
    }
    if (Rarely()) request.marks.push_back(Below(2) == 0 ? -1 : geometry_.max_context_tokens + 1);
    if (Below(3) == 0) request.picture = Below(kNumPictures);
    const int32_t chunk = geometry_.chunk_tokens;
    request.number = Below(2) == 0 ? Below(geometry_.max_context_tokens * 3 / 4)
                                   : chunk * Below(5) + Below(3) - 1;  // around a border
    request.number = std::clamp<int64_t>(request.number, 0, geometry_.max_context_tokens);
    if (Rarely()) request.number = geometry_.max_context_tokens + 1;
    if (Below(4) == 0) request.refeed.max_tokens = Below(800);
    if (Below(16) == 0) request.refeed.approximate_tokens = 1 + Below(300);
    request.priority = static_cast<Priority>(Below(4) == 0 ? Below(3) : 1);
    if (Below(4) == 0) request.time_to_live_ms = 1 + Below(2000);
    request.ids_ahead = Below(2) == 0;
    if (Rarely()) request.refeed.max_tokens = -1;
    if (Below(4) == 0) {
      const int64_t tokens = request.number + (Below(2) == 0 ? 0 : Below(500));
      request.reserve_tokens =
          static_cast<int32_t>(std::min<int64_t>(tokens, geometry_.max_context_tokens));
      if (Rarely()) request.reserve_tokens = Below(2) == 0 ? -1 : geometry_.max_context_tokens + 1;
    }
    last_request_ = request;
    return request;
  }

  // Mostly the last few: the others have something left.
  int64_t PickLostPlan(const PrefixModel& model) {
    const int64_t last = static_cast<int64_t>(model.last_plan());
    return Below(8) == 0 ? last + 1 - Below(60) : last - Below(4);
  }

  // Settles or takes back: drafts if there are any, else ids of rows that have none yet.
  PrefixInstruction Decide() {
    const Live& live = AnyThat([](const PrefixSequence& s) { return s.undecided() > 0; });
    if (const std::optional<int32_t> length = TakenBack(live)) {
      return {.kind = Kind::kTruncate, .id = Handle(live.id), .number = *length};
    }
    const int32_t open = std::max(0, live.sequence->length - live.sequence->known) + 1;
    committed_ = live.id;
    return {.kind = Kind::kCommit,
            .id = Handle(live.id),
            .number = Below(8) == 0 ? Below(40)
                      : Below(3)    ? open
                                    : Below(open),
            .inject = Below(4) == 0};
  }

  PrefixInstruction Append() {
    PrefixInstruction append{.kind = Kind::kAppend, .inject = Below(4) == 0};
    append.wrong = static_cast<uint32_t>(random_() & random_());
    if (Rarely()) return append;  // a step of no sequence
    append.batch = Batch([this](const Live& live, int32_t room) { return Step(live, room); });
    return append;
  }

  StepRequest Step(const Live& live, int32_t room) {
    const int32_t to_feed = live.sequence->known - live.sequence->length;
    int32_t tokens = StepTokens();
    if (to_feed > 1 && Below(4) != 0) tokens = Below(2) == 0 ? to_feed : 1 + Below(to_feed);
    tokens = std::min(tokens, geometry_.max_step_tokens);
    if (!Rarely()) tokens = std::clamp(tokens, 1, std::max(1, room));
    int32_t drafts = Below(4) == 0 ? Below(std::min(tokens, geometry_.max_drafts) + 1) : 0;
    if (tokens <= geometry_.max_drafts) drafts = Below(tokens + 1);
    if (Rarely()) drafts += 1;
    if (Rarely()) tokens = Below(2) - 1;
    return {Handle(live.id), tokens, drafts};
  }

  PrefixInstruction last_request_ = {};
  std::optional<SequenceId> committed_;  // by the last instruction
  int64_t now_ms_ = 0;
};

// A CHECK of the library ends the run: it still says what led there.
const PrefixTrial* running = nullptr;
void PrintHistory(int) { std::fprintf(stderr, "after\n%s", running->History().c_str()); }

class PrefixModelTest : public ::testing::TestWithParam<ModelCase> {};

TEST_P(PrefixModelTest, EverySequenceSeesItsOwnTokensAlone) {
  const RandomRun run(kOperations);
  const ModelCase& c = GetParam();
  const Geometry geometry = GeometryOf(c);
  PrefixTrial trial({.geometry = geometry,
                     .in_flight_plans = c.in_flight_plans,
                     .prefix = {.match = c.match, .checkpoints = c.policy}});
  Generator generator(geometry, c.in_flight_plans, run.seed);
  running = &trial;
  std::signal(SIGABRT, PrintHistory);
  for (int64_t i = 0; i < run.operations; ++i) {
    const std::string fault = trial.Execute(generator.Next(trial.model()));
    ASSERT_EQ(fault, "") << "operation " << i << " of seed " << run.seed << " after\n"
                         << trial.History();
  }
  ASSERT_EQ(trial.Finish(), "") << "at the end of seed " << run.seed;
  std::signal(SIGABRT, SIG_DFL);
  // The run is worth something only if it got to the places that matter.
  const PrefixTrial::Counts& counts = trial.counts();
  const PrefixFigures figures = trial.figures();
  const auto line = [](std::initializer_list<std::pair<const char*, int64_t>> counted) {
    for (const auto& [name, count] : counted) {
      std::printf("%s %lld  ", name, static_cast<long long>(count));
    }
    std::printf("\n");
  };
  line({{"steps", counts.steps},
        {"short", counts.short_of_blocks},
        {"injected", counts.injected},
        {"resumed", counts.resumed},
        {"refeeds", counts.refeeds},
        {"extended", counts.extended},
        {"abandoned", counts.abandoned},
        {"recovered", counts.recovered},
        {"distrusted", counts.distrusted},
        {"reserved", counts.reserved},
        {"no room", counts.unreserved},
        {"waited", counts.waited}});
  line({{"chunks stored", figures.stored_chunks},
        {"duplicate", figures.duplicate_chunks},
        {"evicted", figures.evicted_chunks},
        {"expired", figures.expired_chunks},
        {"checkpoints stored", figures.stored_checkpoints},
        {"evicted", figures.evicted_checkpoints},
        {"rolled", figures.rolled_checkpoints},
        {"missed", figures.missed_checkpoints},
        {"chunks lost", figures.lost_chunks},
        {"checkpoints lost", figures.lost_checkpoints},
        {"copies", figures.copied_blocks[1]}});
  EXPECT_GT(counts.steps, run.operations / 16);
  EXPECT_GT(counts.injected, run.operations / 100);
  EXPECT_GT(counts.abandoned, run.operations / 1000);
  EXPECT_GT(counts.distrusted, run.operations / 1000);
}

INSTANTIATE_TEST_SUITE_P(
    Cases, PrefixModelTest,
    ::testing::Values(ModelCase{"DeepSeekV4",
                                {.window_blocks = 26,
                                 .full_blocks = 24,
                                 .overlap_blocks = 8,
                                 .state_blocks = 6,
                                 .limits = kRandomRunLimits}},
                      ModelCase{"TwoPlansInFlight",
                                {.window_blocks = 30,
                                 .full_blocks = 26,
                                 .overlap_blocks = 12,
                                 .state_blocks = 10,
                                 .limits = kRandomRunLimits},
                                2},
                      ModelCase{"SmallWindowBlocksCheckpointsEverywhere",
                                {.swa_block_tokens = 16,
                                 .window_blocks = 90,
                                 .full_blocks = 24,
                                 .limits = WithDrafts(kRandomRunLimits, 7)},
                                3,
                                CheckpointPolicy::EveryTokens(256)},
                      ModelCase{
                          "NoCheckpointsFiveLayers",
                          {.window_blocks = 26, .full_blocks = 30, .limits = kRandomRunLimits},
                          0,
                          CheckpointPolicy::None(),
                          5},
                      ModelCase{"SmallChunksWindowBlocksOfAWindow",
                                {.ratios = {4},
                                 .swa_block_tokens = 128,
                                 .chunk_tokens = 128,
                                 .window_blocks = 20,
                                 .full_blocks = 50,
                                 .overlap_blocks = 4,
                                 .state_blocks = 4,
                                 .limits = WithDrafts(kRandomRunLimits, 0)},
                                1},
                      ModelCase{"WholeChunkStored",
                                {.swa_block_tokens = 16,
                                 .window_blocks = 140,
                                 .full_blocks = 24,
                                 .limits = WholeChunk(kRandomRunLimits)},
                                2},
                      ModelCase{"StridedRatiosOneTwoAndFour",
                                {.ratios = {0, 1, 2, 4},
                                 .rule = EntryRule::kStrided,
                                 .swa_block_tokens = 32,
                                 .chunk_tokens = 128,
                                 .window_blocks = 44,
                                 .full_blocks = 36,
                                 .overlap_blocks = 20,
                                 .limits = kRandomRunLimits},
                                1,
                                CheckpointPolicy::EveryTokens(384)},
                      ModelCase{"NoWindow",
                                {.window_blocks = 0,
                                 .full_blocks = 26,
                                 .overlap_blocks = 1,
                                 .state_blocks = 5,
                                 .limits = kRandomRunLimits},
                                1},
                      ModelCase{"MatchingWaitsForRetire",
                                {.window_blocks = 60,
                                 .full_blocks = 90,
                                 .overlap_blocks = 20,
                                 .state_blocks = 12,
                                 .limits = kRandomRunLimits},
                                3,
                                {},
                                0,
                                MatchPolicy::kRetired},
                      ModelCase{"MatchingWaitsForRetireAndNothingElseDoes",
                                {.window_blocks = 40,
                                 .full_blocks = 90,
                                 .overlap_blocks = 14,
                                 .state_blocks = 8,
                                 .limits = kRandomRunLimits},
                                0,
                                CheckpointPolicy::EveryTokens(256),
                                0,
                                MatchPolicy::kRetired},
                      ModelCase{"PoolsSmallerThanOneSequence",
                                {.window_blocks = 6,
                                 .full_blocks = 5,
                                 .overlap_blocks = 2,
                                 .state_blocks = 3,
                                 .limits = kRandomRunLimits}}),
    [](const ::testing::TestParamInfo<ModelCase>& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace terrace::testing
