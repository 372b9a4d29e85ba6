// PrefixCache is what sequences leave to each other: the index of published chunks, the checkpoints
// behind them, when both go, and the events and figures of all that.
//
//   Admit -> { Publish.. -> Extend }* -> Leave   of one sequence: prefix_cache_match.cc,
//                                                prefix_cache_publish.cc, prefix_cache_checkpoint.cc
//   Evict, SetTime, Clear                        of all: prefix_cache_evict.cc
//   FindLost -> Detach.. -> RemoveLost -> Readmit..  of what failed: prefix_cache_lose.cc
//
// It owns no block. It marks the blocks of chunks and checkpoints as reusable in their pools, so
// that they are cached when nobody holds them. A pool under pressure evicts only what frees that
// pool.
//
// Thread-safe: no, but const calls may run together.
// Cost: O(1) a chunk; all memory but salts, events and token tails is taken once.
//
// Invariants:
//  (1) a block is reusable iff one chunk or one checkpoint of the index has it;
//  (2) a sequence's path has as many chunks as it says, none beyond its settled tokens and attached
//      ones, and it uses each of them; nobody else uses any;
//  (3) a checkpoint has one pin for each sequence that rolls on from it;
//  (4) a sequence that publishes keeps the known ids behind its path;
//  (5) what was stored is held, or was counted as it went.

#ifndef TERRACE_SRC_LEDGER_PREFIX_CACHE_H_
#define TERRACE_SRC_LEDGER_PREFIX_CACHE_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "src/ledger/block_change.h"
#include "src/ledger/planned_checkpoint.h"
#include "src/ledger/pool_set.h"
#include "src/ledger/prefix_index.h"
#include "src/ledger/sequence.h"
#include "src/ledger/sequence_table.h"
#include "src/ledger/shortage.h"
#include "terrace/ledger.h"
#include "terrace/plan_format.h"
#include "terrace/prefix.h"

namespace terrace::internal {

// How far eviction goes to make room.
enum class EvictionReach {
  // For what merely waits for others: only what no sequence has to do with.
  kUnused,
  // For a step: also checkpoints that live sequences roll on from, and chunks of which they have
  // copies.
  kInUse,
};

// What goes because it was not computed, or is wrong. By chunk of the index.
struct LostPrefixes {
  std::vector<bool> chunks;       // they and all below them
  std::vector<bool> checkpoints;  // the chunk's own; also of chunks that go

  bool LosesChunk(ChunkId chunk) const {
    return !PrefixIndex::IsRoot(chunk) && chunks[chunk.value()];
  }
};

class PrefixCache {
 public:
  // All three must outlive it.
  PrefixCache(const LedgerOptions& options, SequenceTable& sequences, PoolSet& pools);

  // ---- What a prompt finds.

  // What Admit would find.
  PrefixMatch Probe(const SequenceRequest& request) const;
  // The new sequence takes references on all that its prompt finds, and goes on behind it.
  PrefixMatch Admit(Sequence& sequence, const SequenceRequest& request);
  // The same for what others published since.   REQUIRES: no undecided drafts.
  PrefixMatch Extend(Sequence& sequence);
  // The sequence's first step is made: counts its request, once.
  void CountRequest(Sequence& sequence);
  // `child`, a copy of another sequence, uses the same path.
  void Fork(Sequence& child);
  // The sequence is no part of any prefix from here on. Its last checkpoint stays for who goes on.
  void Leave(Sequence& sequence);

  // ---- What settled tokens leave.

  // Appends the checkpoints to `planned` that the policy wants inside `step`.
  void PlanCheckpoints(const SequenceStep& step, const BlockChange& change,
                       std::vector<PlannedCheckpoint>* planned) const;
  // The batch's step is planned, all its sequences moved on: publishes what it settled.
  void PublishStep(absl::Span<const StepRequest> batch,
                   absl::Span<const PlannedCheckpoint> checkpoints);
  // Ids were committed: publishes what they settled, and leaves checkpoints where the window is
  // still there.
  void PublishCommitted(Sequence& sequence, absl::Span<const int32_t> tokens);

  // ---- What goes.

  // Frees `missing` blocks of each pool, or changes nothing and says which pool stays short.
  // `released` window blocks (sorted) are about to lose their last holder: without their checkpoint
  // they are free as well.
  std::optional<Shortfall> Evict(const BlockCounts& missing, absl::Span<const BlockId> released,
                                 EvictionReach reach);
  // Errors: as Ledger::SetTime.
  absl::Status SetTime(int64_t now_ms);
  void Clear();

  // ---- What is lost. In this order; between Detach and Readmit the sequence gives back its blocks.

  // Of all plans from `first` on: chunks and checkpoints that one of them computed.
  LostPrefixes FindLost(uint64_t first) const;
  // Adds the sequence's chunks that end beyond `from`. CloseLost is due.
  void AddLost(const Sequence& sequence, int32_t from, LostPrefixes& lost) const;
  // An empty set.
  LostPrefixes NoneLost() const;
  // All below what is lost is lost, and the checkpoints there, and those that have one of the
  // overlap blocks.   Shape: overlaps [overlap blocks], or empty.
  void CloseLost(const std::vector<bool>& overlaps, LostPrefixes& lost) const;
  // The sequence uses nothing any more. If it publishes it has all its ids, from its root on;
  // otherwise it is no part of any prefix.
  void Detach(Sequence& sequence);
  // REQUIRES: no sequence uses a chunk that is lost.
  void RemoveLost(const LostPrefixes& lost);
  // As Admit, for a detached sequence without rows. Nothing is counted.
  PrefixMatch Readmit(Sequence& sequence);

  // ---- Events and figures.

