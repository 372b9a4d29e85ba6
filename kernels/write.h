// The launch of Write (src/ops/write_params.h).

#ifndef TERRACE_KERNELS_WRITE_H_
#define TERRACE_KERNELS_WRITE_H_

#include "kernels/common/launch_target.h"
#include "src/ops/write_params.h"

namespace terrace::internal {

// Stream-ordered; returns a cudaError_t. Zero rows return before launching.
int LaunchWrite(const WriteParams& params, LaunchTarget target);

}  // namespace terrace::internal

#endif  // TERRACE_KERNELS_WRITE_H_
