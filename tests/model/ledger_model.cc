#include "tests/model/ledger_model.h"

#include <algorithm>

#include "src/plan/step_expand.h"
#include "tests/support/use_of.h"

namespace terrace::testing {
namespace {

using internal::SlotOf;
using internal::WindowRowStored;

std::pair<int32_t, uint32_t> Key(SequenceId id) { return {id.index, id.generation}; }

Outcome Code(absl::StatusCode code) { return {code, std::nullopt}; }

}  // namespace

int32_t ModelSequence::undecided() const {
  int32_t count = 0;
  for (int32_t position = draft_begin; position < length; ++position) count += position >= known;
  return count;
}

LedgerModel::LedgerModel(const Geometry& geometry, int32_t in_flight_plans)
    : geometry_(geometry),
      in_flight_plans_(in_flight_plans),
      owner_(geometry.num_pools),
      draining_(geometry.num_pools) {
  for (int p = 0; p < geometry.num_pools; ++p) {
    tables_.emplace_back(geometry.max_sequences,
                         std::vector<int32_t>(geometry.pools[p].blocks_per_sequence, -1));
  }
}

void LedgerModel::Expect(bool condition, const char* what) {
  if (!condition && fault_.empty()) fault_ = what;
}

const ModelSequence* LedgerModel::Find(SequenceId id) const {
  const auto found = sequences_.find(Key(id));
  return found == sequences_.end() ? nullptr : &found->second;
}

ModelSequence* LedgerModel::Find(SequenceId id) {
  return const_cast<ModelSequence*>(std::as_const(*this).Find(id));
}

int32_t LedgerModel::NumFree(int pool) const {
  return geometry_.pools[pool].capacity_blocks - static_cast<int32_t>(owner_[pool].size()) -
         static_cast<int32_t>(draining_[pool].size());
}

Outcome LedgerModel::ExpectAllocate(int64_t prompt_tokens) const {
  if (prompt_tokens > geometry_.max_context_tokens) return Code(absl::StatusCode::kInvalidArgument);
  const bool full = static_cast<int32_t>(sequences_.size()) == geometry_.max_sequences;
  return Code(full ? absl::StatusCode::kResourceExhausted : absl::StatusCode::kOk);
}

std::vector<LedgerModel::Change> LedgerModel::ChangesOf(const ModelSequence& sequence,
                                                        const StepRequest& request) const {
  const int32_t first = sequence.length;
  const int32_t length = first + request.tokens;
  const int32_t before = geometry_.window_tokens - 1;  // 127
  std::vector<Change> changes(geometry_.num_pools);
  for (int p = 0; p < geometry_.num_pools; ++p) {
    const int32_t block_tokens = geometry_.pools[p].tokens_per_block;
    const bool window = p == geometry_.window_pool;
    if (window) {
      for (const auto& [index, block] : sequence.blocks[p]) {
        const int32_t last_position = (index + 1) * block_tokens - 1;
        if (last_position < first - before) changes[p].released.insert(index);
      }
    }
    int32_t last_index = -1;
    for (int32_t position = first; position < length; ++position) {
      const bool stored = !window || geometry_.store_whole_chunk == 1 ||
                          position >= length - request.drafts - before;
      const int32_t index = position / block_tokens;
      if (!stored || index == last_index) continue;
      last_index = index;
      if (sequence.blocks[p].count(index) == 0) changes[p].taken.insert(index);
    }
  }
  return changes;
}

Outcome LedgerModel::ExpectAppend(absl::Span<const StepRequest> batch) const {
  if (in_flight_plans_ > 0 && last_plan_ - retired_ == static_cast<uint64_t>(in_flight_plans_)) {
    return Code(absl::StatusCode::kFailedPrecondition);
  }
  int64_t tokens = 0;
  std::set<int32_t> sequences;
  std::vector<int64_t> taken(geometry_.num_pools), released(geometry_.num_pools);
  std::vector<int64_t> held(geometry_.num_pools);
  for (const StepRequest& request : batch) {
    const ModelSequence* const sequence = Find(request.id);
    if (sequence == nullptr) return Code(absl::StatusCode::kNotFound);
    if (!sequences.insert(request.id.index).second) return Code(absl::StatusCode::kInvalidArgument);
    if (request.tokens < 1 || request.drafts < 0 || request.drafts > request.tokens ||
        request.drafts > geometry_.max_drafts ||
        int64_t{sequence->length} + request.tokens > geometry_.max_context_tokens) {
      return Code(absl::StatusCode::kInvalidArgument);
    }
    if (sequence->undecided() > 0) return Code(absl::StatusCode::kFailedPrecondition);
    tokens += request.tokens;
    if (tokens > geometry_.max_step_tokens) return Code(absl::StatusCode::kInvalidArgument);
    const std::vector<Change> changes = ChangesOf(*sequence, request);
    for (int p = 0; p < geometry_.num_pools; ++p) {
      taken[p] += changes[p].taken.size();
      released[p] += changes[p].released.size();
      held[p] += sequence->blocks[p].size() + changes[p].taken.size() - changes[p].released.size();
    }
  }
  for (int p = 0; p < geometry_.num_pools; ++p) {
    const int64_t over = held[p] - geometry_.pools[p].capacity_blocks;
    if (over > 0) {
      return {absl::StatusCode::kOutOfRange,
              Shortage{PoolIndex(p), static_cast<int32_t>(over), false}};
    }
  }
  for (int p = 0; p < geometry_.num_pools; ++p) {
    const int64_t missing = taken[p] - NumFree(p) - (idle() ? released[p] : 0);
    if (taken[p] > 0 && missing > 0) {
      return {absl::StatusCode::kResourceExhausted,
              Shortage{PoolIndex(p), static_cast<int32_t>(missing), true}};
    }
  }
  return {};
}

Outcome LedgerModel::ExpectCommit(SequenceId id, int64_t tokens) const {
  const ModelSequence* const sequence = Find(id);
  if (sequence == nullptr) return Code(absl::StatusCode::kNotFound);
  const int64_t known = sequence->known + tokens;
  if (known > geometry_.max_context_tokens + 1) return Code(absl::StatusCode::kInvalidArgument);
  const bool ahead = tokens > 0 && known > sequence->length + 1 && !sequence->ids_ahead;
  return Code(ahead ? absl::StatusCode::kFailedPrecondition : absl::StatusCode::kOk);
}

Outcome LedgerModel::ExpectTruncate(SequenceId id, int32_t length) const {
  const ModelSequence* const sequence = Find(id);
  if (sequence == nullptr) return Code(absl::StatusCode::kNotFound);
  if (length < 0 || length > sequence->length) return Code(absl::StatusCode::kInvalidArgument);
  for (int32_t position = length; position < sequence->length; ++position) {
    const bool settled = position < sequence->known;
    const bool declared = position >= sequence->draft_begin;
    if (settled || !declared) return Code(absl::StatusCode::kInvalidArgument);
  }
  return {};
}

Outcome LedgerModel::ExpectFree(SequenceId id) const {
  return Code(Find(id) != nullptr ? absl::StatusCode::kOk : absl::StatusCode::kNotFound);
}

Outcome LedgerModel::ExpectRetire(uint64_t plan) const {
  if (in_flight_plans_ == 0) return Code(absl::StatusCode::kFailedPrecondition);
  const bool in_flight = plan > retired_ && plan <= last_plan_;
  return Code(in_flight ? absl::StatusCode::kOk : absl::StatusCode::kInvalidArgument);
}

void LedgerModel::Allocate(SequenceId id, int32_t prompt_tokens, bool ids_ahead) {
  Expect(ever_.insert(Key(id)).second, "a handle was given twice");
  Expect(id.index >= 0 && id.index < geometry_.max_sequences, "sequence index out of range");
  for (const auto& [key, sequence] : sequences_) {
    Expect(key.first != id.index, "two live sequences have one sequence index");
  }
  ModelSequence sequence;
  sequence.known = prompt_tokens;
  sequence.ids_ahead = ids_ahead;
  sequence.blocks.resize(geometry_.num_pools);
  sequence.row_block.assign(geometry_.max_context_tokens, -1);
  sequences_[Key(id)] = std::move(sequence);
}

void LedgerModel::Release(int pool, ModelSequence& sequence, int32_t index) {
  const int32_t block = sequence.blocks[pool].at(index);
  sequence.blocks[pool].erase(index);
  owner_[pool].erase(block);
  if (!idle()) draining_[pool][block] = last_plan_;
}

void LedgerModel::ApplyPatches(const Plan& plan) {
  for (const BlockPatch& patch : plan.patches()) {
    tables_[patch.pool][patch.sequence_index][patch.index] = patch.block;
    Expect(draining_[patch.pool].count(patch.block) == 0, "a draining block was handed out");
    Expect(owner_[patch.pool].emplace(patch.block, patch.sequence_index).second,
           "a block has two owners");
  }
}

void LedgerModel::Append(absl::Span<const StepRequest> batch, const Plan& plan) {
  std::vector<std::vector<Change>> changes;
  for (const StepRequest& request : batch) {
    ModelSequence& sequence = *Find(request.id);
    changes.push_back(ChangesOf(sequence, request));
    for (int p = 0; p < geometry_.num_pools; ++p) {
      for (const int32_t index : changes.back()[p].released) Release(p, sequence, index);
    }
  }
  ++last_plan_;
  Expect(plan.number().value() == last_plan_, "plan number");
  Expect(!plan.is_snapshot() && plan.copies().empty(), "plan kind");
  Expect(plan.sequences().size() == batch.size(), "as many sequences as requests");
  ApplyPatches(plan);
  if (!fault_.empty()) return;

  size_t taken = 0;
  for (size_t i = 0; i < batch.size(); ++i) {
    ModelSequence& sequence = *Find(batch[i].id);
    const SequenceStep& part = plan.sequences()[i];
    for (int p = 0; p < geometry_.num_pools; ++p) {
      for (const int32_t index : changes[i][p].taken) {
        const int32_t block = tables_[p][part.sequence_index][index];
        const auto owner = owner_[p].find(block);
        Expect(owner != owner_[p].end() && owner->second == part.sequence_index,
               "a needed block is missing");
        sequence.blocks[p][index] = block;
      }
      taken += changes[i][p].taken.size();
    }
    Expect(part.sequence_index == batch[i].id.index, "sequence index");
    Expect(part.first == sequence.length, "first");
    Expect(part.count == batch[i].tokens, "count");
    Expect(part.drafts == batch[i].drafts, "drafts");
    Expect(part.settled == std::min(part.first + part.count, sequence.known), "settled");
    CheckRows(part, sequence);
    sequence.length += batch[i].tokens;
    sequence.draft_begin = sequence.length - batch[i].drafts;
  }
  Expect(plan.patches().size() == taken, "a block was taken that no row needs");
}

// Every slot that the step writes or that its first query reads lies in a block of the sequence,
// and what is read was written there.
void LedgerModel::CheckRows(const SequenceStep& part, ModelSequence& sequence) {
  const int32_t before = geometry_.window_tokens - 1;
  const int32_t end = part.first + part.count;
  const auto owned = [&](int pool, int32_t slot) {
    const auto owner = owner_[pool].find(slot >> geometry_.pools[pool].log2_entries_per_block);
    return slot >= 0 && owner != owner_[pool].end() && owner->second == part.sequence_index;
  };
  for (int p = 0; p < geometry_.num_pools; ++p) {
    const PoolGeometry& pool = geometry_.pools[p];
    const int32_t* const row = tables_[p][part.sequence_index].data();
    if (p == geometry_.window_pool) {
      for (int32_t position = std::max(0, part.first - before); position < part.first; ++position) {
        Expect(WindowRowStored(geometry_, part, position), "a row of the window is not read");
        const int32_t slot = SlotOf(pool, row, position);
        Expect(owned(p, slot), "a row of the window lies in a foreign block");
        Expect(sequence.row_block[position] == slot / pool.entries_per_block,
               "a row of the window is read from where it was not written");
      }
      for (int32_t position = part.first; position < end; ++position) {
        const bool stored =
            geometry_.store_whole_chunk == 1 || position >= end - part.drafts - before;
        Expect(WindowRowStored(geometry_, part, position) == stored, "stored rows of the step");
        const int32_t slot = stored ? SlotOf(pool, row, position) : kNoSlot;
        Expect(!stored || owned(p, slot), "a new row lies in a foreign block");
        sequence.row_block[position] = stored ? slot / pool.entries_per_block : -1;
      }
      continue;
    }
    int32_t closed = EntriesClosed(pool, part.first);
    for (int32_t position = part.first; position < end; ++position) {
      const bool closes = pool.rule == EntryRule::kPooled ? position % pool.ratio == pool.ratio - 1
                                                          : position % pool.ratio == 0;
      if (!closes) continue;
      Expect(closed == position / pool.ratio, "closing entries ascend");
      Expect(owned(p, SlotOf(pool, row, closed)), "an entry lies in a foreign block");
      ++closed;
    }
    Expect(closed == EntriesClosed(pool, end), "as many entries close as tokens close them");
  }
}

void LedgerModel::Commit(SequenceId id, int32_t tokens) { Find(id)->known += tokens; }

void LedgerModel::Truncate(SequenceId id, int32_t length) {
  ModelSequence& sequence = *Find(id);
  for (int p = 0; p < geometry_.num_pools; ++p) {
    const std::map<int32_t, int32_t> blocks = sequence.blocks[p];
    for (const auto& [index, block] : blocks) {
      if (index * geometry_.pools[p].tokens_per_block >= length) Release(p, sequence, index);
    }
  }
  sequence.length = length;
}

void LedgerModel::Free(SequenceId id) {
  ModelSequence& sequence = *Find(id);
  for (int p = 0; p < geometry_.num_pools; ++p) {
    while (!sequence.blocks[p].empty()) Release(p, sequence, sequence.blocks[p].begin()->first);
  }
  sequences_.erase(Key(id));
}

void LedgerModel::Retire(uint64_t plan) {
  retired_ = plan;
  for (auto& draining : draining_) {
    for (auto it = draining.begin(); it != draining.end();) {
      it = it->second <= plan ? draining.erase(it) : std::next(it);
    }
  }
}

void LedgerModel::CheckSnapshot(const Plan& plan) {
  Expect(plan.is_snapshot() && plan.number().value() == last_plan_, "snapshot header");
  std::set<std::pair<int32_t, int32_t>> places[kMaxPools];
  for (const BlockPatch& patch : plan.patches()) {
    const auto owner = owner_[patch.pool].find(patch.block);
    Expect(owner != owner_[patch.pool].end() && owner->second == patch.sequence_index,
           "snapshot: owner");
    Expect(tables_[patch.pool][patch.sequence_index][patch.index] == patch.block,
           "snapshot: table");
    Expect(places[patch.pool].emplace(patch.sequence_index, patch.index).second,
           "snapshot: place twice");
  }
  for (int p = 0; p < geometry_.num_pools; ++p) {
    Expect(places[p].size() == owner_[p].size(), "snapshot: as many patches as live blocks");
  }
}

void LedgerModel::CheckAgainst(const Ledger& ledger) {
  for (int p = 0; p < geometry_.num_pools; ++p) {
    const PoolUse use = UseOf(ledger, p);
    Expect(use.live == static_cast<int32_t>(owner_[p].size()), "live blocks");
    Expect(use.draining == static_cast<int32_t>(draining_[p].size()), "draining blocks");
    Expect(use.free == NumFree(p), "free blocks");
    Expect(use.free + use.live + use.draining == use.capacity, "blocks sum to the capacity");
  }
  Expect(ledger.num_sequences() == static_cast<int32_t>(sequences_.size()), "live sequences");
  for (const auto& [key, sequence] : sequences_) {
    const absl::StatusOr<SequenceInfo> info = ledger.Info({key.first, key.second});
    Expect(info.ok() && info->length == sequence.length && info->known == sequence.known &&
               info->settled == std::min(sequence.length, sequence.known) &&
               info->undecided_drafts == sequence.undecided(),
           "the counts of a sequence");
  }
}

}  // namespace terrace::testing
