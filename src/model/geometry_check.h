// Tells a Geometry that MakeGeometry can have made from one that came from elsewhere, so that
// nothing sized or indexed by a bad one goes astray.

#ifndef TERRACE_SRC_MODEL_GEOMETRY_CHECK_H_
#define TERRACE_SRC_MODEL_GEOMETRY_CHECK_H_

#include "absl/status/status.h"
#include "terrace/geometry.h"

namespace terrace::internal {

// Errors: InvalidArgument that names the field.   Cost: O(pools).
absl::Status ValidateGeometry(const Geometry& geometry);

}  // namespace terrace::internal

#endif  // TERRACE_SRC_MODEL_GEOMETRY_CHECK_H_
