// Translate: the slots that each query of a step reads, for kernels that read the pages in place.

#ifndef TERRACE_SRC_OPS_TRANSLATE_PARAMS_H_
#define TERRACE_SRC_OPS_TRANSLATE_PARAMS_H_

#include <cstdint>

#include "src/ops/select.h"

namespace terrace::internal {

struct TranslateParams {
  Selection select;
  int32_t* slots;       // [num_queries, slots_pitch]
  int64_t slots_pitch;  // elements
  // Slots written a query: rows_per_query rounded up; those without a row are -1.
  int32_t padded_rows;
  int32_t* lengths;  // [num_queries] 1 + index of the last slot that is not -1; may be null
};

}  // namespace terrace::internal

#endif  // TERRACE_SRC_OPS_TRANSLATE_PARAMS_H_
