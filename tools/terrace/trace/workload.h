// MakeWorkload makes a synthetic workload with the shape of an hour of online chat: Poisson
// arrivals, long prompts with a heavy tail, short answers of two kinds, and conversations that come
// back with all that was said.

#ifndef TERRACE_TOOLS_TERRACE_TRACE_WORKLOAD_H_
#define TERRACE_TOOLS_TERRACE_TRACE_WORKLOAD_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "tools/terrace/trace/trace.h"

namespace terrace::tools {

struct WorkloadOptions {
  int32_t requests = 256;
  double requests_per_second = 3.4;  // as in the conversation trace
  double prompt_median = 6900;       // tokens
  int32_t longest_prompt = 126000;   // tokens
  double output_median = 350;        // tokens
  uint64_t seed = 1;
};

// The same options give the same requests on every machine. hash_ids are filled as in a trace.
// Errors: InvalidArgument for a number that is not positive.
absl::StatusOr<std::vector<TraceRequest>> MakeWorkload(const WorkloadOptions& options);

}  // namespace terrace::tools

#endif  // TERRACE_TOOLS_TERRACE_TRACE_WORKLOAD_H_
