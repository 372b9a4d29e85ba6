// Events and figures: what a router learns is what is cached, and the figures add up.

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <random>
#include <utility>
#include <vector>

#include "terrace/ledger.h"
#include "tests/model/prefix_mirror.h"
#include "tests/support/test_geometry.h"
#include "tests/support/use_of.h"

namespace terrace::testing {
namespace {

using Kind = PrefixEvent::Kind;

using Tokens = std::vector<int32_t>;

Tokens Text(int32_t text, int32_t count) {
  Tokens tokens(count);
  for (int32_t i = 0; i < count; ++i) tokens[i] = 100'000 * text + i;
  return tokens;
}

// What the answers and plans of a run come to, to hold the figures against.
struct Tally {
  int64_t lookups = 0;
  int64_t hits = 0;
  int64_t prompt_tokens = 0;
  PrefixMatch matches = {};  // summed
  int64_t forks = 0;
  int64_t copies[kMaxPools] = {};
  int64_t stored[2] = {};   // chunks, checkpoints, by the events
  int64_t removed[2] = {};  // likewise, but for what was cleared

  void Add(const PrefixMatch& match) {
    matches.matched += match.matched;
    matches.resumed += match.resumed;
    matches.skipped += match.skipped;
    matches.refed += match.refed;
  }
};

// Prompts of 8 texts that share beginnings.
Tokens Prompt(int32_t text, int32_t tokens) {
  const int32_t shared = std::min(tokens, 300 * (text % 4));
  Tokens prompt = Text(text / 4, shared);
  const Tokens rest = Text(10 + text, tokens - shared);
  prompt.insert(prompt.end(), rest.begin(), rest.end());
  return prompt;
}

// A ledger under random work, with its own mirror of the index.
class Work {
 public:
  explicit Work(uint64_t seed) : random_(seed) {
    LedgerOptions options = {};
    options.geometry =
        MakeTestGeometry({.window_blocks = 20, .full_blocks = 24, .overlap_blocks = 6});
    options.prefix.record_events = true;
    ledger_ = *Ledger::Create(options);
  }

  void Do(int operations) {
    for (int i = 0; i < operations; ++i) {
      const int32_t roll = Below(100);
      if (live_.empty() || (roll < 15 && live_.size() < 8)) {
        Allocate();
      } else if (roll < 25) {
        EXPECT_TRUE(ledger_->FreeSequence(Take()).ok());
      } else if (roll < 30 && live_.size() < 8) {
        Fork();
      } else if (roll < 35) {
        Extend();
      } else if (roll == 36) {
        EXPECT_TRUE(ledger_->SetTime(now_ms_ += Below(200)).ok());
      } else if (roll == 37 && Below(10) == 0) {
        ledger_->ClearPrefixes();
      } else {
        Step();
      }
      Hear();
      ledger_->CheckInvariants();
    }
  }

  int32_t Below(int32_t limit) { return static_cast<int32_t>(random_() % limit); }
  Ledger& ledger() { return *ledger_; }
  const PrefixMirror& mirror() const { return mirror_; }
  const Tally& tally() const { return tally_; }

 private:
  SequenceId Any() { return live_[Below(static_cast<int32_t>(live_.size()))]; }
  SequenceId Take() {
    std::swap(live_[Below(static_cast<int32_t>(live_.size()))], live_.back());
    const SequenceId id = live_.back();
    live_.pop_back();
    return id;
  }

  void Allocate() {
    const Tokens prompt = Prompt(Below(8), 1 + Below(1200));
    const Admission admission =
        *ledger_->AllocateSequence({.tokens = prompt,
                                    .priority = static_cast<Priority>(Below(3)),
                                    .time_to_live_ms = Below(3) == 0 ? 1 + Below(1000) : 0});
    live_.push_back(admission.id);
    Tally& tally = waiting_[admission.id.index];
    tally = {};
    tally.lookups += prompt.size() > 256;
    tally.hits += admission.match.matched > 0;
    tally.prompt_tokens += static_cast<int64_t>(prompt.size());
    tally.Add(admission.match);
  }

  void Extend() {
    const SequenceId id = Any();
    const PrefixMatch match = *ledger_->ExtendMatch(id);
    const auto waiting = waiting_.find(id.index);
    if (waiting == waiting_.end()) return tally_.Add(match);
    waiting->second.Add(match);
    waiting->second.hits = waiting->second.matches.matched > 0;
  }

  void Fork() {
    const SequenceId id = Any();
    if (ledger_->Info(id)->length > ledger_->Info(id)->known) return;
    live_.push_back(*ledger_->Fork(id));
    waiting_.erase(live_.back().index);  // it is no request
    ++tally_.forks;
  }

