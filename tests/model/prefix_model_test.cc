// Random operations on a ledger that reuses prefixes, over geometries and policies that put borders
// where they hurt. What is checked: prefix_trial.h and prefix_model.h.
//
// TERRACE_MODEL_OPERATIONS and TERRACE_MODEL_SEED in the environment override the number of
// operations of each case and the seed. The long form makes 5,000,000 (docs/benchmarks.md).

#include "tests/model/prefix_model.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "terrace/ledger.h"
#include "tests/model/prefix_trial.h"
#include "tests/support/test_geometry.h"

namespace terrace::testing {
namespace {

#if defined(TERRACE_SANITIZED) || !defined(NDEBUG)
constexpr int64_t kOperations = 5'000;  // of each case
#else
constexpr int64_t kOperations = 100'000;
#endif

int64_t FromEnvironment(const char* name, int64_t otherwise) {
  const char* const text = std::getenv(name);
  return text == nullptr ? otherwise : std::atoll(text);
}

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

// Draws the next instruction. Mostly sensible ones: prompts are fed, drafts are decided before the
// next step; now and then a stale handle, a duplicate or a number beyond a limit.
class Generator {
 public:
  Generator(const Geometry& geometry, int32_t in_flight_plans, uint64_t seed)
      : geometry_(geometry), in_flight_plans_(in_flight_plans), random_(seed) {}

  PrefixInstruction Next(const PrefixModel& model) {
    live_.clear();
    for (const auto& [key, sequence] : model.sequences()) {
      live_.push_back({{key.first, key.second}, &sequence});
    }
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
    const uint64_t in_flight = model.last_plan() - model.retired();
    if (in_flight_plans_ > 0 && in_flight >= in_flight_plans_ && !Rarely()) {
      return {.kind = Kind::kRetire, .number = PickPlan(model)};
    }
    return roll < 560 ? Decide() : Append();
  }

 private:
  struct Live {
    SequenceId id;
    const PrefixSequence* sequence;
  };
  using Kind = PrefixInstruction::Kind;

  int32_t Below(int64_t limit) { return static_cast<int32_t>(random_() % limit); }
  bool Rarely() { return Below(50) == 0; }
  const Live& Any() { return live_[Below(live_.size())]; }
  // One whose prompt is not fed yet, if there is one.
  const Live& Feeding() {
    const Live* live = &Any();
    for (int i = 0; i < 4 && live->sequence->known <= live->sequence->length; ++i) live = &Any();
    return *live;
  }
  const Live& Oldest() {
    const Live* oldest = &Any();
    for (const Live& live : live_) {
      if (live.sequence->length == geometry_.max_context_tokens) oldest = &live;
    }
    return *oldest;
  }

  // A live handle; rarely one that is stale, was never given or is out of range.
  SequenceId Handle(SequenceId id) {
    if (!Rarely()) return id;
    const int32_t delta = Below(5) - 2;
    return Below(2) == 0 ? SequenceId{id.index, id.generation + delta}
                         : SequenceId{id.index + 3 * delta, id.generation};
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
    last_request_ = request;
    return request;
  }

  int64_t PickPlan(const PrefixModel& model) {
    const int64_t last = static_cast<int64_t>(model.last_plan());
    return Rarely() ? last + 1 - Below(6) : last - Below(2);
  }

  // Mostly the last few: the others have something left.
  int64_t PickLostPlan(const PrefixModel& model) {
    const int64_t last = static_cast<int64_t>(model.last_plan());
    return Below(8) == 0 ? last + 1 - Below(60) : last - Below(4);
  }

