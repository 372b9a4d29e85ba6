// PrefixIndex remembers which chunks of tokens have blocks: a tree whose path from a root spells a
// prefix. A root is a salt; a chunk has one parent, its token ids, and one block of every full
// pool. A chunk may carry a checkpoint: what resumes a sequence right behind it.
//
// It names blocks and owns none: the ledger moves them between the states of their pools. It never
// evicts by itself; it says who would be next.
//
// A chunk is in one state at a time:
//   absent  parent kFree           its id is free, or was never given
//   used    users > 0              a live sequence's path runs through it
//   unused  users == 0             it waits for eviction, a chunk always before its parent
//
//   absent -> used    Publish
//   used -> unused    Release, by its last user
//   unused -> used    Acquire, AcquirePath, AcquireBelow, Publish of an equal chunk
//   unused -> absent  Remove, of a leaf that has no checkpoint
//
// Unused chunks wait in order of their last use. There is one order for each priority, and a
// parent's priority is never below its child's: so the first of all is a leaf.
//
// A checkpoint is in one state at a time:
//   absent    chunk kNone          its id is free, or was never given
//   pinned    pins > 0             a live sequence rolls on from it
//   unpinned  pins == 0            it waits for eviction, in orders of its own
//
//   absent -> pinned    AddCheckpoint
//   pinned -> unpinned  Unpin, by its last pin; without Keep, the caller removes it at once
//   unpinned -> pinned  Pin
//   unpinned -> absent  RemoveCheckpoint
//
// A checkpoint is dispensable where a later one has all that it has: it lies above that one with no
// branch between. Who follows the path goes on from the later one. Of one priority the dispensable
// go first, so that a long conversation gives up its own early ones before the only one of another.
//
// Thread-safe: no, but const calls may run together.
// Cost: O(1) a chunk, O(log n) for one that expires. All memory but salts and keys is taken at
// construction: 1.2 KB for a chunk of 256 tokens, most of it their ids. The pages of the first
// chunks, up to kTouchedBytes of ids, are touched then (0.1 s), so that storing a chunk faults no
// page in; what lies beyond costs memory and faults only as chunks are stored there.
//
// Invariants:
//  (1) every chunk is found under its parent by its digest, token ids and keys, once; a root by its
//      salt;
//  (2) a chunk's users are at least the sum of its children's, and a chunk without users is in the
//      order of unused chunks, at its priority; one with users is not;
//  (3) in that order every chunk comes before its parent; a parent's priority is not below its
//      child's;
//  (4) a root lives as long as it has users or children;
//  (5) a checkpoint belongs to one chunk, which names it; pinned ones are in no order, the others
//      in that of unpinned checkpoints;
//  (6) a checkpoint is dispensable iff the chunks from its own on down have one child each until one
//      has a checkpoint;
//  (7) an unused chunk that expires has one entry that counts among the expiring, and expires no
//      later than its parent.

#ifndef TERRACE_SRC_LEDGER_PREFIX_INDEX_H_
#define TERRACE_SRC_LEDGER_PREFIX_INDEX_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "src/ledger/eviction_order.h"
#include "src/ledger/prefix_ids.h"
#include "terrace/chunk_digest.h"
#include "terrace/ids.h"

namespace terrace::internal {

struct PrefixIndexOptions {
  int32_t max_chunks = 0;
  int32_t chunk_tokens = 0;
  int32_t blocks_per_chunk = 0;  // full pools
  int32_t max_checkpoints = 0;
  int32_t blocks_per_checkpoint = 0;  // most blocks of the window pool
  ChunkHash hash = &NextDigest;
};

class PrefixIndex {
 public:
  static constexpr int64_t kNever = INT64_MAX;
  // 256 K chunks of 256 tokens: more than the memory of one GPU holds of DeepSeek-V4-Flash.
  static constexpr size_t kTouchedBytes = size_t{256} << 20;

  explicit PrefixIndex(const PrefixIndexOptions& options);
  PrefixIndex(PrefixIndex&&) = default;

  // ---- Looking. Changes nothing.

