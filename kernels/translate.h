// The launch of Translate (src/ops/translate_params.h).

#ifndef TERRACE_KERNELS_TRANSLATE_H_
#define TERRACE_KERNELS_TRANSLATE_H_

#include "kernels/common/launch_target.h"
#include "src/ops/translate_params.h"

namespace terrace::internal {

// Stream-ordered; returns a cudaError_t. REQUIRES: select.kind is not kSlots.
int LaunchTranslate(const TranslateParams& params, LaunchTarget target);

}  // namespace terrace::internal

#endif  // TERRACE_KERNELS_TRANSLATE_H_
