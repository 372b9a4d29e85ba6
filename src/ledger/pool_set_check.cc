// The walk over all pools and tables.

#include <vector>

#include "src/base/check.h"
#include "src/ledger/pool_set.h"

namespace terrace::internal {

void PoolSet::CheckInvariants(const SequenceTable& sequences) const {
  std::vector<std::vector<int32_t>> references;
  for (const BlockPool& pool : pools_) {
    pool.CheckInvariants();  // (1)
    references.emplace_back(pool.capacity(), 0);
  }
  const auto refer = [&](int p, BlockId block) {
    TERRACE_CHECK_GE(block.value(), 0);
    TERRACE_CHECK_LT(block.value(), pools_[p].capacity());
    ++references[p][block.value()];
  };
  for (const Sequence& sequence : sequences.all()) {
    if (!sequence.live) continue;
    ForEachBlockOf(sequence, [&](int p, int32_t, BlockId block) { refer(p, block); });
    if (sequence.restore_block.has_value()) refer(overlap_pool(), *sequence.restore_block);
  }
  for (const CheckpointRecord& capture : captures_) {
    refer(overlap_pool(), BlockId(capture.overlap_block));
  }
  for (const BlockId state : held_states_) {
    TERRACE_CHECK_EQ(IsCaptureSource(state), true);  // (4)
    refer(csa_state_pool_, state);
  }
  for (int p = 0; p < geometry_.num_pools; ++p) {
    for (int32_t block = 0; block < pools_[p].capacity(); ++block) {
      TERRACE_CHECK_EQ(pools_[p].references(BlockId(block)), references[p][block]);  // (2)
    }
    if (idle()) TERRACE_CHECK_EQ(pools_[p].num_draining(), 0);  // (3)
  }
  TERRACE_CHECK_LE(num_in_flight(), static_cast<uint64_t>(options_.in_flight_plans));  // (3)
}

}  // namespace terrace::internal
