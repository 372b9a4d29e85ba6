// A shortage as a status, and how it reads.

#ifndef TERRACE_SRC_LEDGER_SHORTAGE_H_
#define TERRACE_SRC_LEDGER_SHORTAGE_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "terrace/geometry.h"
#include "terrace/ledger.h"

namespace terrace {

// "pool 1 (ratio 4)"; pools have no names where only a geometry is known.
std::string PoolLabel(const Geometry& geometry, int pool);

// The step needs `needed` blocks of `pool` and `missing` of them are not to be had now.
absl::Status RetryLater(const Geometry& geometry, int pool, int32_t missing, int64_t needed,
                        const PoolUse& use);

// After the step its sequences alone would hold `held` blocks of `pool`, more than it has.
absl::Status LargerThanPool(const Geometry& geometry, int pool, int64_t held);

}  // namespace terrace

#endif  // TERRACE_SRC_LEDGER_SHORTAGE_H_
