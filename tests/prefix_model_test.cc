// Random operations on a ledger that reuses prefixes, looked at by a PrefixModel (prefix_model.h),
// over geometries and policies that put borders where they hurt. Prompts are drawn from a small
// tree of texts under two salts, so that sequences meet, part and follow each other. Some calls are
// first made to run short at every place where they take blocks: what fails must change nothing,
// and a twin ledger that never saw those failures goes on making the same plans, byte for byte.
//
// TERRACE_MODEL_OPERATIONS and TERRACE_MODEL_SEED in the environment override count and seed.

#include "tests/prefix_model.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "terrace/ledger.h"
#include "tests/test_geometry.h"

namespace terrace {
namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || !defined(NDEBUG)
constexpr int64_t kOperations = 5'000;  // of each case
#else
constexpr int64_t kOperations = 125'000;
#endif

int64_t FromEnvironment(const char* name, int64_t otherwise) {
  const char* const text = std::getenv(name);
  return text == nullptr ? otherwise : std::atoll(text);
}

constexpr const char* kSalts[] = {"", "tenant"};

// Texts that branch at some chunk borders and in the middle of some chunks: token `position` of
// text `variant`.
int32_t TokenOf(int32_t variant, int32_t position) {
  const int32_t branch = position / 200;
  return 1000 * branch + (variant >> std::min(branch, 3) & 1) * 500 + position % 200;
}

struct Instruction {
  enum class Kind {
    kAllocate,
    kProbe,
    kExtend,
    kFork,
    kAppend,
    kCommit,
    kTruncate,
    kFree,
    kRetire,
    kSetTime,
    kClear
  };
  Kind kind = Kind::kProbe;
  SequenceId id = {};
  int64_t number = 0;        // allocate, commit: tokens; truncate: length; retire: plan
  int32_t variant = 0;       // allocate, probe: of the text
  int32_t salt = 0;          // allocate, probe
  ReplayLimits replay = {};  // allocate, probe
  Priority priority = Priority::kNormal;
  int64_t time_to_live_ms = 0;
  bool inject = false;                  // append, commit: run it short first
  std::vector<StepRequest> batch = {};  // append

  std::string ToString() const {
    const std::string handle = absl::StrFormat("{%d, %d}", id.lane, id.generation);
    const char* const kNames[] = {"Allocate", "Probe",   "ExtendMatch",  "Fork",
                                  "Append",   "Commit",  "Truncate",     "Free",
                                  "Retire",   "SetTime", "ClearPrefixes"};
    std::string text = absl::StrCat(kNames[static_cast<int>(kind)], inject ? " injected" : "", "(");
    switch (kind) {
      case Kind::kAllocate:
      case Kind::kProbe:
        absl::StrAppend(&text, number, " of text ", variant, ", salt ", salt, ", replay ",
                        replay.max_tokens, " ", replay.approximate_tokens, ", priority ",
                        static_cast<int>(priority), ", ttl ", time_to_live_ms);
        break;
      case Kind::kAppend:
        for (const StepRequest& r : batch) {
          absl::StrAppendFormat(&text, "{{%d, %d}, %d, %d} ", r.id.lane, r.id.generation, r.tokens,
                                r.drafts);
        }
        break;
      default:
        absl::StrAppend(&text, handle, ", ", number);
    }
    return text + ")";
  }
};

struct ModelCase {
  const char* name;
  TestGeometryOptions geometry;
  int32_t in_flight_plans = 0;
  CheckpointPolicy policy = {};
  int32_t num_layers = 0;  // 0: the test model's
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

