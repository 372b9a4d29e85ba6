// LedgerTrial carries out instructions on a ledger and a LedgerModel. Each operation that would
// take blocks is first made to run short at every place where it can, and must then change nothing:
// a twin ledger that never saw the shortages goes on making the same plans, byte for byte.

#ifndef TERRACE_TESTS_MODEL_LEDGER_TRIAL_H_
#define TERRACE_TESTS_MODEL_LEDGER_TRIAL_H_

#include <algorithm>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "terrace/ledger.h"
#include "tests/model/ledger_model.h"
#include "tests/support/use_of.h"

namespace terrace::testing {

// One call.
struct LedgerInstruction {
  enum class Kind { kAllocate, kAppend, kCommit, kTruncate, kFree, kRetire, kSnapshot };
  Kind kind = Kind::kSnapshot;
  SequenceId id = {};                   // commit, truncate, free
  int32_t number = 0;                   // allocate, commit: tokens; truncate: length; retire: plan
  std::vector<StepRequest> batch = {};  // append

  std::string ToString() const {
    const std::string handle = absl::StrFormat("{%d, %d}", id.index, id.generation);
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
      absl::StrAppendFormat(&text, "{{%d, %d}, %d, %d} ", request.id.index, request.id.generation,
                            request.tokens, request.drafts);
    }
    return text + ")";
  }
};

class LedgerTrial {
 public:
  LedgerTrial(const Geometry& geometry, int32_t in_flight_plans)
      : geometry_(geometry),
        model_(geometry_, in_flight_plans),
        tokens_(geometry_.max_context_tokens + 1, 7) {
    LedgerOptions options{.geometry = geometry_,
                          .epoch = 1,
                          .in_flight_plans = in_flight_plans,
                          .prefix = {.enabled = false}};
    twin_ = *Ledger::Create(options);
    options.inject_shortage = [this](PoolIndex pool) {
      if (countdown_-- != 0) return false;
      injected_pool_ = pool;
      return true;
    };
    ledger_ = *Ledger::Create(options);
  }

  const LedgerModel& model() const { return model_; }

  // One operation; the fault it found, or nothing.
  std::string Step(const LedgerInstruction& instruction) {
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
  using Kind = LedgerInstruction::Kind;

  void Execute(const LedgerInstruction& instruction) {
    const SequenceId id = instruction.id;
    const int32_t number = instruction.number;
    const absl::Span<const int32_t> tokens(tokens_.data(),
                                           std::clamp<size_t>(number, 0, tokens_.size()));
    switch (instruction.kind) {
      case Kind::kAllocate: {
        const SequenceRequest request = {.tokens = tokens, .ids_ahead = number % 2 == 0};
        const absl::StatusOr<Admission> a = ledger_->AllocateSequence(request);
        const absl::StatusOr<Admission> b = twin_->AllocateSequence(request);
        Expect(a.ok() == b.ok() && (!a.ok() || a->id == b->id), "the twin gave another handle");
        if (Agree(model_.ExpectAllocate(number), a.status())) {
          model_.Allocate(a->id, number, request.ids_ahead);
        }
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
      injected_pool_ = kNoPool;
      countdown_ = place;
      plan = ledger_->Append(batch);
      if (injected_pool_ == kNoPool) break;  // the step has fewer places: it ran
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
      const PoolUse use = UseOf(*ledger_, p);
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
           absl::StrCat("expected ", absl::StatusCodeToString(expected.code), " (pool ",
                        want.pool.value(), ", ", want.missing_blocks, " blocks), got ",
                        status.ToString()));
    return status.ok() && fault_.empty();
  }

  bool Expect(bool condition, absl::string_view what) {
    if (!condition && fault_.empty()) fault_ = std::string(what);
    return condition;
  }

  static constexpr int kNever = -1000;

  const Geometry geometry_;
  LedgerModel model_;
  const std::vector<int32_t> tokens_;
  std::unique_ptr<Ledger> ledger_;
  std::unique_ptr<Ledger> twin_;
  std::deque<std::string> history_;
  std::string fault_;
  Counts counts_;
  int countdown_ = kNever;             // calls of the hook until it says yes
  PoolIndex injected_pool_ = kNoPool;  // where it did
};

}  // namespace terrace::testing

#endif  // TERRACE_TESTS_MODEL_LEDGER_TRIAL_H_
