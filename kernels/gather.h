// The launch of Gather (src/ops/gather_params.h).

#ifndef TERRACE_KERNELS_GATHER_H_
#define TERRACE_KERNELS_GATHER_H_

#include "kernels/common/launch_target.h"
#include "src/ops/gather_params.h"

namespace terrace::internal {

// Stream-ordered; returns a cudaError_t.
int LaunchGather(const GatherParams& params, LaunchTarget target);

}  // namespace terrace::internal

#endif  // TERRACE_KERNELS_GATHER_H_
