// The walk over the whole prefix cache.

#include <algorithm>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "src/base/check.h"
#include "src/ledger/prefix_cache.h"

namespace terrace::internal {

void PrefixCache::CheckInvariants() const {
  index_.CheckInvariants();
  CheckReusableBlocks();
  CheckPaths();
  CheckFigures();
}

void PrefixCache::CheckReusableBlocks() const {
  std::vector<std::vector<bool>> named;
  named.reserve(pools_.num_pools());
  for (int p = 0; p < pools_.num_pools(); ++p) named.emplace_back(pools_.pool(p).capacity());
  const auto name = [&](int p, BlockId block) {
    TERRACE_CHECK_EQ(named[p][block.value()], false);  // (1)
    named[p][block.value()] = true;
  };
  const std::vector<int>& full_pools = pools_.full_pools();
  index_.ForEachChunk([&](ChunkId chunk) {
    for (size_t i = 0; i < full_pools.size(); ++i) name(full_pools[i], index_.blocks(chunk)[i]);
    const std::optional<CheckpointId> checkpoint = index_.checkpoint(chunk);
    if (!checkpoint.has_value()) return;
    for (const BlockId block : index_.window_blocks(*checkpoint)) {
      name(pools_.window_pool(), block);
    }
    if (pools_.has_overlap()) name(pools_.overlap_pool(), index_.overlap_block(*checkpoint));
  });
  for (int p = 0; p < pools_.num_pools(); ++p) {
    for (int32_t block = 0; block < pools_.pool(p).capacity(); ++block) {
      TERRACE_CHECK_EQ(pools_.pool(p).IsReusable(BlockId(block)), named[p][block]);  // (1)
    }
  }
}

void PrefixCache::CheckPaths() const {
  absl::flat_hash_map<int32_t, int32_t> users;  // of chunks
  absl::flat_hash_map<int32_t, int32_t> pins;
  for (const Sequence& sequence : sequences_.all()) {
    if (!sequence.live || !sequence.prefix.in_index) continue;
    const SequencePrefix& prefix = sequence.prefix;
    TERRACE_CHECK_LE(prefix.chunks * geometry_.chunk_tokens,
                     std::max(sequence.settled(), sequence.write_from));  // (2)
    int32_t chunks = 0;
    for (ChunkId at = prefix.tip; !PrefixIndex::IsRoot(at); at = index_.parent(at)) {
      ++users[at.value()];
      ++chunks;
    }
    TERRACE_CHECK_EQ(chunks, prefix.chunks);  // (2)
    if (prefix.rolling.has_value()) ++pins[prefix.rolling->value()];
    if (prefix.publishes) {
      TERRACE_CHECK_EQ(prefix.tail.size(),
                       sequence.known - int64_t{prefix.chunks} * geometry_.chunk_tokens);  // (4)
    }
  }
  index_.ForEachChunk([&](ChunkId chunk) {
    TERRACE_CHECK_EQ(index_.users(chunk), users[chunk.value()]);  // (2)
    const std::optional<CheckpointId> checkpoint = index_.checkpoint(chunk);
    if (!checkpoint.has_value()) return;
    TERRACE_CHECK_EQ(index_.pins(*checkpoint), pins[checkpoint->value()]);  // (3)
  });
}

void PrefixCache::CheckFigures() const {
  const PrefixFigures f = figures();
  TERRACE_CHECK_EQ(f.stored_chunks, f.indexed_chunks + f.evicted_chunks + f.expired_chunks +
                                        f.cleared_chunks + f.lost_chunks);  // (5)
  TERRACE_CHECK_EQ(f.stored_checkpoints,
                   f.held_checkpoints + f.evicted_checkpoints + f.rolled_checkpoints +
                       f.dropped_checkpoints + f.cleared_checkpoints + f.lost_checkpoints);  // (5)
}

}  // namespace terrace::internal
