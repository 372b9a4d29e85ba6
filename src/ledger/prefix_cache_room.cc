// What of a pool a prompt may take where other sequences have room set aside.

#include <algorithm>

#include "src/ledger/prefix_cache.h"
#include "src/ledger/shortage_figures.h"

namespace terrace::internal {

// For `sequence`, or for one that is new: what it has set aside itself is its own.
PrefixCache::Room PrefixCache::RoomFor(const Sequence* sequence) const {
  Room room;
  if (!pools_.has_reservations()) return room;
  const auto in_pool = [&](int p) {
    const int32_t own = sequence == nullptr ? 0 : sequence->reserved[p];
    return std::max(0, pools_.unreserved(p) + own);
  };
  for (const int p : pools_.full_pools()) room.chunks = std::min(room.chunks, in_pool(p));
  if (pools_.has_window()) room.window = in_pool(pools_.window_pool());
  return room;
}

// A chunk's blocks share one fate.
bool PrefixCache::IsCachedChunk(ChunkId chunk) const {
  return pools_.pool(pools_.full_pools()[0]).IsCached(index_.blocks(chunk)[0]);
}

int32_t PrefixCache::CountCachedWindow(CheckpointId checkpoint) const {
  int32_t count = 0;
  for (const BlockId block : index_.window_blocks(checkpoint)) {
    count += pools_.pool(pools_.window_pool()).IsCached(block);
  }
  return count;
}

absl::Status PrefixCache::CheckReservation(const SequenceRequest& request) const {
  const Resume resume = enabled_ ? FindPrompt(request) : Resume{};
  BlockCounts needed = {};  // cached blocks that come into use, and those to set aside
  Holding holding{.decided = resume.length, .chunks = resume.path.chunks};
  int32_t cached_chunks = 0;
  ChunkId chunk = resume.path.tip;
  for (int32_t i = 0; i < resume.path.chunks; ++i, chunk = index_.parent(chunk)) {
    cached_chunks += IsCachedChunk(chunk);
  }
  for (const int p : pools_.full_pools()) needed[p] = cached_chunks;
  if (resume.checkpoint.has_value() && pools_.has_window()) {
    holding.window = static_cast<int32_t>(index_.window_blocks(*resume.checkpoint).size());
    needed[pools_.window_pool()] = CountCachedWindow(*resume.checkpoint);
  }
  const BlockCounts reserved = pools_.reservation_rule().Reserved(
      request.reserve_tokens, static_cast<int32_t>(request.tokens.size()), holding);
  for (int p = 0; p < geometry_.num_pools; ++p) {
    needed[p] += reserved[p];
    const int32_t room = pools_.unreserved(p);
    if (reserved[p] == 0 || needed[p] <= room) continue;
    Shortage shortage = LookAt(pools_, *this, p, needed[p], /*held=*/0, /*given_back=*/0);
    shortage.missing_blocks = needed[p] - room;
    shortage.retire = PlanNumber(0);  // what drains is as good as free here
    shortage.retire_blocks = 0;
    return RetryLater(geometry_, shortage, "this reservation");
  }
  return absl::OkStatus();
}

}  // namespace terrace::internal