  Instruction Next(const PrefixModel& model) {
    live_.clear();
    for (const auto& [key, sequence] : model.sequences()) {
      live_.push_back({{key.first, key.second}, &sequence});
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
    const uint64_t in_flight = model.last_plan() - model.retired();
    if (in_flight_plans_ > 0 && in_flight >= in_flight_plans_ && !Rarely()) {
      return {.kind = Kind::kRetire, .number = PickPlan(model)};
    }
    return roll < 560 ? Decide() : Append();
  }

  int32_t Below(int64_t limit) { return static_cast<int32_t>(random_() % limit); }

 private:
  struct Live {
    SequenceId id;
    const PrefixSequence* sequence;
  };
  using Kind = Instruction::Kind;

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
    return Below(2) == 0 ? SequenceId{id.lane, id.generation + delta}
                         : SequenceId{id.lane + 3 * delta, id.generation};
  }

  // Often the same prompt as the one before, so that two of them are fed at the same time.
  Instruction Request(Kind kind) {
    if (Below(4) == 0) {
      last_request_.kind = kind;
      return last_request_;
    }
    Instruction request{.kind = kind, .variant = Below(16), .salt = Below(4) == 0};
    const int32_t chunk = geometry_.chunk_tokens;
    request.number = Below(2) == 0 ? Below(geometry_.max_context_tokens * 3 / 4)
                                   : chunk * Below(5) + Below(3) - 1;  // around a border
    request.number = std::clamp<int64_t>(request.number, 0, geometry_.max_context_tokens);
    if (Rarely()) request.number = geometry_.max_context_tokens + 1;
    if (Below(4) == 0) request.replay.max_tokens = Below(800);
    if (Below(16) == 0) request.replay.approximate_tokens = 1 + Below(300);
    request.priority = static_cast<Priority>(Below(4) == 0 ? Below(3) : 1);
    if (Below(4) == 0) request.time_to_live_ms = 1 + Below(2000);
    if (Rarely()) request.replay.max_tokens = -1;
    last_request_ = request;
    return request;
  }

  int64_t PickPlan(const PrefixModel& model) {
    const int64_t last = static_cast<int64_t>(model.last_plan());
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
    return {.kind = Kind::kCommit,
            .id = Handle(live->id),
            .number = Below(8) == 0 ? Below(40)
                      : Below(3)    ? open
                                    : Below(open),
            .inject = Below(4) == 0};
  }

  Instruction Append() {
    Instruction append{.kind = Kind::kAppend, .inject = Below(4) == 0};
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
  Instruction last_request_ = {};
  int64_t now_ms_ = 0;
};

class Trial {
 public:
  Trial(const ModelCase& c, uint64_t seed)
      : options_{.geometry = GeometryOf(c),
                 .in_flight_plans = c.in_flight_plans,
                 .prefix = {.checkpoints = c.policy, .record_events = true}},
        model_(options_),
        generator_(options_.geometry, c.in_flight_plans, seed) {
    LedgerOptions options = options_;
    options.inject_shortage = [this](int pool) { return Injected(countdown_, pool); };
    ledger_ = *Ledger::Create(options);
    options.inject_shortage = [this](int pool) { return Injected(twin_countdown_, pool); };
    twin_ = *Ledger::Create(options);
  }

  // One operation; the fault it found, or nothing.
  std::string Step() {
    const Instruction instruction = generator_.Next(model_);
    history_.push_back(instruction.ToString());
    if (history_.size() > 30) history_.pop_front();
    Execute(instruction);
    model_.Hear(ledger_->TakeEvents());
    if (Fault().empty()) model_.Check(*ledger_);
    ledger_->CheckInvariants();
    Expect(ledger_->prefix_figures() == twin_->prefix_figures(), "the twin has other figures");
    return Fault();
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
    int64_t resumed = 0;
    int64_t replays = 0;
    int64_t extended = 0;
  };
  const Counts& counts() const { return counts_; }
  PrefixFigures figures() const { return ledger_->prefix_figures(); }

 private:
  using Kind = Instruction::Kind;

  std::string Fault() const { return fault_.empty() ? model_.fault() : fault_; }

