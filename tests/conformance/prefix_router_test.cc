// A router that hears nothing but events knows what every prompt finds: under eviction, expiry,
// clearing and lost steps, with salts, key ranges and marks; if it starts late, and behind a gap.

#include "examples/prefix_router.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "terrace/ledger.h"
#include "tests/support/test_geometry.h"

namespace terrace::testing {
namespace {

using Kind = PrefixEvent::Kind;

struct Prompt {
  std::vector<int32_t> tokens;
  std::string salt;
  std::string key;
  std::vector<KeyRange> ranges;

  SequenceRequest request() const { return {.tokens = tokens, .salt = salt, .key_ranges = ranges}; }
};

struct Scenario {
  const char* name;
  TestGeometryOptions geometry = {.window_blocks = 20, .full_blocks = 24, .overlap_blocks = 6};
  PrefixOptions prefix = {};
  int32_t in_flight_plans = 0;
};

std::vector<Scenario> Scenarios() {
  return {{.name = "tight"},
          {.name = "in_flight", .in_flight_plans = 3},
          {.name = "retired", .prefix = {.match = MatchPolicy::kRetired}},
          {.name = "retired_in_flight",
           .prefix = {.match = MatchPolicy::kRetired},
           .in_flight_plans = 3},
          {.name = "every_512", .prefix = {.checkpoints = CheckpointPolicy::EveryTokens(512)}},
          {.name = "no_checkpoints", .prefix = {.checkpoints = CheckpointPolicy::None()}},
          {.name = "no_overlap", .geometry = {.window_blocks = 20, .full_blocks = 24}},
          {.name = "no_window",
           .geometry = {.window_blocks = 0, .full_blocks = 24, .overlap_blocks = 6}}};
}

// A ledger under random work, and routers that hear of it.
class Traffic {
 public:
  Traffic(const Scenario& scenario, uint64_t seed)
      : random_(seed),
        geometry_(MakeTestGeometry(scenario.geometry)),
        match_(scenario.prefix.match) {
    LedgerOptions options = {.geometry = geometry_,
                             .in_flight_plans = scenario.in_flight_plans,
                             .prefix = scenario.prefix};
    options.prefix.record_events = true;
    options.prefix.max_events = 12;
    absl::StatusOr<std::unique_ptr<Ledger>> ledger = Ledger::Create(options);
    EXPECT_TRUE(ledger.ok()) << ledger.status();
    ledger_ = *std::move(ledger);
    first_.emplace(geometry_, match_);
  }

  void Do(int operations) {
    for (int i = 0; i < operations; ++i) {
      Work();
      if (Below(8) == 0) Tell();
      if (Below(60) == 0) {  // one more starts late, with events that wait
        late_.emplace(geometry_, match_);
        late_->Start(ledger_->IndexEvents());
      }
    }
    Tell();
  }

  int gaps() const { return gaps_; }
  int64_t matched() const { return matched_; }
  int64_t saved() const { return saved_; }
  int64_t late_starts() const { return late_starts_; }
  const std::map<Kind, int>& told() const { return told_; }
  const Ledger& ledger() const { return *ledger_; }

 private:
  int32_t Below(int32_t limit) { return static_cast<int32_t>(random_() % limit); }

  // Of 6 texts that share beginnings, 2 salts, and pictures at 3 places.
  Prompt RandomPrompt() {
    Prompt prompt;
    const int32_t text = Below(6);
    prompt.tokens.resize(1 + Below(1400));
    const int32_t shared = 300 * (text % 3);
    for (size_t i = 0; i < prompt.tokens.size(); ++i) {
      const bool common = static_cast<int32_t>(i) < shared;
      prompt.tokens[i] = 100'000 * (common ? text / 3 : 10 + text) + static_cast<int32_t>(i);
    }
    prompt.salt = Below(4) == 0 ? "tenant" : "";
    if (Below(3) == 0) {
      prompt.key = absl::StrCat("picture ", Below(2));
      const int32_t begin = 200 + 300 * Below(3);
      prompt.ranges = {{begin, Below(2) == 0 ? begin + 100 : KeyRange::kNoEnd, prompt.key}};
    }
    return prompt;
  }

