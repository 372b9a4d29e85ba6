// What a ledger holds. ledger.cc has the calls about sequences; append.cc and advance.cc the one
// that makes steps; admission.cc what a prompt finds and attaches; publish.cc what settled tokens
// leave to others; eviction.cc what goes when blocks are short; ledger_check.cc the walk over
// everything.
//
// Invariants:
//  (1) every pool's own (block_pool.h): free + live + cached + draining == capacity;
//  (2) a block has one reference for each place in the tables of live sequences that names it, one
//      for each sequence whose state its next step restores from it, and one while the next plan
//      reads or writes it for a checkpoint alone;
//  (3) a sequence holds one block of every full pool for each chunk it has begun or attached, and
//      one of every state pool from its first step on;
//  (4) the window blocks of a sequence end with its last row and hold every row that the next step
//      can see, whether all its drafts are taken back or none;
//  (5) live sequences have sequences of their own, and the other sequences are free;
//  (6) at most in_flight_plans plans are unretired, and nothing drains when none is;
//  (7) a block is indexed iff one chunk or one checkpoint of the prefix index has it;
//  (8) a sequence's path has as many chunks as it says, none beyond its settled tokens, and it uses
//      each of them; a checkpoint has one pin for each sequence that rolls on from it.

#ifndef TERRACE_SRC_LEDGER_LEDGER_IMPL_H_
#define TERRACE_SRC_LEDGER_LEDGER_IMPL_H_

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "src/ledger/block_change.h"
#include "src/ledger/block_pool.h"
#include "src/ledger/block_table.h"
#include "src/ledger/prefix_index.h"
#include "src/ledger/sequence.h"
#include "src/plan/plan_builder.h"
#include "terrace/ledger.h"

namespace terrace {

class Ledger::Impl {
 public:
  explicit Impl(const LedgerOptions& options);

  using BlockCounts = int32_t[kMaxPools];
  using Reservations = BlockPool::Reservation[kMaxPools];

  // ---- append.cc, advance.cc: steps.

  // What one step takes from each pool, and what its plan lists.
  struct Demand {
    BlockCounts taken = {};
    int32_t patches = 0;
    int32_t copies = 0;
    int32_t restores = 0;
  };
  // A checkpoint that the step at hand is to leave.
  struct Wish {
    Sequence* sequence;
    int32_t sequence_index;
    int32_t position;
    BlockRange gap;  // window blocks for it alone
    std::optional<BlockId> overlap = std::nullopt;
  };

  // How far eviction goes to make room.
  enum class Need {
    kWish,  // what merely waits for others
    kStep,  // also checkpoints that live sequences roll on from, and chunks they have copies of
  };

  // The three parts of Append. The first two change nothing when they fail; the third cannot.
  absl::StatusOr<Demand> Count(absl::Span<const StepRequest> batch);
  absl::Status Reserve(absl::Span<const StepRequest> batch, const Demand& demand, Need need,
                       Reservations& reserved);
  Plan Advance(absl::Span<const StepRequest> batch, const Demand& demand, Reservations& reserved);

  // What the plan says of the sequence's part in the step; token and entry rows are the builder's.
  static SequenceStep RecordOf(const Sequence& sequence, const StepRequest& request);
  // Whether the request is within the limits of its sequence, and why not.
  bool Fits(const Sequence& sequence, const StepRequest& request) const;
  absl::Status Refusal(const Sequence& sequence, const StepRequest& request) const;
  void FindCopies(const SequenceStep& step, BlockChange* change);
  int32_t IndexIfShared(int pool, int32_t sequence_index, int32_t index);
  void FindWishes(const SequenceStep& step, const BlockChange& change);
  void CountChange(const BlockChange& change, Demand* demand);
  void KeepVacated();
  Demand WithWishes(const Demand& demand) const;
  absl::Status ShortageError(absl::Span<const StepRequest> batch, const Demand& demand, int pool,
                             int32_t missing);
  BlockRange WindowHoles(const Sequence& sequence) const;
  BlockRange KeptWindow(const Sequence& sequence) const;
  int32_t PatchesToAnnounce(const Sequence& sequence) const;
  void Announce(const Sequence& sequence, int32_t sequence_index, PlanBuilder& plan) const;
  void Copy(int pool, const BlockChange& change, int32_t index, BlockPool::Reservation& reserved,
            PlanBuilder& plan);

