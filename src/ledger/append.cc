// Ledger::Append in three parts: count what the step needs, reserve it, advance (advance.cc).

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/str_format.h"
#include "src/ledger/ledger_impl.h"
#include "src/ledger/shortage.h"

namespace terrace {

SequenceStep Ledger::Impl::RecordOf(const Sequence& sequence, const StepRequest& request) {
  SequenceStep step{};
  step.sequence_index = request.id.index;
  step.settled = std::min(sequence.length + request.tokens, sequence.known);
  step.first = sequence.length;
  step.count = request.tokens;
  step.drafts = request.drafts;
  step.write_from = sequence.write_from;
  return step;
}

absl::StatusOr<Plan> Ledger::Append(absl::Span<const StepRequest> batch) {
  const absl::StatusOr<Impl::Demand> demand = impl_->Count(batch);
  if (!demand.ok()) return demand.status();
  Impl::Reservations reserved;
  // Checkpoints are for others, later: a step does without them where there is no room.
  const int64_t wished = static_cast<int64_t>(impl_->wishes.size());
  if (wished > 0) {
    const Impl::Demand with_wishes = impl_->WithWishes(*demand);
    if (impl_->Reserve(batch, with_wishes, Impl::Need::kWish, reserved).ok()) {
      return impl_->Advance(batch, with_wishes, reserved);
    }
    impl_->wishes.clear();
  }
  if (absl::Status status = impl_->Reserve(batch, *demand, Impl::Need::kStep, reserved);
      !status.ok()) {
    return status;
  }
  impl_->figures.missed_checkpoints += wished;
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
  wishes.clear();
  vacated.clear();
  if (!copied.empty()) copied.clear();
  Demand demand;
  int64_t tokens = 0;
  for (const StepRequest& request : batch) {
    Sequence* const sequence = Find(request.id);
    if (sequence == nullptr) return NotFound(request.id);
    if (std::exchange(sequence->last_batch, batches) == batches) {
      return absl::InvalidArgumentError(
          absl::StrFormat("the sequence of sequence %d is in the batch twice", request.id.index));
    }
    if (!Fits(*sequence, request)) return Refusal(*sequence, request);
    tokens += request.tokens;
    if (tokens > geometry.max_step_tokens) {
      return absl::InvalidArgumentError(absl::StrFormat(
          "the batch has more tokens than max_step_tokens, %d", geometry.max_step_tokens));
    }
    const SequenceStep step = RecordOf(*sequence, request);
    BlockChange change = ChangeOf(geometry, sequence, step);
    if (sequence->shares_last_blocks) FindCopies(step, &change);
    if (sequence->prefix.publishes) FindWishes(step, change);
    if (!change.empty()) {
      CountChange(change, &demand);
      changes.push_back(change);
    }
    if (!sequence->announced) demand.patches += PatchesToAnnounce(*sequence);
    demand.restores += sequence->restores;
  }
  KeepVacated();
  return demand;
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
        "the sequence of sequence %d: tokens is %d, not in 1..%d (max_context_tokens is %d)",
        request.id.index, request.tokens, room, geometry.max_context_tokens));
  }
  const int32_t most_drafts = std::min(request.tokens, geometry.max_drafts);
  if (request.drafts < 0 || request.drafts > most_drafts) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "the sequence of sequence %d: drafts is %d, not in 0..%d (max_drafts is %d)",
        request.id.index, request.drafts, most_drafts, geometry.max_drafts));
  }
  return absl::FailedPreconditionError(absl::StrFormat(
      "the sequence of sequence %d has %d undecided drafts; Commit or Truncate them first",
      request.id.index, sequence.undecided_drafts()));
}

