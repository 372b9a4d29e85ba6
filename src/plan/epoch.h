// Epochs tell the plans of one ledger from those of another.

#ifndef TERRACE_SRC_PLAN_EPOCH_H_
#define TERRACE_SRC_PLAN_EPOCH_H_

#include <cstdint>

namespace terrace::internal {

// An epoch that no other call gives, in this process, a fork of it or any other.
// Thread-safe: yes.
uint64_t NewEpoch();

}  // namespace terrace::internal

#endif  // TERRACE_SRC_PLAN_EPOCH_H_
