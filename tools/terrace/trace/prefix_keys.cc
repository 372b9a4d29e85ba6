#include "tools/terrace/trace/prefix_keys.h"

#include "tools/terrace/contents/contents.h"
#include "tools/terrace/contents/hash.h"
#include "tools/terrace/trace/token_ids.h"

namespace terrace::tools {

static_assert(kKeyTokens == kHashBlockTokens);

PrefixKeys::PrefixKeys(absl::Span<const TraceRequest> requests) {
  requests_.reserve(requests.size());
  for (int32_t index = 0; index < static_cast<int32_t>(requests.size()); ++index) {
    const TraceRequest& request = requests[index];
    requests_.push_back({.first_key = static_cast<int64_t>(keys_.size()),
                         .own = HashBlockKey(request, index, request.input_length),
                         .own_from = request.input_length});
    uint64_t key = 0;
    for (int32_t first = 0; first < request.input_length; first += kHashBlockTokens) {
      key = Mix(key, HashBlockKey(request, index, first));
      keys_.push_back(key);
    }
  }
}

uint64_t PrefixKeys::Of(int32_t index, int32_t last) const {
  const Request& request = requests_[index];
  return last >= request.own_from ? request.own
                                  : keys_[request.first_key + last / kHashBlockTokens];
}

}  // namespace terrace::tools
