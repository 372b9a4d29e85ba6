// The prefix index over prompts of 131,072 tokens: 512 chunks of 256. An iteration is one prompt,
// so Time is what a whole prompt costs; items are chunks.
//
//   Match         every chunk found and its tokens compared; digest: computed, or kept by the
//                 caller; prompts: one, as warm as it gets, or 128 in turn, whose ids and slabs are
//                 64 MiB each, larger than the caches
//   PublishNew    stored where no chunk was before
//   PublishAgain  stored where evicted chunks were
//   UseAgain      acquired while it waits for eviction
//   Share         one more user of a path in use: a fork
//   Release       the last user goes
//   Evict         the victim named and removed
//   ...Expiring   the same of chunks with a time to live; Expire: all at their end

#include <benchmark/benchmark.h>

#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <random>
#include <vector>

#include "bench/calibrate.h"
#include "src/ledger/prefix_index.h"

namespace terrace {
namespace {

using internal::ChunkId;
using internal::PrefixIndex;
using internal::PrefixIndexOptions;

constexpr int32_t kChunkTokens = 256;
constexpr int32_t kChunks = 512;  // of a prompt
constexpr int32_t kManyPrompts = 128;
constexpr absl::string_view kSalt = "tenant";
const std::vector<BlockId> kBlocks = {BlockId(1), BlockId(2)};  // CSA, HCA

PrefixIndexOptions OptionsFor(int32_t prompts) {
  return {.max_chunks = prompts * kChunks, .chunk_tokens = kChunkTokens, .blocks_per_chunk = 2};
}

std::vector<int32_t> MakePrompt(uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<int32_t> tokens(kChunks * kChunkTokens);
  for (int32_t& token : tokens) token = static_cast<int32_t>(random() % 129'280);
  return tokens;
}

absl::Span<const int32_t> Chunk(const std::vector<int32_t>& tokens, int32_t chunk) {
  return absl::MakeConstSpan(tokens).subspan(int64_t{chunk} * kChunkTokens, kChunkTokens);
}

ChunkId PublishPrompt(PrefixIndex& index, ChunkId tip, const std::vector<int32_t>& tokens) {
  for (int32_t i = 0; i < kChunks; ++i) {
    tip = index.Publish(tip, Chunk(tokens, i), kBlocks, Priority::kNormal).chunk;
  }
  return tip;
}

void Evict(PrefixIndex& index) {
  while (const std::optional<ChunkId> victim = index.NextVictim()) index.Remove(*victim);
}

void Expire(PrefixIndex& index, int64_t now) {
  while (const std::optional<ChunkId> expired = index.NextExpired(now)) index.Remove(*expired);
}

template <typename Work>
double SecondsOf(Work work) {
  const auto begin = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

void Match(benchmark::State& state) {
  const bool kept = state.range(0) != 0;
  const int32_t num_prompts = static_cast<int32_t>(state.range(1));
  PrefixIndex index(OptionsFor(num_prompts));
  std::vector<std::vector<int32_t>> prompts;
  std::vector<std::vector<ChunkDigest>> digests;
  for (int32_t p = 0; p < num_prompts; ++p) {
    prompts.push_back(MakePrompt(p));
    digests.push_back(ChunkDigests(kSalt, prompts[p], kChunkTokens));
    index.Release(PublishPrompt(index, index.AcquireRoot(kSalt), prompts[p]), 0);
  }
  int32_t p = 0;
  for (auto _ : state) {
    const std::vector<int32_t>& prompt = prompts[p];
    ChunkId tip = *index.FindRoot(kSalt);
    for (int32_t i = 0; i < kChunks; ++i) {
      const absl::Span<const int32_t> tokens = Chunk(prompt, i);
      const auto found =
          index.FindChild(tip, kept ? digests[p][i] : index.Hash(tip, tokens), tokens);
      if (!found.has_value()) std::exit(1);
      tip = *found;
    }
    benchmark::DoNotOptimize(tip);
    p = (p + 1) % num_prompts;
  }
  SetItems(state, kChunks);
}
BENCHMARK(Match)
    ->ArgNames({"digests_kept", "prompts"})
    ->ArgsProduct({{0, 1}, {1, kManyPrompts}})
    ->Unit(benchmark::kMicrosecond);

// A new index each time, whose construction takes two hundred times as long.
void PublishNew(benchmark::State& state) {
  const std::vector<int32_t> tokens = MakePrompt(1);
  for (auto _ : state) {
    PrefixIndex index(OptionsFor(kManyPrompts));
    const ChunkId root = index.AcquireRoot(kSalt);
    state.SetIterationTime(SecondsOf([&] { PublishPrompt(index, root, tokens); }));
  }
  SetItems(state, kChunks);
}
BENCHMARK(PublishNew)->Iterations(50)->UseManualTime()->Unit(benchmark::kMicrosecond);

// One round of a prompt's life, of which one part is timed.
enum class Part { kPublish, kRelease, kUseAgain, kShare, kEvict };

void TimePart(benchmark::State& state, Part timed, int64_t expires = PrefixIndex::kNever) {
  PrefixIndex index(OptionsFor(2));
  const std::vector<int32_t> tokens = MakePrompt(1);
  const ChunkId root = index.AcquireRoot(kSalt);  // stays
  ChunkId tip = root;
  const auto time = [&](Part part, auto work) {
    const double seconds = SecondsOf(work);
    if (part == timed) state.SetIterationTime(seconds);
  };
  std::vector<ChunkId> path;
  for (auto _ : state) {
    index.AcquireRoot(kSalt);
    time(Part::kPublish, [&] { tip = PublishPrompt(index, root, tokens); });
    path.clear();
    for (ChunkId id = tip; id != root; id = index.parent(id)) path.push_back(id);
    time(Part::kShare, [&] { index.AcquirePath(tip, Priority::kNormal); });
    index.Release(tip, 0, expires);
    time(Part::kRelease, [&] { index.Release(tip, 0, expires); });
    index.AcquireRoot(kSalt);
    time(Part::kUseAgain, [&] {
      for (auto id = path.rbegin(); id != path.rend(); ++id) index.Acquire(*id, Priority::kNormal);
    });
    index.Release(tip, 0, expires);
    time(Part::kEvict, [&] {
      if (expires == PrefixIndex::kNever) {
        Evict(index);
      } else {
        Expire(index, expires);
      }
    });
  }
  SetItems(state, kChunks);
}

void PublishAgain(benchmark::State& state) { TimePart(state, Part::kPublish); }
BENCHMARK(PublishAgain)->UseManualTime()->Unit(benchmark::kMicrosecond);
void UseAgain(benchmark::State& state) { TimePart(state, Part::kUseAgain); }
BENCHMARK(UseAgain)->UseManualTime()->Unit(benchmark::kMicrosecond);
void Share(benchmark::State& state) { TimePart(state, Part::kShare); }
BENCHMARK(Share)->UseManualTime()->Unit(benchmark::kMicrosecond);
void Release(benchmark::State& state) { TimePart(state, Part::kRelease); }
BENCHMARK(Release)->UseManualTime()->Unit(benchmark::kMicrosecond);
void EvictAll(benchmark::State& state) { TimePart(state, Part::kEvict); }
BENCHMARK(EvictAll)->Name("Evict")->UseManualTime()->Unit(benchmark::kMicrosecond);
void ReleaseExpiring(benchmark::State& state) { TimePart(state, Part::kRelease, 1000); }
BENCHMARK(ReleaseExpiring)->UseManualTime()->Unit(benchmark::kMicrosecond);
void UseAgainExpiring(benchmark::State& state) { TimePart(state, Part::kUseAgain, 1000); }
BENCHMARK(UseAgainExpiring)->UseManualTime()->Unit(benchmark::kMicrosecond);
void ExpireAll(benchmark::State& state) { TimePart(state, Part::kEvict, 1000); }
BENCHMARK(ExpireAll)->Name("Expire")->UseManualTime()->Unit(benchmark::kMicrosecond);

BENCHMARK(Calibrate);

}  // namespace
}  // namespace terrace
