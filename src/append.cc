// Ledger::Append in three parts: count, reserve, advance.

#include <optional>
#include <utility>

#include "absl/strings/str_format.h"
#include "src/ledger_impl.h"
#include "src/shortage.h"
#include "terrace/check.h"
#include "terrace/plan_builder.h"

namespace terrace {

absl::StatusOr<Plan> Ledger::Append(absl::Span<const StepRequest> batch) {
  const absl::StatusOr<Impl::Demand> demand = impl_->Count(batch);
  if (!demand.ok()) return demand.status();
  Impl::Reservations reserved;
  if (absl::Status status = impl_->Reserve(batch, *demand, reserved); !status.ok()) return status;
  return impl_->Advance(batch, *demand, reserved);
}

absl::StatusOr<Ledger::Impl::Demand> Ledger::Impl::Count(absl::Span<const StepRequest> batch) {
  if (batch.empty()) return absl::InvalidArgumentError("a step needs at least one sequence");
  if (!idle() && number - retired >= static_cast<uint64_t>(options.in_flight_plans)) {
    return absl::FailedPreconditionError(absl::StrFormat(
        "%d plans are in flight, the most allowed; retire one first", number - retired));
  }
  ++batches;
  int64_t tokens = 0;
  int32_t chunks = 0;
  int32_t window_taken = 0;
  int32_t window_released = 0;
  for (const StepRequest& request : batch) {
    Sequence* const sequence = Find(request.id);
    if (sequence == nullptr) return NotFound(request.id);
    if (std::exchange(sequence->last_batch, batches) == batches) {
      return absl::InvalidArgumentError(
          absl::StrFormat("the sequence of lane %d is in the batch twice", request.id.lane));
    }
    if (absl::Status status = CheckRequest(*sequence, request); !status.ok()) return status;
    tokens += request.tokens;
    if (tokens > geometry.max_step_tokens) {
      return absl::InvalidArgumentError(absl::StrFormat(
          "the batch has more than max_step_tokens, %d, tokens", geometry.max_step_tokens));
    }
    chunks += ChunksOf(sequence->length + request.tokens) - sequence->chunks;
    if (has_window()) {
      const WindowChange change =
          AdvanceWindow(geometry, sequence->window, RecordOf(*sequence, request));
      window_taken += change.taken.size();
      window_released += change.released.size() + sequence->window.old.size();
    }
  }

  Demand demand;
  for (int p = 0; p < geometry.num_pools; ++p) {
    demand.taken[p] = is_full(p) ? chunks : window_taken;
    demand.patches += demand.taken[p];
  }
  if (has_window()) demand.released[geometry.window_pool] = window_released;
  return demand;
}

absl::Status Ledger::Impl::CheckRequest(const Sequence& sequence,
                                        const StepRequest& request) const {
  const auto wrong = [&](const char* what, int64_t value, int64_t low, int64_t high) {
    return absl::InvalidArgumentError(
        absl::StrFormat("the sequence of lane %d: %s is %d, not in %d..%d", request.id.lane, what,
                        value, low, high));
  };
  if (request.tokens < 1 || request.tokens > geometry.max_step_tokens) {
    return wrong("tokens", request.tokens, 1, geometry.max_step_tokens);
  }
  const int32_t most_drafts = std::min(request.tokens, geometry.max_drafts);
  if (request.drafts < 0 || request.drafts > most_drafts) {
    return wrong("drafts", request.drafts, 0, most_drafts);
  }
  const int64_t length = int64_t{sequence.length} + request.tokens;
  if (length > geometry.max_context_tokens) {
    return wrong("the length after the step", length, 1, geometry.max_context_tokens);
  }
  if (sequence.undecided_drafts() > 0) {
    return absl::FailedPreconditionError(absl::StrFormat(
        "the sequence of lane %d has %d undecided drafts; Commit or Truncate them first",
        request.id.lane, sequence.undecided_drafts()));
  }
  return absl::OkStatus();
}

absl::Status Ledger::Impl::Reserve(absl::Span<const StepRequest> batch, const Demand& demand,
                                   Reservations& reserved) {
  for (int p = 0; p < geometry.num_pools; ++p) {
    const int32_t taken = demand.taken[p];
    if (taken == 0) continue;
    // What this step releases it may take again, if no plan that still runs may name it: stream
    // order keeps the earlier steps' reads before this step's writes.
    const int32_t returning = idle() ? demand.released[p] : 0;
    if (options.inject_shortage && options.inject_shortage(p)) {
      return ShortageError(batch, demand, p, taken);
    }
    absl::StatusOr<BlockPool::Reservation> reservation = pools[p].Reserve(taken, returning);
    if (!reservation.ok()) {
      return ShortageError(batch, demand, p, taken - pools[p].num_available() - returning);
    }
    reserved[p] = *std::move(reservation);
  }
  return absl::OkStatus();
}

// A step that can never fit says so, whichever pool was found short first: waiting for that one
// would be in vain.
absl::Status Ledger::Impl::ShortageError(absl::Span<const StepRequest> batch, const Demand& demand,
                                         int pool, int32_t missing) {
  for (int p = 0; p < geometry.num_pools; ++p) {
    int64_t held = int64_t{demand.taken[p]} - demand.released[p];
    for (const StepRequest& request : batch) {
      const Sequence& sequence = *Find(request.id);
      held += is_full(p) ? sequence.chunks
                         : sequence.window.old.size() + sequence.window.current.size();
    }
    if (held > pools[p].capacity()) return LargerThanPool(geometry, p, held);
  }
  return RetryLater(geometry, pool, missing, demand.taken[pool], UseOf(pool));
}

LaneRecord Ledger::Impl::RecordOf(const Sequence& sequence, const StepRequest& request) const {
  LaneRecord lane{};
  lane.lane = request.id.lane;
  lane.settled = std::min(sequence.length + request.tokens, sequence.known);
  lane.first = sequence.length;
  lane.count = request.tokens;
  lane.drafts = request.drafts;
  return lane;
}

Plan Ledger::Impl::Advance(absl::Span<const StepRequest> batch, const Demand& demand,
                           Reservations& reserved) {
  const int window_pool = geometry.window_pool;
  // All releases come before all takes: the reservation may count on them.
  if (has_window() && demand.released[window_pool] > 0) {
    for (const StepRequest& request : batch) {
      const Sequence& sequence = *Find(request.id);
      const WindowChange change =
          AdvanceWindow(geometry, sequence.window, RecordOf(sequence, request));
      FreeBlocks(window_pool, request.id.lane, sequence.window.old);
      FreeBlocks(window_pool, request.id.lane, change.released);
    }
  }

  PlanBuilder plan(geometry, PlanKind::kStep,
                   {.lanes = static_cast<int32_t>(batch.size()), .patches = demand.patches});
  const auto take = [&](int pool, int32_t lane, BlockRange range) {
    BlockId* const row = tables[pool].Row(lane);
    for (int32_t index = range.begin; index < range.end; ++index) {
      row[index] = reserved[pool].Take();
      plan.AddPatch({pool, lane, index, row[index].value()});
    }
  };
  for (const StepRequest& request : batch) {
    Sequence& sequence = *Find(request.id);
    const LaneRecord lane = RecordOf(sequence, request);
    plan.AddLane(lane);
    if (has_window()) {
      const WindowChange change = AdvanceWindow(geometry, sequence.window, lane);
      take(window_pool, lane.lane, change.taken);
      sequence.window = change.after;
    }
    sequence.length += request.tokens;
    sequence.draft_begin = sequence.length - request.drafts;
    const int32_t chunks = ChunksOf(sequence.length);
    if (chunks > sequence.chunks) {
      for (int p = 0; p < geometry.num_pools; ++p) {
        if (is_full(p)) take(p, lane.lane, {sequence.chunks, chunks});
      }
      sequence.chunks = chunks;
    }
  }
  ++number;
  if (options.in_flight_plans == 0) retired = number;
  return std::move(plan).Build(options.epoch, PlanNumber(number));
}

}  // namespace terrace
