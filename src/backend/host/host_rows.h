// The row loops of the host backend. Each runs on the widest vectors that the processor has.
//
// Thread-safe: yes, on disjoint rows; counters are raised atomically.

#ifndef TERRACE_SRC_BACKEND_HOST_HOST_ROWS_H_
#define TERRACE_SRC_BACKEND_HOST_HOST_ROWS_H_

#include <cstdint>

#include "src/ops/gather_params.h"
#include "src/ops/translate_params.h"
#include "src/ops/write_params.h"
#include "terrace/counters.h"

namespace terrace::internal {

// Rows begin .. end - 1 of one segment.
void WriteHostRows(const WriteSegment& segment, int64_t begin, int64_t end, Counters* counters);

// Rows begin .. end - 1 of the output, query after query:
// row r is row r % rows_per_query of query r / rows_per_query.
void GatherHostRows(const GatherParams& params, int64_t begin, int64_t end);

// Queries begin .. end - 1.
void TranslateHostQueries(const TranslateParams& params, int64_t begin, int64_t end);

}  // namespace terrace::internal

#endif  // TERRACE_SRC_BACKEND_HOST_HOST_ROWS_H_