  // Feeds what is known, or one token more; what does not fit makes another sequence go.
  void Step() {
    const SequenceId id = Any();
    const SequenceInfo info = *ledger_->Info(id);
    if (info.known == info.length) {
      EXPECT_TRUE(ledger_->Commit(id, {Below(3)}).ok());
    }
    const int32_t rest = std::max(1, info.known - info.length);
    const absl::StatusOr<Plan> plan = ledger_->Append({{{id, 1 + Below(rest)}}});
    if (!plan.ok()) {
      EXPECT_TRUE(ShortageOf(plan.status()).has_value()) << plan.status();
      EXPECT_TRUE(ledger_->FreeSequence(Take()).ok());
      return;
    }
    for (const BlockCopy& copy : plan->copies()) ++tally_.copies[copy.pool];
    const auto first = waiting_.extract(id.index);
    if (first.empty()) return;
    tally_.lookups += first.mapped().lookups;
    tally_.hits += first.mapped().hits;
    tally_.prompt_tokens += first.mapped().prompt_tokens;
    tally_.Add(first.mapped().matches);
  }

  void Hear() {
    const std::vector<PrefixEvent> events = ledger_->TakeEvents();
    for (const PrefixEvent& event : events) {
      tally_.stored[0] += event.kind == Kind::kChunkStored;
      tally_.stored[1] += event.kind == Kind::kCheckpointStored;
      tally_.removed[0] += event.kind == Kind::kChunkRemoved;
      tally_.removed[1] += event.kind == Kind::kCheckpointRemoved;
    }
    mirror_.Apply(events);
    EXPECT_EQ(mirror_.fault(), "");
  }

