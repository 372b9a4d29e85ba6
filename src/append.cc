// Ledger::Append in three parts: count what the step needs, reserve it, advance.

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/str_format.h"
#include "src/ledger_impl.h"
#include "src/shortage.h"
#include "terrace/plan_builder.h"

namespace terrace {
namespace {

LaneRecord RecordOf(const Sequence& sequence, const StepRequest& request) {
  LaneRecord lane{};
  lane.lane = request.id.lane;
  lane.settled = std::min(sequence.length + request.tokens, sequence.known);
  lane.first = sequence.length;
  lane.count = request.tokens;
  lane.drafts = request.drafts;
  return lane;
}

}  // namespace

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
  changes.clear();
  int64_t tokens = 0;
  for (const StepRequest& request : batch) {
    Sequence* const sequence = Find(request.id);
    if (sequence == nullptr) return NotFound(request.id);
    if (std::exchange(sequence->last_batch, batches) == batches) {
      return absl::InvalidArgumentError(
          absl::StrFormat("the sequence of lane %d is in the batch twice", request.id.lane));
    }
    if (!Fits(*sequence, request)) return Refusal(*sequence, request);
    tokens += request.tokens;
    if (tokens > geometry.max_step_tokens) {
      return absl::InvalidArgumentError(absl::StrFormat(
          "the batch has more tokens than max_step_tokens, %d", geometry.max_step_tokens));
    }
    const BlockChange change = ChangeOf(geometry, sequence, RecordOf(*sequence, request));
    if (!change.empty()) changes.push_back(change);
  }
  return DemandOfChanges();
}

bool Ledger::Impl::Fits(const Sequence& sequence, const StepRequest& request) const {
  return request.tokens >= 1 && request.tokens <= geometry.max_context_tokens - sequence.length &&
         request.drafts >= 0 && request.drafts <= std::min(request.tokens, geometry.max_drafts) &&
         sequence.undecided_drafts() == 0;
}

absl::Status Ledger::Impl::Refusal(const Sequence& sequence, const StepRequest& request) const {
  const int32_t room = geometry.max_context_tokens - sequence.length;
  if (request.tokens < 1 || request.tokens > room) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "the sequence of lane %d: tokens is %d, not in 1..%d (max_context_tokens is %d)",
        request.id.lane, request.tokens, room, geometry.max_context_tokens));
  }
  const int32_t most_drafts = std::min(request.tokens, geometry.max_drafts);
  if (request.drafts < 0 || request.drafts > most_drafts) {
    return absl::InvalidArgumentError(
        absl::StrFormat("the sequence of lane %d: drafts is %d, not in 0..%d (max_drafts is %d)",
                        request.id.lane, request.drafts, most_drafts, geometry.max_drafts));
  }
  return absl::FailedPreconditionError(absl::StrFormat(
      "the sequence of lane %d has %d undecided drafts; Commit or Truncate them first",
      request.id.lane, sequence.undecided_drafts()));
}

Ledger::Impl::Demand Ledger::Impl::DemandOfChanges() const {
  Demand demand;
  for (const BlockChange& change : changes) {
    for (int p = 0; p < geometry.num_pools; ++p) {
      if (is_full(p)) {
        demand.taken[p] += change.chunks.size();
      } else {
        demand.taken[p] += change.window_taken.size();
        demand.released[p] += change.old_released.size() + change.window_released.size();
      }
    }
  }
  for (const int32_t taken : demand.taken) demand.patches += taken;
  return demand;
}

absl::Status Ledger::Impl::Reserve(absl::Span<const StepRequest> batch, const Demand& demand,
                                   Reservations& reserved) {
  for (int p = 0; p < geometry.num_pools; ++p) {
    const int32_t taken = demand.taken[p];
    if (taken == 0) continue;
    if (options.inject_shortage && options.inject_shortage(p)) {
      return ShortageError(batch, demand, p, taken);
    }
    // The step may take again what it releases, unless a plan that still runs may name it: stream
    // order keeps the reads of earlier steps before the writes of this one.
    const int32_t returning = idle() ? demand.released[p] : 0;
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

Plan Ledger::Impl::Advance(absl::Span<const StepRequest> batch, const Demand& demand,
                           Reservations& reserved) {
  PlanBuilder plan(geometry, PlanKind::kStep,
                   {.lanes = static_cast<int32_t>(batch.size()), .patches = demand.patches});
  for (const StepRequest& request : batch) {
    Sequence& sequence = *Find(request.id);
    plan.AddLane(RecordOf(sequence, request));
    sequence.length += request.tokens;
    sequence.draft_begin = sequence.length - request.drafts;
  }

  const auto take = [&](int pool, int32_t lane, BlockRange range) {
    BlockId* const row = tables[pool].Row(lane);
    for (int32_t index = range.begin; index < range.end; ++index) {
      row[index] = reserved[pool].Take();
      plan.AddPatch({pool, lane, index, row[index].value()});
    }
  };
  // All releases come before all takes: the reservation counts on them.
  for (const BlockChange& change : changes) {
    FreeBlocks(geometry.window_pool, change.lane, change.old_released);
    FreeBlocks(geometry.window_pool, change.lane, change.window_released);
  }
  for (const BlockChange& change : changes) {
    for (int p = 0; p < geometry.num_pools; ++p) {
      take(p, change.lane, is_full(p) ? change.chunks : change.window_taken);
    }
    change.sequence->chunks = change.chunks.end;
    change.sequence->window = change.window;
  }

  ++number;
  if (options.in_flight_plans == 0) retired = number;
  return std::move(plan).Build(options.epoch, PlanNumber(number));
}

}  // namespace terrace
