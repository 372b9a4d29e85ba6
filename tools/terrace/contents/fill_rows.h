// FillRows makes the input rows of a step: of one plane of one layer at a time on the host, of all
// of them in one launch on a GPU. It skips rows of slot -1, which the store does not read.

#ifndef TERRACE_TOOLS_TERRACE_CONTENTS_FILL_ROWS_H_
#define TERRACE_TOOLS_TERRACE_CONTENTS_FILL_ROWS_H_

#include <cstdint>
#include <type_traits>

#include "terrace/formats/host_device.h"
#include "terrace/plan_format.h"
#include "terrace/step.h"
#include "tools/terrace/contents/contents.h"

struct CUstream_st;

namespace terrace::tools {

// The rows of one plane in one step. All pointers are memory of the store's backend, and stay the
// same from step to step.
struct FillSegment {
  uint16_t* rows;  // [*count, channels]
  int32_t channels;
  ContentPlane plane;
  EntryRule rule;
  int32_t ratio;
  const PlanHeader* header;  // the step; its sequence steps follow it
  const int32_t* count;      // rows of this step
  const int32_t* slots;      // [*count]
  const int32_t* positions;  // [*count] first token of the row
  // [*count] sequence step of the row in window pools; null in full pools.
  const int32_t* token_sequences;
  const ContentSequence* sequences;  // [header->num_sequences]
  const uint64_t* prefix_keys;       // of all requests
};
static_assert(std::is_trivially_copyable_v<FillSegment>);

TERRACE_HOST_DEVICE uint64_t SeedOfRow(const FillSegment& segment, int32_t row) {
  const SequenceStep* records = StepsOf(*segment.header);
  const int32_t index =
      segment.token_sequences != nullptr
          ? segment.token_sequences[row]
          : StepOfEntryRow(records, segment.header->num_sequences, segment.plane.pool, row);
  const ContentSequence& part = segment.sequences[index];
  const int32_t position = segment.positions[row];
  const int32_t last = LastTokenOf(segment.rule, segment.ratio, position);
  return ContentSeed(ContentKey(part, segment.prefix_keys, last), position, segment.plane);
}

// Host: rows begin .. end - 1 of one segment.   Thread-safe: yes, on disjoint rows.
void FillRows(const FillSegment& segment, int64_t begin, int64_t end);

// CUDA: all rows of `num_segments` segments, which lie in device memory; `max_rows` sizes the grid:
// at least every segment's count. Stream-ordered; returns a cudaError_t.
int LaunchFillRows(const FillSegment* segments, int32_t num_segments, int32_t max_rows,
                   CUstream_st* stream);

}  // namespace terrace::tools

#endif  // TERRACE_TOOLS_TERRACE_CONTENTS_FILL_ROWS_H_
