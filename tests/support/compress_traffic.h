// CompressTraffic is random traffic through a CompressDriver: admissions, chunks, drafts and
// rejections, late ids, forks and resumes. Where it is lossy, some steps run in part or not at all,
// and are abandoned; all that they were to write is poisoned. Now and then the whole store is.
//
// Every row that a query reads is compared. Windows are in the step that reads them. An entry stays
// as it was read until its sequence leaves or starts over, and is compared then, with one pass over
// the sequence's tokens.

#ifndef TERRACE_TESTS_SUPPORT_COMPRESS_TRAFFIC_H_
#define TERRACE_TESTS_SUPPORT_COMPRESS_TRAFFIC_H_

#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <random>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "tests/support/compress_driver.h"
#include "tests/support/plan_shadow.h"
#include "tests/support/window_rows.h"

namespace terrace::testing {

inline std::vector<int32_t> RandomIds(std::mt19937_64& random, int count) {
  std::vector<int32_t> ids(count);
  for (int32_t& id : ids) id = static_cast<int32_t>(random() % 50000);
  return ids;
}

class CompressTraffic {
 public:
  CompressTraffic(const CompressOptions& options, std::shared_ptr<Backend> backend, int seed,
                  bool lossy = false)
      : random_(seed),
        driver_(options, backend),
        windows_(driver_.model(), driver_.store()),
        shadow_(driver_.model(), driver_.geometry()),
        in_flight_(options.in_flight_plans),
        lossy_(lossy) {
    CompressOptions alone = options;
    alone.prefix_reuse = false;
    alone.in_flight_plans = 0;
    alone.make_entries = {};
    reference_ = std::make_unique<CompressDriver>(alone, backend);
    for (int i = 0; i < 2; ++i) prompts_.push_back(RandomIds(random_, kCompressTokens));
  }

  struct Figures {
    int steps = 0;
    int empty_steps = 0;
    int rejections = 0;
    int over_csa_border = 0;  // rejections that took an entry back
    int over_hca_border = 0;
    int forks = 0;
    int late_commits = 0;
    int64_t resumed = 0;  // tokens
    int64_t refed = 0;
    int snapshots_in_step = 0;
    int snapshots_of_settled = 0;
    int checks = 0;
    int64_t window_rows = 0;  // compared
    int lost_steps = 0;
    int lost_stores = 0;
    int started_over = 0;  // sequences
    int recovered = 0;     // of them, those that found something
  };
  Figures figures() const {
    Figures figures = figures_;
    figures.window_rows = windows_.checked();
    return figures;
  }
  Counters counters() { return driver_.store().ReadCounters(); }
  Ledger& ledger() { return driver_.ledger(); }

  void Act() {
    switch (random_() % 12) {
      case 0:
      case 1:
        Admit();
        break;
      case 2:
        ForkOne();
        break;
      case 3:
        FreeOne();
        break;
      default:
        Step();
    }
  }

  // Frees and checks what is left. No step began elsewhere than where its state pages stood.
  void FreeAll() {
    while (!live_.empty()) FreeOne();
    ASSERT_TRUE(driver_.backend().Synchronize(Stream{}).ok());
    EXPECT_EQ(driver_.backend().ReadCounters().stale_states, 0u);
  }

 private:
  // A sequence as its caller knows it.
  struct Live {
    SequenceId id;
    std::vector<int32_t> ids;  // known to the ledger, then fed ahead of it
    int32_t known = 0;
    int32_t length = 0;
    int32_t window_from = 0;  // window rows before it do not exist
    bool fed = false;         // so that the store knows its blocks
  };

  int Below(int bound) { return static_cast<int>(random_() % bound); }

  void Admit() {
    // A prefix of a common prompt, often about a chunk's end, then tokens of its own.
    const std::vector<int32_t>& prompt = prompts_[Below(2)];
    const int common = Below(2) == 0 ? 256 * (1 + Below(3)) + Below(9) - 4 : 1 + Below(800);
    Live live;
    live.ids.assign(prompt.begin(), prompt.begin() + common);
    const std::vector<int32_t> own = RandomIds(random_, Below(40));
    live.ids.insert(live.ids.end(), own.begin(), own.end());
    live.known = static_cast<int32_t>(live.ids.size());
    const auto admission = driver_.ledger().AllocateSequence({.tokens = live.ids});
    if (!admission.ok()) return;  // all sequences are taken
    live.id = admission->id;
    Resume(*admission, live);
    figures_.resumed += admission->match.resumed;
    figures_.refed += admission->match.refed;
    live_.push_back(std::move(live));
  }

