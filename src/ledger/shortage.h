// A shortage as a status, and how it reads.

#ifndef TERRACE_SRC_LEDGER_SHORTAGE_H_
#define TERRACE_SRC_LEDGER_SHORTAGE_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "terrace/geometry.h"
#include "terrace/ledger.h"

namespace terrace::internal {

// `blocks` blocks of `pool` are not to be had now.
struct Shortfall {
  int pool;
  int32_t blocks;
};

// "pool 1 (ratio 4)"; pools have no names where only a geometry is known.
std::string PoolLabel(const Geometry& geometry, int pool);

// The step needs `needed` blocks of the pool that is short.
absl::Status RetryLater(const Geometry& geometry, const Shortfall& shortfall, int64_t needed,
                        const PoolUse& use);

// After the step its sequences alone would hold `held` blocks of `pool`, more than it has.
absl::Status LargerThanPool(const Geometry& geometry, int pool, int64_t held);

}  // namespace terrace::internal

#endif  // TERRACE_SRC_LEDGER_SHORTAGE_H_
