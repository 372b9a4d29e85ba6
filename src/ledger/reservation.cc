#include "src/ledger/reservation.h"

#include <algorithm>

#include "src/ledger/block_range.h"

namespace terrace::internal {

ReservationRule::ReservationRule(const Geometry& geometry) : geometry_(geometry) {
  if (geometry.window_pool < 0) return;
  window_ = WorstCaseWindowBlocks(geometry.pools[geometry.window_pool], geometry.window_tokens,
                                  {.max_sequences = geometry.max_sequences,
                                   .max_step_tokens = geometry.max_step_tokens,
                                   .max_drafts = geometry.max_drafts,
                                   .max_context_tokens = geometry.max_context_tokens,
                                   .store_whole_chunk = geometry.store_whole_chunk != 0});
}

BlockCounts ReservationRule::Reserved(int32_t tokens, int32_t prompt_tokens,
                                      const Holding& holding) const {
  BlockCounts reserved = {};
  if (holding.decided >= tokens) return reserved;
  for (int p = 0; p < geometry_.num_pools; ++p) {
    const PoolGeometry& pool = geometry_.pools[p];
    switch (pool.kind) {
      case PoolKind::kFull:
        reserved[p] = std::max(0, ChunksOf(geometry_, tokens) - holding.chunks);
        break;
      case PoolKind::kWindow: {
        const bool prefills = holding.decided < std::min(tokens, prompt_tokens);
        const int32_t most = window_.steady + (prefills ? window_.prefill_extra : 0);
        const int32_t all = std::min({most, BlocksOf(pool, tokens), pool.capacity_blocks});
        reserved[p] = std::max(0, all - holding.window);
        break;
      }
      case PoolKind::kState:
        reserved[p] = holding.has_state ? 0 : 1;
        break;
      case PoolKind::kOverlap:
        break;  // checkpoints' alone
    }
  }
  return reserved;
}

}  // namespace terrace::internal
