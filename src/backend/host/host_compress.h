// The loops of the host backend's compressor. Each runs on the widest vectors that the processor
// has.
//
// A step is two passes, each over parts that touch nothing of one another: first the entries that
// need no state or leave it as it is, then the sequences, which rewrite their state.
// Thread-safe: yes, on disjoint parts of one pass; counters are raised atomically.

#ifndef TERRACE_SRC_BACKEND_HOST_HOST_COMPRESS_H_
#define TERRACE_SRC_BACKEND_HOST_HOST_COMPRESS_H_

#include <cstdint>

#include "src/ops/compress_params.h"
#include "src/ops/state_params.h"

namespace terrace::internal {

// First pass, entry rows begin .. end - 1 of the step: every CSA entry; the HCA entries all of
// whose tokens are fed and final in this step.
void CompressCsaEntries(const CompressParams& params, int64_t begin, int64_t end);
void CompressHcaEntries(const CompressParams& params, int64_t begin, int64_t end);

// Second pass, sequence steps begin .. end - 1: their state, the checkpoints inside the step, and
// the HCA entries that the first pass left.
// REQUIRES: the first pass is over.
void CompressCsaSequences(const CompressParams& params, int64_t begin, int64_t end);
void CompressHcaSequences(const CompressParams& params, int64_t begin, int64_t end);

// All records.
void CaptureHostOverlap(const CaptureOverlapParams& params);
void RestoreHostState(const RestoreStateParams& params);

}  // namespace terrace::internal

#endif  // TERRACE_SRC_BACKEND_HOST_HOST_COMPRESS_H_
