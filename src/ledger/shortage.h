// A shortage as a status, and how it reads.

#ifndef TERRACE_SRC_LEDGER_SHORTAGE_H_
#define TERRACE_SRC_LEDGER_SHORTAGE_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "terrace/geometry.h"
#include "terrace/ledger.h"

namespace terrace::internal {

// `blocks` blocks of `pool` are not to be had now.
struct Shortfall {
  int pool;
  int32_t blocks;
  bool reserved = false;  // they are there, and set aside for others
};

// "pool 1 (ratio 4)"; pools have no names where only a geometry is known.
std::string PoolLabel(const Geometry& geometry, int pool);

// Too few blocks now, with all that `shortage` says. `what` needs them: "this step".
absl::Status RetryLater(const Geometry& geometry, Shortage shortage, absl::string_view what);

// `what` would hold `held` blocks of the pool, more than it has.
absl::Status LargerThanPool(const Geometry& geometry, Shortage shortage, absl::string_view what,
                            int64_t held);

}  // namespace terrace::internal

#endif  // TERRACE_SRC_LEDGER_SHORTAGE_H_
