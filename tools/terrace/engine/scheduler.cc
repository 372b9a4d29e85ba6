#include "tools/terrace/engine/scheduler.h"

#include <algorithm>
#include <utility>

#include "src/base/status_macros.h"

namespace terrace::tools {

Scheduler::Scheduler(Ledger* ledger, absl::Span<const TraceRequest> requests, StepRunner* runner,
                     const SchedulerOptions& options)
    : ledger_(ledger),
      requests_(requests),
      runner_(runner),
      options_(options),
      served_(requests.size()),
      loop_(*this, options.in_flight, ledger->last_plan()) {
  stats_.requests = static_cast<int64_t>(requests.size());
}

absl::Status Scheduler::Run() {
  while (stats_.completed + stats_.failed < stats_.requests) {
    if (stop_ && stop_()) {
      stats_.interrupted = true;
      while (!running_.empty()) TERRACE_RETURN_IF_ERROR(FreeNewest(FreeReason::kCancelled));
      break;
    }
    AdmitArrivals();
    if (running_.empty() && waiting_.empty()) {
      now_ms_ = requests_[arrived_].arrival_ms;
      continue;
    }
    TERRACE_ASSIGN_OR_RETURN(const std::optional<Plan> plan, Schedule());
    if (!plan.has_value()) continue;
    TERRACE_RETURN_IF_ERROR(CountBlocks());
    TERRACE_RETURN_IF_ERROR(RunStep(*plan));
    TERRACE_RETURN_IF_ERROR(Postprocess());
    CountStep();
    if (on_step_) on_step_(stats_);
  }
  TERRACE_RETURN_IF_ERROR(loop_.RetireAll());
  TERRACE_RETURN_IF_ERROR(CountBlocks());
  if (on_step_) on_step_(stats_);
  return absl::OkStatus();
}

void Scheduler::AdmitArrivals() {
  while (arrived_ < requests_.size() && requests_[arrived_].arrival_ms <= now_ms_) {
    waiting_.push_back(static_cast<int32_t>(arrived_++));
  }
}

absl::StatusOr<std::optional<Plan>> Scheduler::Schedule() {
  ledger_time_.Take();
  constexpr double kLatest = 1e15;  // ms: a clock that runs far ahead still fits an int64_t
  const int64_t now_ms = static_cast<int64_t>(std::min(now_ms_, kLatest));
  TERRACE_RETURN_IF_ERROR(ledger_time_.Time([&] { return ledger_->SetTime(now_ms); }));
  return loop_.Next();
}

absl::StatusOr<Plan> Scheduler::Append(absl::Span<const StepRequest> batch) {
  return ledger_time_.Time([&] { return ledger_->Append(batch); });
}

absl::Status Scheduler::Retire(PlanNumber plan) {
  if (runner_ != nullptr) TERRACE_RETURN_IF_ERROR(runner_->Wait());
  return ledger_time_.Time([&] { return ledger_->Retire(plan); });
}

absl::Status Scheduler::Preempt() {
  waiting_.push_front(running_.back().request);
  if (running_.back().fed) ++stats_.preemptions;
  return FreeNewest(FreeReason::kPreempted);
}

absl::Status Scheduler::Refuse(const absl::Status&) {
  ++stats_.failed;
  return FreeNewest(FreeReason::kCancelled);
}

absl::Status Scheduler::FreeNewest(FreeReason reason) {
  const SequenceId id = running_.back().id;
  running_.pop_back();
  return ledger_time_.Time([&] { return ledger_->FreeSequence(id, reason); });
}

absl::Status Scheduler::RunStep(const Plan& plan) {
  sequences_.clear();
  for (const BatchItem& item : batch_) sequences_.push_back(item.part);
  return runner_ == nullptr ? absl::OkStatus() : runner_->Run(plan, sequences_);
}

}  // namespace terrace::tools