  // The root of `salt`, if any chunk or sequence has it.
  std::optional<ChunkId> FindRoot(absl::string_view salt) const;
  // The child of `parent` with these token ids and keys (ChunkKeys), compared one by one. `digest` is
  // theirs under the parent's; a wrong one finds nothing.   Shape: tokens [chunk_tokens].
  std::optional<ChunkId> FindChild(ChunkId parent, const ChunkDigest& digest,
                                   absl::Span<const int32_t> tokens,
                                   absl::string_view keys = {}) const;
  ChunkDigest Hash(ChunkId parent, absl::Span<const int32_t> tokens,
                   absl::string_view keys = {}) const {
    return options_.hash(KeyedDigest(digest(parent), keys), tokens);
  }

  static bool IsRoot(ChunkId id) { return id.value() < 0; }
  // REQUIRES: !IsRoot(chunk).
  ChunkId parent(ChunkId chunk) const { return ChunkId(keys_[chunk.value()].parent); }
  const ChunkDigest& digest(ChunkId id) const {
    return IsRoot(id) ? roots_[RootIndex(id)].digest : keys_[id.value()].digest;
  }
  absl::Span<const int32_t> tokens(ChunkId chunk) const {
    return {TokensOf(chunk.value()), static_cast<size_t>(options_.chunk_tokens)};
  }
  absl::string_view range_keys(ChunkId chunk) const {
    if (range_keys_.empty()) return {};
    const auto found = range_keys_.find(chunk.value());
    return found == range_keys_.end() ? absl::string_view() : found->second;
  }
  absl::Span<const BlockId> blocks(ChunkId chunk) const {  // [blocks_per_chunk]
    const size_t count = options_.blocks_per_chunk;
    return {blocks_.data() + chunk.value() * count, count};
  }
  int32_t users(ChunkId id) const { return use(id).users; }
  int32_t children(ChunkId id) const { return use(id).children; }
  // The last plan that computed some of it.   REQUIRES: !IsRoot(chunk).
  uint64_t plan(ChunkId chunk) const { return chunks_[chunk.value()].plan; }
  uint64_t plan(CheckpointId checkpoint) const { return checkpoints_[checkpoint.value()].plan; }
  // Of a root: none.
  std::optional<CheckpointId> checkpoint(ChunkId id) const {
    if (IsRoot(id) || chunks_[id.value()].checkpoint == kNone) return std::nullopt;
    return CheckpointId(chunks_[id.value()].checkpoint);
  }

  int32_t num_chunks() const { return static_cast<int32_t>(keys_.size() - free_chunks_.size()); }
  int32_t num_unused_chunks() const { return unused_.size(); }
  int32_t num_checkpoints() const {
    return static_cast<int32_t>(checkpoints_.size() - free_checkpoints_.size());
  }
  int32_t num_unpinned_checkpoints() const { return unpinned_.size(); }

  // ---- Sequences come and go.

  // The root of `salt`, made if there is none; one more user.
  ChunkId AcquireRoot(absl::string_view salt);
  // One more user of a chunk whose parent the same user already has. Its priority rises to the
  // user's if that is higher.   REQUIRES: the parent was acquired with no lower priority.
  void Acquire(ChunkId chunk, Priority priority);
  // One more user of `tip` and of all above it, the root included: a fork.
  void AcquirePath(ChunkId tip, Priority priority);
  // One more user of `tip` and of all between it and `above`, of which the user has the path
  // already: a match.   REQUIRES: `above` is above `tip`, or equal, and was acquired with no lower
  // priority.
  void AcquireBelow(ChunkId above, ChunkId tip, Priority priority);
  // One user less of `tip` and of all above it. What nobody uses any more waits for eviction, `tip`
  // first; `stamp` is the last plan that may name its blocks. A chunk expires at the latest
  // `expires` of all that released it.
  // REQUIRES: stamps never decrease from call to call.
  void Release(ChunkId tip, uint64_t stamp, int64_t expires = kNever);

  struct Published {
    ChunkId chunk;
    bool created;  // false: an equal chunk was there, and its blocks stay as they are
  };
  // The child of `parent` with these tokens and keys, stored now if there is none, with one more
  // user. `plan` computed it.
  // Shape: tokens [chunk_tokens], blocks [blocks_per_chunk].
  // REQUIRES: the caller uses `parent`, which was acquired with no lower priority; num_chunks() <
  // max_chunks or the chunk exists.
  Published Publish(ChunkId parent, absl::Span<const int32_t> tokens,
                    absl::Span<const BlockId> blocks, Priority priority, uint64_t plan = 0,
                    absl::string_view keys = {});