  // ---- admission.cc: matches.

  // What a prompt finds: the chunks in `path`, how far they are used and where to go on.
  struct Resume {
    PrefixMatch match = {};
    int32_t chunks = 0;                                     // of `path`
    int32_t length = 0;                                     // rows to go on at
    std::optional<CheckpointId> checkpoint = std::nullopt;  // that gives the window there
  };
  absl::Status CheckRequest(const SequenceRequest& request) const;
  // Fills `path` with the chunks from `from` on down that `tokens` spell.
  void Walk(ChunkId from, absl::Span<const int32_t> tokens, absl::Span<const ChunkDigest> digests);
  // Where a sequence of `length` rows, whose first `first_chunk` chunks come before `path`, goes
  // on.
  Resume ResumeAt(int32_t length, int32_t first_chunk, const RefeedLimits& limits) const;
  Resume FindPrompt(const SequenceRequest& request);
  void Attach(Sequence& sequence, int32_t sequence_index, const Resume& resume);
  void AttachWindow(Sequence& sequence, int32_t sequence_index, const Resume& resume);
  void CountMatch(const PrefixMatch& match);

  // ---- publish.cc: what settled tokens leave.

  void PublishStep(absl::Span<const StepRequest> batch);
  // Publishes the chunks that end at or before `length`, settled or about to be.
  void Publish(Sequence& sequence, int32_t sequence_index, int32_t length);
  // After ids were committed: publishes what settled, and leaves checkpoints where the window is
  // still there.
  void PublishCommitted(Sequence& sequence, int32_t sequence_index);
  // Behind the sequence's tip, at `position`. `gap` and `overlap` become the checkpoint's, or free
  // where the chunk has one already.
  void LeaveCheckpoint(Sequence& sequence, int32_t sequence_index, int32_t position, BlockRange gap,
                       std::optional<BlockId> overlap);
  bool CanLookBack(const Sequence& sequence, int32_t position) const;
  bool IsWindowTaken(int32_t sequence_index, int32_t position) const;
  std::optional<BlockId> TakeOverlapBlock();
  void RollTo(Sequence& sequence, std::optional<CheckpointId> checkpoint, bool keep);
  bool Keeps(const Sequence& sequence, int32_t position) const;
  void LeavePath(Sequence& sequence);
  void Record(PrefixEvent::Kind kind, ChunkId chunk);

  // ---- eviction.cc

  enum class Removal { kEvicted, kExpired, kCleared, kRolled, kWithChunk };
  // Frees `missing` blocks of each pool, or changes nothing and says which pool stays short, and by
  // how many. `vacated` window blocks (sorted) are about to lose their last holder: without their
  // checkpoint they are free as well.
  struct Short {
    int pool;
    int32_t blocks;
  };
  std::optional<Short> Evict(const BlockCounts& missing, absl::Span<const BlockId> vacated,
                             Need need);
  // A chunk in use whose blocks nobody holds, because every user settled an equal copy of its own:
  // the copy of one of them, at `depth` of its tables, serves as well.
  struct Spare {
    ChunkId chunk;
    int32_t sequence_index;
    int32_t depth;
  };
  void ChooseSpares(int32_t most);
  void TakeCopy(const Spare& spare);
  // Fills `victims` with checkpoints whose blocks are missing, and takes these from `left`.
  void ChooseVictims(BlockCounts& left, absl::Span<const BlockId> vacated, Need need);
  void LetGo(CheckpointId checkpoint);
  void RemoveChunk(ChunkId chunk, Removal why);
  void RemoveCheckpoint(CheckpointId checkpoint, Removal why);
  void Unindex(int pool, BlockId block);

  // ---- ledger.cc

  Sequence* Find(SequenceId id) { return sequences.Find(id); }  // null if there is none
  absl::Status NotFound(SequenceId id) const;
  // Frees the blocks of these indices; they drain if a plan that may name them still runs.
  void FreeBlocks(int pool, int32_t sequence_index, BlockRange range);
  void FreeBlock(int pool, BlockId block);
  // Frees the sequence's blocks of every full pool but the first `chunks`.
  void FreeChunks(int32_t sequence_index, Sequence& sequence, int32_t chunks);
  void FreeWindow(int32_t sequence_index, Sequence& sequence);
  void FreeState(int32_t sequence_index, Sequence& sequence);
  // Whether the next plan takes a checkpoint's rows from this block of the CSA state pool.
  bool IsCapturePending(BlockId state) const;
  void FreeCapturedStates();
  void DropRestore(Sequence& sequence);
  PoolUse UseOf(int pool) const;

