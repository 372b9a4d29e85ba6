// The host cost of a step, plan included, over the pools of DeepSeek-V4-Flash.
//
//   DecodeStep        256 sequences, one token each                  items = sequence steps
//   DecodeWithDrafts  256 sequences, 1 + 4 drafts, 2 of them taken back
//   PrefillChunk      one sequence, one chunk of `tokens`            items = blocks taken
//   NewSequence       allocation and the first step of 4,096 tokens  items = sequences
//   FreeSequence      of 4,096 tokens                                items = sequences
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
constexpr int kPromptTokens = 4096;

// Aborts the benchmark for a status that is not OK.
template <typename T>
T Value(absl::StatusOr<T> value) {
  if (!value.ok()) {
    std::fprintf(stderr, "%s\n", value.status().ToString().c_str());
    std::exit(1);
  }
  return *std::move(value);
}

std::unique_ptr<Ledger> MakeLedger(int32_t drafts = 0) {
  const Limits limits{.max_sequences = kSequences,
                      .max_step_tokens = 1 << 20,
                      .max_drafts = drafts,
                      .max_context_tokens = 1 << 20,
                      .store_whole_chunk = false};
  const ModelSpec model = DeepSeekV4Flash();
  std::vector<int32_t> blocks(model.pools.size(), 1 << 18);
  blocks[0] = 4096;
  const Geometry geometry = Value(MakeGeometry(model, limits, blocks));
  return Value(Ledger::Create({.geometry = geometry}));
}

// Sequences of lengths that put their borders at different steps.
std::vector<StepRequest> Start(Ledger& ledger) {
  std::vector<StepRequest> batch;
  for (int i = 0; i < kSequences; ++i) {
    batch.push_back({.id = Value(ledger.AllocateSequence({})).id, .tokens = 1000 + 7 * i});
  }
  Value(ledger.Append(batch));
  return batch;
}

void DecodeStep(benchmark::State& state) {
  std::unique_ptr<Ledger> ledger;
  std::vector<StepRequest> batch;
  int32_t steps_left = 0;
  for (auto _ : state) {
    if (steps_left-- == 0) {
      state.PauseTiming();
      ledger = MakeLedger();
      batch = Start(*ledger);
      for (StepRequest& request : batch) request.tokens = 1;
      steps_left = 50'000;  // less than the full pools hold
      state.ResumeTiming();
    }
    benchmark::DoNotOptimize(Value(ledger->Append(batch)));
  }
  SetItems(state, kSequences);
}
BENCHMARK(DecodeStep);

void DecodeWithDrafts(benchmark::State& state) {
  std::unique_ptr<Ledger> ledger;
  std::vector<StepRequest> batch;
  int32_t steps_left = 0;
  const int32_t accepted[3] = {};
  for (auto _ : state) {
    if (steps_left-- == 0) {
      state.PauseTiming();
      ledger = MakeLedger(4);
      batch = Start(*ledger);
      for (StepRequest& request : batch) {
        if (!ledger->Commit(request.id, std::vector<int32_t>(request.tokens)).ok()) std::exit(1);
        request.tokens = 5;
        request.drafts = 4;
      }
      steps_left = 50'000;
      state.ResumeTiming();
    }
    benchmark::DoNotOptimize(Value(ledger->Append(batch)));
    for (const StepRequest& request : batch) {
      const int32_t length = Value(ledger->Info(request.id)).length;
      if (!ledger->Truncate(request.id, length - 2).ok()) std::exit(1);
      if (!ledger->Commit(request.id, accepted).ok()) std::exit(1);
    }
  }
  SetItems(state, kSequences);
}
BENCHMARK(DecodeWithDrafts);

void PrefillChunk(benchmark::State& state) {
  const int32_t tokens = static_cast<int32_t>(state.range(0));
  const std::unique_ptr<Ledger> ledger = MakeLedger();
  int64_t blocks = 0;
  StepRequest request{.id = Value(ledger->AllocateSequence({})).id, .tokens = tokens};
  int32_t length = 0;
  for (auto _ : state) {
    if (length + tokens > 1 << 20) {
      state.PauseTiming();
      if (!ledger->FreeSequence(request.id).ok()) std::exit(1);
      request.id = Value(ledger->AllocateSequence({})).id;
      length = 0;
      state.ResumeTiming();
    }
    const Plan plan = Value(ledger->Append({&request, 1}));
    blocks += plan.header().num_patches;
    length += tokens;
  }
  state.SetItemsProcessed(blocks);
}
BENCHMARK(PrefillChunk)->ArgName("tokens")->RangeMultiplier(8)->Range(64, 32768);

void NewSequence(benchmark::State& state) {
  const std::unique_ptr<Ledger> ledger = MakeLedger();
  const std::vector<int32_t> prompt(kPromptTokens);
  std::vector<SequenceId> ids;
  for (auto _ : state) {
    if (ids.size() == kSequences) {
      state.PauseTiming();
      for (const SequenceId id : ids) {
        if (!ledger->FreeSequence(id).ok()) std::exit(1);
      }
      ids.clear();
      state.ResumeTiming();
    }
    ids.push_back(Value(ledger->AllocateSequence({prompt})).id);
    const StepRequest request{.id = ids.back(), .tokens = kPromptTokens};
    benchmark::DoNotOptimize(Value(ledger->Append({&request, 1})));
  }
  SetItems(state, 1);
}
BENCHMARK(NewSequence);

void FreeSequence(benchmark::State& state) {
  const std::unique_ptr<Ledger> ledger = MakeLedger();
  const std::vector<int32_t> prompt(kPromptTokens);
  std::vector<SequenceId> ids;
  for (auto _ : state) {
    if (ids.empty()) {
      state.PauseTiming();
      while (ids.size() < kSequences) {
        ids.push_back(Value(ledger->AllocateSequence({prompt})).id);
        const StepRequest request{.id = ids.back(), .tokens = kPromptTokens};
        Value(ledger->Append({&request, 1}));
      }
      state.ResumeTiming();
    }
    if (!ledger->FreeSequence(ids.back()).ok()) std::exit(1);
    ids.pop_back();
  }
  SetItems(state, 1);
}
BENCHMARK(FreeSequence);

BENCHMARK(Calibrate);

}  // namespace
}  // namespace terrace
