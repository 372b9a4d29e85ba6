// Random operations on a ledger against a dumb model (ledger_model.h), over geometries that put
// borders where they hurt. Each operation that would take blocks is first made to run short at
// every place where it can, and must then change nothing: a twin ledger that never saw the
// shortages goes on making the same plans, byte for byte.
//
// TERRACE_MODEL_OPERATIONS and TERRACE_MODEL_SEED in the environment override the number of
// operations of each case and the seed. The long form makes 5,000,000 (docs/benchmarks.md).

#include "tests/ledger_model.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <deque>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "terrace/ledger.h"
#include "tests/test_geometry.h"

namespace terrace {
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

struct Instruction {
  enum class Kind { kAllocate, kAppend, kCommit, kTruncate, kFree, kRetire, kSnapshot };
  Kind kind = Kind::kSnapshot;
  SequenceId id = {};                   // commit, truncate, free
  int32_t number = 0;                   // allocate, commit: tokens; truncate: length; retire: plan
  std::vector<StepRequest> batch = {};  // append

  std::string ToString() const {
    const std::string handle = absl::StrFormat("{%d, %d}", id.lane, id.generation);
    switch (kind) {
      case Kind::kAllocate:
        return absl::StrCat("Allocate(", number, ")");
      case Kind::kCommit:
        return absl::StrCat("Commit(", handle, ", ", number, ")");
      case Kind::kTruncate:
        return absl::StrCat("Truncate(", handle, ", ", number, ")");
      case Kind::kFree:
        return absl::StrCat("Free(", handle, ")");
      case Kind::kRetire:
        return absl::StrCat("Retire(", number, ")");
      case Kind::kSnapshot:
        return "Snapshot()";
      case Kind::kAppend:
        break;
    }
    std::string text = "Append(";
    for (const StepRequest& request : batch) {
      absl::StrAppendFormat(&text, "{{%d, %d}, %d, %d} ", request.id.lane, request.id.generation,
                            request.tokens, request.drafts);
    }
    return text + ")";
  }
};

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

  Instruction Next(const LedgerModel& model) {
    live_.clear();
    for (const auto& [key, sequence] : model.sequences()) {
      live_.push_back({{key.first, key.second}, &sequence});
    }
    const int32_t roll = Below(100);
    if (live_.empty() || roll < 6) return Allocate();
    if (roll < 9) return Free();
    if (roll < 11) return {.kind = Instruction::Kind::kRetire, .number = PickPlan(model)};
    if (roll < 12) return {.kind = Instruction::Kind::kSnapshot};
    const uint64_t in_flight = model.last_plan() - model.retired();
    if (in_flight_plans_ > 0 && in_flight >= in_flight_plans_ && !Rarely()) {
      return {.kind = Instruction::Kind::kRetire, .number = PickPlan(model)};
    }
    if (roll < 50) return Decide();
    return Append();
  }

 private:
  struct Live {
    SequenceId id;
    const ModelSequence* sequence;
  };
  using Kind = Instruction::Kind;

  int32_t Below(int64_t limit) { return static_cast<int32_t>(random_() % limit); }
  bool Rarely() { return Below(50) == 0; }
  const Live& Any() { return live_[Below(live_.size())]; }

  // A live handle; rarely one that is stale, was never given or is out of range.
  SequenceId Handle(SequenceId id) {
    if (!Rarely()) return id;
    const int32_t delta = Below(5) - 2;
    return Below(2) == 0 ? SequenceId{id.lane, id.generation + delta}
                         : SequenceId{id.lane + 3 * delta, id.generation};
  }

  Instruction Allocate() {
    const int32_t tokens = Rarely() ? geometry_.max_context_tokens + 1 : Below(400);
    return {.kind = Kind::kAllocate, .number = tokens};
  }

