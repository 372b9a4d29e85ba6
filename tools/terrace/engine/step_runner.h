// StepRunner carries out the plans that a scheduler makes. StepSequence is what the scheduler knows
// of one sequence's part in a step and no plan says.

#ifndef TERRACE_TOOLS_TERRACE_ENGINE_STEP_RUNNER_H_
#define TERRACE_TOOLS_TERRACE_ENGINE_STEP_RUNNER_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "terrace/plan.h"

namespace terrace::tools {

// What others wrote of a sequence's rows; 0 where there is none of it.
struct SharedRows {
  int32_t resumed_at = 0;  // rows before it were never fed by this sequence
  int32_t write_from = 0;  // entries whose first token is below it lie in shared chunks
  // Window rows before it do not exist: a match without checkpoint was refed from there.
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

class StepRunner {
 public:
  virtual ~StepRunner() = default;
  virtual absl::Status Run(const Plan& plan, absl::Span<const StepSequence> sequences) = 0;
  // Returns when all plans that were run have ended.
  virtual absl::Status Wait() { return absl::OkStatus(); }
};

}  // namespace terrace::tools

#endif  // TERRACE_TOOLS_TERRACE_ENGINE_STEP_RUNNER_H_
