// PrefixKeys holds hashes of every request's token ids up to each position. Two keys are equal
// exactly if all tokens up to there are equal. So contents that derive from a key belong to a
// prefix and to no request: a row that another request wrote is right exactly if its prefix was the
// same.
//
// The hash id of a hash block tells its 512 tokens (token_ids.h), so each hash block of a prompt
// has one key. All that a request generates has one key more, its own.

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
    int64_t first_key = 0;  // index into all() of its first hash block's
    uint64_t own = 0;       // of every prefix that ends in a generated token
    int32_t own_from = 0;   // position of the first generated token: the prompt's length
  };

  // Cost: O(hash blocks of all prompts), 8 bytes each.
  explicit PrefixKeys(absl::Span<const TraceRequest> requests);

  // The key of the tokens 0 .. last of request `index`.
  uint64_t Of(int32_t index, int32_t last) const;

  const Request& request(int32_t index) const { return requests_[index]; }
  // Keys of prompts, hash block after hash block, request after request.
  absl::Span<const uint64_t> all() const { return keys_; }

 private:
  std::vector<Request> requests_;
  std::vector<uint64_t> keys_;
};

}  // namespace terrace::tools

#endif  // TERRACE_TOOLS_TERRACE_TRACE_PREFIX_KEYS_H_
