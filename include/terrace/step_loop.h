// StepLoop makes a scheduler's next plan, and room for it where blocks are short. It does what costs
// least first:
//
//   1. Retire, if plans in flight hold enough.
//   2. Preempt the newest sequence. From then on no more sequences run at one time than are left, so
//      that nobody is admitted until one has finished: who is admitted into a full pool is preempted
//      next. When as many have finished as may run, one more may, then two more, then four.
//   3. Refuse a sequence that is alone and does not fit.
//
// It knows no requests and no tokens: the engine says who is served, and how a sequence is preempted.
//
//   while (requests are left) {
//     plan = loop.Next();                     NextBatch -> Append, with Retire and Preempt between
//     run the plan; Truncate, Commit, FreeSequence
//     loop.Finished() for each sequence that ended
//   }
//
// Thread-safe: no; it belongs to the scheduler's thread.

#ifndef TERRACE_STEP_LOOP_H_
#define TERRACE_STEP_LOOP_H_

#include <cstdint>
#include <limits>
#include <optional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "terrace/ids.h"
#include "terrace/ledger.h"
#include "terrace/plan.h"

namespace terrace {

// StepEngine is the scheduler behind a StepLoop. What a call fails with, Next fails with.
class StepEngine {
 public:
  virtual ~StepEngine() = default;

  // The sequences of the next step; with new ones among them while fewer than `most_running` run.
  // It is asked again after each Retire, Preempt and Refuse. Empty: nobody can be served now. The
  // answer is read until the next call of the engine.
  virtual absl::StatusOr<absl::Span<const StepRequest>> NextBatch(int32_t most_running) = 0;
  // Sequences that have a handle.
  virtual int32_t num_running() const = 0;
  // Ledger::Append, or Cache::Append.
  virtual absl::StatusOr<Plan> Append(absl::Span<const StepRequest> batch) = 0;
  // Waits until every plan up to `plan` has run on all workers, and retires it.
  virtual absl::Status Retire(PlanNumber plan) = 0;
  // Frees the sequence that was admitted last, and queues it again, before all others, with all the
  // ids that it knows (SequenceRequest::returning).   REQUIRES: num_running() > 1.
  virtual absl::Status Preempt() = 0;
  // The only sequence that runs never fits, for reason `why`. Frees it, and fails its request; or
  // returns `why`, which ends the loop.
  virtual absl::Status Refuse(const absl::Status& why) = 0;
};

class StepLoop {
 public:
  // `engine` must outlive it. `in_flight_plans` is the ledger's; all plans up to `last_plan` are
  // retired.
  StepLoop(StepEngine& engine, int32_t in_flight_plans, PlanNumber last_plan = PlanNumber(0))
      : engine_(engine),
        in_flight_plans_(static_cast<uint64_t>(in_flight_plans)),
        last_plan_(last_plan.value()),
        retired_(last_plan.value()) {}
  StepLoop(const StepLoop&) = delete;
  StepLoop& operator=(const StepLoop&) = delete;

  // The plan of the next step; none if NextBatch has nobody.
  // Errors: those of the engine, other than a shortage.
  absl::StatusOr<std::optional<Plan>> Next();
  // A sequence ended.
  void Finished();
  // Retires all plans: at the end.
  absl::Status RetireAll() { return RetireUpTo(last_plan_); }

 private:
  static constexpr int32_t kUnlimited = std::numeric_limits<int32_t>::max();

  absl::Status MakeRoom(const absl::Status& why);
  absl::Status RetireUpTo(uint64_t plan);

  StepEngine& engine_;
  const uint64_t in_flight_plans_;
  uint64_t last_plan_;
  uint64_t retired_;
  int32_t most_running_ = kUnlimited;  // at one time
  int32_t finished_ = 0;               // since that changed
  int32_t growth_ = 1;                 // of most_running_, when as many have finished
};

}  // namespace terrace

#endif  // TERRACE_STEP_LOOP_H_
