// Traces that are read from text, for tests.

#ifndef TERRACE_TESTS_TOOLS_TRACE_TEXT_H_
#define TERRACE_TESTS_TOOLS_TRACE_TEXT_H_

#include <sstream>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "tools/terrace/trace/trace.h"

namespace terrace::testing {

using tools::ParseTrace;
using tools::TraceRequest;

inline absl::StatusOr<std::vector<TraceRequest>> ParseText(const std::string& text) {
  std::istringstream in(text);
  return ParseTrace(in, "trace");
}

}  // namespace terrace::testing

#endif  // TERRACE_TESTS_TOOLS_TRACE_TEXT_H_