  void Execute(const Instruction& in) {
    switch (in.kind) {
      case Kind::kAllocate:
        return Allocate(in);
      case Kind::kProbe:
        return Probe(in);
      case Kind::kAppend:
        return Append(in);
      case Kind::kCommit:
        return Commit(in);
      case Kind::kExtend: {
        const absl::StatusOr<PrefixMatch> match = ledger_->ExtendMatch(in.id);
        twin_->ExtendMatch(in.id).IgnoreError();
        model_.JudgeExtend(in.id, match.status());
        if (!match.ok()) return;
        model_.Extend(in.id, *match, *ledger_->Info(in.id));
        counts_.extended += match->matched > 0;
        return;
      }
      case Kind::kFork: {
        const absl::StatusOr<SequenceId> child = ledger_->Fork(in.id);
        twin_->Fork(in.id).IgnoreError();
        model_.JudgeFork(in.id, child.status());
        if (child.ok()) model_.Fork(in.id, *child);
        return;
      }
      case Kind::kTruncate: {
        const int32_t length = static_cast<int32_t>(in.number);
        const absl::Status status = ledger_->Truncate(in.id, length);
        twin_->Truncate(in.id, length).IgnoreError();
        model_.JudgeTruncate(in.id, length, status);
        if (status.ok()) model_.Truncate(in.id, length);
        return;
      }
      case Kind::kFree: {
        const absl::Status status = ledger_->FreeSequence(in.id);
        twin_->FreeSequence(in.id).IgnoreError();
        model_.JudgeFree(in.id, status);
        model_.Hear(ledger_->TakeEvents());
        if (status.ok()) model_.Free(in.id);
        return;
      }
      case Kind::kRetire: {
        const uint64_t plan = static_cast<uint64_t>(in.number);
        const absl::Status status = ledger_->Retire(PlanNumber(plan));
        twin_->Retire(PlanNumber(plan)).IgnoreError();
        model_.JudgeRetire(plan, status);
        if (status.ok()) model_.Retire(plan);
        return;
      }
      case Kind::kSetTime:
        Expect(ledger_->SetTime(in.number).ok() && twin_->SetTime(in.number).ok(), "SetTime");
        return;
      case Kind::kClear:
        ledger_->ClearPrefixes();
        twin_->ClearPrefixes();
        model_.ClearPrefixes();
        return;
    }
  }

  SequenceRequest RequestOf(const Instruction& in) {
    prompt_.clear();
    for (int32_t p = 0; p < in.number; ++p) prompt_.push_back(TokenOf(in.variant, p));
    return {.tokens = prompt_,
            .salt = kSalts[in.salt],
            .replay = in.replay,
            .priority = in.priority,
            .time_to_live_ms = in.time_to_live_ms};
  }

  void Allocate(const Instruction& in) {
    const SequenceRequest request = RequestOf(in);
    const absl::StatusOr<Admission> made = ledger_->AllocateSequence(request);
    const absl::StatusOr<Admission> twin = twin_->AllocateSequence(request);
    model_.JudgeAllocate(request, made.status());
    if (!made.ok()) return;
    Expect(twin.ok() && twin->id == made->id && twin->match == made->match,
           "the twin admits otherwise");
    model_.Allocate(request, *made);
    texts_[made->id.lane] = in.variant;
    counts_.resumed += made->match.resumed > 0;
    counts_.replays += made->match.skipped > 0;
  }

  // The twin is not asked: if a look changed anything, the two would part.
  void Probe(const Instruction& in) {
    const SequenceRequest request = RequestOf(in);
    const absl::StatusOr<PrefixMatch> match = ledger_->Probe(request);
    if (match.ok()) {
      Expect(*match == model_.ExpectMatch(request), "a look found something else than is cached");
    } else {
      const int64_t limit = options_.geometry.max_context_tokens;
      Expect(in.number > limit || in.replay.max_tokens < 0, "a good look is refused");
    }
  }

