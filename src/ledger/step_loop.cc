#include "terrace/step_loop.h"

#include <algorithm>
#include <utility>

#include "src/base/status_macros.h"

namespace terrace {

absl::StatusOr<std::optional<Plan>> StepLoop::Next() {
  for (;;) {
    TERRACE_ASSIGN_OR_RETURN(const absl::Span<const StepRequest> batch,
                             engine_.NextBatch(most_running_));
    if (batch.empty()) return std::nullopt;
    // One more plan than may be in flight: the oldest has to go.
    if (in_flight_plans_ > 0 && last_plan_ - retired_ >= in_flight_plans_) {
      TERRACE_RETURN_IF_ERROR(RetireUpTo(last_plan_ + 1 - in_flight_plans_));
    }
    absl::StatusOr<Plan> plan = engine_.Append(batch);
    if (plan.ok()) {
      last_plan_ = plan->number().value();
      return std::optional<Plan>(*std::move(plan));
    }
    TERRACE_RETURN_IF_ERROR(MakeRoom(plan.status()));
  }
}

absl::Status StepLoop::MakeRoom(const absl::Status& why) {
  const std::optional<Shortage> shortage = ShortageOf(why);
  if (!shortage.has_value()) return why;
  if (shortage->retire.value() > 0) return RetireUpTo(shortage->retire.value());
  if (engine_.num_running() > 1) {
    TERRACE_RETURN_IF_ERROR(engine_.Preempt());
    most_running_ = std::max(1, engine_.num_running());
    finished_ = 0;
    growth_ = 1;
    return absl::OkStatus();
  }
  // Nobody else has a block, and all plans together do not hold enough.
  if (shortage->retry_later) return why;
  return engine_.Refuse(why);
}

void StepLoop::Finished() {
  if (most_running_ == kUnlimited || ++finished_ < most_running_) return;
  finished_ = 0;
  if (growth_ > kMaxSequences) {
    most_running_ = kUnlimited;
  } else {
    most_running_ += growth_;
    growth_ *= 2;
  }
}

absl::Status StepLoop::RetireUpTo(uint64_t plan) {
  if (in_flight_plans_ == 0 || plan <= retired_) return absl::OkStatus();
  TERRACE_RETURN_IF_ERROR(engine_.Retire(PlanNumber(plan)));
  retired_ = plan;
  return absl::OkStatus();
}

}  // namespace terrace