// What the step writes into blocks that another sequence has too goes into copies of them.
void Ledger::Impl::FindCopies(const SequenceStep& step, BlockChange* change) {
  const Sequence& sequence = *change->sequence;
  const int32_t chunk = sequence.length / geometry.chunk_tokens;
  // All full pools share a chunk alike; an attached one is not written.
  if (!full_pools.empty() && chunk < sequence.chunks &&
      chunk * geometry.chunk_tokens >= sequence.write_from) {
    change->chunk_copied = IndexIfShared(full_pools[0], change->sequence_index, chunk);
  }
  if (has_window()) {
    const int32_t shift = geometry.pools[geometry.window_pool].log2_entries_per_block;
    const int32_t index = FirstStoredPosition(geometry, step) >> shift;
    if (index < sequence.window.current.end) {
      change->window_copied = IndexIfShared(geometry.window_pool, change->sequence_index, index);
    }
  }
  // All state pools share alike, as the full pools do.
  if (!state_pools.empty() && sequence.has_state) {
    change->state_copied = IndexIfShared(state_pools[0], change->sequence_index, 0) >= 0;
  }
}

// `index`, or -1 if the block is this sequence's alone, as it is for the last of those that share
// it: the others of the batch have copied it by then.
int32_t Ledger::Impl::IndexIfShared(int pool, int32_t sequence_index, int32_t index) {
  const BlockId block = tables[pool].Row(sequence_index)[index];
  const int32_t sharers = pools[pool].references(block);
  if (sharers == 1) return -1;
  const int32_t nth = ++copied[int64_t{pool} << 32 | block.value()];
  return nth < sharers ? index : -1;
}

void Ledger::Impl::FindWishes(const SequenceStep& step, const BlockChange& change) {
  const SequencePrefix& prefix = change.sequence->prefix;
  const int32_t chunk = geometry.chunk_tokens;
  const bool passes_match = step.first < step.write_from && step.write_from <= step.settled;
  if (int64_t{prefix.chunks + 1} * chunk > step.settled && !passes_match) return;
  if (!has_window() || policy.kind == CheckpointPolicy::Kind::kNone) return;

  const int32_t shift = geometry.pools[geometry.window_pool].log2_entries_per_block;
  const int32_t begun = step.first >> shift;  // the block that the rows before the step end in
  // Of a fork's, the step copies it only where its own rows go there.
  const bool shared = change.sequence->shares_last_blocks &&
                      begun < change.sequence->window.current.end &&
                      begun < FirstStoredPosition(geometry, step) >> shift;
  int32_t last = 0;
  const auto wish = [&](int32_t position) {
    if (position <= std::max(step.first, last) || position > step.settled) return;
    if (position < step.write_from) return;
    if (position == step.write_from && index.checkpoint(prefix.tip).has_value()) return;
    if (shared && CheckpointBlocks(geometry, position).contains(begun)) return;
    BlockRange gap = BlocksOfGap(CheckpointBlocks(geometry, position), change);
    if (gap.size() < 0) gap = {};
    wishes.push_back({change.sequence, step.sequence_index, position, gap});
    last = position;
  };
  if (policy.kind == CheckpointPolicy::Kind::kEveryTokens) {
    const int64_t from = std::max(step.first + 1, step.write_from);
    for (int64_t at = (from + policy.tokens - 1) / policy.tokens * policy.tokens;
         at <= step.settled; at += policy.tokens) {
      wish(static_cast<int32_t>(at));
    }
    return;
  }
  wish(step.write_from);  // where a match ended without one
  wish((prefix.prompt_tokens - 1) / chunk * chunk);
  wish(step.settled / chunk * chunk);  // the rolling one
}

void Ledger::Impl::CountChange(const BlockChange& change, Demand* demand) {
  for (const int p : full_pools) {
    demand->taken[p] += change.chunks.size() + (change.chunk_copied >= 0);
    demand->patches += change.chunks.size();
    demand->copies += change.chunk_copied >= 0;
  }
  if (has_window()) {
    const int p = geometry.window_pool;
    demand->taken[p] += change.window_taken.size() + (change.window_copied >= 0);
    demand->patches += change.window_taken.size();
    demand->copies += change.window_copied >= 0;
    for (const BlockRange& range : {change.old_released, change.window_released}) {
      const absl::Span<const BlockId> released = tables[p].Blocks(change.sequence_index, range);
      vacated.insert(vacated.end(), released.begin(), released.end());
    }
  }
  for (const int p : state_pools) {
    demand->taken[p] += change.state_taken || change.state_copied;
    demand->patches += change.state_taken;
    demand->copies += change.state_copied;
  }
  if (change.sequence->announced) {  // otherwise the copies are announced with the rest
    if (change.state_copied) demand->patches += static_cast<int32_t>(state_pools.size());
    if (change.chunk_copied >= 0) demand->patches += static_cast<int32_t>(full_pools.size());
    if (change.window_copied >= 0) ++demand->patches;
  }
}

