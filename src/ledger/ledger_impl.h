// What a ledger consists of. Each part owns its own; the ledger's calls say in which order they
// act:
//
//   SequenceTable  handles, and the record of every sequence
//   PoolSet        blocks, block tables, and what running plans may name
//   PrefixCache    chunks and checkpoints that sequences leave to each other
//   StepPlanner    one for each Append
//
// Invariants, beside the parts' own:
//  (1) a sequence holds one block of every full pool for each chunk it has begun or attached, and
//      one of every state pool from its first step on;
//  (2) the window blocks of a sequence end with its last row and hold every row that the next step
//      can see, whether all its drafts are taken back or none.

#ifndef TERRACE_SRC_LEDGER_LEDGER_IMPL_H_
#define TERRACE_SRC_LEDGER_LEDGER_IMPL_H_

#include <vector>

#include "src/ledger/pool_set.h"
#include "src/ledger/prefix_cache.h"
#include "src/ledger/sequence_table.h"
#include "src/ledger/step_planner.h"
#include "src/plan/epoch.h"
#include "terrace/ledger.h"

namespace terrace {

class Ledger::Impl {
 public:
  explicit Impl(const LedgerOptions& options)
      : options(WithEpoch(options)),
        sequences(options.geometry.max_sequences),
        pools(this->options),
        prefixes(this->options, sequences, pools),
        step_memory(options.geometry.max_sequences) {}

  // The affected sequences begin anew, with what their ids find when all that is lost is gone.
  // ledger_abandon.cc
  Abandoned StartOver(const std::vector<internal::Sequence*>& affected,
                      const internal::LostPrefixes& lost);

  void CheckSequence(const internal::Sequence& sequence) const;

  const LedgerOptions options;  // with an epoch
  internal::SequenceTable sequences;
  internal::PoolSet pools;
  internal::PrefixCache prefixes;
  internal::StepMemory step_memory;

 private:
  static LedgerOptions WithEpoch(LedgerOptions options) {
    if (!options.epoch.has_value()) options.epoch = internal::NewEpoch();
    return options;
  }
};

}  // namespace terrace

#endif  // TERRACE_SRC_LEDGER_LEDGER_IMPL_H_