  // Settles or takes back: drafts if there are any, else ids of rows that have none yet.
  PrefixInstruction Decide() {
    const Live* live = &Any();
    for (int i = 0; i < 4 && live->sequence->undecided() == 0; ++i) live = &Any();
    const int32_t length = live->sequence->length;
    if (live->sequence->undecided() > 0 && Below(2) == 0) {
      const int32_t back = Below(live->sequence->undecided() + 1) + (Rarely() ? 1 : 0);
      return {.kind = Kind::kTruncate, .id = Handle(live->id), .number = length - back};
    }
    const int32_t open = std::max(0, length - live->sequence->known) + 1;
    committed_ = live->id;
    return {.kind = Kind::kCommit,
            .id = Handle(live->id),
            .number = Below(8) == 0 ? Below(40)
                      : Below(3)    ? open
                                    : Below(open),
            .inject = Below(4) == 0};
  }

  PrefixInstruction Append() {
    PrefixInstruction append{.kind = Kind::kAppend, .inject = Below(4) == 0};
    append.wrong = static_cast<uint32_t>(random_() & random_());
    if (Rarely()) return append;  // a step of no sequence
    const size_t wanted = 1 + Below(4);
    std::shuffle(live_.begin(), live_.end(), random_);
    for (const Live& live : live_) {
      const int32_t room = geometry_.max_context_tokens - live.sequence->length;
      if (append.batch.size() == wanted) break;
      if ((room == 0 || live.sequence->undecided() > 0) && !Rarely()) continue;
      append.batch.push_back(Step(live, room));
    }
    if (!append.batch.empty() && Rarely()) append.batch.push_back(append.batch[0]);
    return append;
  }

  StepRequest Step(const Live& live, int32_t room) {
    const int32_t to_feed = live.sequence->known - live.sequence->length;
    int32_t tokens = 1;
    if (Below(4) == 0) tokens = 1 + Below(geometry_.max_drafts + 1);
    if (Below(8) == 0) tokens = 1 + Below(300);
    if (Below(64) == 0) tokens = 1 + Below(geometry_.max_step_tokens);
    if (to_feed > 1 && Below(4) != 0) tokens = Below(2) == 0 ? to_feed : 1 + Below(to_feed);
    tokens = std::min(tokens, geometry_.max_step_tokens);
    if (!Rarely()) tokens = std::clamp(tokens, 1, std::max(1, room));
    int32_t drafts = Below(4) == 0 ? Below(std::min(tokens, geometry_.max_drafts) + 1) : 0;
    if (tokens <= geometry_.max_drafts) drafts = Below(tokens + 1);
    if (Rarely()) drafts += 1;
    if (Rarely()) tokens = Below(2) - 1;
    return {Handle(live.id), tokens, drafts};
  }

  const Geometry& geometry_;
  const uint64_t in_flight_plans_;
  std::mt19937_64 random_;
  std::vector<Live> live_;
  PrefixInstruction last_request_ = {};
  std::optional<SequenceId> committed_;  // by the last instruction
  int64_t now_ms_ = 0;
};

// A CHECK of the library ends the run: it still says what led there.
const PrefixTrial* running = nullptr;
void PrintHistory(int) { std::fprintf(stderr, "after\n%s", running->History().c_str()); }

class PrefixModelTest : public ::testing::TestWithParam<ModelCase> {};

TEST_P(PrefixModelTest, EverySequenceSeesItsOwnTokensAlone) {
  const int64_t operations = FromEnvironment("TERRACE_MODEL_OPERATIONS", kOperations);
  const uint64_t seed = FromEnvironment("TERRACE_MODEL_SEED", 20250101);
  const ModelCase& c = GetParam();
  const Geometry geometry = GeometryOf(c);
  PrefixTrial trial({.geometry = geometry,
                     .in_flight_plans = c.in_flight_plans,
                     .prefix = {.match = c.match, .checkpoints = c.policy}});
  Generator generator(geometry, c.in_flight_plans, seed);
  running = &trial;
  std::signal(SIGABRT, PrintHistory);
  for (int64_t i = 0; i < operations; ++i) {
    const std::string fault = trial.Execute(generator.Next(trial.model()));
    ASSERT_EQ(fault, "") << "operation " << i << " of seed " << seed << " after\n"
                         << trial.History();
  }
  ASSERT_EQ(trial.Finish(), "") << "at the end of seed " << seed;
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
        {"distrusted", counts.distrusted}});
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
  EXPECT_GT(counts.steps, operations / 16);
  EXPECT_GT(counts.injected, operations / 100);
  EXPECT_GT(counts.abandoned, operations / 1000);
  EXPECT_GT(counts.distrusted, operations / 1000);
}

