// Token ids of a request of a trace. They are derived from its hash ids, so that none are stored.
// Requests have equal tokens exactly where they have equal hash ids at equal places.

#ifndef TERRACE_TOOLS_TERRACE_TRACE_TOKEN_IDS_H_
#define TERRACE_TOOLS_TERRACE_TRACE_TOKEN_IDS_H_

#include <cstdint>
#include <vector>

#include "tools/terrace/trace/trace.h"

namespace terrace::tools {

// What tells the tokens of the hash block at `position` from those of others: its hash id. For
// generated tokens and prompts without hash ids it is a key of the request's own.
uint64_t HashBlockKey(const TraceRequest& request, int32_t index, int32_t position);

// The id at `position`, of the prompt or generated after it. `index` is the request's in its trace.
int32_t TokenId(const TraceRequest& request, int32_t index, int32_t position);

// Ids of the first `count` positions, into `ids`.   Cost: about a nanosecond each.
void FillTokenIds(const TraceRequest& request, int32_t index, int32_t count,
                  std::vector<int32_t>& ids);

}  // namespace terrace::tools

#endif  // TERRACE_TOOLS_TERRACE_TRACE_TOKEN_IDS_H_
