// PrefixRouter predicts what a prompt finds in a cache that it only hears of: from events, and the
// geometry that the cache was made with. A router has one for each engine, and sends a request where
// the most is saved.
//
//   router.Start(ledger.IndexEvents());    late, or behind a gap
//   router.Follow(ledger.TakeEvents());    from then on, or from the ledger's first event on
//
// Exact under every policy. Where sequences reserve room (SequenceRequest), a match may turn out
// shorter.
//
// Thread-safe: no, but const calls may run together.   Cost: O(1) an event.

#ifndef TERRACE_EXAMPLES_PREFIX_ROUTER_H_
#define TERRACE_EXAMPLES_PREFIX_ROUTER_H_

#include <algorithm>
#include <cstdint>
#include <map>
#include <utility>
#include <vector>

#include "absl/types/span.h"
#include "terrace/terrace.h"

namespace terrace {

class PrefixRouter {
 public:
  explicit PrefixRouter(const Geometry& geometry, MatchPolicy match = MatchPolicy::kAppended)
      : geometry_(geometry) {
    if (match == MatchPolicy::kRetired) retired_ = PlanNumber(0);
  }

  // Forgets all, and begins with the whole index.
  void Start(absl::Span<const PrefixEvent> whole) {
    for (const PrefixEvent& event : whole) Apply(event);
    heard_ = whole.front().number;
    up_to_date_ = true;
  }

  // False: events are missing. Start again.
  bool Follow(absl::Span<const PrefixEvent> events) {
    for (const PrefixEvent& event : events) {
      if (event.number <= heard_) continue;  // the whole had it
      if (event.kind == PrefixEvent::Kind::kGap || event.number != heard_ + 1) up_to_date_ = false;
      if (!up_to_date_) return false;
      Apply(event);
      heard_ = event.number;
    }
    return up_to_date_;
  }

  // What Ledger::Probe finds.
  PrefixMatch Predict(const SequenceRequest& request) const {
    const std::vector<ChunkDigest> digests =
        ChunkDigests(request.salt, request.tokens, geometry_.chunk_tokens, request.key_ranges);
    // At least one token is left to feed.
    const int32_t tokens = static_cast<int32_t>(request.tokens.size());
    const int32_t most = std::max(0, tokens - 1) / geometry_.chunk_tokens;
    int32_t end = 0;         // of the match
    int32_t checkpoint = 0;  // the last one inside it
    for (int32_t i = 0; i < most; ++i) {
      const auto chunk = chunks_.find(KeyOf(digests[i]));
      if (chunk == chunks_.end() || chunk->second.plan > retired_) break;
      end = (i + 1) * geometry_.chunk_tokens;
      if (chunk->second.has_checkpoint && chunk->second.checkpoint_plan <= retired_) {
        checkpoint = end;
      }
    }
    return Resume(end, checkpoint, request.refeed);
  }

  int64_t num_chunks() const { return static_cast<int64_t>(chunks_.size()); }

 private:
  struct Chunk {
    PlanNumber plan;  // that computed it
    bool has_checkpoint = false;
    PlanNumber checkpoint_plan = {};
  };
  using Key = std::pair<uint64_t, uint64_t>;
  static Key KeyOf(const ChunkDigest& digest) { return {digest.high, digest.low}; }

  void Apply(const PrefixEvent& event) {
    switch (event.kind) {
      case PrefixEvent::Kind::kChunkStored:
        chunks_[KeyOf(event.digest)] = {.plan = event.plan};
        break;
      case PrefixEvent::Kind::kChunkReplaced:
        chunks_[KeyOf(event.digest)].plan = event.plan;
        break;
      case PrefixEvent::Kind::kChunkRemoved:
        chunks_.erase(KeyOf(event.digest));
        break;
      case PrefixEvent::Kind::kCheckpointStored:
        chunks_[KeyOf(event.digest)].has_checkpoint = true;
        chunks_[KeyOf(event.digest)].checkpoint_plan = event.plan;
        break;
      case PrefixEvent::Kind::kCheckpointRemoved:
        chunks_[KeyOf(event.digest)].has_checkpoint = false;
        break;
      case PrefixEvent::Kind::kCleared:
        chunks_.clear();
        break;
      case PrefixEvent::Kind::kRetired:
        retired_ = event.plan;
        break;
      case PrefixEvent::Kind::kGap:
        break;
    }
  }

  // Where a sequence goes on: at the checkpoint, or so far before the end of the match that the rows
  // of every layer come out exact. What feeds the fewest tokens again is taken.
  PrefixMatch Resume(int32_t end, int32_t checkpoint, const RefeedLimits& limits) const {
    if (end == 0) return {};
    PrefixMatch match;
    int32_t length = std::max(checkpoint, RefeedFrom(end, ExactTokens()));
    if (limits.approximate_tokens > 0) {
      const int32_t approximate = RefeedFrom(end, limits.approximate_tokens);
      match.approximate = approximate > length;
      length = std::max(length, approximate);
    }
    if (end - length > limits.max_tokens) {
      match.approximate = false;
      length = end = checkpoint;
    }
    match.matched = end;
    match.refed = end - length;
    (length == checkpoint ? match.resumed : match.skipped) = length;
    return match;
  }

  // A row of the window reaches back window_tokens - 1 in each layer. Without a window, an entry
  // reaches back one group where entries overlap.
  int64_t ExactTokens() const {
    if (geometry_.window_pool >= 0) {
      return int64_t{geometry_.num_layers} * (geometry_.window_tokens - 1);
    }
    return geometry_.overlap_pool >= 0 ? kCsaRatio : 0;
  }

  int32_t RefeedFrom(int32_t end, int64_t tokens) const {
    const int64_t block =
        geometry_.window_pool >= 0 ? geometry_.pools[geometry_.window_pool].tokens_per_block : 0;
    const int64_t step = std::max<int64_t>(kHcaRatio, block);
    return static_cast<int32_t>(std::max<int64_t>(0, end - tokens) / step * step);
  }

  const Geometry geometry_;
  std::map<Key, Chunk> chunks_;
  PlanNumber retired_ = PlanNumber(UINT64_MAX);  // what later plans computed is not matched
  uint64_t heard_ = 0;                           // the number of the last event
  bool up_to_date_ = true;
};

}  // namespace terrace

#endif  // TERRACE_EXAMPLES_PREFIX_ROUTER_H_
