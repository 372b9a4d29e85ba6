// PrefixIndex remembers which chunks of tokens have blocks: a tree whose path from a root spells a
// prefix. A root is a salt; a chunk has one parent, its token ids, and one block of every full
// pool. A chunk may carry a checkpoint: what resumes a sequence right behind it.
//
// It names blocks and owns none: the ledger moves them between the states of their pools. It never
// evicts by itself; it says who would be next.
//
// Chunks are in use while a live sequence's prefix runs through them (`users`). Those in use by
// nobody wait in order of their last use, a chunk always before its parent, so the first is always
// a leaf. There is one such order for each priority; a parent's is never below its child's.
// Checkpoints are pinned while a live sequence rolls on from them; the others wait in orders of
// their own.
//
// Thread-safe: no.   Cost: O(1) a chunk; all memory but the salts is taken at construction, and
// touched only as far as chunks were stored.
//
// Invariants:
//  (1) every chunk is found under its parent by its digest and token ids, once; a root by its salt;
//  (2) a chunk's users are at least the sum of its children's, and a chunk without users is in
//      exactly one order of unused chunks, that of its priority; one with users in none;
//  (3) in that order every chunk comes before its parent, or the parent's priority is higher;
//      stamps do not fall along an order;
//  (4) a root lives as long as it has users or children;
//  (5) a checkpoint belongs to one chunk, which names it; pinned ones are in no order, the others
//  in
//      exactly one.

#ifndef TERRACE_PREFIX_INDEX_H_
#define TERRACE_PREFIX_INDEX_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "terrace/chunk_digest.h"
#include "terrace/ids.h"

namespace terrace {

// A node of the tree: a chunk, or a root if below 0.
using ChunkId = StrongId<struct ChunkIdTag, int32_t>;
using CheckpointId = StrongId<struct CheckpointIdTag, int32_t>;

// Who is evicted first.
enum class Priority : uint8_t { kLow = 0, kNormal = 1, kHigh = 2 };
inline constexpr int kNumPriorities = 3;

struct PrefixIndexOptions {
  int32_t max_chunks = 0;
  int32_t chunk_tokens = 0;
  int32_t blocks_per_chunk = 0;  // full pools
  int32_t max_checkpoints = 0;
  int32_t blocks_per_checkpoint = 0;  // of the window pool, and one of the overlap pool if there is
  ChunkHash hash = &NextDigest;
};

class PrefixIndex {
 public:
  static constexpr int64_t kNever = INT64_MAX;

  explicit PrefixIndex(const PrefixIndexOptions& options);
  PrefixIndex(PrefixIndex&&) = default;

  // ---- Looking. Changes nothing.

  // The root of `salt`, if any chunk or sequence has it.
  std::optional<ChunkId> FindRoot(absl::string_view salt) const;
  // The child of `parent` with these token ids, compared one by one. `digest` is theirs under the
  // parent's; a wrong one finds nothing.   Shape: tokens [chunk_tokens].
  std::optional<ChunkId> FindChild(ChunkId parent, const ChunkDigest& digest,
                                   absl::Span<const int32_t> tokens) const;
  ChunkDigest Hash(ChunkId parent, absl::Span<const int32_t> tokens) const {
    return options_.hash(digest(parent), tokens);
  }

  static bool IsRoot(ChunkId id) { return id.value() < 0; }
  ChunkId parent(ChunkId chunk) const;  // REQUIRES: !IsRoot(chunk)
  const ChunkDigest& digest(ChunkId id) const;
  absl::Span<const int32_t> tokens(ChunkId chunk) const;
  absl::Span<const BlockId> blocks(ChunkId chunk) const;  // [blocks_per_chunk]
  int32_t users(ChunkId id) const;
  std::optional<CheckpointId> checkpoint(ChunkId chunk) const;

  int32_t num_chunks() const { return num_chunks_; }
  int32_t num_unused_chunks() const { return num_unused_chunks_; }
  int32_t num_checkpoints() const { return num_checkpoints_; }
  int32_t num_unpinned_checkpoints() const { return num_unpinned_checkpoints_; }

  // ---- Sequences come and go.

  // The root of `salt`, made if there is none; one more user.
  ChunkId AcquireRoot(absl::string_view salt);
  // One more user of a chunk whose parent the same user already has. Its priority rises to the
  // user's if that is higher.
  void Acquire(ChunkId chunk, Priority priority);
  // One more user of `tip` and of all above it, the root included: a fork.
  void AcquirePath(ChunkId tip, Priority priority);
  // One user less of `tip` and of all above it. What nobody uses any more waits for eviction, `tip`
  // first; `stamp` is the last plan that may name its blocks, `expires` when it goes at the latest.
  // REQUIRES: stamp is none below an earlier one's.
  void Release(ChunkId tip, uint64_t stamp, int64_t expires = kNever);

  struct Published {
    ChunkId chunk;
    bool created;  // false: an equal chunk was there, and its blocks stay as they are
  };
  // The child of `parent` with these tokens, stored now if there is none, with one more user.
  // REQUIRES: the caller uses `parent`; num_chunks() < max_chunks or the chunk exists.
  Published Publish(ChunkId parent, absl::Span<const int32_t> tokens,
                    absl::Span<const BlockId> blocks, Priority priority);

  // ---- Eviction of chunks.

  // How many of the next `most` unused chunks have a stamp of at most `retired`: what evicting
  // would free at once.   Cost: O(result).
  int32_t CountEvictable(int32_t most, uint64_t retired) const;
  // The unused chunk to go next: of the lowest priority, the least recently used. A leaf.
  std::optional<ChunkId> NextVictim() const;
  uint64_t stamp(ChunkId unused) const;
  // The unused chunk that expired by `now` first, a leaf.   Cost: O(log expiring chunks).
  std::optional<ChunkId> NextExpired(int64_t now);
  // REQUIRES: nobody uses it, it has no child and no checkpoint.
  void Remove(ChunkId chunk);

  // ---- Checkpoints.

  // A checkpoint right behind `chunk`, pinned once.
  // REQUIRES: `chunk` has none; num_checkpoints() < max_checkpoints.
  CheckpointId AddCheckpoint(ChunkId chunk, absl::Span<const BlockId> window, BlockId overlap);
  void Pin(CheckpointId checkpoint);
  // `keep`: it is to stay when nobody pins it (once said, it holds). Returns whether it stays:
  // false means that it was the last pin and the caller removes it now.
  bool Unpin(CheckpointId checkpoint, bool keep, uint64_t stamp);
  ChunkId chunk(CheckpointId checkpoint) const;
  absl::Span<const BlockId> window_blocks(CheckpointId checkpoint) const;
  BlockId overlap_block(CheckpointId checkpoint) const;
  int32_t pins(CheckpointId checkpoint) const;
  uint64_t stamp(CheckpointId unpinned) const;
  int32_t CountEvictableCheckpoints(int32_t most, uint64_t retired) const;
  std::optional<CheckpointId> NextCheckpointVictim() const;
  void RemoveCheckpoint(CheckpointId checkpoint);  // REQUIRES: pins are 0

  // CHECKs the invariants above.   Cost: O(chunks * chunk_tokens).
  void CheckInvariants() const;

 private:
  PrefixIndexOptions options_;
  int32_t num_chunks_ = 0;
  int32_t num_unused_chunks_ = 0;
  int32_t num_checkpoints_ = 0;
  int32_t num_unpinned_checkpoints_ = 0;
};

}  // namespace terrace

#endif  // TERRACE_PREFIX_INDEX_H_