  std::vector<PrefixEvent> TakeEvents();
  PrefixFigures figures() const;
  void CountCopiedBlock(int pool) { ++figures_.copied_blocks[pool]; }
  void CountMissedCheckpoints(int64_t count) { figures_.missed_checkpoints += count; }

  // CHECKs the invariants above.   Cost: O(blocks + sequences + tokens of chunks).
  void CheckInvariants() const;

 private:
  // Chunks of the index below one that the search began at.
  struct Path {
    ChunkId tip;
    int32_t chunks = 0;
  };
  // How a sequence goes on with what was found.
  struct Resume {
    PrefixMatch match = {};
    Path path = {};                                         // the part of it that is used
    int32_t length = 0;                                     // rows to go on at
    std::optional<CheckpointId> checkpoint = std::nullopt;  // that gives the window there
  };
  // Why a chunk or checkpoint goes.
  enum class Removal { kEvicted, kExpired, kCleared, kLost, kRolled, kWithChunk };
  // A chunk in use whose blocks nobody holds, because every user settled an equal copy of its own:
  // the copy of `owner`, at `index` of its tables, serves as well.
  struct Replacement {
    ChunkId chunk;
    const Sequence* owner;
    int32_t index;
  };
  // What one eviction takes, chosen before anything changes.
  struct Eviction {
    int32_t unused_chunks = 0;  // as many of the order of unused chunks
    std::vector<Replacement> replacements;
    std::vector<CheckpointId> checkpoints;
  };

  bool has_checkpoints() const {
    return pools_.has_window() && policy_.kind != CheckpointPolicy::Kind::kNone;
  }

  // prefix_cache_match.cc
  Path FindPath(ChunkId from, int32_t chunks_before, absl::Span<const int32_t> tokens,
                absl::Span<const ChunkDigest> digests, absl::Span<const KeyRange> ranges) const;
  Path FindPath(const SequencePrefix& prefix) const;
  std::string KeysOfChunk(absl::Span<const KeyRange> ranges, int32_t chunk) const;
  uint64_t last_matched_plan() const;
  std::optional<CheckpointId> MatchedCheckpoint(ChunkId chunk) const;
  Resume FindPrompt(const SequenceRequest& request) const;
  Resume ResumeAt(int32_t length, int32_t chunks_before, Path path,
                  const RefeedLimits& limits) const;
  int32_t RefeedFrom(int32_t end, int64_t tokens) const;
  void Attach(Sequence& sequence, const Resume& resume);
  void AttachChunks(Sequence& sequence, const Path& path);
  void AttachWindow(Sequence& sequence, const Resume& resume);
  void CountMatch(const PrefixMatch& match, bool returning);

  // prefix_cache_publish.cc
  void PublishUpTo(Sequence& sequence, int32_t length);

  // prefix_cache_checkpoint.cc
  void AddWantedCheckpoints(const SequenceStep& step, const BlockChange& change,
                            std::vector<PlannedCheckpoint>* planned) const;
  void LeaveSettledCheckpoint(Sequence& sequence, int32_t position);
  void LeaveCheckpoint(Sequence& sequence, int32_t position, BlockRange extra_window,
                       std::optional<BlockId> overlap, uint64_t plan);
  std::optional<CheckpointId> StoreCheckpoint(const Sequence& sequence, int32_t position,
                                              std::optional<BlockId> overlap, uint64_t plan);
  bool CanLookBack(const Sequence& sequence, int32_t position) const;
  bool IsWindowTaken(const Sequence& sequence, int32_t position) const;
  std::optional<BlockId> TakeOverlapBlock();
  bool IsKept(const Sequence& sequence, int32_t position) const;
  void SetRolling(Sequence& sequence, std::optional<CheckpointId> checkpoint, bool keep);

  // prefix_cache_evict.cc
  void ChooseReplacements(int32_t most, Eviction& eviction) const;
  void ChooseCheckpoints(BlockCounts& left, absl::Span<const BlockId> released, EvictionReach reach,
                         Eviction& eviction) const;
  void Replace(const Replacement& replacement);
  void UnpinAll(CheckpointId checkpoint);
  void RemoveChunk(ChunkId chunk, Removal why);
  void RemoveCheckpoint(CheckpointId checkpoint, Removal why);
  void Record(PrefixEvent::Kind kind, ChunkId chunk);

  // prefix_cache_check.cc
  void CheckReusableBlocks() const;
  void CheckPaths() const;
  void CheckFigures() const;

  const LedgerOptions& options_;
  const Geometry& geometry_;
  const CheckpointPolicy& policy_;
  SequenceTable& sequences_;
  PoolSet& pools_;
  const bool enabled_;  // wanted, and there is a full pool to share
  PrefixIndex index_;
  int64_t now_ms_ = 0;
  PrefixFigures figures_;
  std::vector<PrefixEvent> events_;
  Eviction eviction_memory_;  // lent to Evict, so that its vectors are taken once
};

// Most steps end no chunk, and see so at once.
inline void PrefixCache::PlanCheckpoints(const SequenceStep& step, const BlockChange& change,
                                         std::vector<PlannedCheckpoint>* planned) const {
  const SequencePrefix& prefix = change.sequence->prefix;
  const bool ends_chunk = int64_t{prefix.chunks + 1} * geometry_.chunk_tokens <= step.settled;
  const bool passes_match = step.first < step.write_from && step.write_from <= step.settled;
  if ((ends_chunk || passes_match) && has_checkpoints()) {
    AddWantedCheckpoints(step, change, planned);
  }
}

}  // namespace terrace::internal

#endif  // TERRACE_SRC_LEDGER_PREFIX_CACHE_H_
