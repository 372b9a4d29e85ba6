// The checksum of a plan: XXH3-64 of all its bytes with the checksum field zero.

#ifndef TERRACE_SRC_PLAN_PLAN_CHECKSUM_H_
#define TERRACE_SRC_PLAN_PLAN_CHECKSUM_H_

#include <cstddef>
#include <cstdint>

#include "absl/types/span.h"

namespace terrace::internal {

// Clears the field for as long as it reads, so that one pass over the bytes is enough.
// REQUIRES: at least a header, writable.   Cost: O(bytes).
uint64_t PlanChecksum(absl::Span<std::byte> bytes);

}  // namespace terrace::internal

#endif  // TERRACE_SRC_PLAN_PLAN_CHECKSUM_H_
