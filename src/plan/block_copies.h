// What may be copied in one go: the copies of a plan, or those a caller hands to a store.

#ifndef TERRACE_SRC_PLAN_BLOCK_COPIES_H_
#define TERRACE_SRC_PLAN_BLOCK_COPIES_H_

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "terrace/geometry.h"
#include "terrace/plan_format.h"

namespace terrace::internal {

// Every block exists, none is the destination of two copies, and none is both a source and a
// destination: the copies may run in any order.
// Errors: InvalidArgument that names the copy and the field.   Cost: O(n log n).
absl::Status ValidateCopies(absl::Span<const BlockCopy> copies, const Geometry& geometry);

}  // namespace terrace::internal

#endif  // TERRACE_SRC_PLAN_BLOCK_COPIES_H_
