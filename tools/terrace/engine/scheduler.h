// Scheduler serves a trace on a simulated clock with continuous batching, as an engine would. It
// drives a Ledger, and hands every plan to a StepRunner that carries it out.
//
// A step takes step_ms + tokens / tokens_per_second. Every running sequence whose prompt is done
// decodes, with drafts. The rest of the step's tokens goes to prompts in order of admission, then
// to new sequences. Whether a draft is accepted is a fixed hash of (request, position).
//
// Where a pool is short the newest sequence is preempted: it is freed, and queued again at the
// front with its prompt and all it generated. Nobody is admitted until a sequence finishes.
//
// A new sequence begins behind what the ledger matched. A prompt that is still being fed looks for
// more matches before each of its steps. With steps in flight a plan is retired when the next one
// needs its place, and all of them are retired before anybody is preempted.
//
// Thread-safe: no.

#ifndef TERRACE_TOOLS_TERRACE_ENGINE_SCHEDULER_H_
#define TERRACE_TOOLS_TERRACE_ENGINE_SCHEDULER_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "terrace/ledger.h"
#include "tools/terrace/engine/occupancy.h"
#include "tools/terrace/engine/scheduler_stats.h"
#include "tools/terrace/engine/step_runner.h"
#include "tools/terrace/engine/stopwatch.h"
#include "tools/terrace/trace/trace.h"

namespace terrace::tools {

struct SchedulerOptions {
  double step_ms = 10;
  double tokens_per_second = 50000;
  int32_t step_tokens = 8192;  // at most the ledger's max_step_tokens
  int32_t sequences = 64;      // running at one time; at most the ledger's max_sequences
  bool serial = false;         // one request at a time
  int32_t drafts = 2;          // of a decode step; at most the ledger's max_drafts
  double acceptance = 0.6;     // chance of each draft, given that those before it were accepted
  RefeedLimits refeed = {};    // of every sequence
  int32_t in_flight = 0;       // plans that are not retired at once; as the ledger's
  int32_t check_every = 0;     // steps between two CheckInvariants(); 0 = never
};

class Scheduler {
 public:
  // `ledger`, `requests` and `runner` are borrowed for the scheduler's life. A null runner: the
  // ledger runs alone.
  Scheduler(Ledger* ledger, absl::Span<const TraceRequest> requests, StepRunner* runner,
            const SchedulerOptions& options);

  // Called after every step, and once at the end.
  void OnStep(std::function<void(const SchedulerStats&)> callback) {
    on_step_ = std::move(callback);
  }

  // Asked before every step: true ends the run there, with every sequence freed.
  void StopWhen(std::function<bool()> stop) { stop_ = std::move(stop); }

  // Serves all requests. Errors: what the ledger or the runner fails with, other than a shortage.
  absl::Status Run();

  const SchedulerStats& stats() const { return stats_; }
  const OccupancySeries& occupancy() const { return occupancy_; }

 private:
  struct Running {
    int32_t request = 0;
    uint64_t sequence = 0;
    SequenceId id;
    int32_t length = 0;  // rows
    int32_t known = 0;   // token ids
    int32_t taken_back_begin = 0;
    int32_t taken_back_end = 0;
    SharedRows shared = {};
    bool fed = false;  // has been in a step
    bool finished = false;
    int32_t unfed() const { return known - length; }
  };
  // What became of a request, over all sequences that served it.
  struct Served {
    int32_t generated = 0;  // tokens
    int32_t most_rows = 0;  // that any of the sequences had
  };
  // A running sequence in the step that is being made.
  struct BatchItem {
    int32_t running = 0;  // index into running_
    StepSequence part = {};
    int32_t sampled = 0;  // ids to commit after the step
    bool finished = false;
  };

  // Makes the next step's plan; none where nothing that waits can be served.
  absl::StatusOr<std::optional<Plan>> Schedule();
  void AdmitArrivals();
  absl::Status BuildBatch();
  absl::Status AdmitWaiting(int32_t budget);
  absl::Status ExtendMatch(Running& sequence);
  void AddToBatch(int32_t running, int32_t tokens, int32_t drafts);
  absl::StatusOr<Plan> AppendBatch();

  absl::Status MakeRoom(const absl::Status& shortage);
  // Frees the newest sequence.
  absl::Status Preempt();
  // How many plans are not retired.
  int64_t InFlight() const { return static_cast<int64_t>(ledger_->last_plan().value() - retired_); }
  absl::Status RetireAllBut(int64_t most);

  absl::Status RunStep(const Plan& plan);
  // Takes back rejected drafts, commits what was sampled and frees what is finished.
  absl::Status Postprocess();
  absl::Status SettleWithLedger();
  void UpdateRunning(const BatchItem& item);
  void CountStep();
  absl::Status CountBlocks();

  int32_t OutputLeft(const Running& sequence) const;
  int32_t Accepted(const Running& sequence, int32_t drafts) const;

  Ledger* const ledger_;
  const absl::Span<const TraceRequest> requests_;
  StepRunner* const runner_;
  const SchedulerOptions options_;
  std::function<void(const SchedulerStats&)> on_step_;
  std::function<bool()> stop_;

  double now_ms_ = 0;
  size_t arrived_ = 0;            // requests that are waiting, running or done
  std::deque<int32_t> waiting_;   // requests
  std::vector<Running> running_;  // in order of admission
  std::vector<Served> served_;    // [requests]
  uint64_t retired_ = 0;          // number of the last plan retired
  uint64_t next_sequence_ = 0;
  bool admitting_ = true;  // false from a shortage until a sequence finishes

  std::vector<BatchItem> batch_;         // of the step that is being made
  std::vector<StepRequest> appended_;    // of batch_, as the ledger takes it
  std::vector<StepSequence> sequences_;  // of batch_, as the runner takes it
  std::vector<int32_t> ids_;  // scratch: a prompt, or the ids to commit, sequence after sequence

  Stopwatch ledger_time_;  // of the step that is being made
  SchedulerStats stats_;
  OccupancySeries occupancy_;
};

}  // namespace terrace::tools

#endif  // TERRACE_TOOLS_TERRACE_ENGINE_SCHEDULER_H_
