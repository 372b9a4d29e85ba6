// Makes the Geometry of a model under given limits.

#ifndef TERRACE_SRC_MODEL_GEOMETRY_BUILDER_H_
#define TERRACE_SRC_MODEL_GEOMETRY_BUILDER_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "terrace/geometry.h"
#include "terrace/model.h"

namespace terrace::internal {

// `capacity_blocks` has one number per pool of `model`.
// Errors: InvalidArgument for a model that ValidateModel refuses, or limits or capacities that are
// not positive (the overlap pool may be empty: no checkpoint then) or that overflow an int32 slot.
absl::StatusOr<Geometry> MakeGeometry(const ModelSpec& model, const Limits& limits,
                                      absl::Span<const int32_t> capacity_blocks);

}  // namespace terrace::internal

#endif  // TERRACE_SRC_MODEL_GEOMETRY_BUILDER_H_
