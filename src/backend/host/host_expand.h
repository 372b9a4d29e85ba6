// The host backend's expansion of a step (kernels/begin.cu on the device).

#ifndef TERRACE_SRC_BACKEND_HOST_HOST_EXPAND_H_
#define TERRACE_SRC_BACKEND_HOST_HOST_EXPAND_H_

#include "src/ops/begin_params.h"

namespace terrace::internal {

// Fills the rows of the step that lies at step.header.
void ExpandHostStep(const BeginParams& params);

}  // namespace terrace::internal

#endif  // TERRACE_SRC_BACKEND_HOST_HOST_EXPAND_H_
