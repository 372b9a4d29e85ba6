// The launches of Begin and Patch (src/ops/begin_params.h).

#ifndef TERRACE_KERNELS_BEGIN_H_
#define TERRACE_KERNELS_BEGIN_H_

#include <cstdint>

#include "src/ops/begin_params.h"

struct CUstream_st;

namespace terrace::internal {

// The largest plan that LaunchBegin takes in: a block holds all of it in shared memory.
inline constexpr int64_t kMaxStagedPlanBytes = 48 << 10;

// Stream-ordered; return a cudaError_t. Never launched early, and they let nothing behind them
// start early: what they wrote is there for every later kernel, before it waits for anything.
int LaunchPatch(const PatchParams& params, CUstream_st* stream);
// REQUIRES: plan is null or 16-byte aligned, BytesToBegin(params) <= kMaxStagedPlanBytes.
int LaunchBegin(const BeginParams& params, CUstream_st* stream);

}  // namespace terrace::internal

#endif  // TERRACE_KERNELS_BEGIN_H_
