// Token ids of a replayed request: derived, so that none are stored. Requests whose hash ids are
// equal at equal places have equal tokens there, and no others.

#ifndef TERRACE_TOOLS_TERRACE_TRACE_TOKEN_IDS_H_
#define TERRACE_TOOLS_TERRACE_TRACE_TOKEN_IDS_H_

#include <cstdint>
#include <vector>

#include "tools/terrace/trace/trace.h"

namespace terrace::tools {

// What tells the tokens of the 512-token block at `position` from those of other blocks: the
// block's hash id, or for generated tokens and prompts without hash ids a key of the request's own.
uint64_t BlockKey(const TraceRequest& request, int32_t index, int32_t position);

// The id at `position`: of the prompt, or generated after it. `index` is the request's in its
// trace.
int32_t TokenId(const TraceRequest& request, int32_t index, int32_t position);

// Ids of the first `count` positions, into `ids`.   Cost: about a nanosecond each.
void FillTokenIds(const TraceRequest& request, int32_t index, int32_t count,
                  std::vector<int32_t>& ids);

}  // namespace terrace::tools

#endif  // TERRACE_TOOLS_TERRACE_TRACE_TOKEN_IDS_H_
