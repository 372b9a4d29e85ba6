// PrefixKeys: a hash of a request's token ids up to a position, for every request of a trace. Keys
// are equal where all tokens up to there are equal, and differ where any differ, so contents that
// derive from a key belong to a prefix and to no request: a row that another request wrote is right
// exactly if its prefix was the same.
//
// Tokens of a prompt's block of 512 are told by the block's hash id (token_ids.h), so one key a
// block does; all that a request generates has one key more, its own.

#ifndef TERRACE_TOOLS_TERRACE_TRACE_PREFIX_KEYS_H_
#define TERRACE_TOOLS_TERRACE_TRACE_PREFIX_KEYS_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "tools/terrace/trace/trace.h"

namespace terrace::tools {

class PrefixKeys {
 public:
  struct Request {
    int64_t first_key = 0;  // index into all() of its first block's
    uint64_t own = 0;       // of every prefix that ends in a generated token
    int32_t own_from = 0;   // position of the first of those: the prompt's length
  };

  // Cost: O(blocks of all prompts), 8 bytes each.
  explicit PrefixKeys(absl::Span<const TraceRequest> requests);

  // Of the tokens 0 .. last of request `index`.
  uint64_t Of(int32_t index, int32_t last) const;

  const Request& request(int32_t index) const { return requests_[index]; }
  // Keys of prompts, block after block, request after request.
  absl::Span<const uint64_t> all() const { return keys_; }

 private:
  std::vector<Request> requests_;
  std::vector<uint64_t> keys_;
};

}  // namespace terrace::tools

#endif  // TERRACE_TOOLS_TERRACE_TRACE_PREFIX_KEYS_H_
