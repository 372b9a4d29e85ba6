// The walk over a whole prefix index.

#include <algorithm>
#include <vector>

#include "src/base/check.h"
#include "src/ledger/prefix_index.h"

namespace terrace::internal {

void PrefixIndex::CheckInvariants() const {
  int32_t num_chunks = 0;
  std::vector<Use> below_chunks(chunks_.size());  // what the children of each sum up to
  std::vector<Use> below_roots(roots_.size());
  for (int32_t id = 0; id < static_cast<int32_t>(keys_.size()); ++id) {
    if (keys_[id].parent == kFree) continue;
    ++num_chunks;
    CheckChunk(id);
    const ChunkId above(keys_[id].parent);
    Use& below = IsRoot(above) ? below_roots[RootIndex(above)] : below_chunks[above.value()];
    below.users += chunks_[id].use.users;
    ++below.children;
  }
  TERRACE_CHECK_EQ(num_chunks, this->num_chunks());
  for (size_t i = 0; i < chunks_.size(); ++i) {
    TERRACE_CHECK_GE(chunks_[i].use.users, below_chunks[i].users);  // (2)
    TERRACE_CHECK_EQ(chunks_[i].use.children, below_chunks[i].children);
  }
  for (size_t i = 0; i < roots_.size(); ++i) {
    TERRACE_CHECK_GE(roots_[i].use.users, below_roots[i].users);  // (2)
    TERRACE_CHECK_EQ(roots_[i].use.children, below_roots[i].children);
  }
  for (const auto& [id, keys] : range_keys_) TERRACE_CHECK_NE(keys_[id].parent, kFree);
  CheckUnused();
  CheckRoots();
  CheckCheckpoints();
}

void PrefixIndex::CheckChunk(int32_t id) const {
  const Chunk& chunk = chunks_[id];
  const ChunkId above(keys_[id].parent);
  const absl::Span<const int32_t> ids = tokens(ChunkId(id));
  const absl::string_view keys = range_keys(ChunkId(id));
  TERRACE_CHECK_EQ(keys_[id].digest == Hash(above, ids, keys), true);  // (1)
  const auto found = FindChild(above, keys_[id].digest, ids, keys);
  TERRACE_CHECK_EQ(found.value_or(ChunkId(kNone)).value(), id);  // (1)
  const bool waits = chunk.use.users == 0;
  TERRACE_CHECK_EQ(unused_.Contains(id), waits);                                        // (2)
  if (waits) TERRACE_CHECK_EQ(unused_.priority(id), static_cast<int>(chunk.priority));  // (2)
  if (IsRoot(above)) {
    TERRACE_CHECK_EQ(roots_[RootIndex(above)].live, true);  // (4)
    return;
  }
  const Chunk& parent = chunks_[above.value()];
  TERRACE_CHECK_NE(keys_[above.value()].parent, kFree);
  TERRACE_CHECK_GE(parent.priority, chunk.priority);  // (3)
  TERRACE_CHECK_GE(parent.expires, chunk.expires);    // (7)
}

void PrefixIndex::CheckUnused() const {
  unused_.CheckInvariants();
  int32_t expiring = 0;
  std::vector<bool> passed(chunks_.size());
  for (const int32_t id : unused_.Ids()) {
    TERRACE_CHECK_NE(keys_[id].parent, kFree);
    TERRACE_CHECK_EQ(chunks_[id].use.users, 0);  // (2)
    const int32_t above = keys_[id].parent;
    if (above >= 0) TERRACE_CHECK_EQ(passed[above], false);  // (3)
    passed[id] = true;
    TERRACE_CHECK_EQ(chunks_[id].expiring > 0, chunks_[id].expires != kNever);  // (7)
    expiring += chunks_[id].expiring > 0;
  }
  TERRACE_CHECK_EQ(std::is_heap(expiring_.begin(), expiring_.end()), true);
  TERRACE_CHECK_LE(expiring_.size(), size_t{2} * options_.max_chunks + kMaxStale + 1);
  for (const Expiring& entry : expiring_) {
    if (!Counts(entry)) continue;
    TERRACE_CHECK_EQ(passed[entry.chunk], true);  // (7)
    TERRACE_CHECK_EQ(entry.expires, chunks_[entry.chunk].expires);
    --expiring;
  }
  TERRACE_CHECK_EQ(expiring, 0);  // (7): numbers are unique, so each has one
}

void PrefixIndex::CheckRoots() const {
  size_t live = 0;
  for (size_t i = 0; i < roots_.size(); ++i) {
    const Root& root = roots_[i];
    TERRACE_CHECK_EQ(root.live, root.use.users > 0 || root.use.children > 0);  // (4)
    if (!root.live) continue;
    ++live;
    TERRACE_CHECK_EQ(FindRoot(root.salt).value_or(ChunkId(0)).value(), RootId(i).value());  // (1)
    TERRACE_CHECK_EQ(root.digest == RootDigest(root.salt), true);
  }
  TERRACE_CHECK_EQ(live, roots_by_salt_.size());
  TERRACE_CHECK_EQ(live + free_roots_.size(), roots_.size());
}

void PrefixIndex::CheckCheckpoints() const {
  unpinned_.CheckInvariants();
  int32_t live = 0;
  for (int32_t id = 0; id < static_cast<int32_t>(checkpoints_.size()); ++id) {
    const Checkpoint& checkpoint = checkpoints_[id];
    const bool exists = checkpoint.chunk != kNone;
    live += exists;
    TERRACE_CHECK_EQ(unpinned_.Contains(id), exists && checkpoint.pins == 0);  // (5)
    if (!exists) continue;
    TERRACE_CHECK_EQ(chunks_[checkpoint.chunk].checkpoint, id);                      // (5)
    TERRACE_CHECK_EQ(checkpoint.dispensable, HasCheckpointBelow(checkpoint.chunk));  // (6)
  }
  TERRACE_CHECK_EQ(live, num_checkpoints());
  int32_t named = 0;
  for (const Chunk& chunk : chunks_) named += chunk.checkpoint != kNone;
  TERRACE_CHECK_EQ(named, live);  // (5)
}

}  // namespace terrace::internal
