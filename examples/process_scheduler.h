// ProcessScheduler is the scheduler's side of an engine with a worker process for each half of the
// layers: it has the ledger, and what it does when a worker misses plans, dies or comes late.

#ifndef TERRACE_EXAMPLES_PROCESS_SCHEDULER_H_
#define TERRACE_EXAMPLES_PROCESS_SCHEDULER_H_

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <memory>
#include <random>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "examples/checked_worker.h"
#include "examples/worker_process.h"
#include "terrace/ledger.h"

namespace terrace::examples {

// What happens to a worker in a step.
enum class Fault {
  kNone,
  kMessageLost,  // it does not get the step
  kKilled,       // by SIGKILL, at some moment of the step
};

class ProcessScheduler {
 public:
  struct Running {
    SequenceId id;
    std::vector<int32_t> tokens;  // the ids that are known
    int32_t last = 0;             // tokens at its end
    int32_t fed = 0;              // tokens that have a row
    int32_t window_from = 0;      // window rows before it do not exist: a refeed began there
    int32_t in_step = 0;          // tokens of the current step
  };
  struct Figures {
    int steps = 0;
    int lost_messages = 0;
    int deaths = 0;
    int recoveries = 0;
    int64_t fed_tokens = 0;
    int64_t fed_again = 0;  // tokens, after a recovery
    int64_t compared_rows = 0;
    int64_t wrong_rows = 0;
  };

  static absl::StatusOr<std::unique_ptr<ProcessScheduler>> Make(uint64_t seed);

  // One step of all sequences on all workers. `fault` happens to worker `victim`.
  absl::Status Step(Fault fault, int victim);

  const Figures& figures() const { return figures_; }
  const std::vector<Running>& running() const { return running_; }
  Ledger& ledger() { return *ledger_; }
  // What the last recovery answered, and the first plan that it abandoned.
  const Abandoned& recovered() const { return recovered_; }
  PlanNumber lost_from() const { return lost_from_; }

 private:
  struct Worker {
    LayerRange layers;
    std::unique_ptr<WorkerProcess> process = nullptr;
    uint64_t last_plan = 0;  // that it ran; 0: it has nothing
  };

  ProcessScheduler(std::unique_ptr<Ledger> ledger, uint64_t seed)
      : random_(seed), ledger_(std::move(ledger)) {}

  Running& Find(SequenceId id) {
    return *std::find_if(running_.begin(), running_.end(),
                         [&](const Running& running) { return running.id == id; });
  }
  int Below(int bound) { return static_cast<int>(random_() % bound); }
  absl::Status Start(Worker& worker);
  absl::Status FreeFinished();
  absl::Status Admit();
  std::vector<StepRequest> NextBatch();
  StepMessage MessageOf(const Plan& plan) const;
  absl::StatusOr<bool> Hear(Worker& worker);
  absl::Status Sample();
  PlanNumber FirstLost() const;
  absl::Status Recover(PlanNumber first);
  absl::Status Retire(uint64_t plan);

