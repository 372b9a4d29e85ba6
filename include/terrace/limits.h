// Limits: the most that a deployment may ask for at once. Every user fills them in.

#ifndef TERRACE_LIMITS_H_
#define TERRACE_LIMITS_H_

#include <cstdint>

namespace terrace {

// The most that a deployment may ask for at once. Sizes the tables, the plans and the staging
// buffers.
struct Limits {
  int32_t max_sequences = 64;      // live at one time: sequences of the device tables
  int32_t max_step_tokens = 8192;  // of one Append, drafts included
  int32_t max_drafts = 0;          // D: speculative tokens of one sequence in one step
  // Of one sequence. 0: the model's, or what the full pools hold for one sequence where PlanCapacity
  // finds that to be less. It sizes block tables and rope tables, which never move.
  int32_t max_context_tokens = 0;
  // Store every row of a prefill piece in the window pool, for consumers that read the piece back
  // from the cache. The surplus is released at the next step. Otherwise only rows that a later step
  // can see are stored.
  bool store_whole_chunk = false;
};

}  // namespace terrace

#endif  // TERRACE_LIMITS_H_