  void Work() {
    const int32_t roll = Below(100);
    if (live_.empty() || (roll < 15 && live_.size() < 8)) return Allocate();
    if (roll < 25) return FreeOne();
    if (roll < 29 && live_.size() < 8) return Fork();
    if (roll < 34) return (void)ledger_->ExtendMatch(Any());
    if (roll == 34) return (void)ledger_->SetTime(now_ms_ += Below(200));
    if (roll == 35 && Below(6) == 0) return ledger_->ClearPrefixes();
    if (roll == 36 && Below(3) == 0) return Lose();
    if (roll < 42) return Retire();
    Step();
  }

  SequenceId Any() { return live_[Below(static_cast<int32_t>(live_.size()))]; }

  void Allocate() {
    const Prompt prompt = RandomPrompt();
    const std::vector<int32_t> marks = {Below(1400)};
    SequenceRequest request = prompt.request();
    request.priority = static_cast<Priority>(Below(3));
    request.time_to_live_ms = Below(3) == 0 ? 1 + Below(1000) : 0;
    if (Below(3) == 0) request.marks = marks;
    if (Below(5) == 0) request.refeed.approximate_tokens = 128;
    live_.push_back(ledger_->AllocateSequence(request)->id);
  }

  void FreeOne() {
    std::swap(live_[Below(static_cast<int32_t>(live_.size()))], live_.back());
    EXPECT_TRUE(ledger_->FreeSequence(live_.back()).ok());
    live_.pop_back();
  }

  void Fork() {
    const absl::StatusOr<SequenceId> fork = ledger_->Fork(Any());
    if (fork.ok()) live_.push_back(*fork);
  }

  void Lose() {
    const uint64_t last = ledger_->last_plan().value();
    if (Below(2) == 0 && last > 0) {
      EXPECT_TRUE(ledger_->Abandon(PlanNumber(last - Below(std::min<int32_t>(last, 3)))).ok());
      return;
    }
    const SequenceId id = Any();
    const int32_t length = ledger_->Info(id)->length;
    EXPECT_TRUE(ledger_->Distrust({{{id, Below(length + 1)}}}).ok());
  }

  void Retire() {
    const uint64_t last = ledger_->last_plan().value();
    if (retired_ < last) retired_ += 1 + Below(static_cast<int32_t>(last - retired_));
    (void)ledger_->Retire(PlanNumber(retired_));  // refused where nothing waits for it
  }

  void Step() {
    const SequenceId id = Any();
    const SequenceInfo info = *ledger_->Info(id);
    if (info.known == info.length) {
      EXPECT_TRUE(ledger_->Commit(id, {Below(3)}).ok());
    }
    const int32_t rest = std::max(1, info.known - info.length);
    const absl::Status status = ledger_->Append({{{id, 1 + Below(rest)}}}).status();
    if (ShortageOf(status).has_value()) FreeOne();
    if (!status.ok()) Retire();
  }

  void Tell() {
    const std::vector<PrefixEvent> events = ledger_->TakeEvents();
    for (const PrefixEvent& event : events) ++told_[event.kind];
    for (std::optional<PrefixRouter>* router : {&first_, &late_}) {
      if (!router->has_value()) continue;
      const bool has_gap = !events.empty() && events.back().kind == Kind::kGap;
      // The late one may have begun behind the gap.
      const bool follows = (*router)->Follow(events);
      EXPECT_TRUE(router == &late_ || follows == !has_gap);
      if (follows) continue;
      ++gaps_;
      (*router)->Start(ledger_->IndexEvents());
    }
    for (int i = 0; i < 8; ++i) Compare();
  }

  void Compare() {
    const Prompt prompt = RandomPrompt();
    SequenceRequest request = prompt.request();
    if (Below(3) == 0) request.refeed.max_tokens = 128 * Below(6);
    if (Below(3) == 0) request.refeed.approximate_tokens = 128 * (1 + Below(3));
    const PrefixMatch found = *ledger_->Probe(request);
    EXPECT_EQ(first_->Predict(request), found);
    matched_ += found.matched;
    saved_ += found.saved();
    EXPECT_EQ(first_->num_chunks(), ledger_->prefix_figures().indexed_chunks);
    if (!late_.has_value()) return;
    ++late_starts_;
    EXPECT_EQ(late_->Predict(request), found);
    EXPECT_EQ(late_->num_chunks(), first_->num_chunks());
  }