  static void Resume(const Admission& admission, Live& live) {
    live.length = admission.length;
    live.window_from = admission.match.skipped > 0 ? admission.length : 0;
  }

  void ForkOne() {
    if (live_.empty()) return;
    const Live& parent = live_[Below(static_cast<int>(live_.size()))];
    const auto child = driver_.ledger().Fork(parent.id);
    if (!child.ok()) return;  // unknown ids, or no sequence
    Live live = parent;
    live.id = *child;
    live.fed = false;
    live_.push_back(std::move(live));
    ++figures_.forks;
  }

  void FreeOne() {
    if (live_.empty()) return;
    const int index = Below(static_cast<int>(live_.size()));
    Check(live_[index]);
    ASSERT_TRUE(driver_.ledger().FreeSequence(live_[index].id).ok());
    live_.erase(live_.begin() + index);
  }

  void Step() {
    std::vector<StepRequest> batch;
    std::vector<int> chosen;
    int room = kCompressTokens;
    for (size_t i = 0; i < live_.size(); ++i) {
      Live& live = live_[i];
      if (Below(3) == 0) continue;
      StepRequest request = Plan(live);
      if (request.tokens == 0 || request.tokens > room) continue;
      room -= request.tokens;
      batch.push_back(request);
      chosen.push_back(static_cast<int>(i));
    }
    if (batch.empty() ? Below(4) != 0 : Below(16) == 0) {  // a step of no sequence, or none
      if (batch.empty()) return;
      batch.clear();
      chosen.clear();
    }
    if (lossy_ && Below(16) == 0) return LoseSteps(batch, chosen);
    const auto plan = driver_.ledger().Append(batch);
    if (!plan.ok()) {
      ASSERT_EQ(plan.status().code(), absl::StatusCode::kResourceExhausted) << plan.status();
      Retire();
      return;
    }
    ++figures_.steps;
    figures_.empty_steps += batch.empty();
    figures_.snapshots_of_settled += plan->num_settled_checkpoints();
    figures_.snapshots_in_step += plan->header().num_checkpoints - plan->num_settled_checkpoints();
    const auto ids = IdsOf(chosen);
    shadow_.Follow(*plan);
    driver_.Run(*plan, ids);
    if (::testing::Test::HasFatalFailure()) return;
    windows_.Write(*plan, ids);
    std::vector<int32_t> window_from;
    for (const int i : chosen) window_from.push_back(live_[i].window_from);
    windows_.Check(*plan, ids, window_from);
    for (size_t i = 0; i < chosen.size(); ++i) {
      live_[chosen[i]].length += batch[i].tokens;
      live_[chosen[i]].fed = true;
      Settle(live_[chosen[i]], batch[i].drafts);
    }
    if (in_flight_ > 0) Retire();
  }

  std::vector<std::vector<int32_t>> IdsOf(const std::vector<int>& chosen) const {
    std::vector<std::vector<int32_t>> ids;
    for (const int i : chosen) ids.push_back(live_[i].ids);
    return ids;
  }

  // Up to three steps of the batch, of which the first runs in part.
  void LoseSteps(const std::vector<StepRequest>& batch, const std::vector<int>& chosen) {
    for (const int i : chosen) Check(live_[i]);
    uint64_t first = driver_.ledger().last_plan().value() + 1;
    std::vector<PlanShadow::Piece> unwritten;
    for (int i = 1 + Below(3); i > 0; --i) {
      const auto plan = driver_.ledger().Append(batch);
      if (!plan.ok()) break;
      ++figures_.lost_steps;
      shadow_.Follow(*plan);
      const auto pieces = shadow_.PiecesOf(*plan, driver_.store());
      unwritten.insert(unwritten.end(), pieces.begin(), pieces.end());
      if (plan->number().value() > first || Below(3) == 0) continue;
      ASSERT_TRUE(driver_.store().Begin(*plan, Stream{}).ok());
      const int layer = CompressDriver::kCsaLayer;
      if (Below(2) == 0) continue;
      ASSERT_TRUE(driver_.store().Compress(layer, driver_.Inputs(layer), Stream{}).ok());
    }
    if (driver_.ledger().last_plan().value() < first) return Retire();
    if (Below(8) == 0) {  // a store that comes back with nothing
      ++figures_.lost_stores;
      for (const Live& live : live_) Check(live);
      first = 1;
      unwritten = shadow_.AllPieces(driver_.store());
    }
    const auto abandoned = driver_.ledger().Abandon(PlanNumber(first));
    ASSERT_TRUE(abandoned.ok()) << abandoned.status();
    for (const Admission& admission : abandoned->sequences) {
      ++figures_.started_over;
      figures_.recovered += admission.match.matched > 0;
      const auto live = std::find_if(live_.begin(), live_.end(),
                                     [&](const Live& one) { return one.id == admission.id; });
      ASSERT_TRUE(live != live_.end());
      Resume(admission, *live);
      live->ids.resize(live->known);
      live->fed = false;
    }
    PlanShadow::Poison(unwritten, driver_.backend());
    const absl::StatusOr<terrace::Plan> snapshot = driver_.ledger().Snapshot();
    ASSERT_TRUE(snapshot.ok()) << snapshot.status();
    ASSERT_TRUE(driver_.store().Begin(*snapshot, Stream{}).ok());
    shadow_.Follow(*snapshot);
    if (in_flight_ > 0) Retire();
  }

