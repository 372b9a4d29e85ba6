// Room that is set aside: how much it is, counted in the tables, and that nobody else takes it.

#include <algorithm>
#include <set>

#include "tests/model/prefix_model.h"

namespace terrace::testing {

// Most blocks of a pool that are set aside for a sequence's first `tokens` tokens.
int32_t PrefixModel::MostReserved(int pool, int32_t tokens, bool prefills) const {
  const PoolGeometry& g = geometry_.pools[pool];
  if (g.kind == PoolKind::kOverlap) return 0;
  if (g.kind == PoolKind::kState) return 1;
  const int32_t blocks = (tokens + g.tokens_per_block - 1) / g.tokens_per_block;
  if (g.kind == PoolKind::kFull) return blocks;
  const WindowBlocks worst =
      WorstCaseWindowBlocks(g, geometry_.window_tokens,
                            {.max_sequences = geometry_.max_sequences,
                             .max_step_tokens = geometry_.max_step_tokens,
                             .max_drafts = geometry_.max_drafts,
                             .max_context_tokens = geometry_.max_context_tokens,
                             .store_whole_chunk = geometry_.store_whole_chunk == 1});
  const int32_t most = worst.steady + (prefills ? worst.prefill_extra : 0);
  return std::min({most, blocks, g.capacity_blocks});
}

int32_t PrefixModel::ReservedOf(const PrefixSequence& sequence, int pool, int32_t decided,
                                const std::vector<int32_t>& table) const {
  if (decided >= sequence.reserve) return 0;
  const int64_t holds =
      std::count_if(table.begin(), table.end(), [](int32_t block) { return block >= 0; });
  const bool prefills = decided < std::min(sequence.reserve, sequence.prompt);
  return std::max(0, MostReserved(pool, sequence.reserve, prefills) - static_cast<int32_t>(holds));
}

int32_t PrefixModel::NumReserved(int pool) const {
  int32_t count = 0;
  for (const auto& [key, sequence] : sequences_) count += ReservedNow(key.first, sequence, pool);
  return count;
}

bool PrefixModel::HasReservations() const {
  return std::any_of(sequences_.begin(), sequences_.end(),
                     [](const auto& entry) { return entry.second.reserve > 0; });
}

int32_t PrefixModel::NumUnreserved(int pool) const {
  const PoolUse& use = use_[pool];
  return use.free + use.cached + use.draining - use.reserved;
}

bool PrefixModel::MayFind(const PrefixMatch& all, const PrefixMatch& match, int32_t chunks) const {
  if (match == all) return true;
  if (!HasReservations()) return false;
  // Less only where there is less room than what is found would take.
  bool is_tight = false;
  for (int p = 0; p < geometry_.num_pools; ++p) {
    if (is_full(p)) is_tight |= NumUnreserved(p) < chunks;
    if (p == geometry_.window_pool) {
      is_tight |= NumUnreserved(p) < CheckpointWindowBlocks(geometry_);
    }
  }
  return is_tight && match.matched <= all.matched &&
         match.matched == match.resumed + match.skipped + match.refed;
}

// A reservation that is refused did not fit, if nothing that it finds is in use by others.
void PrefixModel::JudgeReservation(const SequenceRequest& request, const Shortage& shortage) {
  const int p = shortage.pool.value();
  const int32_t tokens = static_cast<int32_t>(request.tokens.size());
  Expect(request.reserve_tokens > 0 && shortage.retry_later, "a prompt is short of room");
  const int32_t most = std::max(MostReserved(p, request.reserve_tokens, tokens > 0),
                                MostReserved(p, std::max(tokens, 1), tokens > 0));
  Expect(most > NumUnreserved(p), "a reservation is refused that has room: pool ", p, ", ", most,
         " of ", NumUnreserved(p));
  Expect(shortage.missing_blocks > 0 && shortage.free_blocks == use_[p].free &&
             shortage.evictable_blocks == use_[p].evictable_now &&
             shortage.reserved_blocks == use_[p].reserved && shortage.held_blocks == 0,
         "what a refused reservation says of the pool");
}

// After every call. What no sequence holds covers what is set aside, but for what a sequence shared
// when it started over, or shares of its window with a fork.
void PrefixModel::CheckReservations() {
  for (int p = 0; p < geometry_.num_pools; ++p) {
    const PoolUse& use = use_[p];
    Expect(use.reserved == NumReserved(p), "what is set aside of pool ", p, ": ", use.reserved,
           ", not ", NumReserved(p));
    std::multiset<int32_t> blocks;
    for (const auto& table : held_[p]) {
      for (const int32_t block : table) {
        if (block >= 0) blocks.insert(block);
      }
    }
    const bool shares = p == geometry_.window_pool &&
                        std::set<int32_t>(blocks.begin(), blocks.end()).size() < blocks.size();
    // A state that is kept for a checkpoint is free for the next step.
    const int32_t kept =
        PoolIndex(p) == CsaStatePool(geometry_) ? static_cast<int32_t>(freed_.size()) : 0;
    const int32_t overdrawn = std::max(0, -NumUnreserved(p) - kept);
    Expect(overdrawn <= overdrawn_[p] || starts_over_ || shares || shared_window_,
           "what is set aside was taken: pool ", p, ", ", overdrawn, " blocks");
    overdrawn_[p] = std::max(0, -NumUnreserved(p));
    if (p == geometry_.window_pool) shared_window_ = shares;
  }
  starts_over_ = false;
}

}  // namespace terrace::testing
