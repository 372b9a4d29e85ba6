// PrefixFixture is a ledger with prefix reuse whose calls must succeed, and whose every answer,
// plan and event a PrefixModel looks at (prefix_model.h): what a named test does not say is checked
// all the same.

#ifndef TERRACE_TESTS_SUPPORT_PREFIX_FIXTURE_H_
#define TERRACE_TESTS_SUPPORT_PREFIX_FIXTURE_H_

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "terrace/ledger.h"
#include "tests/model/prefix_model.h"
#include "tests/support/test_geometry.h"
#include "tests/support/use_of.h"

namespace terrace::testing {

using Tokens = std::vector<int32_t>;

// `count` ids of text number `text`: two texts differ from their first token on.
inline Tokens Text(int32_t text, int32_t count) {
  Tokens tokens(count);
  for (int32_t i = 0; i < count; ++i) tokens[i] = 100'000 * text + i;
  return tokens;
}

inline Tokens operator+(Tokens a, const Tokens& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

class PrefixFixture {
 public:
  explicit PrefixFixture(const TestGeometryOptions& geometry, LedgerOptions options = {})
      : PrefixFixture(MakeTestGeometry(geometry), std::move(options)) {}
  PrefixFixture(const Geometry& geometry, LedgerOptions options)
      : options_(WithEvents(geometry, std::move(options))), model_(options_) {
    absl::StatusOr<std::unique_ptr<Ledger>> made = Ledger::Create(options_);
    EXPECT_TRUE(made.ok()) << made.status();
    ledger_ = *std::move(made);
  }

  Ledger& ledger() { return *ledger_; }
  const PrefixModel& model() const { return model_; }
  const PrefixMirror& mirror() const { return model_.mirror(); }
  PrefixFigures figures() const { return ledger_->prefix_figures(); }
  PoolUse Use(int pool) const { return UseOf(*ledger_, pool); }
  SequenceInfo Info(SequenceId id) const { return *ledger_->Info(id); }

  Admission Allocate(const SequenceRequest& request) {
    const absl::StatusOr<Admission> admission = ledger_->AllocateSequence(request);
    model_.JudgeAllocate(request, admission.status());
    EXPECT_TRUE(admission.ok()) << admission.status();
    model_.Allocate(request, *admission);
    Check();
    return *admission;
  }
  SequenceId Start(const Tokens& prompt) { return Allocate({.tokens = prompt}).id; }

  PrefixMatch Probe(const SequenceRequest& request) const {
    const absl::StatusOr<PrefixMatch> match = ledger_->Probe(request);
    EXPECT_TRUE(match.ok()) << match.status();
    EXPECT_EQ(*match, model_.ExpectMatch(request));
    return *match;
  }

  PrefixMatch Extend(SequenceId id) {
    const absl::StatusOr<PrefixMatch> match = ledger_->ExtendMatch(id);
    model_.JudgeExtend(id, match.status());
    EXPECT_TRUE(match.ok()) << match.status();
    model_.Extend(id, *match, Info(id));
    Check();
    return *match;
  }
  SequenceId Fork(SequenceId id) {
    const absl::StatusOr<SequenceId> child = ledger_->Fork(id);
    model_.JudgeFork(id, child.status());
    EXPECT_TRUE(child.ok()) << child.status();
    model_.Fork(id, *child);
    Check();
    return *child;
  }

  // One step, if there is room for it.
  absl::StatusOr<Plan> TryAppend(const std::vector<StepRequest>& batch) {
    absl::StatusOr<Plan> plan = ledger_->Append(batch);
    model_.JudgeAppend(batch, plan.status());
    if (plan.ok()) model_.Append(batch, *plan);
    Check();
    return plan;
  }
  Plan Append(const std::vector<StepRequest>& batch) {
    absl::StatusOr<Plan> plan = TryAppend(batch);
    EXPECT_TRUE(plan.ok()) << plan.status();
    return *std::move(plan);
  }
  // Feeds what is known and has no row, in one step.
  void Feed(SequenceId id) { Append({{id, Info(id).known - Info(id).length}}); }

  void Commit(SequenceId id, const Tokens& tokens) {
    const absl::Status status = ledger_->Commit(id, tokens);
    model_.JudgeCommit(id, static_cast<int64_t>(tokens.size()), status);
    EXPECT_TRUE(status.ok()) << status;
    model_.Commit(id, tokens);
    Check();
  }
  // What the sequence says next: committed, then fed, one token a step.
  void Decode(SequenceId id, const Tokens& tokens) {
    for (const int32_t token : tokens) {
      Commit(id, {token});
      Append({{id, 1}});
    }
  }
  // Feeds `drafts` as drafts behind one token that is known already.
  Plan Draft(SequenceId id, const Tokens& drafts) {
    model_.Guess(id, drafts);
    const int32_t count = static_cast<int32_t>(drafts.size());
    return Append({{id, 1 + count, count}});
  }
  void Truncate(SequenceId id, int32_t length) {
    const absl::Status status = ledger_->Truncate(id, length);
    model_.JudgeTruncate(id, length, status);
    EXPECT_TRUE(status.ok()) << status;
    model_.Truncate(id, length);
    Check();
  }
  void Free(SequenceId id) {
    const absl::Status status = ledger_->FreeSequence(id);
    model_.JudgeFree(id, status);
    EXPECT_TRUE(status.ok()) << status;
    model_.Hear(ledger_->TakeEvents());
    model_.Free(id);
    Check();
  }
  void Retire(uint64_t plan) {
    const absl::Status status = ledger_->Retire(PlanNumber(plan));
    model_.JudgeRetire(plan, status);
    EXPECT_TRUE(status.ok()) << status;
    model_.Retire(plan);
    Check();
  }
  Abandoned Abandon(uint64_t first) {
    const absl::StatusOr<Abandoned> abandoned = ledger_->Abandon(PlanNumber(first));
    model_.JudgeAbandon(first, abandoned.status());
    EXPECT_TRUE(abandoned.ok()) << abandoned.status();
    model_.Abandon(first, *abandoned, ledger_->TakeEvents());
    Check();
    return *abandoned;
  }
  Abandoned Distrust(const std::vector<Distrusted>& sequences) {
    const absl::StatusOr<Abandoned> abandoned = ledger_->Distrust(sequences);
    model_.JudgeDistrust(sequences, abandoned.status());
    EXPECT_TRUE(abandoned.ok()) << abandoned.status();
    model_.Distrust(sequences, *abandoned, ledger_->TakeEvents());
    Check();
    return *abandoned;
  }
  void SetTime(int64_t now_ms) {
    const absl::Status status = ledger_->SetTime(now_ms);
    EXPECT_TRUE(status.ok()) << status;
    Check();
  }
  void ClearPrefixes() {
    ledger_->ClearPrefixes();
    model_.ClearPrefixes();
    Check();
  }

  // A whole life: what it matched stays, what it computed is cached when it is gone.
  PrefixMatch Run(const SequenceRequest& request, const Tokens& output = {}) {
    const Admission admission = Allocate(request);
    if (!request.tokens.empty()) Feed(admission.id);
    Decode(admission.id, output);
    Free(admission.id);
    return admission.match;
  }
  bool IsCached(const Tokens& tokens, absl::string_view salt = {}) const {
    const int32_t chunk = options_.geometry.chunk_tokens;
    return mirror().HasChunk(ChunkDigests(salt, tokens, chunk).back());
  }
  // Whether there is a checkpoint behind all of `tokens`.
  bool HasCheckpoint(const Tokens& tokens, absl::string_view salt = {}) const {
    const int32_t chunk = options_.geometry.chunk_tokens;
    return mirror().HasCheckpoint(ChunkDigests(salt, tokens, chunk).back());
  }

  void Check() {
    model_.Hear(ledger_->TakeEvents());
    model_.Check(*ledger_);
    ledger_->CheckInvariants();
    EXPECT_EQ(model_.fault(), "");
  }

  // All tables and pools.
  std::string Dump() const {
    const Plan snapshot = *ledger_->Snapshot();
    std::string dump(reinterpret_cast<const char*>(snapshot.bytes().data()),
                     snapshot.bytes().size());
    for (int p = 0; p < options_.geometry.num_pools; ++p) {
      const PoolUse use = UseOf(*ledger_, p);
      for (const int32_t n : {use.free, use.live, use.cached, use.draining}) {
        dump += std::to_string(n) + " ";
      }
    }
    return dump;
  }

 private:
  static LedgerOptions WithEvents(const Geometry& geometry, LedgerOptions options) {
    options.geometry = geometry;
    options.prefix.record_events = true;
    return options;
  }

  const LedgerOptions options_;
  PrefixModel model_;
  std::unique_ptr<Ledger> ledger_;
};

}  // namespace terrace::testing

#endif  // TERRACE_TESTS_SUPPORT_PREFIX_FIXTURE_H_