constexpr Limits kLimits{.max_sequences = 6,
                         .max_step_tokens = 700,
                         .max_drafts = 4,
                         .max_context_tokens = 1500,
                         .store_whole_chunk = false};
constexpr Limits WithDrafts(Limits limits, int32_t drafts) {
  limits.max_drafts = drafts;
  return limits;
}
constexpr Limits WholeChunk(Limits limits) {
  limits.store_whole_chunk = true;
  return limits;
}

INSTANTIATE_TEST_SUITE_P(
    Cases, PrefixModelTest,
    ::testing::Values(ModelCase{"DeepSeekV4",
                                {.window_blocks = 26,
                                 .full_blocks = 24,
                                 .overlap_blocks = 8,
                                 .state_blocks = 6,
                                 .limits = kLimits}},
                      ModelCase{"TwoPlansInFlight",
                                {.window_blocks = 30,
                                 .full_blocks = 26,
                                 .overlap_blocks = 12,
                                 .state_blocks = 10,
                                 .limits = kLimits},
                                2},
                      ModelCase{"SmallWindowBlocksCheckpointsEverywhere",
                                {.swa_block_tokens = 16,
                                 .window_blocks = 90,
                                 .full_blocks = 24,
                                 .limits = WithDrafts(kLimits, 7)},
                                3,
                                CheckpointPolicy::EveryTokens(256)},
                      ModelCase{"NoCheckpointsFiveLayers",
                                {.window_blocks = 26, .full_blocks = 30, .limits = kLimits},
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
                                 .limits = WithDrafts(kLimits, 0)},
                                1},
                      ModelCase{"WholeChunkStored",
                                {.swa_block_tokens = 16,
                                 .window_blocks = 140,
                                 .full_blocks = 24,
                                 .limits = WholeChunk(kLimits)},
                                2},
                      ModelCase{"StridedRatiosOneTwoAndFour",
                                {.ratios = {0, 1, 2, 4},
                                 .rule = EntryRule::kStrided,
                                 .swa_block_tokens = 32,
                                 .chunk_tokens = 128,
                                 .window_blocks = 44,
                                 .full_blocks = 36,
                                 .overlap_blocks = 20,
                                 .limits = kLimits},
                                1,
                                CheckpointPolicy::EveryTokens(384)},
                      ModelCase{"NoWindow",
                                {.window_blocks = 0,
                                 .full_blocks = 26,
                                 .overlap_blocks = 1,
                                 .state_blocks = 5,
                                 .limits = kLimits},
                                1},
                      ModelCase{"MatchingWaitsForRetire",
                                {.window_blocks = 60,
                                 .full_blocks = 90,
                                 .overlap_blocks = 20,
                                 .state_blocks = 12,
                                 .limits = kLimits},
                                3,
                                {},
                                0,
                                MatchPolicy::kRetired},
                      ModelCase{"MatchingWaitsForRetireAndNothingElseDoes",
                                {.window_blocks = 40,
                                 .full_blocks = 90,
                                 .overlap_blocks = 14,
                                 .state_blocks = 8,
                                 .limits = kLimits},
                                0,
                                CheckpointPolicy::EveryTokens(256),
                                0,
                                MatchPolicy::kRetired},
                      ModelCase{"PoolsSmallerThanOneSequence",
                                {.window_blocks = 6,
                                 .full_blocks = 5,
                                 .overlap_blocks = 2,
                                 .state_blocks = 3,
                                 .limits = kLimits}}),
    [](const ::testing::TestParamInfo<ModelCase>& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace terrace::testing
