// What goes because the step that was to compute it was lost, or because it is wrong; and how the
// sequences that had it come back.

#include <algorithm>
#include <utility>
#include <vector>

#include "src/ledger/prefix_cache.h"

namespace terrace::internal {

// ---- Finding

LostPrefixes PrefixCache::NoneLost() const {
  return {std::vector<bool>(index_.chunk_limit()), std::vector<bool>(index_.chunk_limit())};
}

LostPrefixes PrefixCache::FindLost(uint64_t first) const {
  LostPrefixes lost = NoneLost();
  index_.ForEachChunk([&](ChunkId chunk) {
    lost.chunks[chunk.value()] = index_.plan(chunk) >= first;
    const std::optional<CheckpointId> checkpoint = index_.checkpoint(chunk);
    lost.checkpoints[chunk.value()] = checkpoint.has_value() && index_.plan(*checkpoint) >= first;
  });
  CloseLost(/*overlaps=*/{}, lost);
  return lost;
}

void PrefixCache::AddLost(const Sequence& sequence, int32_t from, LostPrefixes& lost) const {
  const SequencePrefix& prefix = sequence.prefix;
  if (!prefix.in_index) return;
  ChunkId chunk = prefix.tip;
  for (int32_t i = prefix.chunks; i * geometry_.chunk_tokens > from; --i) {
    lost.chunks[chunk.value()] = true;
    chunk = index_.parent(chunk);
  }
}

// Each chunk is looked at once: a walk up ends where an earlier one was.
void PrefixCache::CloseLost(const std::vector<bool>& overlaps, LostPrefixes& lost) const {
  std::vector<bool> seen(lost.chunks.size());
  std::vector<ChunkId> path;
  index_.ForEachChunk([&](ChunkId chunk) {
    ChunkId at = chunk;
    for (; !PrefixIndex::IsRoot(at) && !seen[at.value()]; at = index_.parent(at)) {
      path.push_back(at);
    }
    bool goes = lost.LosesChunk(at);
    for (; !path.empty(); path.pop_back()) {
      const int32_t id = path.back().value();
      seen[id] = true;
      goes = goes || lost.chunks[id];
      lost.chunks[id] = goes;
    }
    const std::optional<CheckpointId> checkpoint = index_.checkpoint(chunk);
    if (!checkpoint.has_value()) return;
    const bool of_overlap =
        !overlaps.empty() && overlaps[index_.overlap_block(*checkpoint).value()];
    if (goes || of_overlap) lost.checkpoints[chunk.value()] = true;
  });
}

// ---- Sequences that had it

void PrefixCache::Detach(Sequence& sequence) {
  SequencePrefix& prefix = sequence.prefix;
  const int32_t chunk_tokens = geometry_.chunk_tokens;
  const int32_t chunks = std::exchange(prefix.chunks, 0);
  if (!prefix.publishes) return Leave(sequence);  // it keeps no ids
  std::vector<int32_t> ids(int64_t{chunks} * chunk_tokens);
  ChunkId root = prefix.tip;
  for (auto end = ids.end(); !PrefixIndex::IsRoot(root); root = index_.parent(root)) {
    const absl::Span<const int32_t> tokens = index_.tokens(root);
    end -= chunk_tokens;
    std::copy(tokens.begin(), tokens.end(), end);
  }
  const absl::Span<const int32_t> tail = prefix.tail.Part(0, prefix.tail.size());
  ids.insert(ids.end(), tail.begin(), tail.end());
  index_.AcquirePath(root, prefix.priority);  // it may be the last to use it
  Leave(sequence);
  prefix.in_index = prefix.publishes = true;
  prefix.tip = root;
  prefix.tail.Append(ids);
}

PrefixMatch PrefixCache::Readmit(Sequence& sequence) {
  SequencePrefix& prefix = sequence.prefix;
  prefix.uncounted = {};
  if (!prefix.publishes) return {};
  const Path path = FindPath(prefix);
  const Resume resume = ResumeAt(0, 0, path, prefix.refeed);
  if (resume.path.chunks > 0) Attach(sequence, resume);
  prefix.uncounted = resume.match;  // where no step was made yet
  sequence.approximate = resume.match.approximate;
  prefix.publishes = !sequence.approximate;
  if (prefix.publishes) {
    prefix.tail.DropFront(int64_t{prefix.chunks} * geometry_.chunk_tokens);
  } else {
    prefix.tail.Clear();
  }
  return resume.match;
}

// ---- Removing

void PrefixCache::RemoveLost(const LostPrefixes& lost) {
  // Some only roll on from one; they have its rows from steps that ran.
  for (Sequence& sequence : sequences_.all()) {
    const std::optional<CheckpointId> rolling = sequence.prefix.rolling;
    if (!sequence.live || !rolling.has_value()) continue;
    if (!lost.checkpoints[index_.chunk(*rolling).value()]) continue;
    index_.Keep(*rolling);  // it is counted as lost, not as rolled
    SetRolling(sequence, std::nullopt, /*keep=*/false);
  }
  const int32_t limit = static_cast<int32_t>(lost.chunks.size());
  for (int32_t id = 0; id < limit; ++id) {
    if (!lost.checkpoints[id] || lost.chunks[id]) continue;
    RemoveCheckpoint(*index_.checkpoint(ChunkId(id)), Removal::kLost);
  }
  // Leaves first: a chunk that has children goes with its last one.
  for (int32_t id = 0; id < limit; ++id) {
    for (ChunkId at(id); lost.LosesChunk(at) && index_.Exists(at) && index_.children(at) == 0;) {
      const ChunkId above = index_.parent(at);
      RemoveChunk(at, Removal::kLost);
      at = above;
    }
  }
}

}  // namespace terrace::internal
