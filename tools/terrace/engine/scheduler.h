// Scheduler serves a trace on a simulated clock with continuous batching, as an engine would: it
// drives a Ledger, and hands every plan to a StepRunner that carries it out.
//
// A step takes step_ms + tokens / tokens_per_second. Every running sequence that has its prompt
// decodes, with drafts; what is left of the step's tokens goes to prompts in order of admission,
// then to new sequences. Where a pool is short the newest sequence is preempted: freed, and queued
// again at the front with its prompt and all it generated; nobody is admitted until a sequence
// finishes. Whether a draft is accepted is a fixed hash of (request, position).
//
// A new sequence goes on where the ledger's match lets it, and a prompt that is still being fed
// looks for more before each of its steps. With steps in flight a plan is retired when the next one
// needs its place, and all of them before anybody is preempted.
//
// Thread-safe: no.

#ifndef TERRACE_TOOLS_TERRACE_ENGINE_SCHEDULER_H_
#define TERRACE_TOOLS_TERRACE_ENGINE_SCHEDULER_H_

#include <chrono>
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

// What others wrote of a sequence's rows; 0 where there is none of it.
struct SharedRows {
  int32_t resumed_at = 0;  // rows before it were never fed by this sequence
  int32_t write_from = 0;  // entries whose first token is below it lie in shared chunks
  // Window rows before it do not exist: a replay without checkpoint began there.
  int32_t window_from = 0;
};

// One sequence's part in a step, in the order of the plan's sequences.
struct StepSequence {
  int32_t request = 0;    // index in the trace
  uint64_t sequence = 0;  // number of the sequence; a preempted request comes back as another one
  int32_t first = 0;      // position of its first row in this step
  int32_t count = 0;      // rows in this step, drafts included
  int32_t drafts = 0;     // of them, the last ones
  int32_t accepted = 0;   // drafts that will be accepted after the step
  // Positions that were taken back last before this step: [begin, end); equal if none ever were.
  int32_t taken_back_begin = 0;
  int32_t taken_back_end = 0;
  SharedRows shared = {};
  // First position of this step that will be taken back; first + count if none will.
  int32_t keep_end() const { return first + count - drafts + accepted; }
};

// Carries out the plans that a scheduler makes.
class StepRunner {
 public:
  virtual ~StepRunner() = default;
  virtual absl::Status Run(const Plan& plan, absl::Span<const StepSequence> sequences) = 0;
  // Returns when all plans that were run have come to their end.
  virtual absl::Status Wait() { return absl::OkStatus(); }
};

struct SchedulerStats {
  int64_t requests = 0;
  int64_t completed = 0;
  int64_t failed = 0;  // can never fit: beyond the longest context, or larger than a pool
  int64_t preemptions = 0;
  int64_t steps = 0;
  int64_t sequence_steps = 0;     // sum over steps of their sequences
  int64_t prompt_tokens = 0;      // prompts served, fed or matched, each counted once
  int64_t decode_tokens = 0;      // tokens generated
  int64_t recomputed_tokens = 0;  // rows lost to preemption and fed again
  int64_t drafts = 0;
  int64_t rejected_drafts = 0;
  PoolCounts peak_cached_blocks = {};  // of each pool, after a step's Append
  double simulated_seconds = 0;
  // Time inside ledger calls: SetTime, Append with its plan, Commit, Truncate, AllocateSequence,
  // ExtendMatch, FreeSequence, Retire. Three to five pairs of clock readings a step, about 50 ns
  // each, are part of it.
  int64_t ledger_decode_ns = 0;       // in steps without prefill
  int64_t decode_sequence_steps = 0;  // sequences of those steps
  int64_t ledger_prefill_ns = 0;      // in steps with prefill
  int64_t prefill_tokens = 0;         // prompt tokens of those steps
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

  // Serves all requests. Errors: what the ledger or the runner fails with, other than a shortage.
  absl::Status Run();

  const SchedulerStats& stats() const { return stats_; }
  const OccupancySeries& occupancy() const { return occupancy_; }

 private:
  using Clock = std::chrono::steady_clock;

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

  void AdmitArrivals();
  absl::StatusOr<std::optional<Plan>> AppendWhatFits();
  absl::Status BuildBatch();
  absl::Status AdmitWaiting(int32_t budget);
  absl::Status ExtendMatch(Running& sequence);
  void AddToBatch(int32_t running, int32_t tokens, int32_t drafts);
  absl::Status MakeRoom(const absl::Status& shortage);
  absl::Status DropNewest();
  // How many plans are not retired, and retires all but the last `most` of them.
  int64_t InFlight() const { return static_cast<int64_t>(ledger_->last_plan().value() - retired_); }
  absl::Status RetireAllBut(int64_t most);
  absl::Status Settle();
  void CountStep();
  // Runs a ledger call and adds its time to ledger_time_.
  template <typename Call>
  auto Timed(Call call) {
    const Clock::time_point start = Clock::now();
    auto result = call();
    ledger_time_ += Clock::now() - start;
    return result;
  }

  int32_t OutputLeft(const Running& sequence) const;
  int32_t Accepted(const Running& sequence, int32_t drafts) const;
  void CountBlocks();

  Ledger* const ledger_;
  const absl::Span<const TraceRequest> requests_;
  StepRunner* const runner_;
  const SchedulerOptions options_;
  std::function<void(const SchedulerStats&)> on_step_;

  double now_ms_ = 0;
  size_t arrived_ = 0;              // requests that are waiting, running or done
  std::deque<int32_t> waiting_;     // requests
  std::vector<Running> running_;    // in order of admission
  std::vector<int32_t> generated_;  // [requests] tokens
  std::vector<int32_t> most_rows_;  // [requests] that any sequence of it had
  uint64_t retired_ = 0;            // number of the last plan retired
  uint64_t next_sequence_ = 0;
  bool admitting_ = true;             // false from a shortage until a sequence finishes
  Clock::duration ledger_time_ = {};  // of the step that is being made

  // The step that is being made; [i] belongs to running_[batch_running_[i]].
  std::vector<StepRequest> batch_;
  std::vector<StepSequence> lanes_;
  std::vector<int32_t> batch_running_;
  std::vector<int32_t> ids_;  // scratch: a prompt, or the ids to commit, sequence after sequence

  SchedulerStats stats_;
  OccupancySeries occupancy_;
};

}  // namespace terrace::tools

#endif  // TERRACE_TOOLS_TERRACE_ENGINE_SCHEDULER_H_
