// The launch of CopyBlocks (src/ops/copy_params.h).

#ifndef TERRACE_KERNELS_COPY_BLOCKS_H_
#define TERRACE_KERNELS_COPY_BLOCKS_H_

#include "kernels/common/launch_target.h"
#include "src/ops/copy_params.h"

namespace terrace::internal {

// Stream-ordered; returns a cudaError_t.
int LaunchCopyBlocks(const CopyParams& params, LaunchTarget target);

}  // namespace terrace::internal

#endif  // TERRACE_KERNELS_COPY_BLOCKS_H_
