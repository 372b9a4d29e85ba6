// SerialLru is what prefix reuse is held against: prompts one after the other, and the last used
// chunks of 256 tokens of them in a list. It holds whole chunks of prompts alone, no outputs, and a
// prompt is matched, remembered and only then paid for. A prompt touches its chunks from the last
// to the first, so that a prefix outlives what goes on from it.

#ifndef TERRACE_TESTS_TOOLS_SERIAL_LRU_H_
#define TERRACE_TESTS_TOOLS_SERIAL_LRU_H_

#include <cstdint>
#include <list>
#include <map>
#include <utility>
#include <vector>

#include "absl/types/span.h"
#include "tools/terrace/trace/trace.h"

namespace terrace::testing {

using tools::kHashBlockTokens;
using tools::TraceRequest;

class SerialLru {
 public:
  static constexpr int32_t kChunkTokens = 256;

  // Capacity in chunks: tokens / 256.
  explicit SerialLru(int64_t capacity) : capacity_(capacity) {}

  // How many tokens of the prompt are held, at most all but one; then holds all of it.
  // REQUIRES: hash ids.
  int32_t Serve(const TraceRequest& request) {
    std::vector<Chunk> prompt;
    for (int32_t chunk = 0; chunk < request.input_length / kChunkTokens; ++chunk) {
      constexpr int32_t kHalves = kHashBlockTokens / kChunkTokens;
      prompt.push_back({request.hash_ids[chunk / kHalves], chunk});
    }
    const size_t most = (request.input_length - 1) / kChunkTokens;
    size_t matched = 0;
    while (matched < most && places_.contains(prompt[matched])) ++matched;
    for (auto chunk = prompt.rbegin(); chunk != prompt.rend(); ++chunk) Touch(*chunk);
    while (static_cast<int64_t>(used_.size()) > capacity_) {
      places_.erase(used_.back());
      used_.pop_back();
    }
    return static_cast<int32_t>(matched) * kChunkTokens;
  }

  // The sum over a trace.
  static int64_t Matched(absl::Span<const TraceRequest> requests, int64_t capacity) {
    SerialLru lru(capacity);
    int64_t matched = 0;
    for (const TraceRequest& request : requests) matched += lru.Serve(request);
    return matched;
  }

 private:
  // A hash id, and which chunk of a prompt it is: equal ids at equal places share all before them.
  using Chunk = std::pair<int64_t, int32_t>;

  void Touch(const Chunk& chunk) {
    const auto [place, is_new] = places_.try_emplace(chunk);
    if (!is_new) used_.erase(place->second);
    place->second = used_.insert(used_.begin(), chunk);
  }

  const int64_t capacity_;
  std::list<Chunk> used_;  // the last used first
  std::map<Chunk, std::list<Chunk>::iterator> places_;
};

}  // namespace terrace::testing

#endif  // TERRACE_TESTS_TOOLS_SERIAL_LRU_H_
