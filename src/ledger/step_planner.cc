// In the order in which a step is planned: Measure, Reserve, Apply.

#include "src/ledger/step_planner.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_format.h"
#include "src/base/check.h"
#include "src/ledger/step_request.h"
#include "src/ledger/table_patches.h"

namespace terrace::internal {
namespace {

int32_t IdOrNone(const std::optional<BlockId>& block) {
  return block.value_or(BlockId(kNoBlock)).value();
}

}  // namespace

// ---- Measure

absl::Status StepPlanner::Measure() {
  if (!pools_.has_room_in_flight()) {
    return absl::FailedPreconditionError(absl::StrFormat(
        "%d plans are in flight, the most allowed; retire one first", pools_.num_in_flight()));
  }
  int64_t tokens = 0;
  for (const StepRequest& request : batch_) {
    Sequence* const sequence = sequences_.Find(request.id);
    if (sequence == nullptr) return SequenceTable::NotFound(request.id);
    if (std::exchange(sequence->last_batch, memory_.batches) == memory_.batches) {
      return absl::InvalidArgumentError(
          absl::StrFormat("sequence %d is in the batch twice", sequence->index));
    }
    if (!IsWithinLimits(geometry_, *sequence, request)) {
      return LimitError(geometry_, *sequence, request);
    }
    tokens += request.tokens;
    if (tokens > geometry_.max_step_tokens) {
      return absl::InvalidArgumentError(absl::StrFormat(
          "the batch has more tokens than max_step_tokens, %d", geometry_.max_step_tokens));
    }
    const SequenceStep step = StepOf(*sequence, request);
    BlockChange change = ChangeOf(geometry_, sequence, step);
    if (sequence->shares_last_blocks) FindCopies(step, &change);
    if (sequence->prefix.publishes) {
      prefixes_.PlanCheckpoints(step, change, &memory_.checkpoints);
    }
    if (!change.empty()) {
      AddDemand(change, &demand_);
      memory_.changes.push_back(change);
    }
    if (!sequence->tables_sent) demand_.patches += CountTablePatches(pools_, *sequence);
    demand_.restores += sequence->restores;
  }
  FindReturnedWindow();
  return absl::OkStatus();
}

// What the step writes into blocks that another sequence has too goes into copies of them.
void StepPlanner::FindCopies(const SequenceStep& step, BlockChange* change) {
  const Sequence& sequence = *change->sequence;
  const int32_t chunk = sequence.length / geometry_.chunk_tokens;
  // All full pools share a chunk alike; an attached one is not written.
  if (!pools_.full_pools().empty() && chunk < sequence.chunks &&
      chunk * geometry_.chunk_tokens >= sequence.write_from) {
    change->chunk_copied = IndexIfShared(pools_.full_pools()[0], sequence, chunk);
  }
  if (pools_.has_window()) {
    const int32_t shift = geometry_.pools[pools_.window_pool()].log2_entries_per_block;
    const int32_t index = FirstStoredPosition(geometry_, step) >> shift;
    if (index < sequence.window.current.end) {
      change->window_copied = IndexIfShared(pools_.window_pool(), sequence, index);
    }
  }
  // All state pools share alike, as the full pools do.
  if (!pools_.state_pools().empty() && sequence.has_state) {
    change->state_copied = IndexIfShared(pools_.state_pools()[0], sequence, 0) >= 0;
  }
}

// `index`, or -1 if the block is this sequence's alone, as it is for the last of those that share
// it: the others of the batch have copied it by then.
int32_t StepPlanner::IndexIfShared(int p, const Sequence& sequence, int32_t index) {
  const BlockId block = pools_.table(p).Of(sequence.index)[index];
  const int32_t sharers = pools_.pool(p).references(block);
  if (sharers == 1) return -1;
  const int32_t nth = ++memory_.copies[int64_t{p} << 32 | block.value()];
  return nth < sharers ? index : -1;
}

void StepPlanner::AddDemand(const BlockChange& change, Demand* demand) const {
  const int32_t full_pools = static_cast<int32_t>(pools_.full_pools().size());
  const int32_t state_pools = static_cast<int32_t>(pools_.state_pools().size());
  const int32_t chunks_copied = change.chunk_copied >= 0;
  const int32_t window_copied = change.window_copied >= 0;
  const int32_t states_copied = change.state_copied;
  for (const int p : pools_.full_pools()) demand->taken[p] += change.chunks.size() + chunks_copied;
  if (pools_.has_window()) {
    demand->taken[pools_.window_pool()] += change.window_taken.size() + window_copied;
  }
  for (const int p : pools_.state_pools()) demand->taken[p] += change.state_taken + states_copied;

  const int32_t copies = full_pools * chunks_copied + window_copied + state_pools * states_copied;
  demand->copies += copies;
  demand->patches += full_pools * change.chunks.size() + change.window_taken.size() +
                     state_pools * change.state_taken;
  // Otherwise the plan says where the copies lie with all the rest.
  if (change.sequence->tables_sent) demand->patches += copies;
}

void StepPlanner::AddDemand(const PlannedCheckpoint& checkpoint, Demand* demand) const {
  demand->taken[pools_.window_pool()] += checkpoint.extra_window.size();
  demand->patches += checkpoint.extra_window.size();
  if (pools_.has_overlap()) ++demand->taken[pools_.overlap_pool()];
}

// Of the window blocks that the sequences of the batch release, those that nobody holds then.
inline void StepPlanner::FindReturnedWindow() {
  if (!pools_.has_window()) return;
  std::vector<BlockId>& blocks = memory_.returned_window;
  const BlockTable& table = pools_.table(pools_.window_pool());
  for (const BlockChange& change : memory_.changes) {
    for (const BlockRange& range : {change.old_released, change.window_released}) {
      const absl::Span<const BlockId> released = table.Of(change.sequence->index, range);
      blocks.insert(blocks.end(), released.begin(), released.end());
    }
  }
  if (blocks.empty()) return;
  std::sort(blocks.begin(), blocks.end());
  const BlockPool& pool = pools_.pool(pools_.window_pool());
  auto kept = blocks.begin();
  for (auto at = blocks.begin(); at != blocks.end();) {
    const auto next = std::upper_bound(at, blocks.end(), *at);
    if (next - at == pool.references(*at)) *kept++ = *at;
    at = next;
  }
  blocks.erase(kept, blocks.end());
}

// ---- Reserve

absl::Status StepPlanner::Reserve() {
  // Checkpoints are for others, later: a step does without them where there is no room.
  const size_t wanted = memory_.checkpoints.size();
  if (wanted > 0) {
    const Demand of_step = demand_;
    for (const PlannedCheckpoint& checkpoint : memory_.checkpoints) {
      AddDemand(checkpoint, &demand_);
    }
    if (!TryReserve(EvictionReach::kUnused).has_value()) return absl::OkStatus();
    demand_ = of_step;
    memory_.checkpoints.clear();
  }
  if (const std::optional<Shortfall> shortfall = TryReserve(EvictionReach::kInUse)) {
    return ShortageError(*shortfall);
  }
  prefixes_.CountMissedCheckpoints(static_cast<int64_t>(wanted));
  return absl::OkStatus();
}

// Reserves the demand, or changes nothing and says what is short.
std::optional<Shortfall> StepPlanner::TryReserve(EvictionReach reach) {
  BlockCounts returning = CountReturning();
  BlockCounts missing = {};
  bool is_short = false;
  for (int p = 0; p < geometry_.num_pools; ++p) {
    const int32_t taken = demand_.taken[p];
    if (taken == 0) continue;
    if (pools_.ActsShort(p)) return Shortfall{p, taken};
    missing[p] = std::max(0, taken - pools_.pool(p).num_available() - returning[p]);
    is_short |= missing[p] > 0;
  }
  if (is_short) {
    const auto shortfall = prefixes_.Evict(missing, returned_window(), reach);
    if (shortfall.has_value()) return shortfall;
    returning = CountReturning();
  }
  for (int p = 0; p < geometry_.num_pools; ++p) {
    const int32_t taken = demand_.taken[p];
    if (taken == 0) continue;
    absl::StatusOr<BlockPool::Reservation> reservation =
        pools_.pool(p).Reserve(taken, returning[p]);
    TERRACE_CHECK_OK(reservation);
    reserved_[p] = *std::move(reservation);
  }
  return std::nullopt;
}

// What the step may take again, by pool: what it releases itself.
BlockCounts StepPlanner::CountReturning() const {
  BlockCounts counts = {};
  for (const BlockId block : returned_window()) {
    counts[pools_.window_pool()] += !pools_.pool(pools_.window_pool()).IsReusable(block);
  }
  if (pools_.csa_state_pool() >= 0 && pools_.idle()) {
    counts[pools_.csa_state_pool()] = pools_.num_held_states();
  }
  return counts;
}

// ---- Apply

Plan StepPlanner::Apply() {
#ifndef NDEBUG
  CheckInvariants();
#endif
  const absl::Span<const CheckpointRecord> captures = pools_.captures();
  PlanBuilder plan(
      geometry_, PlanKind::kStep,
      {.sequences = static_cast<int64_t>(batch_.size()),
       .checkpoints = static_cast<int64_t>(captures.size() + memory_.checkpoints.size()),
       .restores = demand_.restores,
       .patches = demand_.patches,
       .copies = demand_.copies});
  // All releases come before all takes: the reservation counts on them.
  ReleaseWindows();
  if (const int p = pools_.csa_state_pool(); p >= 0) pools_.HandOutHeldStates(demand_.taken[p]);
  CopySharedBlocks(plan);
  for (const CheckpointRecord& capture : captures) plan.AddCheckpoint(capture);
  AddSteps(plan);
  TakeBlocks(plan);

  pools_.CountPlan();
  // What only the plan itself needs goes when it has run.
  for (const auto& [p, block] : memory_.sources) pools_.Free(p, block);
  pools_.FinishCaptures();
  if (demand_.restores > 0) {
    for (const StepRequest& request : batch_) {
      pools_.DropRestore(sequences_.at(request.id.index));
    }
  }
  prefixes_.PublishStep(batch_, memory_.checkpoints);
  for (const BlockPool::Reservation& reserved : reserved_) {
    TERRACE_CHECK_EQ(reserved.count(), 0);  // (4)
  }
  return std::move(plan).Build(*options_.epoch, PlanNumber(pools_.last_plan()),
                               pools_.generation());
}

inline void StepPlanner::ReleaseWindows() {
  if (!pools_.has_window()) return;
  for (const BlockChange& change : memory_.changes) {
    pools_.Free(pools_.window_pool(), *change.sequence, change.old_released);
    pools_.Free(pools_.window_pool(), *change.sequence, change.window_released);
  }
}

inline void StepPlanner::CopySharedBlocks(PlanBuilder& plan) {
  for (const BlockChange& change : memory_.changes) {
    if (change.chunk_copied >= 0) {
      for (const int p : pools_.full_pools()) Copy(p, change, change.chunk_copied, plan);
    }
    if (change.window_copied >= 0) {
      Copy(pools_.window_pool(), change, change.window_copied, plan);
    }
    if (change.state_copied) {
      for (const int p : pools_.state_pools()) Copy(p, change, 0, plan);
    }
  }
}

void StepPlanner::Copy(int p, const BlockChange& change, int32_t index, PlanBuilder& plan) {
  const Sequence& sequence = *change.sequence;
  BlockId& place = pools_.table(p).Of(sequence.index)[index];
  const BlockId source = std::exchange(place, reserved_[p].Take());
  plan.AddCopy({p, source.value(), place.value(), 0});
  if (sequence.tables_sent) plan.AddPatch({p, sequence.index, index, place.value()});
  memory_.sources.emplace_back(p, source);
  prefixes_.CountCopiedBlock(p);
}

// The sequences' records, in the batch's order. Each moves on to its length after the step.
inline void StepPlanner::AddSteps(PlanBuilder& plan) {
  auto checkpoint = memory_.checkpoints.begin();
  const auto end = memory_.checkpoints.end();
  for (const StepRequest& request : batch_) {
    Sequence& sequence = sequences_.at(request.id.index);
    const SequenceStep step = StepOf(sequence, request);
    plan.AddSequence(step);
    const int32_t first_stored = FirstStoredPosition(geometry_, step);
    if (first_stored > step.first) sequence.rows_from = first_stored;
    for (; checkpoint != end && checkpoint->sequence == &sequence; ++checkpoint) {
      if (pools_.has_overlap()) checkpoint->overlap = reserved_[pools_.overlap_pool()].Take();
      plan.AddCheckpoint(
          {sequence.index, checkpoint->position, IdOrNone(checkpoint->overlap), kNoBlock});
    }
    if (sequence.restores) {
      plan.AddRestore({sequence.index, sequence.length, IdOrNone(sequence.restore_block), 0});
    }
    if (!sequence.tables_sent) AddTablePatches(pools_, sequence, plan);
    sequence.tables_sent = true;
    sequence.shares_last_blocks = false;
    sequence.length += request.tokens;
    sequence.draft_begin = sequence.length - request.drafts;
    sequence.plan = pools_.last_plan() + 1;
  }
}

inline void StepPlanner::Take(int p, const Sequence& sequence, BlockRange range,
                              PlanBuilder& plan) {
  BlockId* const blocks = pools_.table(p).Of(sequence.index);
  for (int32_t i = range.begin; i < range.end; ++i) {
    blocks[i] = reserved_[p].Take();
    plan.AddPatch({p, sequence.index, i, blocks[i].value()});
  }
}

inline void StepPlanner::TakeBlocks(PlanBuilder& plan) {
  for (const BlockChange& change : memory_.changes) {
    Sequence& sequence = *change.sequence;
    for (int p = 0; p < geometry_.num_pools; ++p) {
      const PoolKind kind = geometry_.pools[p].kind;
      if (kind == PoolKind::kFull) Take(p, sequence, change.chunks, plan);
      if (kind == PoolKind::kWindow) Take(p, sequence, change.window_taken, plan);
    }
    if (change.state_taken) {
      for (const int p : pools_.state_pools()) Take(p, sequence, {0, 1}, plan);
      prefixes_.CountRequest(sequence);
    }
    sequence.has_state = true;
    sequence.chunks = change.chunks.end;
    sequence.window = change.window;
  }
  for (const PlannedCheckpoint& checkpoint : memory_.checkpoints) {
    Take(pools_.window_pool(), *checkpoint.sequence, checkpoint.extra_window, plan);
  }
}

// ---- Invariants

void StepPlanner::CheckInvariants() const {
  Demand demand;
  size_t request = 0;
  const auto find = [&](const Sequence* sequence) {
    while (request < batch_.size() && batch_[request].id.index != sequence->index) ++request;
    TERRACE_CHECK_LT(request, batch_.size());  // (1)
  };
  for (const BlockChange& change : memory_.changes) {
    find(change.sequence);
    ++request;
    AddDemand(change, &demand);
  }
  request = 0;
  for (const PlannedCheckpoint& checkpoint : memory_.checkpoints) {
    find(checkpoint.sequence);
    AddDemand(checkpoint, &demand);
  }
  const std::vector<BlockId>& returned = memory_.returned_window;
  TERRACE_CHECK_EQ(std::is_sorted(returned.begin(), returned.end()), true);  // (3)
  for (const BlockId block : returned) {
    TERRACE_CHECK_GE(pools_.pool(pools_.window_pool()).references(block), 1);  // (3)
  }
  for (int p = 0; p < geometry_.num_pools; ++p) {
    TERRACE_CHECK_EQ(demand_.taken[p], demand.taken[p]);      // (2)
    TERRACE_CHECK_EQ(reserved_[p].count(), demand.taken[p]);  // (4)
  }
}

}  // namespace terrace::internal
