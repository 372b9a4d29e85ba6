// What walks the whole ledger: Snapshot and CheckInvariants.

#include <algorithm>
#include <limits>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_format.h"
#include "src/base/check.h"
#include "src/ledger/ledger_impl.h"
#include "src/plan/plan_builder.h"

namespace terrace {

absl::StatusOr<Plan> Ledger::Snapshot() const {
  const Geometry& geometry = impl_->geometry;
  int64_t patches = 0;
  impl_->ForEachBlock([&](int, int32_t, int32_t, BlockId) { ++patches; });
  if (PlanBytes({.patches = patches}) > std::numeric_limits<int32_t>::max()) {
    return absl::OutOfRangeError(
        absl::StrFormat("a snapshot of %d blocks is beyond 2 GiB", patches));
  }
  PlanBuilder plan(geometry, PlanKind::kSnapshot, {.patches = static_cast<int32_t>(patches)});
  impl_->ForEachBlock([&](int pool, int32_t sequence_index, int32_t index, BlockId block) {
    plan.AddPatch({pool, sequence_index, index, block.value()});
  });
  return std::move(plan).Build(impl_->options.epoch, last_plan());
}

void Ledger::CheckInvariants() const {
  const Geometry& geometry = impl_->geometry;
  std::vector<std::vector<int32_t>> references;
  for (const BlockPool& pool : impl_->pools) {
    pool.CheckInvariants();  // (1)
    references.emplace_back(pool.capacity(), 0);
  }
  impl_->ForEachBlock([&](int pool, int32_t, int32_t, BlockId block) {
    TERRACE_CHECK_GE(block.value(), 0);
    TERRACE_CHECK_LT(block.value(), impl_->pools[pool].capacity());
    ++references[pool][block.value()];
  });
  for (int32_t sequence_index = 0; sequence_index < geometry.max_sequences; ++sequence_index) {
    const Sequence& sequence = impl_->sequences.at(sequence_index);
    if (!sequence.live || !sequence.restore_block.has_value()) continue;
    ++references[geometry.overlap_pool][sequence.restore_block->value()];
  }
  for (const CheckpointRecord& record : impl_->settled_checkpoints) {
    ++references[geometry.overlap_pool][record.overlap_block];
  }
  for (const BlockId state : impl_->captured_states) {
    TERRACE_CHECK_EQ(impl_->IsCapturePending(state), true);
    ++references[impl_->csa_state_pool][state.value()];
  }
  for (int p = 0; p < geometry.num_pools; ++p) {
    for (int32_t block = 0; block < impl_->pools[p].capacity(); ++block) {
      TERRACE_CHECK_EQ(impl_->pools[p].references(BlockId(block)), references[p][block]);  // (2)
    }
    if (impl_->idle()) TERRACE_CHECK_EQ(impl_->pools[p].num_draining(), 0);  // (6)
  }
  for (int32_t sequence_index = 0; sequence_index < geometry.max_sequences; ++sequence_index) {
    const Sequence& sequence = impl_->sequences.at(sequence_index);
    if (sequence.live) impl_->CheckSequence(sequence);
  }
  impl_->CheckPrefixes();
  impl_->sequences.CheckInvariants();  // (5)
  TERRACE_CHECK_LE(impl_->number - impl_->retired,
                   static_cast<uint64_t>(impl_->options.in_flight_plans));  // (6)
}

void Ledger::Impl::CheckSequence(const Sequence& sequence) const {
  TERRACE_CHECK_LE(sequence.draft_begin, sequence.length);
  TERRACE_CHECK_EQ(sequence.chunks, std::max(ChunksOf(sequence.length),
                                             sequence.write_from / geometry.chunk_tokens));  // (3)
  if (!has_window()) return;
  const PoolGeometry& pool = geometry.pools[geometry.window_pool];
  const BlockRange& old = sequence.window.old;
  const BlockRange& current = sequence.window.current;
  TERRACE_CHECK_LE(old.begin, old.end);  // (4)
  TERRACE_CHECK_LE(current.begin, current.end);
  if (old.size() > 0) TERRACE_CHECK_LT(old.end, current.begin);
  TERRACE_CHECK_EQ(current.end, BlocksOf(pool, sequence.length));
  const int32_t next_first = sequence.length - sequence.undecided_drafts();
  // What a refeed without a checkpoint began with has no rows before it.
  const int32_t needed = WindowBegin(geometry, next_first) >> pool.log2_entries_per_block;
  if (sequence.write_from == 0) TERRACE_CHECK_LE(current.begin, needed);
}

void Ledger::Impl::CheckPrefixes() const {
  index.CheckInvariants();
  std::vector<std::vector<bool>> indexed;
  for (const BlockPool& pool : pools) indexed.emplace_back(pool.capacity());
  const auto mark = [&](int pool, BlockId block) {
    TERRACE_CHECK_EQ(indexed[pool][block.value()], false);  // (7)
    indexed[pool][block.value()] = true;
  };
  index.ForEachChunk([&](ChunkId chunk) {
    for (size_t i = 0; i < full_pools.size(); ++i) mark(full_pools[i], index.blocks(chunk)[i]);
    const std::optional<CheckpointId> checkpoint = index.checkpoint(chunk);
    if (!checkpoint.has_value()) return;
    for (const BlockId block : index.window_blocks(*checkpoint)) mark(geometry.window_pool, block);
    if (has_overlap()) mark(geometry.overlap_pool, index.overlap_block(*checkpoint));
  });
  for (int p = 0; p < geometry.num_pools; ++p) {
    for (int32_t block = 0; block < pools[p].capacity(); ++block) {
      TERRACE_CHECK_EQ(pools[p].IsIndexed(BlockId(block)), indexed[p][block]);
    }
  }

  absl::flat_hash_map<int32_t, int32_t> users;  // of chunks
  absl::flat_hash_map<int32_t, int32_t> pins;
  for (int32_t sequence_index = 0; sequence_index < geometry.max_sequences; ++sequence_index) {
    const Sequence& sequence = sequences.at(sequence_index);
    if (!sequence.live || !sequence.prefix.in_index) continue;
    const SequencePrefix& prefix = sequence.prefix;
    TERRACE_CHECK_LE(prefix.chunks * geometry.chunk_tokens,
                     std::max(sequence.settled(), sequence.write_from));  // (8)
    int32_t depth = 0;
    for (ChunkId at = prefix.tip; !PrefixIndex::IsRoot(at); at = index.parent(at)) {
      ++users[at.value()];
      ++depth;
    }
    TERRACE_CHECK_EQ(depth, prefix.chunks);
    if (prefix.rolling.has_value()) ++pins[prefix.rolling->value()];
    if (prefix.publishes) {
      TERRACE_CHECK_EQ(prefix.tail.size(),
                       sequence.known - int64_t{prefix.chunks} * geometry.chunk_tokens);
    }
  }
  index.ForEachChunk([&](ChunkId chunk) {
    TERRACE_CHECK_EQ(index.users(chunk), users[chunk.value()]);
    const std::optional<CheckpointId> checkpoint = index.checkpoint(chunk);
    if (!checkpoint.has_value()) return;
    TERRACE_CHECK_EQ(index.pins(*checkpoint), pins[checkpoint->value()]);
  });
}

}  // namespace terrace
