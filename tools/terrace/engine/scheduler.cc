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
      retired_(ledger->last_plan().value()) {
  stats_.requests = static_cast<int64_t>(requests.size());
}

absl::Status Scheduler::Run() {
  while (stats_.completed + stats_.failed < stats_.requests) {
    if (stop_ && stop_()) {
      stats_.interrupted = true;
      while (!running_.empty()) TERRACE_RETURN_IF_ERROR(Preempt());
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
  TERRACE_RETURN_IF_ERROR(RetireAllBut(0));
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
  for (;;) {
    TERRACE_RETURN_IF_ERROR(BuildBatch());
    if (batch_.empty()) return std::nullopt;
    TERRACE_RETURN_IF_ERROR(RetireAllBut(std::max(0, options_.in_flight - 1)));
    absl::StatusOr<Plan> plan = AppendBatch();
    if (plan.ok()) return std::optional<Plan>(*std::move(plan));
    TERRACE_RETURN_IF_ERROR(MakeRoom(plan.status()));
  }
}

// Waits for plans in flight, else preempts the newest sequence. One that is alone and does not fit
// never will.
absl::Status Scheduler::MakeRoom(const absl::Status& shortage) {
  const std::optional<Shortage> reason = ShortageOf(shortage);
  if (!reason.has_value()) return shortage;
  if (reason->retry_later && options_.in_flight > 0 && InFlight() > 0) return RetireAllBut(0);
  const Running& newest = running_.back();
  if (running_.size() > 1) {
    waiting_.push_front(newest.request);
    if (newest.fed) ++stats_.preemptions;
    admitting_ = false;
    return Preempt();
  }
  // Nobody else holds a block and none drains: the ledger lost some.
  if (reason->retry_later) return shortage;
  ++stats_.failed;
  admitting_ = true;
  return Preempt();
}

absl::Status Scheduler::Preempt() {
  const SequenceId id = running_.back().id;
  running_.pop_back();
  return ledger_time_.Time([&] { return ledger_->FreeSequence(id); });
}

absl::Status Scheduler::RetireAllBut(int64_t most) {
  if (options_.in_flight == 0 || InFlight() <= most) return absl::OkStatus();
  if (runner_ != nullptr) TERRACE_RETURN_IF_ERROR(runner_->Wait());
  retired_ = ledger_->last_plan().value() - static_cast<uint64_t>(most);
  return ledger_time_.Time([&] { return ledger_->Retire(PlanNumber(retired_)); });
}

absl::Status Scheduler::RunStep(const Plan& plan) {
  sequences_.clear();
  for (const BatchItem& item : batch_) sequences_.push_back(item.part);
  return runner_ == nullptr ? absl::OkStatus() : runner_->Run(plan, sequences_);
}

}  // namespace terrace::tools