  // Makes the call run short at its first, second, ... place that takes blocks, until it has fewer
  // places or does without. `call` runs on both ledgers; returns whether it succeeded.
  template <typename Call>
  absl::Status WithShortages(bool inject, const Call& call) {
    for (int place = inject ? 0 : kNever;; ++place) {
      const std::string before = inject ? Dump() : "";
      injected_pool_ = -1;
      countdown_ = twin_countdown_ = place;
      const absl::Status status = call(*ledger_);
      const int injected = injected_pool_;
      if (injected < 0 || status.ok()) {  // it ran: the twin has seen none of the other shortages
        const absl::Status twin = call(*twin_);
        Expect(twin.code() == status.code(), "the twin answers otherwise");
        countdown_ = twin_countdown_ = kNever;
        return status;
      }
      Expect(ShortageOf(status).has_value() && ShortageOf(status)->missing_blocks > 0,
             absl::StrCat("an injected shortage is not reported as one: ", status.ToString()));
      Expect(Dump() == before, "what failed changed something");
      ++counts_.injected;
      if (!fault_.empty()) return status;
    }
  }

  void Append(const Instruction& in) {
    for (const StepRequest& request : in.batch) {
      if (model_.Find(request.id) != nullptr) GuessTokens(request);
    }
    std::vector<Plan> plans;
    const bool inject = in.inject && model_.IsGood(in.batch);
    const absl::Status status = WithShortages(inject, [&](Ledger& ledger) {
      absl::StatusOr<Plan> plan = ledger.Append(in.batch);
      if (plan.ok()) plans.push_back(*std::move(plan));
      return plan.status();
    });
    counts_.short_of_blocks += ShortageOf(status).has_value();
    if (!fault_.empty()) return;
    model_.JudgeAppend(in.batch, status);
    if (!status.ok()) return;
    ++counts_.steps;
    Expect(plans.size() == 2 && plans[0].bytes() == plans[1].bytes(),
           "the twin makes another plan");
    Expect(Plan::Parse(plans[0].bytes(), options_.geometry).ok(), "the plan does not parse");
    model_.Append(in.batch, plans[0]);
  }

  void Commit(const Instruction& in) {
    const PrefixSequence* const sequence = model_.Find(in.id);
    std::vector<int32_t> tokens(in.number);
    for (int32_t i = 0; sequence != nullptr && i < in.number; ++i) {
      const int32_t position = sequence->known + i;
      tokens[i] = position < sequence->length ? sequence->tokens[position]
                                              : TokenOf(texts_[in.id.lane], position);
    }
    const absl::Status status =
        WithShortages(in.inject, [&](Ledger& ledger) { return ledger.Commit(in.id, tokens); });
    model_.JudgeCommit(in.id, in.number, status);
    if (status.ok()) model_.Commit(in.id, tokens);
  }

  // What the sequence's text says next is fed before its id is known; drafts are often wrong.
  void GuessTokens(const StepRequest& request) {
    const PrefixSequence& sequence = *model_.Find(request.id);
    std::vector<int32_t> tokens;
    const int32_t end =
        std::min(sequence.length + request.tokens, options_.geometry.max_context_tokens);
    for (int32_t p = std::max(sequence.known, sequence.length); p < end; ++p) {
      const bool wrong = p >= end - request.drafts && generator_.Below(3) == 0;
      tokens.push_back(wrong ? -p : TokenOf(texts_[request.id.lane], p));
    }
    model_.Guess(request.id, tokens);
  }

  bool Injected(int& countdown, int pool) {
    if (countdown-- != 0) return false;
    injected_pool_ = pool;
    return true;
  }

