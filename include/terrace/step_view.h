// StepView: where a store keeps the current step, at addresses that are fixed for the store's life,
// so that a captured CUDA graph stays valid from step to step. Filled by expanding a plan
// (begin.h); read by every other kernel. All pointers are memory of the store's backend.

#ifndef TERRACE_STEP_VIEW_H_
#define TERRACE_STEP_VIEW_H_

#include <cstdint>
#include <type_traits>

#include "terrace/counters.h"
#include "terrace/plan_format.h"
#include "terrace/pool_kinds.h"

namespace terrace {

struct StepView {
  const PlanHeader* header;         // the uploaded plan; its lane records follow it
  int32_t* token_record;            // [max_step_tokens] index of the row's lane record
  int32_t* token_position;          // [max_step_tokens]
  int32_t* block_table[kMaxPools];  // [max_sequences, blocks_per_lane]
  int32_t* slots[kMaxPools];        // window: [max_step_tokens]; full: [MaxEntryRows]
  int32_t*
      entry_position[kMaxPools];  // full: [MaxEntryRows] first token of the entry; window: null
  Counters* counters;
};
static_assert(std::is_trivially_copyable_v<StepView>);

}  // namespace terrace

#endif  // TERRACE_STEP_VIEW_H_