  std::mt19937_64 random_;
  std::unique_ptr<Ledger> ledger_;
  PrefixMirror mirror_;
  Tally tally_;
  std::map<int32_t, Tally> waiting_;  // by sequence: of requests whose first step was not made yet
  std::vector<SequenceId> live_;
  int64_t now_ms_ = 0;
};

TEST(PrefixEventsTest, AMirrorOfTheEventsKnowsWhatEveryPromptFinds) {
  for (const uint64_t seed : {1, 2, 3}) {
    Work work(seed);
    int64_t found = 0;
    for (int i = 0; i < 40; ++i) {
      work.Do(50);
      const PrefixFigures figures = work.ledger().prefix_figures();
      EXPECT_EQ(work.mirror().num_chunks(), figures.indexed_chunks);
      EXPECT_EQ(work.mirror().num_checkpoints(), figures.held_checkpoints);
      for (int32_t text = 0; text < 8; ++text) {
        const Tokens prompt = Prompt(text, 1200);
        const std::vector<ChunkDigest> digests = ChunkDigests("", prompt, 256);
        const PrefixMatch match = *work.ledger().Probe({.tokens = prompt});
        EXPECT_EQ(match.matched, 256 * work.mirror().Matching(digests));
        found += match.matched;
        if (match.resumed > 0) {
          EXPECT_TRUE(work.mirror().HasCheckpoint(digests[match.resumed / 256 - 1]));
        }
      }
    }
    EXPECT_GT(found, 0);
  }
}

TEST(PrefixEventsTest, AfterRandomWorkTheFiguresAddUp) {
  Work work(7);
  work.Do(6000);
  const PrefixFigures f = work.ledger().prefix_figures();
  const Tally& t = work.tally();
  EXPECT_EQ(f.lookups, t.lookups);
  EXPECT_EQ(f.hits, t.hits);
  EXPECT_EQ(f.prompt_tokens, t.prompt_tokens);
  EXPECT_EQ(f.matched_tokens, t.matches.matched);
  EXPECT_EQ(f.resumed_tokens, t.matches.resumed);
  EXPECT_EQ(f.skipped_tokens, t.matches.skipped);
  EXPECT_EQ(f.refed_tokens, t.matches.refed);
  EXPECT_EQ(f.matched_tokens, f.resumed_tokens + f.skipped_tokens + f.refed_tokens);
  EXPECT_EQ(f.saved_tokens(), f.resumed_tokens + f.skipped_tokens);
  EXPECT_EQ(f.forks, t.forks);

  EXPECT_EQ(f.stored_chunks, t.stored[0]);
  EXPECT_EQ(f.evicted_chunks + f.expired_chunks, t.removed[0]);
  EXPECT_EQ(f.stored_chunks,
            f.indexed_chunks + f.evicted_chunks + f.expired_chunks + f.cleared_chunks);
  EXPECT_EQ(f.stored_checkpoints, t.stored[1]);
  EXPECT_EQ(f.evicted_checkpoints + f.rolled_checkpoints + f.dropped_checkpoints, t.removed[1]);
  EXPECT_EQ(f.stored_checkpoints, f.held_checkpoints + f.evicted_checkpoints +
                                      f.rolled_checkpoints + f.dropped_checkpoints +
                                      f.cleared_checkpoints);
  for (const int p : {0, 1, 2}) EXPECT_EQ(f.copied_blocks[p], t.copies[p]);
  EXPECT_EQ(f.copied_blocks[3], 0);
  EXPECT_LE(UseOf(work.ledger(), 0).cached, f.peak_checkpoint_blocks);

  // All of it happened.
  for (const auto& [name, count] :
       std::vector<std::pair<const char*, int64_t>>{{"hits", f.hits},
                                                    {"resumed_tokens", f.resumed_tokens},
                                                    {"skipped_tokens", f.skipped_tokens},
                                                    {"replayed_tokens", f.refed_tokens},
                                                    {"duplicate_chunks", f.duplicate_chunks},
                                                    {"evicted_chunks", f.evicted_chunks},
                                                    {"expired_chunks", f.expired_chunks},
                                                    {"cleared_chunks", f.cleared_chunks},
                                                    {"indexed_chunks", f.indexed_chunks},
                                                    {"evicted_checkpoints", f.evicted_checkpoints},
                                                    {"rolled_checkpoints", f.rolled_checkpoints},
                                                    {"dropped_checkpoints", f.dropped_checkpoints},
                                                    {"cleared_checkpoints", f.cleared_checkpoints},
                                                    {"missed_checkpoints", f.missed_checkpoints},
                                                    {"copied_blocks[0]", f.copied_blocks[0]},
                                                    {"copied_blocks[1]", f.copied_blocks[1]},
                                                    {"evicted_blocks[0]", f.evicted_blocks[0]},
                                                    {"evicted_blocks[1]", f.evicted_blocks[1]}}) {
    EXPECT_GT(count, 0) << name;
  }
}

TEST(PrefixEventsTest, EventsNameDigestsParentsAndDepths) {
  LedgerOptions options = {.geometry = MakeTestGeometry({}), .prefix = {.record_events = true}};
  const auto ledger = *Ledger::Create(options);
  const Tokens prompt = Text(1, 600);
  const SequenceId a = ledger->AllocateSequence({.tokens = prompt, .salt = "tenant"})->id;
  ASSERT_TRUE(ledger->Append({{{a, 600}}}).ok());
  const std::vector<ChunkDigest> digests = ChunkDigests("tenant", prompt, 256);
  const ChunkDigest root = RootDigest("tenant");
  EXPECT_EQ(ledger->TakeEvents(),
            (std::vector<PrefixEvent>{{Kind::kChunkStored, digests[0], root, 1},
                                      {Kind::kChunkStored, digests[1], digests[0], 2},
                                      {Kind::kCheckpointStored, digests[1], digests[0], 2}}));
  EXPECT_TRUE(ledger->TakeEvents().empty());
  ASSERT_TRUE(ledger->FreeSequence(a).ok());
  EXPECT_TRUE(ledger->TakeEvents().empty());
  ledger->ClearPrefixes();
  EXPECT_EQ(ledger->TakeEvents(), (std::vector<PrefixEvent>{{.kind = Kind::kCleared}}));
}

TEST(PrefixEventsTest, WhatExpiresIsToldLeavesFirst) {
  LedgerOptions options = {.geometry = MakeTestGeometry({}), .prefix = {.record_events = true}};
  const auto ledger = *Ledger::Create(options);
  const Tokens prompt = Text(1, 513);
  const SequenceId a = ledger->AllocateSequence({.tokens = prompt, .time_to_live_ms = 5})->id;
  ASSERT_TRUE(ledger->Append({{{a, 513}}}).ok());
  ASSERT_TRUE(ledger->FreeSequence(a).ok());
  ledger->TakeEvents();
  ASSERT_TRUE(ledger->SetTime(5).ok());
  const std::vector<ChunkDigest> digests = ChunkDigests("", prompt, 256);
  EXPECT_EQ(ledger->TakeEvents(),
            (std::vector<PrefixEvent>{{Kind::kCheckpointRemoved, digests[1], digests[0], 2},
                                      {Kind::kChunkRemoved, digests[1], digests[0], 2},
                                      {Kind::kChunkRemoved, digests[0], RootDigest(""), 1}}));
}

TEST(PrefixEventsTest, NothingIsRecordedUnlessAskedFor) {
  const auto ledger = *Ledger::Create({.geometry = MakeTestGeometry({})});
  const SequenceId a = ledger->AllocateSequence({.tokens = Text(1, 600)})->id;
  ASSERT_TRUE(ledger->Append({{{a, 600}}}).ok());
  EXPECT_EQ(ledger->prefix_figures().stored_chunks, 2);
  EXPECT_TRUE(ledger->TakeEvents().empty());
}

}  // namespace
}  // namespace terrace::testing