  // ---- ledger_check.cc

  void CheckSequence(const Sequence& sequence) const;
  void CheckPrefixes() const;
  // Calls visit(pool, sequence, index, block) for every place that a live sequence holds.
  template <typename Visitor>
  void ForEachBlock(Visitor visit) const;
  template <typename Visitor>
  void ForEachBlockOf(int32_t sequence_index, Visitor visit) const;

  // Whether every plan made so far has run to its end, as far as blocks must care.
  bool idle() const { return retired == number; }
  bool has_window() const { return geometry.window_pool >= 0; }
  bool has_overlap() const { return geometry.overlap_pool >= 0; }
  bool is_full(int pool) const { return geometry.pools[pool].kind == PoolKind::kFull; }
  // Chunks that `length` tokens have begun.
  int32_t ChunksOf(int32_t length) const {
    return length == 0 ? 0 : (length - 1) / geometry.chunk_tokens + 1;
  }

  const LedgerOptions options;
  const Geometry& geometry = options.geometry;
  const CheckpointPolicy& policy = options.prefix.checkpoints;
  SequenceTable sequences;
  std::vector<BlockPool> pools;
  std::vector<BlockTable> tables;
  std::vector<int> full_pools;
  std::vector<int> state_pools;
  const int csa_state_pool = CsaStatePool(geometry);  // or -1
  uint64_t number = 0;                                // of the last plan
  uint64_t retired = 0;  // the last plan known to have run; always `number` if in_flight_plans is 0
  uint64_t batches = 0;  // calls of Append, for Sequence::last_batch

  const bool reuses;  // prefixes: wanted, and there is a full pool to share
  PrefixIndex index;
  PrefixFigures figures;
  std::vector<PrefixEvent> events;
  int64_t now_ms = 0;
  // Checkpoints left since the last plan: the next copies their overlap rows. Each has a reference
  // to its overlap block.
  std::vector<CheckpointRecord> settled_checkpoints;
  // CSA states that they are taken from and that no sequence has any more: the next plan frees
  // them, or hands them out itself, because it takes the snapshots first.
  std::vector<BlockId> captured_states;

  // What the call at hand works out; empty between calls but for its memory, which is taken once.
  std::vector<BlockChange> changes;
  std::vector<Wish> wishes;
  std::vector<BlockId> vacated;  // window blocks that lose their last holder in the step, sorted
  absl::flat_hash_map<int64_t, int32_t> copied;      // (pool, block) -> sequences that copy it
  std::vector<std::pair<int, BlockId>> plan_blocks;  // (pool, block), held until the plan is made
  std::vector<ChunkId> path;
  std::vector<CheckpointId> victims;
  std::vector<Spare> spares;
  std::vector<BlockId> chunk_blocks;  // one of each full pool
};

template <typename Visitor>
void Ledger::Impl::ForEachBlockOf(int32_t sequence_index, Visitor visit) const {
  const Sequence& sequence = sequences.at(sequence_index);
  for (int p = 0; p < geometry.num_pools; ++p) {
    if (p == geometry.overlap_pool) continue;
    if (geometry.pools[p].kind == PoolKind::kState) {
      if (sequence.has_state) visit(p, sequence_index, 0, tables[p].Row(sequence_index)[0]);
      continue;
    }
    const BlockRange chunks{0, sequence.chunks};
    for (const BlockRange& range : {is_full(p) ? chunks : sequence.window.old,
                                    is_full(p) ? BlockRange{} : sequence.window.current}) {
      for (int32_t i = range.begin; i < range.end; ++i)
        visit(p, sequence_index, i, tables[p].Row(sequence_index)[i]);
    }
  }
}

template <typename Visitor>
void Ledger::Impl::ForEachBlock(Visitor visit) const {
  for (int32_t sequence_index = 0; sequence_index < sequences.max_sequences(); ++sequence_index) {
    if (sequences.at(sequence_index).live) ForEachBlockOf(sequence_index, visit);
  }
}

}  // namespace terrace

#endif  // TERRACE_SRC_LEDGER_LEDGER_IMPL_H_