// Of the window blocks that the sequences of the batch release, those that nobody holds then.
void Ledger::Impl::KeepVacated() {
  std::sort(vacated.begin(), vacated.end());
  auto kept = vacated.begin();
  for (auto at = vacated.begin(); at != vacated.end();) {
    const auto next = std::upper_bound(at, vacated.end(), *at);
    if (next - at == pools[geometry.window_pool].references(*at)) *kept++ = *at;
    at = next;
  }
  vacated.erase(kept, vacated.end());
}

Ledger::Impl::Demand Ledger::Impl::WithWishes(const Demand& demand) const {
  Demand with = demand;
  for (const Wish& wish : wishes) {
    with.taken[geometry.window_pool] += wish.gap.size();
    with.patches += wish.gap.size();
    if (has_overlap()) ++with.taken[geometry.overlap_pool];
  }
  return with;
}

absl::Status Ledger::Impl::Reserve(absl::Span<const StepRequest> batch, const Demand& demand,
                                   Need need, Reservations& reserved) {
  BlockCounts missing = {};
  bool short_of_blocks = false;
  // The step may take again what it releases, unless a plan that still runs may name it: stream
  // order keeps the reads of earlier steps before the writes of this one.
  const absl::Span<const BlockId> returned =
      idle() ? absl::MakeConstSpan(vacated) : absl::Span<const BlockId>();
  const auto returning = [&](int pool) {
    if (pool == csa_state_pool && idle()) return static_cast<int32_t>(captured_states.size());
    if (pool != geometry.window_pool) return 0;
    return static_cast<int32_t>(std::count_if(returned.begin(), returned.end(), [&](BlockId block) {
      return !pools[pool].IsIndexed(block);
    }));
  };
  for (int p = 0; p < geometry.num_pools; ++p) {
    if (demand.taken[p] == 0) continue;
    if (options.inject_shortage && options.inject_shortage(p)) {
      return ShortageError(batch, demand, p, demand.taken[p]);
    }
    missing[p] = std::max(0, demand.taken[p] - pools[p].num_available() - returning(p));
    short_of_blocks |= missing[p] > 0;
  }
  if (short_of_blocks) {
    const std::optional<Short> still = Evict(missing, returned, need);
    if (still.has_value()) return ShortageError(batch, demand, still->pool, still->blocks);
  }
  for (int p = 0; p < geometry.num_pools; ++p) {
    if (demand.taken[p] == 0) continue;
    absl::StatusOr<BlockPool::Reservation> reservation =
        pools[p].Reserve(demand.taken[p], returning(p));
    TERRACE_CHECK_EQ(reservation.ok(), true);
    reserved[p] = *std::move(reservation);
  }
  return absl::OkStatus();
}

// A step that can never fit says so, whichever pool was found short first: waiting for that one
// would be in vain. Blocks that several sequences of the batch have count once.
absl::Status Ledger::Impl::ShortageError(absl::Span<const StepRequest> batch, const Demand& demand,
                                         int pool, int32_t missing) {
  for (int p = 0; p < geometry.num_pools; ++p) {
    if (p == geometry.overlap_pool) continue;
    int64_t held = demand.taken[p];
    std::vector<bool> seen(pools[p].capacity());
    for (const StepRequest& request : batch) {
      const auto change = std::find_if(changes.begin(), changes.end(), [&](const BlockChange& c) {
        return c.sequence_index == request.id.index;
      });
      ForEachBlockOf(request.id.index, [&](int in, int32_t, int32_t index, BlockId block) {
        if (in != p || seen[block.value()]) return;
        if (change != changes.end() && change->Leaves(geometry.pools[p].kind, index)) return;
        seen[block.value()] = true;
        ++held;
      });
    }
    if (held > pools[p].capacity()) return LargerThanPool(geometry, p, held);
  }
  return RetryLater(geometry, pool, missing, demand.taken[pool], UseOf(pool));
}

}  // namespace terrace