  std::mt19937_64 random_;
  const Geometry geometry_;
  const MatchPolicy match_;
  std::unique_ptr<Ledger> ledger_;
  std::optional<PrefixRouter> first_;  // hears everything from the start
  std::optional<PrefixRouter> late_;
  std::vector<SequenceId> live_;
  int64_t now_ms_ = 0;
  uint64_t retired_ = 0;
  int gaps_ = 0;
  int64_t matched_ = 0;
  int64_t saved_ = 0;
  int64_t late_starts_ = 0;
  std::map<Kind, int> told_;  // events
};

TEST(PrefixRouterTest, ARouterPredictsEveryMatch) {
  std::map<Kind, int> told;
  for (const Scenario& scenario : Scenarios()) {
    std::map<std::string, int64_t> happened;
    for (const uint64_t seed : {1, 2, 3}) {
      SCOPED_TRACE(absl::StrCat(scenario.name, ", seed ", seed));
      Traffic traffic(scenario, seed);
      for (int i = 0; i < 40; ++i) {
        traffic.Do(60);
        ASSERT_FALSE(HasFailure()) << "round " << i;
      }
      const PrefixFigures figures = traffic.ledger().prefix_figures();
      happened["gaps"] += traffic.gaps();
      happened["matched"] += traffic.matched();
      happened["saved"] += traffic.saved();
      happened["late starts"] += traffic.late_starts();
      happened["evicted"] += figures.evicted_chunks;
      happened["expired"] += figures.expired_chunks;
      happened["cleared"] += figures.cleared_chunks;
      happened["lost"] += figures.lost_chunks;
      for (const auto& [kind, count] : traffic.told()) told[kind] += count;
    }
    // Without checkpoints all is fed again: 43 layers reach back further than the prompts are long.
    if (std::string(scenario.name) == "no_checkpoints") happened.erase("saved");
    for (const auto& [what, count] : happened) EXPECT_GT(count, 0) << scenario.name << ": " << what;
  }
  EXPECT_EQ(told.size(), 8) << "kinds of events";
}

TEST(PrefixRouterTest, ItHearsThatACopyTookAChunksPlaceWhichIsNotRetiredYet) {
  const Geometry geometry = MakeTestGeometry({.full_blocks = 7});
  const auto ledger = *Ledger::Create(
      {.geometry = geometry, .prefix = {.match = MatchPolicy::kRetired, .record_events = true}});
  PrefixRouter router(geometry, MatchPolicy::kRetired);
  std::vector<int32_t> prompt(513);
  for (int32_t i = 0; i < 513; ++i) prompt[i] = i;
  const auto matched = [&] {
    EXPECT_TRUE(router.Follow(ledger->TakeEvents()));
    const PrefixMatch match = *ledger->Probe({.tokens = prompt});
    EXPECT_EQ(router.Predict({.tokens = prompt}), match);
    return match.matched;
  };
  const SequenceId first = ledger->AllocateSequence({.tokens = prompt})->id;
  const SequenceId copy = ledger->AllocateSequence({.tokens = prompt})->id;
  ASSERT_TRUE(ledger->Append({{{first, 513}}}).ok());
  ASSERT_TRUE(ledger->Append({{{copy, 513}}}).ok());
  EXPECT_EQ(matched(), 0);
  ASSERT_TRUE(ledger->Retire(PlanNumber(1)).ok());
  EXPECT_EQ(matched(), 512);

  // Only `copy` uses the chunks, and has blocks of its own: its second takes the chunk's place.
  ASSERT_TRUE(ledger->FreeSequence(first).ok());
  const std::vector<int32_t> other(600, 7);
  const SequenceId third = ledger->AllocateSequence({.tokens = other})->id;
  ASSERT_TRUE(ledger->Append({{{third, 600}}}).ok());
  EXPECT_EQ(matched(), 256);
  ASSERT_TRUE(ledger->Retire(PlanNumber(2)).ok());
  EXPECT_EQ(matched(), 512);
}

}  // namespace
}  // namespace terrace::testing
