// LedgerCounts is what a ledger counts of its own calls. What its parts know they count themselves.
// Thread-safe: no, but const calls may run together.

#ifndef TERRACE_SRC_LEDGER_LEDGER_COUNTS_H_
#define TERRACE_SRC_LEDGER_LEDGER_COUNTS_H_

#include <cstdint>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "terrace/ledger.h"
#include "terrace/pool_kinds.h"

namespace terrace::internal {

struct LedgerCounts {
  int64_t allocated = 0;
  int64_t refused = 0;  // no sequence index was free
  int64_t freed[kNumFreeReasons] = {};
  int64_t shortages[kMaxPools] = {};  // calls that failed for want of the pool's blocks
  int64_t abandons = 0;
  int64_t lost_plans = 0;  // each once
  int64_t distrusts = 0;
  int64_t restarted = 0;  // sequences that both sent back

  // How a call ended that was to allocate a sequence.
  void CountAllocation(const absl::Status& status);
  // If that is why a call failed.
  void CountShortage(const absl::Status& status);
  // The plans first .. last, which are all from `first` on, are lost.
  void CountAbandon(uint64_t first, uint64_t last);

 private:
  // Runs of lost plans, first and last, ascending and apart.
  std::vector<std::pair<uint64_t, uint64_t>> lost_;
};

}  // namespace terrace::internal

#endif  // TERRACE_SRC_LEDGER_LEDGER_COUNTS_H_
