// What a ledger holds. ledger.cc has the calls about sequences, append.cc the one that makes steps,
// ledger_check.cc the walk over everything.
//
// Invariants:
//  (1) every pool's own (block_pool.h): free + live + draining == capacity;
//  (2) a block has one reference for each place in the tables of live sequences that names it;
//  (3) a sequence holds one block of every full pool for each chunk it has begun, and no more;
//  (4) the window blocks of a sequence end with its last row and hold every row that the next step
//      can see, whether all its drafts are taken back or none;
//  (5) live sequences have lanes of their own, and the other lanes are free;
//  (6) at most in_flight_plans plans are unretired, and nothing drains when none is.

#ifndef TERRACE_SRC_LEDGER_IMPL_H_
#define TERRACE_SRC_LEDGER_IMPL_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "src/block_change.h"
#include "src/block_table.h"
#include "terrace/block_pool.h"
#include "terrace/ledger.h"
#include "terrace/sequence.h"

namespace terrace {

class Ledger::Impl {
 public:
  explicit Impl(const LedgerOptions& options);

  // The blocks that one step takes from and gives back to each pool. Steps release nothing but
  // window blocks.
  struct Demand {
    int32_t taken[kMaxPools] = {};
    int32_t released[kMaxPools] = {};
    int32_t patches = 0;  // all that is taken
  };
  using Reservations = BlockPool::Reservation[kMaxPools];

  // The three parts of Append. The first two change nothing when they fail; the third cannot.
  absl::StatusOr<Demand> Count(absl::Span<const StepRequest> batch);
  absl::Status Reserve(absl::Span<const StepRequest> batch, const Demand& demand,
                       Reservations& reserved);
  Plan Advance(absl::Span<const StepRequest> batch, const Demand& demand, Reservations& reserved);

  Sequence* Find(SequenceId id) { return sequences.Find(id); }  // null if there is none
  absl::Status NotFound(SequenceId id) const;

  // Whether the request is within the limits of its sequence, and why not.
  bool Fits(const Sequence& sequence, const StepRequest& request) const;
  absl::Status Refusal(const Sequence& sequence, const StepRequest& request) const;
  Demand DemandOfChanges() const;
  absl::Status ShortageError(absl::Span<const StepRequest> batch, const Demand& demand, int pool,
                             int32_t missing);

  // Frees the blocks of these indices; they drain if a plan that may name them still runs.
  void FreeBlocks(int pool, int32_t lane, BlockRange range);
  // Frees the blocks of every full pool from the first chunk that `length` tokens have not begun.
  void FreeChunks(int32_t lane, Sequence& sequence, int32_t length);

  PoolUse UseOf(int pool) const;
  void CheckSequence(const Sequence& sequence) const;
  // Calls visit(pool, lane, index, block) for every place that a live sequence holds.
  template <typename Visitor>
  void ForEachBlock(Visitor visit) const;

  // Whether every plan made so far has run to its end, as far as blocks must care.
  bool idle() const { return retired == number; }
  bool has_window() const { return geometry.window_pool >= 0; }
  bool is_full(int pool) const { return geometry.pools[pool].kind == PoolKind::kFull; }
  // Chunks that `length` tokens have begun.
  int32_t ChunksOf(int32_t length) const {
    return length == 0 ? 0 : (length - 1) / geometry.chunk_tokens + 1;
  }

  const LedgerOptions options;
  const Geometry& geometry = options.geometry;
  SequenceTable sequences;
  std::vector<BlockPool> pools;
  std::vector<BlockTable> tables;
  uint64_t number = 0;   // of the last plan
  uint64_t retired = 0;  // the last plan known to have run; always `number` if in_flight_plans is 0
  uint64_t batches = 0;  // calls of Append, for Sequence::last_batch
  // What the step at hand changes; empty between calls but for its memory, which is taken once.
  std::vector<BlockChange> changes;
};

template <typename Visitor>
void Ledger::Impl::ForEachBlock(Visitor visit) const {
  for (int32_t lane = 0; lane < sequences.max_sequences(); ++lane) {
    const Sequence& sequence = sequences.at(lane);
    if (!sequence.live) continue;
    for (int p = 0; p < geometry.num_pools; ++p) {
      const BlockRange chunks{0, sequence.chunks};
      for (const BlockRange& range : {is_full(p) ? chunks : sequence.window.old,
                                      is_full(p) ? BlockRange{} : sequence.window.current}) {
        for (int32_t index = range.begin; index < range.end; ++index) {
          visit(p, lane, index, tables[p].Row(lane)[index]);
        }
      }
    }
  }
}

}  // namespace terrace

#endif  // TERRACE_SRC_LEDGER_IMPL_H_
