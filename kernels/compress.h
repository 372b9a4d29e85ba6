// The launches of Compress, CaptureOverlap and RestoreState (src/ops/compress_params.h,
// src/ops/state_params.h).

#ifndef TERRACE_KERNELS_COMPRESS_H_
#define TERRACE_KERNELS_COMPRESS_H_

#include "kernels/common/launch_target.h"
#include "src/ops/compress_params.h"
#include "src/ops/state_params.h"

namespace terrace::internal {

// Stream-ordered; return a cudaError_t. Zero rows return before launching.
// REQUIRES: params.pool.ratio is kCsaRatio, or kHcaRatio.
int LaunchCompressCsa(const CompressParams& params, LaunchTarget target);
int LaunchCompressHca(const CompressParams& params, LaunchTarget target);
int LaunchCaptureOverlap(const CaptureOverlapParams& params, LaunchTarget target);
int LaunchRestoreState(const RestoreStateParams& params, LaunchTarget target);

}  // namespace terrace::internal

#endif  // TERRACE_KERNELS_COMPRESS_H_