  std::mt19937_64 random_;
  std::unique_ptr<Ledger> ledger_;
  std::vector<Worker> workers_;
  std::vector<Running> running_;
  std::vector<Running*> in_step_;  // in the order of the plan's sequences
  uint64_t retired_ = 0;
  Abandoned recovered_;
  PlanNumber lost_from_{0};
  Figures figures_;
};

inline absl::StatusOr<std::unique_ptr<ProcessScheduler>> ProcessScheduler::Make(uint64_t seed) {
  std::signal(SIGPIPE, SIG_IGN);  // a write to a dead worker fails, and that is all
  absl::StatusOr<CapacityPlan> capacity = SharedCapacity();
  if (!capacity.ok()) return capacity.status();
  auto ledger = Ledger::Create({.geometry = capacity->geometry, .in_flight_plans = 4});
  if (!ledger.ok()) return ledger.status();
  std::unique_ptr<ProcessScheduler> scheduler(new ProcessScheduler(*std::move(ledger), seed));
  for (const LayerRange layers : {LayerRange{0, 2}, LayerRange{2, 2}}) {
    scheduler->workers_.push_back({.layers = layers});
    absl::Status status = scheduler->Start(scheduler->workers_.back());
    if (!status.ok()) return status;
  }
  return scheduler;
}

// For the first time, late, or again: it has none of the rows that plans up to now computed.
inline absl::Status ProcessScheduler::Start(Worker& worker) {
  worker.process = WorkerProcess::Start(worker.layers);
  worker.last_plan = 0;
  return worker.process != nullptr ? absl::OkStatus() : absl::InternalError("no process");
}

inline absl::Status ProcessScheduler::Step(Fault fault, int victim) {
  if (absl::Status status = FreeFinished(); !status.ok()) return status;
  if (absl::Status status = Admit(); !status.ok()) return status;
  const std::vector<StepRequest> batch = NextBatch();
  // All wait for tokens that steps were to sample of which a worker said nothing.
  if (batch.empty()) return Recover(FirstLost());
  absl::StatusOr<Plan> plan = ledger_->Append(batch);
  if (!plan.ok()) return plan.status();
  ++figures_.steps;
  figures_.fed_tokens += plan->header().num_token_rows;
  for (Running* sequence : in_step_) sequence->fed += sequence->in_step;

  const StepMessage message = MessageOf(*plan);
  Worker& struck = workers_[victim];
  for (Worker& worker : workers_) {
    if (fault == Fault::kMessageLost && &worker == &struck) continue;
    worker.process->Send(message);  // what a dead worker misses shows when it is to answer
  }
  if (fault == Fault::kKilled) {
    std::this_thread::sleep_for(std::chrono::microseconds(Below(20'000)));
    struck.process->Kill();
  }
  bool missed = false;
  for (Worker& worker : workers_) {
    if (fault == Fault::kMessageLost && &worker == &struck) continue;
    absl::StatusOr<bool> ran = Hear(worker);
    if (!ran.ok()) return ran.status();
    missed = missed || !*ran;
  }
  if (missed) return Recover(FirstLost());
  figures_.lost_messages += fault == Fault::kMessageLost;
  if (absl::Status status = Retire(FirstLost().value() - 1); !status.ok()) return status;
  // Nobody knows yet that a message was lost. But the step has no result.
  return fault == Fault::kMessageLost ? absl::OkStatus() : Sample();
}

// Whether the worker ran what it was sent last.
inline absl::StatusOr<bool> ProcessScheduler::Hear(Worker& worker) {
  StepAnswer answer;
  if (!worker.process->Receive(answer)) {  // it is dead
    ++figures_.deaths;
    if (absl::Status status = Start(worker); !status.ok()) return status;
    return false;
  }
  figures_.compared_rows += answer.compared_rows;
  figures_.wrong_rows += answer.wrong_rows;
  worker.last_plan = answer.last_plan;
  const auto code = static_cast<absl::StatusCode>(answer.code);
  if (code == absl::StatusCode::kOk) return true;
  if (code == absl::StatusCode::kFailedPrecondition) return false;  // plans are missing
  return absl::Status(code, "a worker failed");
}

// The first plan that some worker has not run.
inline PlanNumber ProcessScheduler::FirstLost() const {
  uint64_t ran = UINT64_MAX;
  for (const Worker& worker : workers_) ran = std::min(ran, worker.last_plan);
  return PlanNumber(ran + 1);
}

// Nothing is believed of what plans from `first` on were to compute.
inline absl::Status ProcessScheduler::Recover(PlanNumber first) {
  absl::StatusOr<Abandoned> abandoned = ledger_->Abandon(first);
  if (!abandoned.ok()) return abandoned.status();
  for (const Admission& again : abandoned->sequences) {
    Running& sequence = Find(again.id);
    figures_.fed_again += sequence.fed - again.length;
    sequence.fed = again.length;  // go on from here, as after AllocateSequence
    sequence.window_from = again.match.skipped > 0 ? again.length : 0;
  }
  recovered_ = *std::move(abandoned);
  lost_from_ = first;
  ++figures_.recoveries;

  absl::StatusOr<Plan> snapshot = ledger_->Snapshot();
  if (!snapshot.ok()) return snapshot.status();
  for (Worker& worker : workers_) {
    worker.process->Send(MessageOf(*snapshot));
    absl::StatusOr<bool> begun = Hear(worker);
    if (!begun.ok()) return begun.status();
    if (!*begun) return Recover(PlanNumber(1));  // it died in between
  }
  // No worker touches the blocks of earlier plans any more, whether they ran or not.
  return Retire(ledger_->last_plan().value());
}

inline absl::Status ProcessScheduler::Retire(uint64_t plan) {
  if (plan <= retired_) return absl::OkStatus();
  retired_ = plan;
  return ledger_->Retire(PlanNumber(plan));
}

inline absl::Status ProcessScheduler::FreeFinished() {
  for (size_t i = running_.size(); i-- > 0;) {
    if (running_[i].fed < running_[i].last) continue;
    if (absl::Status status = ledger_->FreeSequence(running_[i].id); !status.ok()) return status;
    running_.erase(running_.begin() + static_cast<int64_t>(i));
  }
  return absl::OkStatus();
}

// Prompts begin with a part of one of three texts.
inline absl::Status ProcessScheduler::Admit() {
  while (static_cast<int32_t>(running_.size()) < ledger_->geometry().max_sequences) {
    Running sequence;
    const int text = 10'000 * (1 + Below(3));
    for (int i = Below(900); i >= 0; --i) {
      sequence.tokens.push_back(text + static_cast<int32_t>(sequence.tokens.size()));
    }
    for (int i = Below(100); i >= 0; --i) sequence.tokens.push_back(100'000 + Below(100'000));
    sequence.last = static_cast<int32_t>(sequence.tokens.size()) + Below(50);
    absl::StatusOr<Admission> admission = ledger_->AllocateSequence({.tokens = sequence.tokens});
    if (!admission.ok()) return admission.status();
    sequence.id = admission->id;
    sequence.fed = admission->length;
    sequence.window_from = admission->match.skipped > 0 ? admission->length : 0;
    running_.push_back(std::move(sequence));
  }
  return absl::OkStatus();
}

inline std::vector<StepRequest> ProcessScheduler::NextBatch() {
  std::vector<StepRequest> batch;
  in_step_.clear();
  int32_t budget = ledger_->geometry().max_step_tokens;
  for (Running& sequence : running_) {
    const int32_t known = static_cast<int32_t>(sequence.tokens.size());
    sequence.in_step = std::min({known - sequence.fed, 1 + Below(300), budget});
    if (sequence.in_step == 0) continue;
    budget -= sequence.in_step;
    batch.push_back({sequence.id, sequence.in_step});
    in_step_.push_back(&sequence);
  }
  return batch;
}

inline StepMessage ProcessScheduler::MessageOf(const Plan& plan) const {
  StepMessage message;
  message.plan.assign(plan.bytes().begin(), plan.bytes().end());
  if (plan.is_snapshot()) return message;
  for (const Running* sequence : in_step_) {
    const auto begin = sequence->tokens.begin();
    message.sequences.push_back(sequence->window_from);
    message.sequences.insert(message.sequences.end(), begin, begin + sequence->fed);
  }
  return message;
}

// The step ran on every worker: who has fed all that it knows gets its next token.
inline absl::Status ProcessScheduler::Sample() {
  for (Running* sequence : in_step_) {
    const int32_t known = static_cast<int32_t>(sequence->tokens.size());
    if (sequence->fed < known || known == sequence->last) continue;
    sequence->tokens.push_back(200'000 + Below(100'000));
    absl::Status status = ledger_->Commit(sequence->id, {sequence->tokens.back()});
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

}  // namespace terrace::examples

#endif  // TERRACE_EXAMPLES_PROCESS_SCHEDULER_H_
