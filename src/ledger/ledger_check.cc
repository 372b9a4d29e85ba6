// The walk over everything that a ledger has.

#include <algorithm>

#include "src/base/check.h"
#include "src/ledger/ledger_impl.h"
#include "src/plan/step_expand.h"

namespace terrace {

void Ledger::CheckInvariants() const {
  impl_->sequences.CheckInvariants();
  impl_->pools.CheckInvariants(impl_->sequences);
  impl_->prefixes.CheckInvariants();
  for (const internal::Sequence& sequence : impl_->sequences.all()) {
    if (sequence.live) impl_->CheckSequence(sequence);
  }
}

void Ledger::Impl::CheckSequence(const internal::Sequence& sequence) const {
  const Geometry& geometry = options.geometry;
  TERRACE_CHECK_LE(sequence.draft_begin, sequence.length);
  const int32_t attached = sequence.write_from / geometry.chunk_tokens;
  TERRACE_CHECK_EQ(sequence.chunks,
                   std::max(internal::ChunksOf(geometry, sequence.length), attached));  // (1)
  if (!pools.has_window()) return;
  const PoolGeometry& pool = geometry.pools[pools.window_pool()];
  const internal::BlockRange& old = sequence.window.old;
  const internal::BlockRange& current = sequence.window.current;
  TERRACE_CHECK_LE(old.begin, old.end);  // (2)
  TERRACE_CHECK_LE(current.begin, current.end);
  if (old.size() > 0) TERRACE_CHECK_LT(old.end, current.begin);
  TERRACE_CHECK_EQ(current.end, internal::BlocksOf(pool, sequence.length));
  const int32_t next_first = sequence.length - sequence.undecided_drafts();
  // What a refeed without a checkpoint began with has no rows before it.
  const int32_t needed = WindowBegin(geometry, next_first) >> pool.log2_entries_per_block;
  if (sequence.write_from == 0) TERRACE_CHECK_LE(current.begin, needed);
}

}  // namespace terrace
