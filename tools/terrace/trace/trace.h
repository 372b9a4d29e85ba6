// ReadTrace reads a trace of requests: when they arrived, and how long they were. It tells two
// formats apart by content:
//
//   Mooncake JSONL  {"timestamp": ms, "input_length": n, "output_length": n, "hash_ids": [...]}
//   Azure CSV       TIMESTAMP,ContextTokens,GeneratedTokens

#ifndef TERRACE_TOOLS_TERRACE_TRACE_TRACE_H_
#define TERRACE_TOOLS_TERRACE_TRACE_TRACE_H_

#include <cstdint>
#include <istream>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace terrace::tools {

// Tokens of a hash block: those that one of TraceRequest::hash_ids stands for.
inline constexpr int32_t kHashBlockTokens = 512;

struct TraceRequest {
  double arrival_ms = 0;      // since the trace began
  int32_t input_length = 0;   // tokens of the prompt, at least 1
  int32_t output_length = 0;  // tokens generated after it
  // One a hash block of the prompt, the last one partial. Equal ids at equal places share a prefix.
  // Empty where a trace says nothing of prefixes.
  std::vector<int64_t> hash_ids = {};
};

// Requests in order of arrival; the first arrives at 0.
// Errors: InvalidArgument "NAME:LINE: what is wrong", for the first line that is not a whole
// request, and for a trace without any; NotFound for a file that cannot be opened.
absl::StatusOr<std::vector<TraceRequest>> ReadTrace(const std::string& path);
absl::StatusOr<std::vector<TraceRequest>> ParseTrace(std::istream& in, const std::string& name);

}  // namespace terrace::tools

#endif  // TERRACE_TOOLS_TERRACE_TRACE_TRACE_H_
