// What routers are told: each change of the index, or the whole of it.

#include <string>
#include <vector>

#include "src/ledger/prefix_cache.h"

namespace terrace::internal {

using Kind = PrefixEvent::Kind;

void PrefixCache::Record(Kind kind, ChunkId chunk) {
  if (!events_.NextIsKept()) return;
  int32_t depth = 0;
  ChunkId root = chunk;
  for (; !PrefixIndex::IsRoot(root); root = index_.parent(root)) ++depth;
  events_.Add(EventOf(kind, chunk, depth, root));
}

void PrefixCache::RecordRetired() {
  if (options_.prefix.match != MatchPolicy::kRetired || !enabled_) return;
  if (!events_.NextIsKept()) return;
  events_.Add({.kind = Kind::kRetired, .plan = PlanNumber(pools_.named_retired())});
}

PrefixEvent PrefixCache::EventOf(Kind kind, ChunkId chunk, int32_t depth, ChunkId root) const {
  PrefixEvent event = {.kind = kind,
                       .digest = index_.digest(chunk),
                       .parent = index_.digest(index_.parent(chunk)),
                       .depth = depth};
  if (kind == Kind::kChunkStored || kind == Kind::kChunkReplaced) {
    event.plan = PlanNumber(index_.plan(chunk));
  }
  if (kind == Kind::kCheckpointStored) {
    event.plan = PlanNumber(index_.plan(*index_.checkpoint(chunk)));
  }
  if (kind == Kind::kChunkStored && options_.prefix.event_keys) {
    event.salt = std::string(index_.salt(root));
    event.keys = std::string(index_.range_keys(chunk));
  }
  return event;
}

// Each chunk is told once, when a walk up comes to what was told before.
std::vector<PrefixEvent> PrefixCache::IndexEvents() const {
  std::vector<PrefixEvent> events = {{.kind = Kind::kCleared}};
  if (options_.prefix.match == MatchPolicy::kRetired && enabled_) {
    events.push_back({.kind = Kind::kRetired, .plan = PlanNumber(pools_.named_retired())});
  }
  struct Told {
    int32_t depth = 0;  // 0: not yet
    ChunkId root;
  };
  std::vector<Told> told(index_.chunk_limit());
  std::vector<ChunkId> path;
  index_.ForEachChunk([&](ChunkId chunk) {
    ChunkId at = chunk;
    for (; !PrefixIndex::IsRoot(at) && told[at.value()].depth == 0; at = index_.parent(at)) {
      path.push_back(at);
    }
    Told above = PrefixIndex::IsRoot(at) ? Told{0, at} : told[at.value()];
    for (; !path.empty(); path.pop_back()) {
      const ChunkId next = path.back();
      ++above.depth;
      told[next.value()] = above;
      events.push_back(EventOf(Kind::kChunkStored, next, above.depth, above.root));
      if (!index_.checkpoint(next).has_value()) continue;
      events.push_back(EventOf(Kind::kCheckpointStored, next, above.depth, above.root));
    }
  });
  for (PrefixEvent& event : events) event.number = events_.last();
  return events;
}

}  // namespace terrace::internal
