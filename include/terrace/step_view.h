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

// What a query needs to know of its token row, in one 16-byte load.
struct alignas(16) TokenRow {
  int32_t sequence_index;  // -1: no token, for padded rows
  int32_t position;
  int32_t first;         // position of the sequence's first token in this step
  int32_t first_stored;  // the window pool stores the step's rows from here on (step.h)
};
static_assert(sizeof(TokenRow) == 16);

struct StepView {
  PlanHeader* header;               // the uploaded plan; its sequence steps follow it
  TokenRow* tokens;                 // [max_step_tokens]
  int32_t* token_record;            // [max_step_tokens] index of the row's sequence step
  int32_t* token_position;          // [max_step_tokens]
  int32_t* block_table[kMaxPools];  // [max_sequences, blocks_per_sequence]
  int32_t* slots[kMaxPools];        // window: [max_step_tokens]; full: [MaxEntryRows]
  // Full pools: [MaxEntryRows] first token of the entry; null in window pools.
  int32_t* entry_position[kMaxPools];
  Counters* counters;
};
static_assert(std::is_trivially_copyable_v<StepView>);

}  // namespace terrace

#endif  // TERRACE_STEP_VIEW_H_
