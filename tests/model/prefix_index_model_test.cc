// 10,000 sequences come and go in random order, beside a model that keeps whole paths in a map.

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <map>
#include <optional>
#include <random>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "src/ledger/prefix_index.h"
#include "tests/support/prefix_index_testing.h"

namespace terrace::testing {
namespace {

using internal::CheckpointId;
using internal::ChunkId;
using internal::PrefixIndex;

// A salt's number, then the names of chunks.
using Path = std::vector<int32_t>;

std::string SaltOf(const Path& path) { return absl::StrCat("salt ", path[0]); }
Path ParentOf(Path path) {
  path.pop_back();
  return path;
}

struct ModelChunk {
  int32_t users = 0;
  Priority priority = Priority::kLow;
  int64_t expires = INT64_MIN;
  uint64_t stamp = 0;
  int64_t released = 0;  // in order of all releases
  std::vector<BlockId> blocks;
  bool checkpoint = false;
  int32_t pins = 0;
  bool keep = false;
  Priority checkpoint_priority = Priority::kLow;
  bool dispensable = false;
  int64_t unpinned = 0;  // or since when it is dispensable, or not
};

struct Sequence {
  Path path;
  Priority priority;
  Path pinned = {};  // the chunk whose checkpoint it pins; empty: none
};

// What one run does; the description of a failure.
struct Step {
  const char* operation;
  Path path;
};
std::ostream& operator<<(std::ostream& out, const Step& step) {
  return out << step.operation << " " << absl::StrJoin(step.path, "/");
}

class ModelRun {
 public:
  ModelRun(ChunkHash hash, uint32_t seed) : index_(TestIndexOptions(hash)), random_(seed) {}

  void Allocate();
  void Fork();
  void Extend();
  void AddCheckpoint();
  void Free();
  void Evict();
  void EvictCheckpoint();
  void Expire();
  void Check();

  Step last;
  int allocated = 0;
  int hits = 0;
  int evicted = 0;
  int expired = 0;
  size_t num_sequences() const { return sequences_.size(); }
  size_t num_chunks() const { return chunks_.size(); }
  int64_t num_dispensable() const { return dispensable_; }  // ever

 private:
  int32_t Draw(int32_t below) { return static_cast<int32_t>(random_() % below); }
  Sequence& AnySequence() { return sequences_[Draw(sequences_.size())]; }
  std::optional<ChunkId> Find(const Path& path) const {
    return FindPath(index_, SaltOf(path), {path.begin() + 1, path.end()});
  }
  ChunkId IdOf(const Path& path) const { return *Find(path); }
  void Unpin(Sequence& sequence, bool keep);
  void RemoveChunk(const Path& path);
  bool HasCheckpointBelow(Path path) const;
  void JudgeCheckpoints();
  // Of the chunks that `eligible` lets through, the one of the least key; empty if there is none.
  template <typename Eligible, typename Key>
  Path First(Eligible eligible, Key key) const;