  // ---- Eviction of chunks.

  // How many of the next `most` unused chunks have a stamp of at most `retired`: what evicting
  // would free at once.   Cost: O(result).
  int32_t CountEvictable(int32_t most, uint64_t retired) const {
    return unused_.CountRetired(most, retired);
  }
  // The unused chunk to go next: of the lowest priority, the least recently used. A leaf.
  std::optional<ChunkId> NextVictim() const {
    const std::optional<int32_t> front = unused_.Front();
    return front.has_value() ? std::optional(ChunkId(*front)) : std::nullopt;
  }
  uint64_t stamp(ChunkId unused) const { return unused_.stamp(unused.value()); }
  // The unused chunk that expired by `now` first, a leaf.   Cost: O(log expiring chunks).
  std::optional<ChunkId> NextExpired(int64_t now);
  // REQUIRES: nobody uses it, it has no child and no checkpoint.
  void Remove(ChunkId chunk);
  // The chunk has an equal copy from here on, which `plan` computed: it counts as the later one's.
  // Shape: blocks [blocks_per_chunk].
  void SetBlocks(ChunkId chunk, absl::Span<const BlockId> blocks, uint64_t plan = 0);

  // ---- Checkpoints.

  // A checkpoint right behind `chunk`, pinned once, which `plan` completes. `overlap` is kept as it
  // is.
  // Shape: window [up to blocks_per_checkpoint].
  // REQUIRES: `chunk` has none; num_checkpoints() < max_checkpoints.
  CheckpointId AddCheckpoint(ChunkId chunk, absl::Span<const BlockId> window, BlockId overlap,
                             uint64_t plan = 0);
  void Pin(CheckpointId checkpoint);
  // It is to stay when nobody pins it any more.
  void Keep(CheckpointId checkpoint) { checkpoints_[checkpoint.value()].keep = true; }
  // Returns whether it stays: false means that it was the last pin and the caller removes it now.
  // One that stays unpinned waits at the priority that its chunk has now.
  bool Unpin(CheckpointId checkpoint);
  ChunkId chunk(CheckpointId checkpoint) const {
    return ChunkId(checkpoints_[checkpoint.value()].chunk);
  }
  absl::Span<const BlockId> window_blocks(CheckpointId checkpoint) const {
    const size_t most = options_.blocks_per_checkpoint;
    return {window_blocks_.data() + checkpoint.value() * most,
            static_cast<size_t>(checkpoints_[checkpoint.value()].num_window_blocks)};
  }
  BlockId overlap_block(CheckpointId checkpoint) const {
    return checkpoints_[checkpoint.value()].overlap;
  }
  int32_t pins(CheckpointId checkpoint) const { return checkpoints_[checkpoint.value()].pins; }
  // Of the lowest priority, the dispensable first, the one that has been so or unpinned for longest;
  // or the one that would go after `before`.
  std::optional<CheckpointId> NextCheckpointVictim(
      std::optional<CheckpointId> before = std::nullopt) const {
    const std::optional<int32_t> next =
        before.has_value() ? unpinned_.Next(before->value()) : unpinned_.Front();
    return next.has_value() ? std::optional(CheckpointId(*next)) : std::nullopt;
  }
  void RemoveCheckpoint(CheckpointId checkpoint);  // REQUIRES: pins are 0

  // Calls visit(chunk) for each chunk that exists.
  template <typename Visitor>
  void ForEachChunk(Visitor visit) const {
    for (size_t id = 0; id < keys_.size(); ++id) {
      if (keys_[id].parent != kFree) visit(ChunkId(static_cast<int32_t>(id)));
    }
  }

  // Above every chunk's id.
  size_t chunk_limit() const { return keys_.size(); }
  bool Exists(ChunkId chunk) const { return keys_[chunk.value()].parent != kFree; }

  // CHECKs the invariants above.   Cost: O(chunks * chunk_tokens).
  void CheckInvariants() const;

 private:
  static constexpr int32_t kNone = -1;
  static constexpr int32_t kFree = INT32_MIN;  // as a parent: the chunk does not exist
  static constexpr size_t kMaxStale = 64;

