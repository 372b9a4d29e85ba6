// The host cost of prefix reuse, through the ledger's own calls, over the pools of
// DeepSeek-V4-Flash.
//
//   Match             AllocateSequence and FreeSequence of a prompt of 131,073 tokens that is
//   cached
//                     whole, compared token by token; with the digests computed or kept by the
//                     caller; warm, or each time another prompt, further apart than the caches
//                     reach
//   Probe             the same without taking anything
//   Fork              of 131,073 tokens, and freeing the second
//   PublishChunk      a step that settles 16 chunks of its own        items = chunks
//   DecodeAndPublish  256 sequences, one token each and its id: 1 in 256 publishes a chunk and
//   rolls
//                     a checkpoint                                    items = sequence steps
//   Evict             a step of 16 new chunks, each in an evicted one's place   items = chunks
//   Calibrate         a dependent chain of multiplications: how fast this core runs just now

#include <benchmark/benchmark.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <vector>

#include "bench/calibrate.h"
#include "src/model/geometry_builder.h"
#include "terrace/ledger.h"
#include "terrace/model.h"

namespace terrace {
namespace {

using internal::MakeGeometry;

constexpr int kSequences = 256;
constexpr int32_t kLongPrompt = (128 << 10) + 1;
constexpr int32_t kChunkTokens = 256;

void Must(const absl::Status& status) {
  if (status.ok()) return;
  std::fprintf(stderr, "%s\n", status.ToString().c_str());
  std::exit(1);
}
template <typename T>
T Value(absl::StatusOr<T> value) {
  Must(value.status());
  return *std::move(value);
}

std::unique_ptr<Ledger> MakeLedger(int32_t chunks = 1 << 18) {
  const Limits limits{
      .max_sequences = kSequences, .max_step_tokens = 1 << 20, .max_context_tokens = 1 << 20};
  const ModelSpec model = DeepSeekV4Flash();
  std::vector<int32_t> blocks(model.pools.size(), chunks);
  blocks[0] = 8192;
  return Value(Ledger::Create({.geometry = Value(MakeGeometry(model, limits, blocks))}));
}

// Tokens that no other `number` has.
std::vector<int32_t> Prompt(int32_t tokens, int32_t number) {
  std::vector<int32_t> prompt(tokens);
  uint32_t id = static_cast<uint32_t>(number) * 1'000'003;  // wraps around
  for (int32_t& token : prompt) token = static_cast<int32_t>(id++);
  return prompt;
}

// Leaves `prompt` in the index.
void Store(Ledger& ledger, const std::vector<int32_t>& prompt) {
  const SequenceId id = Value(ledger.AllocateSequence({.tokens = prompt})).id;
  Value(ledger.Append({{.id = id, .tokens = static_cast<int32_t>(prompt.size())}}));
  Must(ledger.FreeSequence(id));
}

struct StoredPrompts {
  explicit StoredPrompts(int count) : ledger(MakeLedger()) {
    for (int i = 0; i < count; ++i) {
      prompts.push_back(Prompt(kLongPrompt, i));
      Store(*ledger, prompts.back());
      digests.push_back(ChunkDigests("", prompts.back(), kChunkTokens));
    }
  }
  std::unique_ptr<Ledger> ledger;
  std::vector<std::vector<int32_t>> prompts;
  std::vector<std::vector<ChunkDigest>> digests;
};

void Match(benchmark::State& state) {
  const bool keeps_digests = state.range(0) != 0;
  StoredPrompts stored(static_cast<int>(state.range(1)));
  size_t next = 0;
  for (auto _ : state) {
    next = (next + 1) % stored.prompts.size();
    SequenceRequest request{.tokens = stored.prompts[next]};
    if (keeps_digests) request.digests = stored.digests[next];
    const Admission admission = Value(stored.ledger->AllocateSequence(request));
    if (admission.match.matched != kLongPrompt - 1) std::exit(1);
    Must(stored.ledger->FreeSequence(admission.id));
  }
}
BENCHMARK(Match)
    ->ArgNames({"digests_kept", "prompts"})
    ->ArgsProduct({{0, 1}, {1, 128}})
    ->Unit(benchmark::kMicrosecond);

void Probe(benchmark::State& state) {
  StoredPrompts stored(1);
  for (auto _ : state) {
    benchmark::DoNotOptimize(Value(stored.ledger->Probe({.tokens = stored.prompts[0]})));
  }
}
BENCHMARK(Probe)->Unit(benchmark::kMicrosecond);

void Fork(benchmark::State& state) {
  const std::unique_ptr<Ledger> ledger = MakeLedger();
  const std::vector<int32_t> prompt = Prompt(kLongPrompt, 0);
  const SequenceId id = Value(ledger->AllocateSequence({.tokens = prompt})).id;
  Value(ledger->Append({{.id = id, .tokens = kLongPrompt}}));
  for (auto _ : state) Must(ledger->FreeSequence(Value(ledger->Fork(id))));
}
BENCHMARK(Fork)->Unit(benchmark::kMicrosecond);

// Steps of 16 chunks of one sequence after the other, in a pool that holds them all or one that
// holds `chunks`.
void StoreChunks(benchmark::State& state, int32_t chunks) {
  constexpr int32_t kStepTokens = 16 * kChunkTokens;
  std::unique_ptr<Ledger> ledger;
  int32_t number = 0;
  for (auto _ : state) {
    state.PauseTiming();
    if (number % 8192 == 0) ledger = MakeLedger(chunks);
    const std::vector<int32_t> prompt = Prompt(kStepTokens, number++);
    const SequenceId id = Value(ledger->AllocateSequence({.tokens = prompt})).id;
    state.ResumeTiming();
    benchmark::DoNotOptimize(Value(ledger->Append({{.id = id, .tokens = kStepTokens}})));
    state.PauseTiming();
    Must(ledger->FreeSequence(id));
    state.ResumeTiming();
  }
  SetItems(state, 16);
}
void PublishChunk(benchmark::State& state) { StoreChunks(state, 1 << 18); }
void Evict(benchmark::State& state) { StoreChunks(state, 64); }
BENCHMARK(PublishChunk);
BENCHMARK(Evict);

void DecodeAndPublish(benchmark::State& state) {
  std::unique_ptr<Ledger> ledger;
  std::vector<StepRequest> batch;
  int32_t steps_left = 0;
  for (auto _ : state) {
    if (steps_left-- == 0) {
      state.PauseTiming();
      ledger = MakeLedger();
      batch.clear();
      for (int i = 0; i < kSequences; ++i) {
        const std::vector<int32_t> prompt = Prompt(1000 + 7 * i, i);
        const SequenceId id = Value(ledger->AllocateSequence({.tokens = prompt})).id;
        Value(ledger->Append({{.id = id, .tokens = static_cast<int32_t>(prompt.size())}}));
        batch.push_back({.id = id, .tokens = 1});
      }
      steps_left = 20'000;
      state.ResumeTiming();
    }
    for (const StepRequest& request : batch) Must(ledger->Commit(request.id, {{steps_left}}));
    benchmark::DoNotOptimize(Value(ledger->Append(batch)));
  }
  SetItems(state, kSequences);
}
BENCHMARK(DecodeAndPublish);

BENCHMARK(Calibrate);

}  // namespace
}  // namespace terrace