  Instruction Free() {
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
  Instruction Decide() {
    const Live* live = &Any();
    for (int i = 0; i < 4 && live->sequence->undecided() == 0; ++i) live = &Any();
    const int32_t length = live->sequence->length;
    if (live->sequence->undecided() > 0 && Below(2) == 0) {
      const int32_t back = Below(live->sequence->undecided() + 1) + (Rarely() ? 1 : 0);
      return {.kind = Kind::kTruncate, .id = Handle(live->id), .number = length - back};
    }
    const int32_t open = std::max(0, length - live->sequence->known) + 1;
    return {.kind = Kind::kCommit, .id = Handle(live->id), .number = Below(3) ? open : Below(open)};
  }

  Instruction Append() {
    Instruction append{.kind = Kind::kAppend};
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

class Trial {
 public:
  Trial(const ModelCase& c, uint64_t seed)
      : geometry_(MakeTestGeometry(c.geometry)),
        model_(geometry_, c.in_flight_plans),
        generator_(geometry_, c.in_flight_plans, seed),
        tokens_(geometry_.max_context_tokens + 1, 7) {
    LedgerOptions options{
        .geometry = geometry_, .in_flight_plans = c.in_flight_plans, .prefix = {.enabled = false}};
    twin_ = *Ledger::Create(options);
    options.inject_shortage = [this](int pool) {
      if (countdown_-- != 0) return false;
      injected_pool_ = pool;
      return true;
    };
    ledger_ = *Ledger::Create(options);
  }

  // One operation; the fault it found, or nothing.
  std::string Step() {
    const Instruction instruction = generator_.Next(model_);
    history_.push_back(instruction.ToString());
    if (history_.size() > 20) history_.pop_front();
    Execute(instruction);
    ledger_->CheckInvariants();
    model_.CheckAgainst(*ledger_);
    return fault_.empty() ? model_.fault() : fault_;
  }

  std::string History() const {
    std::string text;
    for (const std::string& line : history_) absl::StrAppend(&text, "  ", line, "\n");
    return text;
  }
  // What a run met.
  struct Counts {
    int64_t steps = 0;
    int64_t short_of_blocks = 0;
    int64_t injected = 0;
  };
  const Counts& counts() const { return counts_; }

 private:
  using Kind = Instruction::Kind;

  void Execute(const Instruction& instruction) {
    const SequenceId id = instruction.id;
    const int32_t number = instruction.number;
    const absl::Span<const int32_t> tokens(tokens_.data(),
                                           std::clamp<size_t>(number, 0, tokens_.size()));
    switch (instruction.kind) {
      case Kind::kAllocate: {
        const absl::StatusOr<Admission> a = ledger_->AllocateSequence({tokens});
        const absl::StatusOr<Admission> b = twin_->AllocateSequence({tokens});
        Expect(a.ok() == b.ok() && (!a.ok() || a->id == b->id), "the twin gave another handle");
        if (Agree(model_.ExpectAllocate(number), a.status())) model_.Allocate(a->id, number);
        return;
      }
      case Kind::kAppend:
        return Append(instruction.batch);
      case Kind::kCommit:
        twin_->Commit(id, tokens).IgnoreError();
        if (Agree(model_.ExpectCommit(id, number), ledger_->Commit(id, tokens))) {
          model_.Commit(id, number);
        }
        return;
      case Kind::kTruncate:
        twin_->Truncate(id, number).IgnoreError();
        if (Agree(model_.ExpectTruncate(id, number), ledger_->Truncate(id, number))) {
          model_.Truncate(id, number);
        }
        return;
      case Kind::kFree:
        twin_->FreeSequence(id).IgnoreError();
        if (Agree(model_.ExpectFree(id), ledger_->FreeSequence(id))) model_.Free(id);
        return;
      case Kind::kRetire: {
        const PlanNumber plan(static_cast<uint64_t>(int64_t{number}));
        twin_->Retire(plan).IgnoreError();
        if (Agree(model_.ExpectRetire(plan.value()), ledger_->Retire(plan))) {
          model_.Retire(plan.value());
        }
        return;
      }
      case Kind::kSnapshot: {
        const absl::StatusOr<Plan> snapshot = ledger_->Snapshot();
        Expect(snapshot.ok() && Plan::Parse(snapshot->bytes(), geometry_).ok(), "Snapshot");
        if (fault_.empty()) model_.CheckSnapshot(*snapshot);
        return;
      }
    }
  }

  // Runs the step, after having made it run short at its first, second, ... place that takes
  // blocks.
  void Append(const std::vector<StepRequest>& batch) {
    const Outcome expected = model_.ExpectAppend(batch);
    const bool inject = expected.code == absl::StatusCode::kOk;
    const std::string before = inject ? Dump() : "";
    absl::StatusOr<Plan> plan = absl::UnknownError("not run yet");
    for (int place = inject ? 0 : kNever;; ++place) {
      injected_pool_ = -1;
      countdown_ = place;
      plan = ledger_->Append(batch);
      if (injected_pool_ < 0) break;  // the step has fewer places: it ran
      const std::optional<Shortage> shortage = ShortageOf(plan.status());
      Expect(shortage.has_value() && shortage->pool == injected_pool_ && shortage->retry_later &&
                 shortage->missing_blocks > 0,
             "an injected shortage is not reported as one");
      Expect(Dump() == before, "a failed step changed something");
      ++counts_.injected;
    }
    const absl::StatusOr<Plan> twin = twin_->Append(batch);
    counts_.steps += plan.ok();
    counts_.short_of_blocks += expected.shortage.has_value();
    if (!Agree(expected, plan.status()) || !Expect(twin.ok(), "the twin refuses the step")) return;
    Expect(plan->bytes() == twin->bytes(), "the twin makes another plan");
    Expect(Plan::Parse(plan->bytes(), geometry_).ok(), "the plan does not parse");
    Expect(plan->header().total_bytes <= MaxStepPlanBytes(geometry_), "the plan is too long");
    model_.Append(batch, *plan);
  }

  // All that can be seen of the ledger.
  std::string Dump() const {
    const Plan snapshot = *ledger_->Snapshot();
    std::string dump(reinterpret_cast<const char*>(snapshot.bytes().data()),
                     snapshot.bytes().size());
    for (int p = 0; p < geometry_.num_pools; ++p) {
      const PoolUse use = ledger_->Use(p);
      absl::StrAppend(&dump, use.free, " ", use.live, " ", use.draining, ";");
    }
    for (const auto& [key, sequence] : model_.sequences()) {
      const SequenceInfo info = *ledger_->Info({key.first, key.second});
      absl::StrAppend(&dump, info.length, " ", info.known, " ", info.undecided_drafts, ";");
    }
    return dump;
  }

  // Whether the call succeeded, as expected or not.
  bool Agree(const Outcome& expected, const absl::Status& status) {
    const std::optional<Shortage> shortage = ShortageOf(status);
    const Shortage& want = expected.shortage.value_or(Shortage{});
    const Shortage& got = shortage.value_or(Shortage{});
    Expect(expected.code == status.code() &&
               expected.shortage.has_value() == shortage.has_value() && want.pool == got.pool &&
               want.missing_blocks == got.missing_blocks && want.retry_later == got.retry_later,
           absl::StrCat("expected ", absl::StatusCodeToString(expected.code), " (pool ", want.pool,
                        ", ", want.missing_blocks, " blocks), got ", status.ToString()));
    return status.ok() && fault_.empty();
  }

  bool Expect(bool condition, absl::string_view what) {
    if (!condition && fault_.empty()) fault_ = std::string(what);
    return condition;
  }

  static constexpr int kNever = -1000;

  const Geometry geometry_;
  LedgerModel model_;
  Generator generator_;
  const std::vector<int32_t> tokens_;
  std::unique_ptr<Ledger> ledger_;
  std::unique_ptr<Ledger> twin_;
  std::deque<std::string> history_;
  std::string fault_;
  Counts counts_;
  int countdown_ = kNever;  // calls of the hook until it says yes
  int injected_pool_ = -1;  // where it did
};

class LedgerModelTest : public testing::TestWithParam<ModelCase> {};

TEST_P(LedgerModelTest, RandomOperationsAgreeWithADumbModel) {
  const int64_t operations = FromEnvironment("TERRACE_MODEL_OPERATIONS", kOperations);
  const uint64_t seed = FromEnvironment("TERRACE_MODEL_SEED", 20250101);
  Trial trial(GetParam(), seed);
  for (int64_t i = 0; i < operations; ++i) {
    const std::string fault = trial.Step();
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
    testing::Values(
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
    [](const testing::TestParamInfo<ModelCase>& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace terrace