  // What the sequence feeds next. The ids of its rows are in `ids` then.
  StepRequest Plan(Live& live) {
    const int32_t ahead = live.known - live.length;
    if (live.length + kCompressDrafts + 2 >= kCompressTokens) return {};
    if (ahead > 1) {  // a chunk of the prompt
      const int32_t chunk = 1 + Below(Below(2) == 0 ? 20 : ahead);
      return {.id = live.id, .tokens = std::min(chunk, ahead)};
    }
    if (ahead == 1) {  // the sampled token, and drafts
      const int drafts = Below(kCompressDrafts + 1);
      live.ids.resize(live.known);
      for (int i = 0; i < drafts; ++i) live.ids.push_back(Below(50000));
      return {.id = live.id, .tokens = 1 + drafts, .drafts = drafts};
    }
    if (live.length - live.known > 6) return {};
    live.ids.resize(live.length);  // a token whose id the ledger learns later
    live.ids.push_back(Below(50000));
    return {.id = live.id, .tokens = 1};
  }

  void Settle(Live& live, int drafts) {
    if (Below(8) == 0) Check(live);  // with its drafts
    if (drafts > 0) {
      const int rejected = Below(drafts + 1);
      const int32_t length = live.length - rejected;
      ASSERT_TRUE(driver_.ledger().Truncate(live.id, length).ok());
      figures_.rejections += rejected > 0;
      figures_.over_csa_border += live.length / 4 > length / 4;
      figures_.over_hca_border += live.length / 128 > length / 128;
      live.length = length;
      live.ids.resize(length);
    }
    if (live.length < live.known) return;
    if (drafts == 0 && Below(3) == 0) return;  // commits later
    figures_.late_commits += live.length - live.known > 1;
    std::vector<int32_t> settled(live.ids.begin() + live.known, live.ids.begin() + live.length);
    if (static_cast<int>(live.ids.size()) == live.length) live.ids.push_back(Below(50000));
    settled.push_back(live.ids[live.length]);
    ASSERT_TRUE(driver_.ledger().Commit(live.id, settled).ok());
    live.known = live.length + 1;
  }

  void Retire() {
    if (in_flight_ == 0) return;
    const uint64_t last = driver_.ledger().last_plan().value();
    const uint64_t keep = Below(in_flight_);
    if (last > keep && last - keep > retired_) {
      retired_ = last - keep;
      ASSERT_TRUE(driver_.ledger().Retire(PlanNumber(retired_)).ok());
    }
  }

  void Check(const Live& live) {
    if (!live.fed) return;
    ++figures_.checks;
    const std::vector<int32_t> ids(live.ids.begin(), live.ids.begin() + live.length);
    auto& expected = one_pass_[ids];
    if (expected.empty()) expected = reference_->OnePass(ids);
    const std::vector<uint8_t> found = driver_.Entries(live.id.index, live.length);
    ASSERT_EQ(found.size(), expected.size());
    const auto differ = std::mismatch(found.begin(), found.end(), expected.begin());
    ASSERT_TRUE(differ.first == found.end())
        << "sequence index " << live.id.index << ", " << live.length << " tokens, byte "
        << differ.first - found.begin() << " of " << found.size();
  }

  std::mt19937_64 random_;
  CompressDriver driver_;
  WindowRows windows_;
  PlanShadow shadow_;
  std::unique_ptr<CompressDriver> reference_;
  int in_flight_;
  bool lossy_;
  uint64_t retired_ = 0;
  std::vector<std::vector<int32_t>> prompts_;
  std::vector<Live> live_;
  std::map<std::vector<int32_t>, std::vector<uint8_t>> one_pass_;
  Figures figures_;
};

}  // namespace terrace::testing

#endif  // TERRACE_TESTS_SUPPORT_COMPRESS_TRAFFIC_H_
