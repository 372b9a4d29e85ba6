// The last part of Ledger::Append: changes what the step was counted to change, and says so in a
// plan. Nothing here can fail.

#include <algorithm>
#include <optional>
#include <utility>

#include "src/ledger/ledger_impl.h"
#include "src/plan/plan_builder.h"

namespace terrace {
namespace {

int32_t OverlapId(const std::optional<BlockId>& block) {
  return block.value_or(BlockId(-1)).value();
}

}  // namespace

Plan Ledger::Impl::Advance(absl::Span<const StepRequest> batch, const Demand& demand,
                           Reservations& reserved) {
  const size_t checkpoints = settled_checkpoints.size() + wishes.size();
  PlanBuilder plan(geometry, PlanKind::kStep,
                   {.sequences = static_cast<int32_t>(batch.size()),
                    .checkpoints = static_cast<int32_t>(checkpoints),
                    .restores = demand.restores,
                    .patches = demand.patches,
                    .copies = demand.copies});
  // All releases come before all takes: the reservation counts on them.
  for (const BlockChange& change : changes) {
    if (!has_window()) break;
    FreeBlocks(geometry.window_pool, change.sequence_index, change.old_released);
    FreeBlocks(geometry.window_pool, change.sequence_index, change.window_released);
  }
  // The plan takes its snapshots first, so its own sequences may have these if no other is left.
  if (const int p = csa_state_pool; p >= 0) {
    for (; pools[p].num_free() < demand.taken[p]; captured_states.pop_back()) {
      FreeBlock(p, captured_states.back());
    }
  }
  plan_blocks.clear();
  for (const BlockChange& change : changes) {
    if (change.chunk_copied >= 0) {
      for (const int p : full_pools) Copy(p, change, change.chunk_copied, reserved[p], plan);
    }
    if (change.window_copied >= 0) {
      const int p = geometry.window_pool;
      Copy(p, change, change.window_copied, reserved[p], plan);
    }
    if (change.state_copied) {
      for (const int p : state_pools) Copy(p, change, 0, reserved[p], plan);
    }
  }

  for (const CheckpointRecord& record : settled_checkpoints) {
    plan.AddCheckpoint(record);
    plan_blocks.emplace_back(geometry.overlap_pool, BlockId(record.overlap_block));
  }
  settled_checkpoints.clear();
  auto wish = wishes.begin();
  for (const StepRequest& request : batch) {
    Sequence& sequence = *Find(request.id);
    const int32_t sequence_index = request.id.index;
    const SequenceStep record = RecordOf(sequence, request);
    plan.AddSequence(record);
    const int32_t first_stored = FirstStoredPosition(geometry, record);
    if (first_stored > record.first) sequence.rows_from = first_stored;
    for (; wish != wishes.end() && wish->sequence == &sequence; ++wish) {
      if (has_overlap()) wish->overlap = reserved[geometry.overlap_pool].Take();
      plan.AddCheckpoint({sequence_index, wish->position, OverlapId(wish->overlap), kNoBlock});
    }
    if (sequence.restores) {
      plan.AddRestore({sequence_index, sequence.length, OverlapId(sequence.restore_block), 0});
    }
    if (!sequence.announced) Announce(sequence, sequence_index, plan);
    sequence.announced = true;
    sequence.shares_last_blocks = false;
    sequence.length += request.tokens;
    sequence.draft_begin = sequence.length - request.drafts;
  }

  const auto take = [&](int pool, int32_t sequence_index, BlockRange range) {
    BlockId* const row = tables[pool].Row(sequence_index);
    for (int32_t i = range.begin; i < range.end; ++i) {
      row[i] = reserved[pool].Take();
      plan.AddPatch({pool, sequence_index, i, row[i].value()});
    }
  };
  for (const BlockChange& change : changes) {
    for (int p = 0; p < geometry.num_pools; ++p) {
      if (is_full(p)) take(p, change.sequence_index, change.chunks);
      if (p == geometry.window_pool) take(p, change.sequence_index, change.window_taken);
    }
    if (change.state_taken) {
      for (const int p : state_pools) take(p, change.sequence_index, {0, 1});
    }
    change.sequence->has_state = true;
    change.sequence->chunks = change.chunks.end;
    change.sequence->window = change.window;
  }
  for (const Wish& made : wishes) take(geometry.window_pool, made.sequence_index, made.gap);

  ++number;
  if (options.in_flight_plans == 0) retired = number;
  // What only the plan itself needs goes when it has run.
  for (const auto& [pool, block] : plan_blocks) FreeBlock(pool, block);
  FreeCapturedStates();
  if (demand.restores > 0) {
    for (const StepRequest& request : batch) DropRestore(*Find(request.id));
  }
  PublishStep(batch);
  return std::move(plan).Build(options.epoch, PlanNumber(number));
}

void Ledger::Impl::Copy(int pool, const BlockChange& change, int32_t index,
                        BlockPool::Reservation& reserved, PlanBuilder& plan) {
  BlockId& place = tables[pool].Row(change.sequence_index)[index];
  const BlockId source = std::exchange(place, reserved.Take());
  plan.AddCopy({pool, source.value(), place.value(), 0});
  if (change.sequence->announced)
    plan.AddPatch({pool, change.sequence_index, index, place.value()});
  plan_blocks.emplace_back(pool, source);
  ++figures.copied_blocks[pool];
}

// A sequence's row of the window table is read from the window of its first query on; what lies
// there before the sequence's own blocks is an earlier sequence's.
BlockRange Ledger::Impl::WindowHoles(const Sequence& sequence) const {
  if (!has_window()) return {};
  const int32_t shift = geometry.pools[geometry.window_pool].log2_entries_per_block;
  const int32_t begin = WindowBegin(geometry, sequence.length) >> shift;
  return {std::min(begin, sequence.window.current.begin), sequence.window.current.begin};
}

// The blocks that the sequence has before the step and keeps.
BlockRange Ledger::Impl::KeptWindow(const Sequence& sequence) const {
  if (!has_window()) return {};
  const int32_t shift = geometry.pools[geometry.window_pool].log2_entries_per_block;
  const BlockRange& current = sequence.window.current;
  return {std::max(current.begin, WindowBegin(geometry, sequence.length) >> shift), current.end};
}

int32_t Ledger::Impl::PatchesToAnnounce(const Sequence& sequence) const {
  const int32_t of_state = sequence.has_state ? static_cast<int32_t>(state_pools.size()) : 0;
  return sequence.chunks * static_cast<int32_t>(full_pools.size()) + KeptWindow(sequence).size() +
         WindowHoles(sequence).size() + of_state;
}

void Ledger::Impl::Announce(const Sequence& sequence, int32_t sequence_index,
                            PlanBuilder& plan) const {
  const auto add = [&](int pool, BlockRange range) {
    for (int32_t i = range.begin; i < range.end; ++i) {
      plan.AddPatch({pool, sequence_index, i, tables[pool].Row(sequence_index)[i].value()});
    }
  };
  for (const int p : full_pools) add(p, {0, sequence.chunks});
  for (const int p : state_pools) add(p, {0, sequence.has_state ? 1 : 0});
  if (!has_window()) return;
  add(geometry.window_pool, KeptWindow(sequence));
  const BlockRange holes = WindowHoles(sequence);
  for (int32_t i = holes.begin; i < holes.end; ++i) {
    plan.AddPatch({geometry.window_pool, sequence_index, i, kNoSlot});
  }
}

}  // namespace terrace
