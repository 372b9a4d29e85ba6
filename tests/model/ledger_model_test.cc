// Random operations on a ledger against a dumb model (ledger_model.h), over geometries that put
// borders where they hurt. How each is carried out: ledger_trial.h.
//
// TERRACE_MODEL_OPERATIONS and TERRACE_MODEL_SEED in the environment override the number of
// operations of each case and the seed. The long form makes 5,000,000 (docs/benchmarks.md).

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>
#include <vector>

#include "tests/model/ledger_trial.h"
#include "tests/support/test_geometry.h"

namespace terrace::testing {
namespace {

#if defined(TERRACE_SANITIZED) || !defined(NDEBUG)
constexpr int64_t kOperations = 20'000;  // of each geometry
#else
constexpr int64_t kOperations = 125'000;
#endif

int64_t FromEnvironment(const char* name, int64_t otherwise) {
  const char* const text = std::getenv(name);
  return text == nullptr ? otherwise : std::atoll(text);
}

struct ModelCase {
  const char* name;
  TestGeometryOptions geometry;
  int32_t in_flight_plans = 0;
};
std::ostream& operator<<(std::ostream& out, const ModelCase& c) { return out << c.name; }

// Draws the next instruction. Mostly sensible ones: drafts are decided before the next step, full
// sequences are freed; now and then a stale handle, a duplicate or a number beyond a limit.
class Generator {
 public:
  Generator(const Geometry& geometry, int32_t in_flight_plans, uint64_t seed)
      : geometry_(geometry), in_flight_plans_(in_flight_plans), random_(seed) {}

  LedgerInstruction Next(const LedgerModel& model) {
    live_.clear();
    for (const auto& [key, sequence] : model.sequences()) {
      live_.push_back({{key.first, key.second}, &sequence});
    }
    const int32_t roll = Below(100);
    if (live_.empty() || roll < 6) return Allocate();
    if (roll < 9) return Free();
    if (roll < 11) return {.kind = LedgerInstruction::Kind::kRetire, .number = PickPlan(model)};
    if (roll < 12) return {.kind = LedgerInstruction::Kind::kSnapshot};
    const uint64_t in_flight = model.last_plan() - model.retired();
    if (in_flight_plans_ > 0 && in_flight >= in_flight_plans_ && !Rarely()) {
      return {.kind = LedgerInstruction::Kind::kRetire, .number = PickPlan(model)};
    }
    if (roll < 50) return Decide();
    return Append();
  }

 private:
  struct Live {
    SequenceId id;
    const ModelSequence* sequence;
  };
  using Kind = LedgerInstruction::Kind;

  int32_t Below(int64_t limit) { return static_cast<int32_t>(random_() % limit); }
  bool Rarely() { return Below(50) == 0; }
  const Live& Any() { return live_[Below(live_.size())]; }

  // A live handle; rarely one that is stale, was never given or is out of range.
  SequenceId Handle(SequenceId id) {
    if (!Rarely()) return id;
    const int32_t delta = Below(5) - 2;
    return Below(2) == 0 ? SequenceId{id.index, id.generation + delta}
                         : SequenceId{id.index + 3 * delta, id.generation};
  }

  LedgerInstruction Allocate() {
    const int32_t tokens = Rarely() ? geometry_.max_context_tokens + 1 : Below(400);
    return {.kind = Kind::kAllocate, .number = tokens};
  }

  LedgerInstruction Free() {
    const Live* victim = &Any();
    for (const Live& live : live_) {
      if (live.sequence->length == geometry_.max_context_tokens) victim = &live;
    }
    return {.kind = Kind::kFree, .id = Handle(victim->id)};
  }

  int32_t PickPlan(const LedgerModel& model) {
    const int32_t last = static_cast<int32_t>(model.last_plan());
    return Rarely() ? last + 1 - Below(6) : last - Below(2);
  }

  // Settles or takes back: drafts if there are any, else ids of rows that have none yet.
  LedgerInstruction Decide() {
    const Live* live = &Any();
    for (int i = 0; i < 4 && live->sequence->undecided() == 0; ++i) live = &Any();
    const int32_t length = live->sequence->length;
    if (live->sequence->undecided() > 0 && Below(2) == 0) {
      const int32_t back = Below(live->sequence->undecided() + 1) + (Rarely() ? 1 : 0);
      return {.kind = Kind::kTruncate, .id = Handle(live->id), .number = length - back};
    }
    const int32_t open = std::max(0, length - live->sequence->known) + 1;
    return {.kind = Kind::kCommit,
            .id = Handle(live->id),
            .number = Rarely()   ? open + Below(20)
                      : Below(3) ? open
                                 : Below(open)};
  }

