#include "src/ledger/prefix_index.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

#include "src/base/check.h"

namespace terrace::internal {
namespace {

// Room for `count` elements, and the pages of the first `touched` of them: whoever stores these
// faults none in.
template <typename T>
void Reserve(size_t count, size_t touched, std::vector<T>* vector) {
  vector->reserve(count);
  vector->resize(std::min(count, touched));
  vector->clear();
}

}  // namespace

PrefixIndex::PrefixIndex(const PrefixIndexOptions& options)
    : options_(options),
      buckets_(std::bit_ceil(static_cast<size_t>(std::max(options.max_chunks, 1))), kNone),
      unused_(options.max_chunks),
      unpinned_(options.max_checkpoints) {
  const size_t chunks = options.max_chunks;
  const size_t checkpoints = options.max_checkpoints;
  const size_t chunk_tokens = std::max(options.chunk_tokens, 1);
  const size_t touched = std::min(chunks, kTouchedBytes / (chunk_tokens * sizeof(int32_t)));
  Reserve(chunks, touched, &keys_);
  Reserve(chunks, touched, &chunks_);
  Reserve(chunks * chunk_tokens, touched * chunk_tokens, &tokens_);
  Reserve(chunks * options.blocks_per_chunk, touched * options.blocks_per_chunk, &blocks_);
  free_chunks_.reserve(chunks);
  expiring_.reserve(2 * chunks + kMaxStale + 1);
  checkpoints_.reserve(checkpoints);
  window_blocks_.reserve(checkpoints * options.blocks_per_checkpoint);
  free_checkpoints_.reserve(checkpoints);
}

// ---- Looking

std::optional<ChunkId> PrefixIndex::FindRoot(absl::string_view salt) const {
  const auto found = roots_by_salt_.find(salt);
  if (found == roots_by_salt_.end()) return std::nullopt;
  return RootId(found->second);
}

std::optional<ChunkId> PrefixIndex::FindChild(ChunkId parent, const ChunkDigest& digest,
                                              absl::Span<const int32_t> tokens,
                                              absl::string_view keys) const {
  if (tokens.size() != static_cast<size_t>(options_.chunk_tokens)) return std::nullopt;
  int32_t id = buckets_[digest.low & (buckets_.size() - 1)];
  for (; id != kNone; id = keys_[id].next) {
    const Key& key = keys_[id];
    if (key.digest == digest && key.parent == parent.value() &&
        std::memcmp(TokensOf(id), tokens.data(), tokens.size() * sizeof(int32_t)) == 0 &&
        range_keys(ChunkId(id)) == keys) {
      return ChunkId(id);
    }
  }
  return std::nullopt;
}

// ---- Sequences come and go

ChunkId PrefixIndex::AcquireRoot(absl::string_view salt) {
  std::optional<ChunkId> root = FindRoot(salt);
  if (!root.has_value()) {
    if (free_roots_.empty()) {
      free_roots_.push_back(roots_.size());
      roots_.emplace_back();
    }
    const size_t index = free_roots_.back();
    free_roots_.pop_back();
    roots_[index] = {RootDigest(salt), std::string(salt), {}, true};
    roots_by_salt_.emplace(roots_[index].salt, index);
    root = RootId(index);
  }
  ++use(*root).users;
  return *root;
}

void PrefixIndex::Acquire(ChunkId chunk, Priority priority) {
  AddUser(chunk.value(), priority);
  CheckParent(parent(chunk), chunk.value());
}

void PrefixIndex::AcquirePath(ChunkId tip, Priority priority) {
  for (; !IsRoot(tip); tip = parent(tip)) AddUser(tip.value(), priority);
  ++use(tip).users;
}

void PrefixIndex::AcquireBelow(ChunkId above, ChunkId tip, Priority priority) {
  ChunkId first = tip;
  for (ChunkId at = tip; at != above; at = parent(at)) {
    AddUser(at.value(), priority);
    first = at;
  }
  if (first != above) CheckParent(above, first.value());
}

void PrefixIndex::AddUser(int32_t id, Priority priority) {
  Chunk& chunk = chunks_[id];
  if (chunk.use.users++ == 0) {
    unused_.Erase(id);
    chunk.expiring = 0;
  }
  chunk.priority = std::max(chunk.priority, priority);
}

void PrefixIndex::CheckParent(ChunkId parent, int32_t chunk) const {
  TERRACE_CHECK_GE(users(parent), chunks_[chunk].use.users);
  if (IsRoot(parent)) return;
  TERRACE_CHECK_GE(chunks_[parent.value()].priority, chunks_[chunk].priority);
}

// Walks up, so that a chunk is put into the order before its parent.
void PrefixIndex::Release(ChunkId tip, uint64_t stamp, int64_t expires) {
  for (; !IsRoot(tip); tip = parent(tip)) {
    const int32_t id = tip.value();
    Chunk& chunk = chunks_[id];
    TERRACE_CHECK_GT(chunk.use.users, 0);
    chunk.expires = std::max(chunk.expires, expires);
    if (--chunk.use.users > 0) continue;
    unused_.PushBack(id, chunk.priority, stamp);
    if (chunk.expires != kNever) AddExpiring(id);
  }
  TERRACE_CHECK_GT(users(tip), 0);
  --use(tip).users;
  RemoveRootIfDone(tip);
}

void PrefixIndex::RemoveRootIfDone(ChunkId id) {
  Root& root = roots_[RootIndex(id)];
  if (root.use.users > 0 || root.use.children > 0) return;
  roots_by_salt_.erase(root.salt);
  root = {};
  free_roots_.push_back(RootIndex(id));
}

PrefixIndex::Published PrefixIndex::Publish(ChunkId parent, absl::Span<const int32_t> tokens,
                                            absl::Span<const BlockId> blocks, Priority priority,
                                            uint64_t plan, absl::string_view keys) {
  const ChunkDigest digest = Hash(parent, tokens, keys);
  if (const std::optional<ChunkId> found = FindChild(parent, digest, tokens, keys)) {
    Acquire(*found, priority);
    return {*found, false};
  }
  TERRACE_CHECK_EQ(tokens.size(), options_.chunk_tokens);
  TERRACE_CHECK_EQ(blocks.size(), options_.blocks_per_chunk);
  const int32_t id = NewChunk();
  int32_t& bucket = Bucket(digest);
  keys_[id] = {digest, parent.value(), bucket};
  bucket = id;
  chunks_[id] = {.use = {.users = 1}, .priority = priority, .plan = plan};
  std::copy(tokens.begin(), tokens.end(), tokens_.begin() + id * tokens.size());
  std::copy(blocks.begin(), blocks.end(), blocks_.begin() + id * blocks.size());
  if (!keys.empty()) range_keys_.emplace(id, keys);
  AddChild(parent, id, 1);
  CheckParent(parent, id);
  return {ChunkId(id), true};
}

// A second child is a branch, and is one no more when it goes.
void PrefixIndex::AddChild(ChunkId parent, int32_t child, int count) {
  int32_t& children = use(parent).children;
  const bool branches = children + (count < 0 ? count : 0) == 1;
  children += count;
  if (IsRoot(parent)) return;
  chunks_[parent.value()].only_child ^= child;
  if (branches) JudgeCheckpointAbove(parent);
}

int32_t PrefixIndex::NewChunk() {
  if (!free_chunks_.empty()) {
    const int32_t id = free_chunks_.back();
    free_chunks_.pop_back();
    return id;
  }
  TERRACE_CHECK_LT(keys_.size(), options_.max_chunks);
  keys_.emplace_back();
  chunks_.emplace_back();
  tokens_.resize(tokens_.size() + options_.chunk_tokens);
  blocks_.resize(blocks_.size() + options_.blocks_per_chunk);
  return static_cast<int32_t>(keys_.size()) - 1;
}

// ---- Eviction of chunks

void PrefixIndex::AddExpiring(int32_t id) {
  if (expiring_.size() > 2 * static_cast<size_t>(unused_.size()) + kMaxStale) {
    std::erase_if(expiring_, [this](const Expiring& entry) { return !Counts(entry); });
    std::make_heap(expiring_.begin(), expiring_.end());
  }
  Chunk& chunk = chunks_[id];
  chunk.expiring = ++num_expiring_;
  expiring_.push_back({chunk.expires, chunk.expiring, id});
  std::push_heap(expiring_.begin(), expiring_.end());
}

std::optional<ChunkId> PrefixIndex::NextExpired(int64_t now) {
  while (!expiring_.empty() && expiring_.front().expires <= now) {
    if (Counts(expiring_.front())) return ChunkId(expiring_.front().chunk);
    std::pop_heap(expiring_.begin(), expiring_.end());
    expiring_.pop_back();
  }
  return std::nullopt;
}

void PrefixIndex::Remove(ChunkId chunk) {
  const int32_t id = chunk.value();
  TERRACE_CHECK_EQ(chunks_[id].use.children, 0);
  TERRACE_CHECK_EQ(chunks_[id].checkpoint, kNone);
  unused_.Erase(id);
  int32_t* link = &Bucket(keys_[id].digest);
  while (*link != id) link = &keys_[*link].next;
  *link = keys_[id].next;
  const ChunkId above = parent(chunk);
  keys_[id] = {};
  chunks_[id] = {};
  if (!range_keys_.empty()) range_keys_.erase(id);
  free_chunks_.push_back(id);
  AddChild(above, id, -1);
  if (IsRoot(above)) RemoveRootIfDone(above);
}

void PrefixIndex::SetBlocks(ChunkId chunk, absl::Span<const BlockId> blocks, uint64_t plan) {
  TERRACE_CHECK_EQ(blocks.size(), options_.blocks_per_chunk);
  std::copy(blocks.begin(), blocks.end(), blocks_.begin() + chunk.value() * blocks.size());
  uint64_t& before = chunks_[chunk.value()].plan;
  before = std::max(before, plan);
}

// ---- Checkpoints

bool PrefixIndex::HasCheckpointBelow(int32_t chunk) const {
  while (chunks_[chunk].use.children == 1) {
    chunk = chunks_[chunk].only_child;
    if (chunks_[chunk].checkpoint != kNone) return true;
  }
  return false;
}

// Something changed below `chunk`, or its own checkpoint came or went: whether the next checkpoint at
// or above it is dispensable.
void PrefixIndex::JudgeCheckpointAbove(ChunkId chunk) {
  while (!IsRoot(chunk) && chunks_[chunk.value()].checkpoint == kNone) {
    chunk = parent(chunk);
    if (children(chunk) > 1) return;
  }
  if (IsRoot(chunk)) return;
  const int32_t id = chunks_[chunk.value()].checkpoint;
  Checkpoint& checkpoint = checkpoints_[id];
  const bool dispensable = HasCheckpointBelow(chunk.value());
  if (dispensable == std::exchange(checkpoint.dispensable, dispensable)) return;
  if (checkpoint.pins > 0) return;
  const Priority priority = unpinned_.priority(id);
  unpinned_.Erase(id);
  unpinned_.PushBack(id, priority, /*stamp=*/0, dispensable);
}

CheckpointId PrefixIndex::AddCheckpoint(ChunkId chunk, absl::Span<const BlockId> window,
                                        BlockId overlap, uint64_t plan) {
  TERRACE_CHECK_EQ(chunks_[chunk.value()].checkpoint, kNone);
  TERRACE_CHECK_LE(window.size(), options_.blocks_per_checkpoint);
  if (free_checkpoints_.empty()) {
    TERRACE_CHECK_LT(checkpoints_.size(), options_.max_checkpoints);
    free_checkpoints_.push_back(static_cast<int32_t>(checkpoints_.size()));
    checkpoints_.emplace_back();
    window_blocks_.resize(window_blocks_.size() + options_.blocks_per_checkpoint);
  }
  const int32_t id = free_checkpoints_.back();
  free_checkpoints_.pop_back();
  checkpoints_[id] = {.chunk = chunk.value(),
                      .pins = 1,
                      .num_window_blocks = static_cast<int32_t>(window.size()),
                      .overlap = overlap,
                      .plan = plan};
  std::copy(window.begin(), window.end(),
            window_blocks_.begin() + int64_t{id} * options_.blocks_per_checkpoint);
  chunks_[chunk.value()].checkpoint = id;
  checkpoints_[id].dispensable = HasCheckpointBelow(chunk.value());
  if (children(parent(chunk)) == 1) JudgeCheckpointAbove(parent(chunk));
  return CheckpointId(id);
}

void PrefixIndex::Pin(CheckpointId checkpoint) {
  if (checkpoints_[checkpoint.value()].pins++ == 0) unpinned_.Erase(checkpoint.value());
}

bool PrefixIndex::Unpin(CheckpointId checkpoint) {
  Checkpoint& record = checkpoints_[checkpoint.value()];
  TERRACE_CHECK_GT(record.pins, 0);
  if (--record.pins > 0) return true;
  unpinned_.PushBack(checkpoint.value(), chunks_[record.chunk].priority, /*stamp=*/0,
                     record.dispensable);
  return record.keep;
}

void PrefixIndex::RemoveCheckpoint(CheckpointId checkpoint) {
  const int32_t id = checkpoint.value();
  unpinned_.Erase(id);
  const ChunkId chunk(checkpoints_[id].chunk);
  chunks_[chunk.value()].checkpoint = kNone;
  checkpoints_[id] = {};
  free_checkpoints_.push_back(id);
  JudgeCheckpointAbove(chunk);
}

}  // namespace terrace::internal