  // What a look-up reads of a chunk before its tokens.
  struct Key {
    ChunkDigest digest;
    int32_t parent = kFree;
    int32_t next = kNone;  // of the same bucket
  };
  struct Use {
    int32_t users = 0;
    int32_t children = 0;
  };
  struct Chunk {
    Use use;
    int32_t only_child = 0;  // the exclusive or of all its children's ids
    int32_t checkpoint = kNone;
    Priority priority = Priority::kLow;
    int64_t expires = INT64_MIN;  // latest of its releases; INT64_MIN: none was yet
    uint64_t expiring = 0;        // number of its entry among the expiring; 0: none that counts
    uint64_t plan = 0;            // that fed its last row, or a later one
  };
  struct Root {
    ChunkDigest digest;
    std::string salt;
    Use use;
    bool live = false;
  };
  struct Checkpoint {
    int32_t chunk = kNone;  // kNone: it does not exist
    int32_t pins = 0;
    int32_t num_window_blocks = 0;
    BlockId overlap;
    bool keep = false;
    bool dispensable = false;
    uint64_t plan = 0;  // the later of those that stored its rows and captured its overlap
  };
  // An entry counts as long as its chunk has its number. The others go when they come up, or all at
  // once when they are more than half and kMaxStale.
  struct Expiring {
    int64_t expires;
    uint64_t number;  // in order of release: a chunk's is below its parent's
    int32_t chunk;

    // As std::push_heap wants it: the first to expire on top.
    friend bool operator<(const Expiring& a, const Expiring& b) {
      return a.expires != b.expires ? a.expires > b.expires : a.number > b.number;
    }
  };

  static size_t RootIndex(ChunkId root) { return -(root.value() + 1); }
  static ChunkId RootId(size_t index) { return ChunkId(-static_cast<int32_t>(index) - 1); }
  const Use& use(ChunkId id) const {
    return IsRoot(id) ? roots_[RootIndex(id)].use : chunks_[id.value()].use;
  }
  Use& use(ChunkId id) { return IsRoot(id) ? roots_[RootIndex(id)].use : chunks_[id.value()].use; }
  const int32_t* TokensOf(int32_t chunk) const {
    return tokens_.data() + static_cast<size_t>(chunk) * options_.chunk_tokens;
  }
  int32_t& Bucket(const ChunkDigest& digest) {
    return buckets_[digest.low & (buckets_.size() - 1)];
  }

  // A place for one more chunk, with room for its tokens and blocks.
  int32_t NewChunk();
  void AddUser(int32_t chunk, Priority priority);
  void CheckParent(ChunkId parent, int32_t chunk) const;  // CHECKs what Acquire requires
  void AddExpiring(int32_t chunk);
  bool Counts(const Expiring& entry) const { return chunks_[entry.chunk].expiring == entry.number; }
  void RemoveRootIfDone(ChunkId root);
  void AddChild(ChunkId parent, int32_t child, int count);  // 1, or -1: takes it away
  bool HasCheckpointBelow(int32_t chunk) const;             // with no branch between
  void JudgeCheckpointAbove(ChunkId chunk);
  void CheckChunk(int32_t chunk) const;
  void CheckUnused() const;
  void CheckRoots() const;
  void CheckCheckpoints() const;

  PrefixIndexOptions options_;
  // By chunk. Their memory is reserved at construction, so that they grow in place.
  std::vector<Key> keys_;
  std::vector<Chunk> chunks_;
  std::vector<int32_t> tokens_;                           // [chunks][chunk_tokens]
  std::vector<BlockId> blocks_;                           // [chunks][blocks_per_chunk]
  absl::flat_hash_map<int32_t, std::string> range_keys_;  // of the chunks that have some
  std::vector<int32_t> buckets_;  // by digest: the first chunk, or kNone; a power of two
  std::vector<int32_t> free_chunks_;
  EvictionOrder unused_;
  std::vector<Expiring> expiring_;  // a heap
  uint64_t num_expiring_ = 0;       // entries ever made
  std::vector<Root> roots_;
  std::vector<size_t> free_roots_;
  absl::flat_hash_map<std::string, size_t> roots_by_salt_;
  std::vector<Checkpoint> checkpoints_;
  std::vector<BlockId> window_blocks_;  // [checkpoints][blocks_per_checkpoint]
  std::vector<int32_t> free_checkpoints_;
  EvictionOrder unpinned_;
};

}  // namespace terrace::internal

#endif  // TERRACE_SRC_LEDGER_PREFIX_INDEX_H_
