// Finding fault with events, tables, counts and figures, after every call.

#include <algorithm>
#include <utility>

#include "src/model/state_pages.h"
#include "tests/model/prefix_model.h"
#include "tests/support/use_of.h"

namespace terrace::testing {

void PrefixModel::Hear(absl::Span<const PrefixEvent> events) {
  const auto has = [](const PrefixSequence& sequence, const PrefixEvent& event, int32_t chunks) {
    return event.depth >= 1 && event.depth <= chunks &&
           event.depth <= static_cast<int32_t>(sequence.digests.size()) &&
           sequence.digests[event.depth - 1] == event.digest;
  };
  const CheckpointPolicy& policy = options_.prefix.checkpoints;
  for (const PrefixEvent& event : events) {
    mirror_.Apply(event);
    removed_chunks_ += event.kind == PrefixEvent::Kind::kChunkRemoved;
    if (event.kind == PrefixEvent::Kind::kCleared) removed_chunks_ = 0;
    Stamp(event);
    const bool stored = event.kind == PrefixEvent::Kind::kChunkStored ||
                        event.kind == PrefixEvent::Kind::kCheckpointStored;
    bool told = false;
    bool marked = false;
    for (const auto& [key, sequence] : sequences_) {
      const int32_t settled = sequence.settled() / geometry_.chunk_tokens;
      told |= stored && sequence.in_index && sequence.taint == 0 && has(sequence, event, settled);
      marked |= std::any_of(sequence.marks.begin(), sequence.marks.end(), [&](int32_t mark) {
        return mark / geometry_.chunk_tokens == event.depth;
      });
      Expect(event.kind != PrefixEvent::Kind::kChunkRemoved || !sequence.in_index ||
                 !has(sequence, event, sequence.published / geometry_.chunk_tokens),
             "a chunk was evicted that a live sequence uses");
    }
    Expect(told == stored, "what was stored is of no sequence's settled tokens");
    if (event.kind != PrefixEvent::Kind::kCheckpointStored) continue;
    Expect(policy.kind != CheckpointPolicy::Kind::kNone, "a checkpoint under the policy None");
    Expect(policy.kind != CheckpointPolicy::Kind::kEveryTokens ||
               event.depth * geometry_.chunk_tokens % policy.tokens == 0 || marked,
           "a checkpoint that the policy does not ask for");
  }
}

// ---- The state after a call.

void PrefixModel::Check(const Ledger& ledger) {
  ReadSnapshot(ledger);
  if (!fault_.empty()) return;
  CheckTables();
  CheckPools(ledger);
  CheckSequences(ledger);
  CheckFigures(ledger.prefix_figures());
  RaiseCopies(ledger.prefix_figures());
  actors_.clear();
  in_step_ = false;
  taken_.clear();
  written_.clear();
}

void PrefixModel::ReadSnapshot(const Ledger& ledger) {
  const absl::StatusOr<Plan> plan = ledger.Snapshot();
  if (!Expect(plan.ok() && plan->is_snapshot() && plan->number().value() == last_plan_ &&
                  plan->header().generation == generation_,
              "the header of a snapshot")) {
    return;
  }
  for (auto& pool : held_) {
    for (auto& part : pool) std::fill(part.begin(), part.end(), -1);
  }
  for (const BlockPatch& patch : plan->patches()) {
    int32_t& place = held_[patch.pool][patch.sequence_index][patch.index];
    Expect(place == -1 && patch.block >= 0, "a snapshot names a place twice");
    Expect(OfSequence(patch.sequence_index) != nullptr,
           "a snapshot names a sequence index that is free");
    place = patch.block;
  }
  if (std::exchange(snapshot_due_, false)) device_ = held_;
}

// Whether a sequence may and whether it must have a block at `index` of a pool's table.
std::pair<bool, bool> PrefixModel::Holds(const PrefixSequence& sequence, int pool,
                                         int32_t index) const {
  if (is_state(pool)) return {sequence.has_state, sequence.has_state};
  const int32_t rows = geometry_.pools[pool].tokens_per_block;
  const int64_t begin = int64_t{index} * rows;
  if (is_full(pool)) {
    const bool holds = begin < std::max(sequence.length, sequence.write_from);
    return {holds, holds};
  }
  return {begin < sequence.length && begin + rows > sequence.kept_from, false};
}

// Sequences hold what they need, where the device finds it; and nobody writes what others have.
void PrefixModel::CheckTables() {
  for (const auto& [key, sequence] : sequences_) {
    const int32_t sequence_index = key.first;
    for (int p = 0; p < geometry_.num_pools; ++p) {
      const std::vector<int32_t>& held = held_[p][sequence_index];
      for (int32_t index = 0; index < static_cast<int32_t>(held.size()); ++index) {
        const auto [may, must] = Holds(sequence, p, index);
        Expect(held[index] >= 0 ? may : !must, "a sequence holds what it needs, and no more");
        if (held[index] >= 0 && sequence.announced) {
          Expect(device_[p][sequence_index][index] == held[index], "no plan told of a block");
        }
      }
    }
    const Tables& tables = sequence.announced ? device_ : held_;
    CheckWindow(sequence, sequence_index, sequence.length - sequence.undecided(), tables);
    CheckWindow(sequence, sequence_index, sequence.length, tables);
    if (!sequence.announced) {
      CheckEntries(sequence, sequence_index, std::max(sequence.length, sequence.write_from), held_);
    }
  }
  // Blocks for a checkpoint alone leave the table with the step that writes them.
  for (const auto& [place, writer] : written_) {
    for (int32_t sequence_index = 0; sequence_index < geometry_.max_sequences; ++sequence_index) {
      const std::vector<int32_t>& held = held_[place.pool][sequence_index];
      Expect(sequence_index == writer || std::count(held.begin(), held.end(), place.block) == 0,
             "a step wrote to a block that is not its sequence's alone");
    }
  }
}

void PrefixModel::CheckPools(const Ledger& ledger) {
  for (int p = 0; p < geometry_.num_pools; ++p) {
    const PoolUse use = UseOf(ledger, p);
    Expect(use.capacity == geometry_.pools[p].capacity_blocks &&
               use.free + use.live + use.cached + use.draining == use.capacity,
           "the states of blocks sum to the capacity");
    Expect(use.free >= 0 && use.live >= 0 && use.cached >= 0 && use.draining >= 0,
           "a negative sum");
    Expect(!idle() || use.draining == 0, "a block drains though no plan runs");
    use_[p] = use;
    if (p == geometry_.overlap_pool) continue;
    std::vector<bool> held(use.capacity);
    for (const auto& part : held_[p]) {
      for (const int32_t block : part) {
        if (block >= 0) held[block] = true;
      }
    }
    // The next plan may take a checkpoint from the state of a sequence that is gone.
    const int64_t in_tables = std::count(held.begin(), held.end(), true);
    const int64_t beside = PoolIndex(p) == CsaStatePool(geometry_) ? freed_.size() : 0;
    Expect(use.live >= in_tables && use.live <= in_tables + beside,
           "live blocks are those in tables");
    const int64_t indexed = is_full(p) ? mirror_.num_chunks() : INT32_MAX;
    Expect(use.cached <= indexed, "a block is cached that no chunk has");
  }
}

void PrefixModel::CheckSequences(const Ledger& ledger) {
  Expect(ledger.num_sequences() == static_cast<int32_t>(sequences_.size()), "live sequences");
  for (auto& [key, sequence] : sequences_) {
    const absl::StatusOr<SequenceInfo> info = ledger.Info({key.first, key.second});
    if (!Expect(info.ok(), "a live sequence is known")) return;
    Expect(info->index == key.first && info->length == sequence.length &&
               info->known == sequence.known && info->settled == sequence.settled() &&
               info->undecided_drafts == sequence.undecided(),
           "the counts of a sequence");
    Expect(info->write_from == sequence.write_from, "where a sequence writes from");
    Expect(info->approximate == (sequence.taint > 0), "whether a sequence is approximate");
    if (!options_.prefix.enabled || !sequence.in_index) continue;
    const int32_t settled = sequence.settled() / geometry_.chunk_tokens * geometry_.chunk_tokens;
    const int32_t want =
        std::max(sequence.write_from, sequence.taint > 0 ? sequence.write_from : settled);
    Expect(info->published == want, "settled chunks are published, and no others");
    sequence.published = info->published;
  }
}

void PrefixModel::CheckFigures(const PrefixFigures& f) {
  Expect(f.matched_tokens == f.resumed_tokens + f.skipped_tokens + f.refed_tokens,
         "figures: matched tokens");
  Expect(f.hits <= f.lookups, "figures: hits");
  Expect(f.indexed_chunks == mirror_.num_chunks(), "figures: indexed chunks");
  Expect(f.stored_chunks == f.indexed_chunks + f.evicted_chunks + f.expired_chunks +
                                f.cleared_chunks + f.lost_chunks,
         "figures: stored chunks");
  Expect(f.unused_chunks >= 0 && f.unused_chunks <= f.indexed_chunks, "figures: unused chunks");
  Expect(f.held_checkpoints == mirror_.num_checkpoints(), "figures: held checkpoints");
  Expect(f.stored_checkpoints == f.held_checkpoints + f.evicted_checkpoints + f.rolled_checkpoints +
                                     f.dropped_checkpoints + f.cleared_checkpoints +
                                     f.lost_checkpoints,
         "figures: stored checkpoints");
}

}  // namespace terrace::testing
