// What both compressors of the host backend share: the numbers of a token, the state of a sequence,
// and the way of pooled sums to their page.

#ifndef TERRACE_SRC_BACKEND_HOST_HOST_ENTRY_H_
#define TERRACE_SRC_BACKEND_HOST_HOST_ENTRY_H_

#include <cstdint>

#include "src/model/state_pages.h"
#include "src/ops/compress_params.h"

namespace terrace::internal {

// The numbers of one token: some columns of one plane of kv and score.
struct TokenPart {
  const float* kv;
  const float* score;
};

template <int kChannels>
struct TokenRoom {
  alignas(64) float kv[kChannels];
  alignas(64) float score[kChannels];
};

// Of a token of the step: kChannels columns from `column` on.
template <int kChannels>
TokenPart FromInputs(const CompressPlane& plane, const SequenceStep& sequence, int32_t position,
                     int column, TokenRoom<kChannels>& room);

// Norms, rotates, quantizes and stores what was pooled of entry row `entry_row` of the step.
template <int kChannels>
void WriteEntry(const CompressParams& params, const CompressPlane& plane,
                const SoftmaxSums<kChannels>& sums, int32_t entry_row);

// The sequence's page of its state, or null and counted if it has no block there.
float* StateOf(const CompressParams& params, int32_t sequence_index, bool count);

// Whether a sequence's page is where the step begins; counted if it is not. From now on the page
// stands behind the step. Once a sequence and step, before its state changes.
bool TakeStateToStep(const CompressParams& params, const SequenceStep& sequence, float* state);

// The sequence step that entry row `entry_row` is of, its entry, and back.
const SequenceStep& SequenceOfEntryRow(const CompressParams& params, int32_t entry_row);
int32_t EntryOfRow(const CompressParams& params, const SequenceStep& sequence, int32_t entry_row);
int32_t RowOfEntry(const CompressParams& params, const SequenceStep& sequence, int32_t entry);

}  // namespace terrace::internal

#endif  // TERRACE_SRC_BACKEND_HOST_HOST_ENTRY_H_
