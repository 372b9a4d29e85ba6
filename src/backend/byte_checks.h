// What a backend's public calls ask of sizes and addresses.

#ifndef TERRACE_SRC_BACKEND_BYTE_CHECKS_H_
#define TERRACE_SRC_BACKEND_BYTE_CHECKS_H_

#include <cstdint>

#include "absl/status/status.h"

namespace terrace::internal {

// Beyond any address space: what is added or rounded up to it is still an int64.
inline constexpr int64_t kMostBytes = int64_t{1} << 56;

// Errors: InvalidArgument for a size outside 0..kMostBytes.
absl::Status CheckAllocation(int64_t bytes);

// Errors: InvalidArgument for such a size, and for a null address where there is a byte to copy.
absl::Status CheckTransfer(const void* to, const void* from, int64_t bytes);

}  // namespace terrace::internal

#endif  // TERRACE_SRC_BACKEND_BYTE_CHECKS_H_
