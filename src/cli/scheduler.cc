#include "cli/scheduler.h"

#include <algorithm>
#include <utility>

#include "cli/hash.h"
#include "cli/token_ids.h"
#include "terrace/check.h"

namespace terrace {

Scheduler::Scheduler(Ledger* ledger, absl::Span<const TraceRequest> requests, StepRunner* runner,
                     const SchedulerOptions& options)
    : ledger_(ledger),
      requests_(requests),
      runner_(runner),
      options_(options),
      generated_(requests.size()),
      prompt_fed_(requests.size()) {
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
    absl::StatusOr<std::optional<Plan>> plan = AppendWhatFits();
    if (!plan.ok()) return plan.status();
    if (!plan->has_value()) continue;
    occupancy_.Add(now_ms_ / 1000, LiveBlocks());
    if (runner_ != nullptr) {
      if (absl::Status status = runner_->Run(**plan, lanes_); !status.ok()) return status;
    }
    if (absl::Status status = Settle(); !status.ok()) return status;
    CountStep();
    if (on_step_) on_step_(stats_);
  }
  occupancy_.Add(now_ms_ / 1000, LiveBlocks());
  if (on_step_) on_step_(stats_);
  return absl::OkStatus();
}

template <typename Call>
auto Scheduler::Timed(Call call) {
  const Clock::time_point start = Clock::now();
  auto result = call();
  ledger_time_ += Clock::now() - start;
  return result;
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
    absl::StatusOr<Plan> plan = Timed([&] { return ledger_->Append(batch_); });
    if (plan.ok()) return std::optional<Plan>(*std::move(plan));
    if (absl::Status status = MakeRoom(plan.status()); !status.ok()) return status;
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
    if (running_[i].unfed() == 1) continue;
    const int32_t tokens = std::min(budget, running_[i].unfed());
    AddToBatch(i, tokens, 0);
    budget -= tokens;
  }
  return AdmitWaiting(budget);
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
    absl::StatusOr<SequenceId> id =
        Timed([&] { return ledger_->AllocateSequence({.tokens = ids_}); });
    if (!id.ok()) return id.status();
    running_.push_back({.request = index, .sequence = next_sequence_++, .id = *id, .known = known});
    const int32_t tokens = std::min(budget, known);
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
                    .taken_back_end = sequence.taken_back_end});
}

// Preempts the newest sequence; one that is alone and does not fit never will.
absl::Status Scheduler::MakeRoom(const absl::Status& shortage) {
  const std::optional<Shortage> reason = ShortageOf(shortage);
  if (!reason.has_value()) return shortage;
  const Running& newest = running_.back();
  if (running_.size() > 1) {
    waiting_.push_front(newest.request);
    if (newest.length > 0) {
      ++stats_.preemptions;
      stats_.recomputed_tokens += newest.length;
    }
    admitting_ = false;
    return DropNewest();
  }
  if (reason->retry_later) return shortage;  // nobody else holds a block: the ledger lost some
  ++stats_.failed;
  admitting_ = true;
  return DropNewest();
}

absl::Status Scheduler::DropNewest() {
  const SequenceId id = running_.back().id;
  running_.pop_back();
  return Timed([&] { return ledger_->FreeSequence(id); });
}

// Takes back the rejected drafts, commits what was sampled and frees what is finished.
absl::Status Scheduler::Settle() {
  struct Outcome {
    int32_t length = 0;   // rows that stay
    int32_t sampled = 0;  // ids to commit
    bool finished = false;
  };
  std::vector<Outcome> outcomes(lanes_.size());
  ids_.clear();
  for (size_t i = 0; i < lanes_.size(); ++i) {
    const StepLane& lane = lanes_[i];
    Running& sequence = running_[batch_running_[i]];
    Outcome& outcome = outcomes[i];
    outcome.length = lane.keep_end();
    const bool prompt_done = lane.first + lane.count - lane.drafts == sequence.known;
    if (prompt_done && OutputLeft(sequence) > 0) outcome.sampled = lane.accepted + 1;
    outcome.finished = prompt_done && OutputLeft(sequence) == outcome.sampled;
    for (int32_t j = 0; j < outcome.sampled; ++j) {
      ids_.push_back(TokenId(requests_[lane.request], lane.request, sequence.known + j));
    }
  }

  absl::Status status = Timed([&] {
    const int32_t* ids = ids_.data();
    for (size_t i = 0; i < lanes_.size(); ++i) {
      const SequenceId id = batch_[i].id;
      absl::Status status;
      if (lanes_[i].accepted < lanes_[i].drafts) status = ledger_->Truncate(id, outcomes[i].length);
      if (outcomes[i].sampled > 0) {
        status.Update(ledger_->Commit(id, absl::MakeConstSpan(ids, outcomes[i].sampled)));
        ids += outcomes[i].sampled;
      }
      if (outcomes[i].finished) status.Update(ledger_->FreeSequence(id));
      if (!status.ok()) return status;
    }
    return absl::OkStatus();
  });
  if (!status.ok()) return status;

  for (size_t i = 0; i < lanes_.size(); ++i) {
    Running& sequence = running_[batch_running_[i]];
    const int32_t request = sequence.request;
    sequence.length = outcomes[i].length;
    if (lanes_[i].accepted < lanes_[i].drafts) {
      sequence.taken_back_begin = sequence.length;
      sequence.taken_back_end = lanes_[i].first + lanes_[i].count;
    }
    sequence.known += outcomes[i].sampled;
    sequence.finished = outcomes[i].finished;
    generated_[request] += outcomes[i].sampled;
    stats_.decode_tokens += outcomes[i].sampled;
    const int32_t prompt = std::min(sequence.length, requests_[request].input_length);
    stats_.prompt_tokens += std::max(0, prompt - prompt_fed_[request]);
    prompt_fed_[request] = std::max(prompt, prompt_fed_[request]);
    if (sequence.finished) {
      ++stats_.completed;
      admitting_ = true;
    }
  }
  running_.erase(std::remove_if(running_.begin(), running_.end(),
                                [](const Running& sequence) { return sequence.finished; }),
                 running_.end());
  return absl::OkStatus();
}

void Scheduler::CountStep() {
  int64_t tokens = 0;
  int64_t prefill = 0;
  for (const StepLane& lane : lanes_) {
    tokens += lane.count;
    if (lane.count - lane.drafts > 1) prefill += lane.count;
    stats_.drafts += lane.drafts;
    stats_.rejected_drafts += lane.drafts - lane.accepted;
  }
  const int64_t sequences = static_cast<int64_t>(lanes_.size());
  const int64_t ledger_ns =
      std::chrono::duration_cast<std::chrono::nanoseconds>(ledger_time_).count();
  ++stats_.steps;
  stats_.sequence_steps += sequences;
  if (prefill > 0) {
    stats_.ledger_prefill_ns += ledger_ns;
    stats_.prefill_tokens += prefill;
  } else {
    stats_.ledger_decode_ns += ledger_ns;
    stats_.decode_sequence_steps += sequences;
  }
  now_ms_ += options_.step_ms + 1000.0 * static_cast<double>(tokens) / options_.tokens_per_second;
  stats_.simulated_seconds = now_ms_ / 1000;
  if (options_.check_every > 0 && stats_.steps % options_.check_every == 0) {
    ledger_->CheckInvariants();
  }
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

PoolCounts Scheduler::LiveBlocks() const {
  PoolCounts live = {};
  for (int pool = 0; pool < ledger_->geometry().num_pools; ++pool) {
    live[pool] = ledger_->Use(pool).live;
  }
  return live;
}

}  // namespace terrace