  PrefixIndex index_;
  std::mt19937 random_;
  std::map<Path, ModelChunk> chunks_;
  std::vector<Sequence> sequences_;
  uint64_t stamp_ = 0;
  int64_t releases_ = 0;
  int64_t dispensable_ = 0;
  int64_t now_ = 0;
};

template <typename Eligible, typename Key>
Path ModelRun::First(Eligible eligible, Key key) const {
  Path first;
  for (const auto& [path, chunk] : chunks_) {
    if (eligible(chunk) && (first.empty() || key(chunk) < key(chunks_.at(first)))) {
      first = path;
    }
  }
  return first;
}

void ModelRun::Allocate() {
  ++allocated;
  Sequence sequence = {{Draw(3)}, static_cast<Priority>(Draw(kNumPriorities))};
  last = {"allocate", sequence.path};
  index_.AcquireRoot(SaltOf(sequence.path));
  const int32_t wanted = Draw(6);
  for (int32_t i = 0; i < wanted; ++i) {
    Path next = sequence.path;
    next.push_back(Draw(4));
    const auto found = chunks_.find(next);
    const auto id = Find(next);
    ASSERT_EQ(id.has_value(), found != chunks_.end());
    if (!id.has_value()) break;
    index_.Acquire(*id, sequence.priority);
    ++found->second.users;
    found->second.priority = std::max(found->second.priority, sequence.priority);
    sequence.path = next;
    ++hits;
  }
  sequences_.push_back(sequence);
}

void ModelRun::Fork() {
  if (sequences_.empty()) return;
  Sequence copy = AnySequence();
  copy.pinned.clear();
  last = {"fork", copy.path};
  index_.AcquirePath(IdOf(copy.path), copy.priority);
  for (Path path = copy.path; path.size() > 1; path.pop_back()) ++chunks_.at(path).users;
  sequences_.push_back(copy);
}

void ModelRun::Extend() {
  if (sequences_.empty()) return;
  Sequence& sequence = AnySequence();
  Path next = sequence.path;
  next.push_back(Draw(4));
  last = {"publish", next};
  if (chunks_.size() == 128 && !chunks_.contains(next)) return;
  const std::vector<BlockId> blocks = TestBlocks(Draw(1000));
  const auto published =
      index_.Publish(IdOf(sequence.path), ChunkOf(next.back()), blocks, sequence.priority);
  ASSERT_EQ(published.created, !chunks_.contains(next));
  ModelChunk& chunk = chunks_[next];
  if (published.created) chunk.blocks = blocks;
  ++chunk.users;
  chunk.priority = std::max(chunk.priority, sequence.priority);
  sequence.path = next;
  JudgeCheckpoints();
}

// By the definition: whether the only children below `path` come to a checkpoint.
bool ModelRun::HasCheckpointBelow(Path path) const {
  while (true) {
    Path only;
    for (const auto& [other, chunk] : chunks_) {
      if (ParentOf(other) != path) continue;
      if (!only.empty()) return false;
      only = other;
    }
    if (only.empty()) return false;
    if (chunks_.at(only).checkpoint) return true;
    path = only;
  }
}

// After every change of the tree: one that changed its rank goes behind the others there.
void ModelRun::JudgeCheckpoints() {
  for (auto& [path, chunk] : chunks_) {
    const bool dispensable = chunk.checkpoint && HasCheckpointBelow(path);
    if (dispensable == std::exchange(chunk.dispensable, dispensable)) continue;
    chunk.unpinned = ++releases_;
    dispensable_ += dispensable;
  }
}

// Rolls the sequence's checkpoint on to its tip.
void ModelRun::AddCheckpoint() {
  if (sequences_.empty()) return;
  Sequence& sequence = AnySequence();
  last = {"checkpoint", sequence.path};
  if (sequence.path.size() == 1 || sequence.pinned == sequence.path) return;
  if (!sequence.pinned.empty()) Unpin(sequence, Draw(2) == 0);
  ModelChunk& chunk = chunks_.at(sequence.path);
  const ChunkId id = IdOf(sequence.path);
  ASSERT_EQ(index_.checkpoint(id).has_value(), chunk.checkpoint);
  if (chunk.checkpoint) {
    index_.Pin(*index_.checkpoint(id));
  } else {
    if (index_.num_checkpoints() == 16) return;
    index_.AddCheckpoint(id, TestBlocks(7), BlockId(7));
    chunk.checkpoint = true;
    chunk.keep = false;
    JudgeCheckpoints();
  }
  ++chunk.pins;
  sequence.pinned = sequence.path;
}

void ModelRun::Unpin(Sequence& sequence, bool keep) {
  ModelChunk& chunk = chunks_.at(sequence.pinned);
  const CheckpointId checkpoint = *index_.checkpoint(IdOf(sequence.pinned));
  sequence.pinned.clear();
  chunk.keep |= keep;
  --chunk.pins;
  if (keep) index_.Keep(checkpoint);
  const bool stays = index_.Unpin(checkpoint);
  ASSERT_EQ(stays, chunk.keep || chunk.pins > 0);
  chunk.unpinned = ++releases_;
  chunk.checkpoint_priority = chunk.priority;
  if (stays) return;
  index_.RemoveCheckpoint(checkpoint);
  chunk.checkpoint = false;
  JudgeCheckpoints();
}

void ModelRun::Free() {
  if (sequences_.empty()) return;
  std::swap(AnySequence(), sequences_.back());
  Sequence sequence = std::move(sequences_.back());
  sequences_.pop_back();
  last = {"free", sequence.path};
  stamp_ += Draw(3);
  if (!sequence.pinned.empty()) Unpin(sequence, Draw(2) == 0);
  const int64_t expires = Draw(3) == 0 ? PrefixIndex::kNever : now_ + Draw(50);
  index_.Release(IdOf(sequence.path), stamp_, expires);
  for (Path path = sequence.path; path.size() > 1; path.pop_back()) {
    ModelChunk& chunk = chunks_.at(path);
    --chunk.users;
    chunk.stamp = stamp_;
    chunk.expires = std::max(chunk.expires, expires);
    chunk.released = ++releases_;
  }
}

void ModelRun::RemoveChunk(const Path& path) {
  for (const auto& [other, chunk] : chunks_) ASSERT_NE(ParentOf(other), path);
  const ChunkId id = IdOf(path);
  if (chunks_.at(path).checkpoint) index_.RemoveCheckpoint(*index_.checkpoint(id));
  chunks_.at(path).checkpoint = false;
  JudgeCheckpoints();
  index_.Remove(id);
  chunks_.erase(path);
  JudgeCheckpoints();
}

void ModelRun::Evict() {
  const auto unused = [](const ModelChunk& chunk) { return chunk.users == 0; };
  const auto victim = First(
      unused, [](const ModelChunk& chunk) { return std::pair(chunk.priority, chunk.released); });
  last = {"evict", victim};
  ASSERT_EQ(index_.NextVictim().has_value(), !victim.empty());
  if (victim.empty()) return;
  ASSERT_EQ(*index_.NextVictim(), IdOf(victim));
  ASSERT_EQ(index_.stamp(IdOf(victim)), chunks_.at(victim).stamp);
  RemoveChunk(victim);
  ++evicted;
}

void ModelRun::EvictCheckpoint() {
  const auto unpinned = [](const ModelChunk& chunk) { return chunk.checkpoint && chunk.pins == 0; };
  const auto victim = First(unpinned, [](const ModelChunk& chunk) {
    return std::tuple(chunk.checkpoint_priority, !chunk.dispensable, chunk.unpinned);
  });
  last = {"evict the checkpoint of", victim};
  ASSERT_EQ(index_.NextCheckpointVictim().has_value(), !victim.empty());
  if (victim.empty()) return;
  ASSERT_EQ(index_.chunk(*index_.NextCheckpointVictim()), IdOf(victim));
  index_.RemoveCheckpoint(*index_.NextCheckpointVictim());
  chunks_.at(victim).checkpoint = false;
  JudgeCheckpoints();
}

void ModelRun::Expire() {
  now_ += Draw(20);
  while (true) {
    const auto due = [this](const ModelChunk& chunk) {
      return chunk.users == 0 && chunk.expires <= now_;
    };
    const auto next = First(
        due, [](const ModelChunk& chunk) { return std::pair(chunk.expires, chunk.released); });
    last = {"expire", next};
    const std::optional<ChunkId> found = index_.NextExpired(now_);
    ASSERT_EQ(found.has_value(), !next.empty());
    if (next.empty()) return;
    ASSERT_EQ(*found, IdOf(next));
    RemoveChunk(next);
    ++expired;
  }
}

void ModelRun::Check() {
  index_.CheckInvariants();
  ASSERT_EQ(index_.num_chunks(), static_cast<int32_t>(chunks_.size()));
  int32_t unused = 0;
  for (const auto& [path, chunk] : chunks_) {
    const auto id = Find(path);
    ASSERT_TRUE(id.has_value()) << absl::StrJoin(path, "/");
    ASSERT_EQ(index_.users(*id), chunk.users);
    ASSERT_EQ(index_.blocks(*id), absl::MakeConstSpan(chunk.blocks));
    unused += chunk.users == 0;
    ASSERT_EQ(index_.checkpoint(*id).has_value(), chunk.checkpoint);
    if (!chunk.checkpoint) continue;
    ASSERT_EQ(index_.pins(*index_.checkpoint(*id)), chunk.pins);
  }
  ASSERT_EQ(index_.num_unused_chunks(), unused);
}

class PrefixIndexModelTest : public ::testing::TestWithParam<ChunkHash> {};

#ifdef TERRACE_SANITIZED
constexpr int kSequences = 3'000;
#else
constexpr int kSequences = 10'000;
#endif

TEST_P(PrefixIndexModelTest, TenThousandSequencesComeAndGoAsInAModel) {
  constexpr uint32_t kSeed = 20261122;
  ModelRun run(GetParam(), kSeed);
  std::mt19937 random(kSeed + 1);
  const auto step = [&run](uint32_t choice) {
    if (choice < 20) return run.Allocate();
    if (choice < 24) return run.Fork();
    if (choice < 50) return run.Extend();
    if (choice < 60) return run.AddCheckpoint();
    if (choice < 84) return run.Free();
    if (choice < 92) return run.Evict();
    if (choice < 95) return run.EvictCheckpoint();
    return run.Expire();
  };
  for (int64_t i = 0; run.allocated < kSequences; ++i) {
    step(random() % 100);
    if (i % 4 == 0) run.Check();
    ASSERT_FALSE(HasFatalFailure()) << "seed " << kSeed << ", step " << i << ": " << run.last;
  }
  while (run.num_sequences() > 0) run.Free();
  while (run.num_chunks() > 0 && !HasFatalFailure()) run.Evict();
  run.Check();
  EXPECT_GT(run.hits, kSequences / 10);
  EXPECT_GT(run.evicted, kSequences / 10);
  EXPECT_GT(run.expired, kSequences / 20);
  EXPECT_GT(run.num_dispensable(), kSequences / 100);
}

ChunkDigest ConstantHash(const ChunkDigest&, absl::Span<const int32_t>) { return {1, 2}; }
ChunkDigest TwoBitHash(const ChunkDigest& parent, absl::Span<const int32_t> tokens) {
  return {NextDigest(parent, tokens).low & 3, 0};
}
INSTANTIATE_TEST_SUITE_P(Hashes, PrefixIndexModelTest,
                         ::testing::Values(&NextDigest, &TwoBitHash, &ConstantHash));

}  // namespace
}  // namespace terrace::testing
