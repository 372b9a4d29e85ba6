// What of a pool is to be had, and when: the counts that a Shortage tells.

#ifndef TERRACE_SRC_LEDGER_SHORTAGE_FIGURES_H_
#define TERRACE_SRC_LEDGER_SHORTAGE_FIGURES_H_

#include <cstdint>

#include "src/ledger/pool_set.h"
#include "src/ledger/prefix_cache.h"
#include "terrace/ledger.h"

namespace terrace::internal {

// The blocks of pool `p`, for a call whose own sequences hold `held` of them and that needs
// `needed`. Once no plan runs, the call itself gives back `given_back` of those. `own_reserved`
// blocks are set aside for its own sequences.
// Cost: O(blocks * log plans in flight).
Shortage LookAt(const PoolSet& pools, const PrefixCache& prefixes, int p, int32_t needed,
                int32_t held, int32_t given_back, int32_t own_reserved = 0);

}  // namespace terrace::internal

#endif  // TERRACE_SRC_LEDGER_SHORTAGE_FIGURES_H_
