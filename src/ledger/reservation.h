// A reservation is room that a sequence was admitted with: nobody else takes it. It is a number of
// blocks of each pool, and names none. What it covers follows from what the sequence has:
//
//   full pools    a block for each chunk of its first tokens that it has not begun
//   window pool   what its longest step can hold, less what it holds: two windows until its prompt is
//                 fed, then one
//   state pools   its block, until its first step
//
// Blocks of a pool that no sequence holds are free, cached or draining; there are never fewer of
// them than are reserved. So a step may have to wait for a plan to retire, and never for another
// sequence. Two cases are outside: what the sequence shares with forks, which go on holding it, and
// what it shared with others when it starts over (Ledger::Abandon). Then nobody else takes a block
// until enough came back.

#ifndef TERRACE_SRC_LEDGER_RESERVATION_H_
#define TERRACE_SRC_LEDGER_RESERVATION_H_

#include <cstdint>

#include "src/ledger/block_change.h"
#include "src/ledger/sequence.h"
#include "terrace/geometry.h"

namespace terrace::internal {

// What a sequence has, as far as its reservation asks.
struct Holding {
  int32_t decided = 0;  // rows that are no drafts
  int32_t chunks = 0;
  int32_t window = 0;  // blocks
  bool has_state = false;
};

inline Holding HoldingOf(const Sequence& sequence) {
  return {.decided = sequence.draft_begin,
          .chunks = sequence.chunks,
          .window = sequence.window.old.size() + sequence.window.current.size(),
          .has_state = sequence.has_state};
}

// What it has after a step that feeds it until `decided` rows are no drafts.
inline Holding HoldingAfter(const BlockChange& change, int32_t decided) {
  return {.decided = decided,
          .chunks = change.chunks.end,
          .window = change.window.old.size() + change.window.current.size(),
          .has_state = true};
}

class ReservationRule {
 public:
  explicit ReservationRule(const Geometry& geometry);

  // The blocks that are set aside for the first `tokens` tokens of a sequence whose prompt has
  // `prompt_tokens`, beyond those that it has.
  BlockCounts Reserved(int32_t tokens, int32_t prompt_tokens, const Holding& holding) const;

 private:
  const Geometry& geometry_;
  WindowBlocks window_ = {};  // most that a sequence holds
};

}  // namespace terrace::internal

#endif  // TERRACE_SRC_LEDGER_RESERVATION_H_
