// PrefixMirror is what a router knows of a cache: the chunks and checkpoints that its events tell
// of, and nothing else. It finds fault with events that cannot be: a chunk stored twice, one
// without its parent, a checkpoint without its chunk, one removed that was not there.

#ifndef TERRACE_TESTS_MODEL_PREFIX_MIRROR_H_
#define TERRACE_TESTS_MODEL_PREFIX_MIRROR_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/types/span.h"
#include "terrace/chunk_digest.h"
#include "terrace/prefix.h"

namespace terrace::testing {

class PrefixMirror {
 public:
  void Apply(absl::Span<const PrefixEvent> events) {
    for (const PrefixEvent& event : events) Apply(event);
  }

  void Apply(const PrefixEvent& event) {
    using Kind = PrefixEvent::Kind;
    if (event.kind == Kind::kCleared) {
      chunks_.clear();
      num_checkpoints_ = 0;
      return;
    }
    if (event.kind == Kind::kRetired) return;
    const auto found = chunks_.find(Key(event.digest));
    if (event.kind == Kind::kChunkStored) {
      if (found != chunks_.end()) return Fault("a chunk was stored twice");
      if (event.depth > 1) {
        const auto parent = chunks_.find(Key(event.parent));
        if (parent == chunks_.end()) return Fault("a chunk was stored without its parent");
        if (parent->second.depth != event.depth - 1) return Fault("a chunk has a wrong depth");
        ++parent->second.children;
      } else if (event.depth != 1) {
        return Fault("a chunk has no depth");
      }
      chunks_[Key(event.digest)] = {.parent = event.parent, .depth = event.depth};
      return;
    }
    if (found == chunks_.end()) return Fault("an event tells of a chunk that is not there");
    Chunk& chunk = found->second;
    if (event.parent != chunk.parent || event.depth != chunk.depth) {
      return Fault("an event contradicts an earlier one about parent or depth");
    }
    switch (event.kind) {
      case Kind::kChunkRemoved: {
        if (chunk.children > 0) return Fault("a chunk went before its children");
        if (chunk.checkpoint) return Fault("a chunk went before its checkpoint");
        const auto parent = chunks_.find(Key(chunk.parent));
        if (parent != chunks_.end()) --parent->second.children;
        chunks_.erase(found);
        return;
      }
      case Kind::kCheckpointStored:
        if (chunk.checkpoint) return Fault("a checkpoint was stored twice");
        chunk.checkpoint = true;
        ++num_checkpoints_;
        return;
      case Kind::kCheckpointRemoved:
        if (!chunk.checkpoint) return Fault("a checkpoint was removed that was not there");
        chunk.checkpoint = false;
        --num_checkpoints_;
        return;
      case Kind::kChunkReplaced:
        return;
      default:
        return Fault("an event of no known kind");
    }
  }

  bool HasChunk(const ChunkDigest& digest) const { return chunks_.count(Key(digest)) > 0; }
  bool HasCheckpoint(const ChunkDigest& digest, uint64_t last = UINT64_MAX) const {
    const auto found = chunks_.find(Key(digest));
    return found != chunks_.end() && found->second.checkpoint &&
           found->second.checkpoint_plan <= last;
  }

  // Which plans computed it, by the model and not by the events. `copy_plan` may have, where an equal
  // copy took its place.
  using DigestKey = std::pair<uint64_t, uint64_t>;
  struct Chunk {
    ChunkDigest parent;
    int32_t depth = 0;
    int32_t children = 0;
    bool checkpoint = false;
    uint64_t plan = 0;
    uint64_t copy_plan = 0;
    uint64_t checkpoint_plan = 0;
    std::pair<int32_t, uint32_t> checkpoint_owner = {};  // the sequence that left it
  };
  static DigestKey Key(const ChunkDigest& digest) { return {digest.high, digest.low}; }
  const std::map<DigestKey, Chunk>& chunks() const { return chunks_; }
  // Null where no event told of it.
  Chunk* Edit(const ChunkDigest& digest) {
    const auto found = chunks_.find(Key(digest));
    return found == chunks_.end() ? nullptr : &found->second;
  }
  uint64_t PlanOf(const ChunkDigest& digest) const { return chunks_.at(Key(digest)).plan; }
  // How many chunks from the root on are there, that plans up to `last` computed.
  // Shape: digests as ChunkDigests gives them.
  int32_t Matching(absl::Span<const ChunkDigest> digests, uint64_t last = UINT64_MAX) const {
    size_t count = 0;
    while (count < digests.size() && HasChunk(digests[count]) && PlanOf(digests[count]) <= last) {
      ++count;
    }
    return static_cast<int32_t>(count);
  }

  int64_t num_chunks() const { return static_cast<int64_t>(chunks_.size()); }
  int64_t num_checkpoints() const { return num_checkpoints_; }
  // The first fault found; empty if none.
  const std::string& fault() const { return fault_; }

 private:
  void Fault(const char* what) {
    if (fault_.empty()) fault_ = what;
  }

  std::map<DigestKey, Chunk> chunks_;
  int64_t num_checkpoints_ = 0;
  std::string fault_;
};

}  // namespace terrace::testing

#endif  // TERRACE_TESTS_MODEL_PREFIX_MIRROR_H_
