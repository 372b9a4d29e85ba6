#include "tools/terrace/engine/scheduler.h"

#include <algorithm>
#include <utility>

#include "src/base/check.h"
#include "tools/terrace/contents/hash.h"
#include "tools/terrace/trace/token_ids.h"

namespace terrace::tools {

Scheduler::Scheduler(Ledger* ledger, absl::Span<const TraceRequest> requests, StepRunner* runner,
                     const SchedulerOptions& options)
    : ledger_(ledger),
      requests_(requests),
      runner_(runner),
      options_(options),
      generated_(requests.size()),
      most_rows_(requests.size()),
      retired_(ledger->last_plan().value()) {
  stats_.requests = static_cast<int64_t>(requests.size());
}

absl::Status Scheduler::Run() {
  while (stats_.completed + stats_.failed < stats_.requests) {
    AdmitArrivals();
    if (running_.empty() && waiting_.empty()) {
      now_ms_ = requests_[arrived_].arrival_ms;
      continue;
    }
    ledger_time_ = {};
    const int64_t now_ms = static_cast<int64_t>(now_ms_);
    absl::Status told = Timed([&] { return ledger_->SetTime(now_ms); });
    if (!told.ok()) return told;
    absl::StatusOr<std::optional<Plan>> plan = AppendWhatFits();
    if (!plan.ok()) return plan.status();
    if (!plan->has_value()) continue;
    CountBlocks();
    if (runner_ != nullptr) {
      if (absl::Status status = runner_->Run(**plan, lanes_); !status.ok()) return status;
    }
    if (absl::Status status = Settle(); !status.ok()) return status;
    CountStep();
    if (on_step_) on_step_(stats_);
  }
  if (absl::Status status = RetireAllBut(0); !status.ok()) return status;
  CountBlocks();
  if (on_step_) on_step_(stats_);
  return absl::OkStatus();
}

void Scheduler::AdmitArrivals() {
  while (arrived_ < requests_.size() && requests_[arrived_].arrival_ms <= now_ms_) {
    waiting_.push_back(static_cast<int32_t>(arrived_++));
  }
}

// No plan: nothing that waits can be served.
absl::StatusOr<std::optional<Plan>> Scheduler::AppendWhatFits() {
  for (;;) {
    if (absl::Status status = BuildBatch(); !status.ok()) return status;
    if (batch_.empty()) return std::nullopt;
    absl::Status status = RetireAllBut(std::max(0, options_.in_flight - 1));
    if (!status.ok()) return status;
    absl::StatusOr<Plan> plan = Timed([&] { return ledger_->Append(batch_); });
    if (plan.ok()) return std::optional<Plan>(*std::move(plan));
    if (status = MakeRoom(plan.status()); !status.ok()) return status;
  }
}

absl::Status Scheduler::BuildBatch() {
  batch_.clear();
  lanes_.clear();
  batch_running_.clear();
  int32_t budget = options_.step_tokens;
  const int32_t count = static_cast<int32_t>(running_.size());
  for (int32_t i = 0; i < count && budget > 0; ++i) {
    if (running_[i].unfed() != 1) continue;
    const int32_t drafts =
        std::max(0, std::min({options_.drafts, OutputLeft(running_[i]) - 1, budget - 1}));
    AddToBatch(i, 1 + drafts, drafts);
    budget -= 1 + drafts;
  }
  for (int32_t i = 0; i < count && budget > 0; ++i) {
    Running& sequence = running_[i];
    if (sequence.unfed() == 1) continue;
    if (absl::Status status = ExtendMatch(sequence); !status.ok()) return status;
    const int32_t tokens = std::min(budget, sequence.unfed());
    AddToBatch(i, tokens, 0);
    budget -= tokens;
  }
  return AdmitWaiting(budget);
}

// Shares what others published since. Rows that the sequence passes over are never fed.
absl::Status Scheduler::ExtendMatch(Running& sequence) {
  const absl::StatusOr<PrefixMatch> match =
      Timed([&] { return ledger_->ExtendMatch(sequence.id); });
  if (!match.ok()) return match.status();
  if (match->matched == 0) return absl::OkStatus();
  const absl::StatusOr<SequenceInfo> info = ledger_->Info(sequence.id);
  if (!info.ok()) return info.status();
  sequence.shared.write_from = info->write_from;
  if (info->length == sequence.length) return absl::OkStatus();
  sequence.length = info->length;
  sequence.shared.resumed_at = info->length;
  sequence.shared.window_from = match->skipped > 0 ? info->length : 0;
  return absl::OkStatus();
}

absl::Status Scheduler::AdmitWaiting(int32_t budget) {
  const size_t most = options_.serial ? 1 : options_.sequences;
  while (budget > 0 && admitting_ && running_.size() < most && !waiting_.empty()) {
    const int32_t index = waiting_.front();
    const TraceRequest& request = requests_[index];
    waiting_.pop_front();
    if (int64_t{request.input_length} + request.output_length >
        ledger_->geometry().max_context_tokens) {
      ++stats_.failed;
      continue;
    }
    const int32_t known = request.input_length + generated_[index];
    FillTokenIds(request, index, known, ids_);
    const absl::StatusOr<Admission> admitted = Timed(
        [&] { return ledger_->AllocateSequence({.tokens = ids_, .refeed = options_.refeed}); });
    if (const auto shortage = ShortageOf(admitted.status()); shortage && !shortage->retry_later) {
      ++stats_.failed;
      continue;
    }
    if (!admitted.ok()) return admitted.status();
    const PrefixMatch& match = admitted->match;
    running_.push_back({.request = index,
                        .sequence = next_sequence_++,
                        .id = admitted->id,
                        .length = admitted->length,
                        .known = known,
                        .shared = {.resumed_at = admitted->length,
                                   .write_from = match.matched,
                                   .window_from = match.skipped > 0 ? admitted->length : 0}});
    const int32_t tokens = std::min(budget, running_.back().unfed());
    AddToBatch(static_cast<int32_t>(running_.size()) - 1, tokens, 0);
    budget -= tokens;
  }
  return absl::OkStatus();
}

void Scheduler::AddToBatch(int32_t running, int32_t tokens, int32_t drafts) {
  const Running& sequence = running_[running];
  batch_.push_back({.id = sequence.id, .tokens = tokens, .drafts = drafts});
  batch_running_.push_back(running);
  lanes_.push_back({.request = sequence.request,
                    .sequence = sequence.sequence,
                    .first = sequence.length,
                    .count = tokens,
                    .drafts = drafts,
                    .accepted = Accepted(sequence, drafts),
                    .taken_back_begin = sequence.taken_back_begin,
                    .taken_back_end = sequence.taken_back_end,
                    .shared = sequence.shared});
}

// Waits for what is in flight, else preempts the newest sequence; one that is alone and does not
// fit never will.
absl::Status Scheduler::MakeRoom(const absl::Status& shortage) {
  const std::optional<Shortage> reason = ShortageOf(shortage);
  if (!reason.has_value()) return shortage;
  if (reason->retry_later && options_.in_flight > 0 && InFlight() > 0) return RetireAllBut(0);
  const Running& newest = running_.back();
  if (running_.size() > 1) {
    waiting_.push_front(newest.request);
    if (newest.fed) ++stats_.preemptions;
    admitting_ = false;
    return DropNewest();
  }
  // Nobody else holds a block and none drains: the ledger lost some.
  if (reason->retry_later) return shortage;
  ++stats_.failed;
  admitting_ = true;
  return DropNewest();
}

absl::Status Scheduler::DropNewest() {
  const SequenceId id = running_.back().id;
  running_.pop_back();
  return Timed([&] { return ledger_->FreeSequence(id); });
}

absl::Status Scheduler::RetireAllBut(int64_t most) {
  if (options_.in_flight == 0 || InFlight() <= most) return absl::OkStatus();
  if (runner_ != nullptr) {
    if (absl::Status status = runner_->Wait(); !status.ok()) return status;
  }
  retired_ = ledger_->last_plan().value() - static_cast<uint64_t>(most);
  return Timed([&] { return ledger_->Retire(PlanNumber(retired_)); });
}

int32_t Scheduler::OutputLeft(const Running& sequence) const {
  return requests_[sequence.request].output_length - generated_[sequence.request];
}

int32_t Scheduler::Accepted(const Running& sequence, int32_t drafts) const {
  int32_t accepted = 0;
  while (accepted < drafts) {
    const uint64_t position = sequence.length + 1 + accepted;
    const uint64_t hash = Mix(static_cast<uint64_t>(sequence.request), position);
    if (UnitInterval(hash) >= options_.acceptance) break;
    ++accepted;
  }
  return accepted;
}

}  // namespace terrace::tools