  // All that can be seen of the ledger.
  std::string Dump() const {
    const Plan snapshot = *ledger_->Snapshot();
    std::string dump(reinterpret_cast<const char*>(snapshot.bytes().data()),
                     snapshot.bytes().size());
    for (int p = 0; p < options_.geometry.num_pools; ++p) {
      const PoolUse use = ledger_->Use(p);
      absl::StrAppend(&dump, use.free, " ", use.live, " ", use.cached, " ", use.draining, ";");
    }
    for (const auto& [key, sequence] : model_.sequences()) {
      const SequenceInfo info = *ledger_->Info({key.first, key.second});
      absl::StrAppend(&dump, info.length, " ", info.known, " ", info.published, ";");
    }
    const PrefixFigures f = ledger_->prefix_figures();
    absl::StrAppend(&dump, f.stored_chunks, " ", f.evicted_chunks, " ", f.stored_checkpoints, " ",
                    f.held_checkpoints, " ", f.missed_checkpoints);
    return dump;
  }

  bool Expect(bool condition, absl::string_view what) {
    if (!condition && fault_.empty()) fault_ = std::string(what);
    return condition;
  }

  static constexpr int kNever = -1;

  const LedgerOptions options_;
  PrefixModel model_;
  Generator generator_;
  std::unique_ptr<Ledger> ledger_;
  std::unique_ptr<Ledger> twin_;
  std::map<int32_t, int32_t> texts_;  // by lane
  std::vector<int32_t> prompt_;
  std::deque<std::string> history_;
  std::string fault_;
  Counts counts_;
  int countdown_ = kNever;  // calls of the hook until it says yes
  int twin_countdown_ = kNever;
  int injected_pool_ = -1;  // where it did
};

// A CHECK of the library ends the run: it still says what led there.
const Trial* running = nullptr;
void PrintHistory(int) { std::fprintf(stderr, "after\n%s", running->History().c_str()); }

class PrefixModelTest : public testing::TestWithParam<ModelCase> {};

TEST_P(PrefixModelTest, EverySequenceSeesItsOwnTokensAlone) {
  const int64_t operations = FromEnvironment("TERRACE_MODEL_OPERATIONS", kOperations);
  const uint64_t seed = FromEnvironment("TERRACE_MODEL_SEED", 20250101);
  Trial trial(GetParam(), seed);
  running = &trial;
  std::signal(SIGABRT, PrintHistory);
  for (int64_t i = 0; i < operations; ++i) {
    const std::string fault = trial.Step();
    ASSERT_EQ(fault, "") << "operation " << i << " of seed " << seed << " after\n"
                         << trial.History();
  }
  std::signal(SIGABRT, SIG_DFL);
  // The run is worth something only if it got to the places that matter.
  const Trial::Counts& counts = trial.counts();
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
        {"replays", counts.replays},
        {"extended", counts.extended}});
  line({{"chunks stored", figures.stored_chunks},
        {"duplicate", figures.duplicate_chunks},
        {"evicted", figures.evicted_chunks},
        {"expired", figures.expired_chunks},
        {"checkpoints stored", figures.stored_checkpoints},
        {"evicted", figures.evicted_checkpoints},
        {"rolled", figures.rolled_checkpoints},
        {"missed", figures.missed_checkpoints},
        {"copies", figures.copied_blocks[1]}});
  EXPECT_GT(counts.steps, operations / 16);
  EXPECT_GT(counts.injected, operations / 100);
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
    testing::Values(
        ModelCase{"DeepSeekV4",
                  {.window_blocks = 26, .full_blocks = 24, .overlap_blocks = 8, .limits = kLimits}},
        ModelCase{"TwoPlansInFlight",
                  {.window_blocks = 30, .full_blocks = 26, .overlap_blocks = 12, .limits = kLimits},
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
                  {.swa_block_tokens = 128,
                   .chunk_tokens = 128,
                   .window_blocks = 20,
                   .full_blocks = 50,
                   .overlap_blocks = 4,
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
        ModelCase{"PoolsSmallerThanOneSequence",
                  {.window_blocks = 6, .full_blocks = 5, .overlap_blocks = 2, .limits = kLimits}}),
    [](const testing::TestParamInfo<ModelCase>& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace terrace
