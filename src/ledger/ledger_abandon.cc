// What a ledger does when steps were lost or rows are wrong.

#include <algorithm>
#include <vector>

#include "absl/strings/str_format.h"
#include "src/ledger/ledger_impl.h"

namespace terrace {

using internal::LostPrefixes;
using internal::PoolSet;
using internal::Sequence;
using internal::SequenceTable;

absl::StatusOr<Abandoned> Ledger::Abandon(PlanNumber first) {
  PoolSet& pools = impl_->pools;
  if (first.value() < 1 || first.value() > pools.last_plan()) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "plan %d cannot be abandoned: the plans made are 1..%d", first.value(), pools.last_plan()));
  }
  impl_->counts.CountAbandon(first.value(), pools.last_plan());
  pools.BeginGeneration();
  pools.CancelCaptures();
  const LostPrefixes lost = impl_->prefixes.FindLost(first.value());
  std::vector<Sequence*> affected;
  for (Sequence& sequence : impl_->sequences.all()) {
    if (!sequence.live) continue;
    const bool uses_lost = sequence.prefix.in_index && lost.LosesChunk(sequence.prefix.tip);
    if (sequence.plan >= first.value() || uses_lost) affected.push_back(&sequence);
  }
  return impl_->StartOver(affected, lost);
}

absl::StatusOr<Abandoned> Ledger::Distrust(absl::Span<const Distrusted> sequences) {
  PoolSet& pools = impl_->pools;
  std::vector<bool> named(impl_->sequences.max_sequences());
  for (const Distrusted& distrusted : sequences) {
    const Sequence* const sequence = impl_->sequences.Find(distrusted.id);
    if (sequence == nullptr) return SequenceTable::NotFound(distrusted.id);
    if (distrusted.from < 0 || distrusted.from > sequence->length) {
      return absl::InvalidArgumentError(
          absl::StrFormat("sequence %d is distrusted from row %d on, not in 0..%d", sequence->index,
                          distrusted.from, sequence->length));
    }
    named[sequence->index] = true;
  }
  ++impl_->counts.distrusts;
  LostPrefixes lost = impl_->prefixes.NoneLost();
  std::vector<bool> overlaps(pools.has_overlap() ? pools.pool(pools.overlap_pool()).capacity() : 0);
  for (const Distrusted& distrusted : sequences) {
    const Sequence& sequence = *impl_->sequences.Find(distrusted.id);
    impl_->prefixes.AddLost(sequence, distrusted.from, lost);
    for (const CheckpointRecord& capture : pools.captures()) {
      if (pools.IsCaptureOf(sequence, capture)) overlaps[capture.overlap_block] = true;
    }
  }
  impl_->prefixes.CloseLost(overlaps, lost);
  std::vector<Sequence*> affected;
  for (Sequence& sequence : impl_->sequences.all()) {
    if (!sequence.live) continue;
    const std::optional<BlockId> restored = sequence.restore_block;
    if (named[sequence.index] || (restored.has_value() && overlaps[restored->value()]) ||
        (sequence.prefix.in_index && lost.LosesChunk(sequence.prefix.tip))) {
      affected.push_back(&sequence);
    }
  }
  Abandoned abandoned = impl_->StartOver(affected, lost);
  // Those whose checkpoint went before.
  for (size_t block = 0; block < overlaps.size(); ++block) {
    if (overlaps[block]) pools.CancelCapture(BlockId(static_cast<int32_t>(block)));
  }
  return abandoned;
}

Abandoned Ledger::Impl::StartOver(const std::vector<Sequence*>& affected,
                                  const LostPrefixes& lost) {
  for (Sequence* const sequence : affected) {
    prefixes.Detach(*sequence);
    pools.FreeChunks(*sequence, 0);
    pools.FreeWindow(*sequence);
    pools.FreeState(*sequence);
    pools.DropRestore(*sequence);
    sequence->StartOver();
    pools.UpdateReservation(*sequence);
  }
  counts.restarted += static_cast<int64_t>(affected.size());
  prefixes.RemoveLost(lost);
  Abandoned abandoned;
  abandoned.sequences.reserve(affected.size());
  for (Sequence* const sequence : affected) {
    const PrefixMatch match = prefixes.Readmit(*sequence);
    abandoned.sequences.push_back({.id = {sequence->index, sequence->generation},
                                   .length = sequence->length,
                                   .match = match});
  }
  return abandoned;
}

}  // namespace terrace
