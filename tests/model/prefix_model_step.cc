// Carrying out steps: what plans write, copy and share, and what the queries of a step then see.

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "src/model/state_pages.h"
#include "src/plan/step_expand.h"
#include "tests/model/prefix_model.h"

namespace terrace::testing {
namespace {

constexpr uint64_t kGarbage = 0;  // what a block holds that was just handed out

}  // namespace

void PrefixModel::Append(absl::Span<const StepRequest> batch, const Plan& plan) {
  actors_.clear();
  in_step_ = true;
  for (const auto& [key, sequence] : sequences_) {
    if (!sequence.in_index) continue;
    const int32_t chunks = sequence.published / geometry_.chunk_tokens;
    for (const ChunkDigest& digest : absl::MakeConstSpan(sequence.digests).first(chunks)) {
      auto& [named, plan] = copies_[PrefixMirror::Key(digest)];
      named = digest;
      plan = std::max(plan, sequence.plan);
    }
  }
  for (const StepRequest& request : batch) {
    actors_.insert({request.id.index, request.id.generation});
  }
  ++last_plan_;
  Expect(plan.number().value() == last_plan_, "plan number");
  Expect(plan.header().generation == generation_, "plan generation");
  Expect(!plan.is_snapshot() && plan.sequences().size() == batch.size(), "plan kind and sequences");
  if (!fault_.empty()) return;
  const absl::Span<const CheckpointRecord> records = plan.checkpoints();
  const size_t settled = plan.num_settled_checkpoints();
  for (const CheckpointRecord& record : records.first(settled)) {
    const auto freed = freed_.find(record.sequence_index);
    const PrefixSequence* const sequence =
        freed != freed_.end() ? &freed->second : OfSequence(record.sequence_index);
    if (!Expect(sequence != nullptr, "a checkpoint of no sequence")) return;
    // The compressor's state goes back by 8 tokens and the drafts; a snapshot is of 4 tokens.
    Expect(record.position <= sequence->length &&
               record.position + geometry_.max_drafts + 4 >= sequence->length,
           "a checkpoint of a position that the state has left");
    if (const int state = CsaStatePool(geometry_).value(); state >= 0) {
      if (!Expect(record.state_block >= 0, "a checkpoint without a state")) return;
      Expect(contents_[state][record.state_block] == Mix(sequence->state, state),
             "a checkpoint is taken from a foreign or stale state");
    }
    WriteCheckpoint(record, sequence);
  }
  freed_.clear();
  CheckRestores(plan);
  ApplyPatches(plan);
  // It hands out itself what it has taken a checkpoint from, and no later plan does.
  for (const CheckpointRecord& record : records.first(settled)) {
    if (record.state_block >= 0) Use(CsaStatePool(geometry_).value(), record.state_block);
  }
  ApplyCopies(plan);
  for (size_t i = 0; i < batch.size() && fault_.empty(); ++i) {
    const SequenceStep& part = plan.sequences()[i];
    PrefixSequence& sequence = *Edit(batch[i].id);
    CheckSequenceStep(batch[i], part, sequence);
    FeedTokens(sequence, part.count);
    const size_t begin = part.checkpoint_begin;
    const size_t end =
        i + 1 < batch.size() ? plan.sequences()[i + 1].checkpoint_begin : records.size();
    WriteRows(part, records.subspan(begin, end - begin), sequence);
    WriteEntries(part, sequence);
    WriteState(part, sequence);
    sequence.length = part.first + part.count;
    sequence.draft_begin = sequence.length - part.drafts;
    sequence.kept_from = std::max(0, part.first - (geometry_.window_tokens - 1));
    sequence.announced = true;
    sequence.restores = false;
    sequence.restored.reset();
    sequence.plan = sequence.copy_plan = last_plan_;
    for (const CheckpointRecord& record : records.subspan(begin, end - begin)) {
      Expect(record.sequence_index == part.sequence_index && record.position > part.first &&
                 record.position <= sequence.settled(),
             "a checkpoint in a step is of settled tokens of the step");
      WriteCheckpoint(record, &sequence);
    }
  }
  // All writes of a step may come before the reads of any of its queries.
  for (const SequenceStep& part : plan.sequences()) {
    if (fault_.empty()) CheckVisible(part, *OfSequence(part.sequence_index));
  }
}

void PrefixModel::CheckSequenceStep(const StepRequest& request, const SequenceStep& part,
                                    const PrefixSequence& sequence) {
  Expect(part.sequence_index == request.id.index, "sequence index");
  Expect(part.first == sequence.length, "first");
  Expect(part.count == request.tokens, "count");
  Expect(part.drafts == request.drafts, "drafts");
  Expect(part.settled == std::min(part.first + part.count, sequence.known), "settled");
  Expect(std::max(part.write_from, part.first) == std::max(sequence.write_from, part.first),
         "write_from");
}

void PrefixModel::CheckRestores(const Plan& plan) {
  std::set<int32_t> restored;
  for (const RestoreRecord& record : plan.restores()) {
    const PrefixSequence* const sequence = OfSequence(record.sequence_index);
    Expect(restored.insert(record.sequence_index).second, "a sequence index is restored twice");
    if (!Expect(sequence != nullptr, "no sequence is restored")) return;
    Expect(sequence->restores || record.position == 0, "a state is lost");
    Expect(record.position == sequence->length, "a state of another position is restored");
    if (record.overlap_block < 0) {
      Expect(sequence->window_from == record.position || geometry_.overlap_pool < 0,
             "a checkpoint is not restored");
    } else {
      const int pool = geometry_.overlap_pool;
      Use(pool, record.overlap_block);
      Expect(contents_[pool][record.overlap_block] ==
                 Mix(IdAt(*sequence, record.position - 1, geometry_.num_layers), pool),
             "the state of another prefix is restored");
    }
  }
  if (geometry_.overlap_pool < 0) return;
  for (const SequenceStep& part : plan.sequences()) {
    Expect(restored.count(part.sequence_index) == 1 || !OfSequence(part.sequence_index)->restores,
           "a state is stale");
  }
}

void PrefixModel::ApplyPatches(const Plan& plan) {
  taken_.clear();
  for (const BlockPatch& patch : plan.patches()) {
    device_[patch.pool][patch.sequence_index][patch.index] = patch.block;
    if (patch.block < 0) {
      Expect(patch.pool == geometry_.window_pool, "a hole in a full pool");
      continue;
    }
    if (held_[patch.pool][patch.sequence_index][patch.index] == patch.block) continue;  // announced
    const Place place{patch.pool, patch.block};
    Expect(taken_.emplace(place, std::pair(patch.sequence_index, patch.index)).second,
           "a block was handed out twice");
    if (options_.in_flight_plans > 0) {
      Expect(last_use_[patch.pool][patch.block] <= retired_,
             "a block was handed out that a running plan may name: pool ", patch.pool, ", block ",
             patch.block, ", plan ", last_use_[patch.pool][patch.block]);
    }
  }
}

// All copies are made before the step writes, in any order.
void PrefixModel::ApplyCopies(const Plan& plan) {
  const auto row_of = [&](int pool, int32_t block) {
    return contents_[pool].begin() + block * geometry_.pools[pool].entries_per_block;
  };
  std::map<Place, std::vector<uint64_t>> copies;
  for (const BlockCopy& copy : plan.copies()) {
    const auto source = row_of(copy.pool, copy.source);
    const Place destination{copy.pool, copy.destination};
    Expect(taken_.count(destination) == 1, "a copy into a block that was not taken for it");
    const int32_t rows = geometry_.pools[copy.pool].entries_per_block;
    Expect(copies.emplace(destination, std::vector<uint64_t>(source, source + rows)).second,
           "two copies into one block");
    Use(copy.pool, copy.source);
    // Somebody else goes on with the source, and the step goes on inside the copy.
    int sharers = 0;
    for (const auto& part : held_[copy.pool]) {
      sharers += std::count(part.begin(), part.end(), copy.source) > 0;
    }
    Expect(sharers > 1, "a block was copied that nobody shares");
    const auto [sequence_index, index] = taken_[destination];
    const PrefixSequence* const sequence = OfSequence(sequence_index);
    if (is_state(copy.pool)) continue;  // every step goes on in it
    const int32_t tokens = geometry_.pools[copy.pool].tokens_per_block;
    Expect(
        sequence != nullptr && sequence->length / tokens == index && sequence->length % tokens != 0,
        "a block was copied that the step does not go on in");
  }
  for (const BlockCopy& copy : plan.copies()) {
    Expect(copies.count({copy.pool, copy.source}) == 0, "a copy of what is copied in this step");
  }
  for (const auto& [place, where] : taken_) {
    const auto row = row_of(place.pool, place.block);
    const auto copied = copies.find(place);
    if (copied != copies.end()) {
      std::copy(copied->second.begin(), copied->second.end(), row);
    } else {
      std::fill_n(row, geometry_.pools[place.pool].entries_per_block, kGarbage);
    }
    const int32_t rows = geometry_.pools[place.pool].entries_per_block;
    std::fill_n(writers_[place.pool].begin() + place.block * rows, rows, last_plan_);
  }
}

// Gives the step's tokens ids, and computes what their rows hold.
void PrefixModel::FeedTokens(PrefixSequence& sequence, int32_t count) {
  const int32_t end = sequence.length + count;
  std::vector<int32_t> invented;
  while (static_cast<int32_t>(sequence.tokens.size() + invented.size()) < end) {
    invented.push_back(static_cast<int32_t>(1'000'000'000 + ++fresh_));
  }
  if (!invented.empty()) {
    SetTokens(sequence, static_cast<int32_t>(sequence.tokens.size()), invented);
  }
  const size_t size = std::max<size_t>(end, sequence.write_from);
  sequence.rows.resize(size);
  sequence.depths.resize(size);
  sequence.closers.resize(size);
  for (int32_t p = sequence.length; p < end; ++p) {
    sequence.depths[p] = DepthOf(sequence, p);
    sequence.rows[p] = IdAt(sequence, p, sequence.depths[p]);
    if (p < sequence.write_from) continue;
    Expect(sequence.taint > 0 || sequence.depths[p] == geometry_.num_layers,
           "a refeed was too short to be exact");
    sequence.closers[p] = sequence.rows[p];
  }
}

int32_t PrefixModel::SlotAt(int pool, int32_t sequence_index, int32_t entry,
                            const Tables& tables) const {
  const int32_t rows = geometry_.pools[pool].entries_per_block;
  const int32_t block = tables[pool][sequence_index][entry / rows];
  return block < 0 ? -1 : block * rows + entry % rows;
}

void PrefixModel::WriteRows(const SequenceStep& part,
                            absl::Span<const CheckpointRecord> checkpoints,
                            PrefixSequence& sequence) {
  if (geometry_.window_pool < 0) return;
  const int pool = geometry_.window_pool;
  const int32_t before = geometry_.window_tokens - 1;
  const int32_t end = part.first + part.count;
  for (int32_t p = part.first; p < end; ++p) {
    bool stored = geometry_.store_whole_chunk == 1 || p >= end - part.drafts - before;
    for (const CheckpointRecord& record : checkpoints) {
      stored |= p >= record.position - before && p < record.position;
    }
    if (!stored) continue;
    const int32_t slot = SlotAt(pool, part.sequence_index, p, device_);
    if (!Expect(slot >= 0, "a row of the window has no block")) return;
    Store(pool, slot, sequence.rows[p]);
    Use(pool, slot / geometry_.pools[pool].entries_per_block);
    written_[{pool, slot / geometry_.pools[pool].entries_per_block}] = part.sequence_index;
  }
}

void PrefixModel::WriteEntries(const SequenceStep& part, PrefixSequence& sequence) {
  for (int pool = 0; pool < geometry_.num_pools; ++pool) {
    if (!is_full(pool)) continue;
    const PoolGeometry& g = geometry_.pools[pool];
    for (int32_t i = EntriesClosed(g, part.first); i < EntriesClosed(g, part.first + part.count);
         ++i) {
      if (i * g.ratio < sequence.write_from) continue;
      const int32_t slot = SlotAt(pool, part.sequence_index, i, device_);
      if (!Expect(slot >= 0, "an entry has no block")) return;
      const int32_t closer = g.rule == EntryRule::kPooled ? (i + 1) * g.ratio - 1 : i * g.ratio;
      Store(pool, slot, Mix(sequence.closers[closer], pool));
      written_[{pool, slot / g.entries_per_block}] = part.sequence_index;
    }
  }
}

// A state page goes on from what the last step left in it, or begins anew where a record says so or
// where the sequence begins.
void PrefixModel::WriteState(const SequenceStep& part, PrefixSequence& sequence) {
  const uint64_t before = std::exchange(sequence.state, ++fresh_);
  for (int pool = 0; pool < geometry_.num_pools; ++pool) {
    if (!is_state(pool)) continue;
    const int32_t block = device_[pool][part.sequence_index][0];
    if (!Expect(block >= 0, "a sequence has no state")) return;
    if (sequence.has_state && !sequence.restores) {
      Expect(contents_[pool][block] == Mix(before, pool),
             "a step goes on from a foreign or stale state");
    }
    Store(pool, block, Mix(sequence.state, pool));
    Use(pool, block);
    written_[{pool, block}] = part.sequence_index;
  }
  sequence.has_state = true;
}

void PrefixModel::WriteCheckpoint(const CheckpointRecord& record, const PrefixSequence* sequence) {
  Expect(record.position > 0 && record.position % geometry_.chunk_tokens == 0 &&
             record.position <= sequence->settled(),
         "a checkpoint at no boundary of settled chunks");
  Expect(sequence->taint == 0, "an approximate sequence left a checkpoint");
  if (geometry_.overlap_pool < 0) {
    Expect(record.overlap_block == -1, "a checkpoint in a pool that does not exist");
    return;
  }
  const int pool = geometry_.overlap_pool;
  if (!Expect(record.overlap_block >= 0, "a checkpoint without the compressor's rows")) return;
  if (options_.in_flight_plans > 0) {
    Expect(last_use_[pool][record.overlap_block] <= retired_,
           "an overlap block was handed out that a running plan may name");
  }
  Use(pool, record.overlap_block);
  Store(pool, record.overlap_block,
        Mix(IdAt(*sequence, record.position - 1, geometry_.num_layers), pool));
}

// What the queries of the step read from the pools: the window before its first token, every entry
// that its last query sees, and its own rows, which later steps will read.
void PrefixModel::CheckVisible(const SequenceStep& part, const PrefixSequence& sequence) {
  CheckWindow(sequence, part.sequence_index, part.first, device_);
  CheckWindow(sequence, part.sequence_index, sequence.length - part.drafts, device_);
  CheckWindow(sequence, part.sequence_index, sequence.length, device_);
  CheckEntries(sequence, part.sequence_index, sequence.length, device_);
  for (int pool = 0; pool < geometry_.num_pools; ++pool) {
    if (!HoldsRows(geometry_.pools[pool].kind)) continue;
    const int32_t rows = geometry_.pools[pool].tokens_per_block;
    const int32_t begin = is_full(pool) ? 0 : std::max(0, part.first - geometry_.window_tokens + 1);
    const int32_t end = is_full(pool) ? sequence.length : part.first;
    for (int32_t index = begin / rows; index * rows < end; ++index) {
      const int32_t block = device_[pool][part.sequence_index][index];
      if (block >= 0) Use(pool, block);
    }
  }
}

// The window of a query at `first`, but for that query's own row.
void PrefixModel::CheckWindow(const PrefixSequence& sequence, int32_t sequence_index, int32_t first,
                              const Tables& tables) {
  const int pool = geometry_.window_pool;
  if (pool < 0) return;
  for (int32_t p = std::max(0, first - (geometry_.window_tokens - 1)); p < first; ++p) {
    const int32_t slot = SlotAt(pool, sequence_index, p, tables);
    if (p < sequence.window_from) {
      Expect(slot < 0, "a query sees a row before its refeed, which nobody wrote");
    } else if (Expect(slot >= 0, "a query misses a row of its window")) {
      Expect(contents_[pool][slot] == sequence.rows[p], "a query sees a foreign or stale row");
    }
  }
}

// The entries of the first `tokens` tokens.
void PrefixModel::CheckEntries(const PrefixSequence& sequence, int32_t sequence_index,
                               int32_t tokens, const Tables& tables) {
  for (int pool = 0; pool < geometry_.num_pools; ++pool) {
    if (!is_full(pool)) continue;
    const PoolGeometry& g = geometry_.pools[pool];
    for (int32_t i = 0; i < EntriesClosed(g, tokens); ++i) {
      const int32_t slot = SlotAt(pool, sequence_index, i, tables);
      if (!Expect(slot >= 0, "a query misses an entry")) return;
      const int32_t closer = g.rule == EntryRule::kPooled ? (i + 1) * g.ratio - 1 : i * g.ratio;
      Expect(contents_[pool][slot] == Mix(sequence.closers[closer], pool),
             "a query sees a foreign or stale entry");
    }
  }
}

}  // namespace terrace::testing