  LedgerInstruction Append() {
    LedgerInstruction append{.kind = Kind::kAppend};
    if (Rarely()) return append;  // a step of no sequence
    const size_t wanted = 1 + Below(4);
    std::shuffle(live_.begin(), live_.end(), random_);
    for (const Live& live : live_) {
      const int32_t room = geometry_.max_context_tokens - live.sequence->length;
      if (append.batch.size() == wanted) break;
      if ((room == 0 || live.sequence->undecided() > 0) && !Rarely()) continue;
      append.batch.push_back(Request(live, room));
    }
    if (!append.batch.empty() && Rarely()) append.batch.push_back(append.batch[0]);
    return append;
  }

  StepRequest Request(const Live& live, int32_t room) {
    int32_t tokens = 1;
    if (Below(4) == 0) tokens = 1 + Below(geometry_.max_drafts + 1);
    if (Below(8) == 0) tokens = 1 + Below(300);
    if (Below(64) == 0) tokens = 1 + Below(geometry_.max_step_tokens);
    if (!Rarely()) tokens = std::clamp(tokens, 1, std::max(1, room));
    int32_t drafts = Below(std::min(tokens, geometry_.max_drafts) + 1);
    if (Rarely()) drafts += 1;
    if (Rarely()) tokens = Below(2) - 1;
    return {Handle(live.id), tokens, drafts};
  }

  const Geometry& geometry_;
  const uint64_t in_flight_plans_;
  std::mt19937_64 random_;
  std::vector<Live> live_;
};

class LedgerModelTest : public ::testing::TestWithParam<ModelCase> {};

TEST_P(LedgerModelTest, RandomOperationsAgreeWithADumbModel) {
  const int64_t operations = FromEnvironment("TERRACE_MODEL_OPERATIONS", kOperations);
  const uint64_t seed = FromEnvironment("TERRACE_MODEL_SEED", 20250101);
  const ModelCase& c = GetParam();
  const Geometry geometry = MakeTestGeometry(c.geometry);
  LedgerTrial trial(geometry, c.in_flight_plans);
  Generator generator(geometry, c.in_flight_plans, seed);
  for (int64_t i = 0; i < operations; ++i) {
    const std::string fault = trial.Step(generator.Next(trial.model()));
    ASSERT_EQ(fault, "") << "operation " << i << " of seed " << seed << " after\n"
                         << trial.History();
  }
  // The run is worth something only if it got to the places that matter.
  EXPECT_GT(trial.counts().steps, operations / 16);
  EXPECT_GT(trial.counts().injected, operations / 50);
  EXPECT_GT(trial.counts().short_of_blocks, operations / 1000);
  std::printf("%d operations: %d steps, %d shortages, %d injected\n", static_cast<int>(operations),
              static_cast<int>(trial.counts().steps),
              static_cast<int>(trial.counts().short_of_blocks),
              static_cast<int>(trial.counts().injected));
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
    Geometries, LedgerModelTest,
    ::testing::Values(
        ModelCase{"DeepSeekV4", {.window_blocks = 22, .full_blocks = 20, .limits = kLimits}},
        ModelCase{
            "TwoPlansInFlight", {.window_blocks = 24, .full_blocks = 22, .limits = kLimits}, 2},
        ModelCase{"ThreePlansInFlightSmallWindowBlocks",
                  {.swa_block_tokens = 16,
                   .window_blocks = 60,
                   .full_blocks = 20,
                   .limits = WithDrafts(kLimits, 7)},
                  3},
        ModelCase{"WindowBlocksOfOneToken",
                  {.swa_block_tokens = 1,
                   .window_blocks = 700,
                   .full_blocks = 20,
                   .limits = WithDrafts(kLimits, 2)}},
        ModelCase{"WindowBlocksOfAWindow",
                  {.swa_block_tokens = 128,
                   .chunk_tokens = 128,
                   .window_blocks = 12,
                   .full_blocks = 34,
                   .limits = WithDrafts(kLimits, 0)},
                  1},
        ModelCase{"WholeChunkStored",
                  {.swa_block_tokens = 16,
                   .window_blocks = 110,
                   .full_blocks = 20,
                   .limits = WholeChunk(kLimits)}},
        ModelCase{"StridedRatiosOneTwoAndFour",
                  {.ratios = {0, 1, 2, 4},
                   .rule = EntryRule::kStrided,
                   .swa_block_tokens = 32,
                   .chunk_tokens = 128,
                   .window_blocks = 34,
                   .full_blocks = 26,
                   .limits = kLimits},
                  1},
        ModelCase{"PoolsSmallerThanOneSequence",
                  {.window_blocks = 5, .full_blocks = 5, .limits = WithDrafts(kLimits, 130)}}),
    [](const ::testing::TestParamInfo<ModelCase>& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace terrace::testing
