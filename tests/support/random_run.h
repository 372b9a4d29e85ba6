// What runs of random operations share: how long they are, their seed, and the limits of their
// small deployments.
//
// TERRACE_MODEL_OPERATIONS and TERRACE_MODEL_SEED in the environment override the number of
// operations of each case and the seed. The long form makes 5,000,000 (docs/benchmarks.md).

#ifndef TERRACE_TESTS_SUPPORT_RANDOM_RUN_H_
#define TERRACE_TESTS_SUPPORT_RANDOM_RUN_H_

#include <cstdint>
#include <cstdlib>

#include "terrace/limits.h"

namespace terrace::testing {

inline int64_t FromEnvironment(const char* name, int64_t otherwise) {
  const char* const text = std::getenv(name);
  return text == nullptr ? otherwise : std::atoll(text);
}

struct RandomRun {
  explicit RandomRun(int64_t usual_operations)
      : operations(FromEnvironment("TERRACE_MODEL_OPERATIONS", usual_operations)) {}

  const int64_t operations;
  const uint64_t seed = FromEnvironment("TERRACE_MODEL_SEED", 20250101);
};

inline constexpr Limits kRandomRunLimits{.max_sequences = 6,
                                         .max_step_tokens = 700,
                                         .max_drafts = 4,
                                         .max_context_tokens = 1500,
                                         .store_whole_chunk = false};
constexpr Limits WithDrafts(Limits limits, int32_t drafts) {
  limits.max_drafts = drafts;
  return limits;
}
constexpr Limits WholeChunk(Limits limits) {
  limits.store_whole_chunk = true;
  return limits;
}

}  // namespace terrace::testing

#endif  // TERRACE_TESTS_SUPPORT_RANDOM_RUN_H_
