// Block churn: blocks are held by 256 sequences; each operation frees a random victim's random
// block or takes one. 64 operations lie between a free and the reuse of what it freed.
//
//   Churn         one block a call                       items = operations
//   BulkAllocate  and free again, 512 blocks a call      items = blocks taken and freed

#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <random>
#include <vector>

#include "bench/calibrate.h"
#include "src/ledger/block_pool.h"

namespace terrace {
namespace {

using internal::BlockPool;

constexpr int kSequences = 256;
constexpr int kDistance = 64;  // operations between a free and the next use

// Victims are drawn beforehand, none twice in one round: the generator is not what is measured.
std::vector<int32_t> DrawVictims(int32_t held) {
  std::mt19937 random(1);
  std::vector<int32_t> victims(1 << 16);
  for (size_t round = 0; round < victims.size(); round += kDistance) {
    for (size_t i = round; i < round + kDistance; ++i) {
      const auto begin = victims.begin() + round;
      do {
        const int32_t sequence = random() % kSequences;
        victims[i] = random() % (held / kSequences) * kSequences + sequence;
      } while (std::find(begin, victims.begin() + i, victims[i]) != victims.begin() + i);
    }
  }
  return victims;
}

void Churn(benchmark::State& state) {
  BlockPool pool(static_cast<int32_t>(state.range(0)));
  std::vector<BlockId> held(pool.capacity() - kDistance);  // every 256th is one sequence's
  if (!pool.Allocate(absl::MakeSpan(held)).ok()) std::exit(1);
  const std::vector<int32_t> victims = DrawVictims(static_cast<int32_t>(held.size()));
  size_t round = 0;
  for (auto _ : state) {
    const int32_t* const victim = &victims[round];
    for (int i = 0; i < kDistance; ++i) {
      if (!pool.Free(held[victim[i]]).ok()) std::exit(1);
    }
    for (int i = 0; i < kDistance; ++i) {
      const absl::StatusOr<BlockId> block = pool.Allocate();
      if (!block.ok()) std::exit(1);
      held[victim[i]] = *block;
    }
    round = (round + kDistance) % victims.size();
  }
  SetItems(state, 2 * kDistance);
}
BENCHMARK(Churn)->ArgName("blocks")->Arg(4 << 10)->Arg(64 << 10)->Arg(1 << 20);

void BulkAllocate(benchmark::State& state) {
  const int32_t capacity = static_cast<int32_t>(state.range(0));
  BlockPool pool(capacity);
  std::vector<BlockId> blocks(512);
  for (auto _ : state) {
    if (!pool.Allocate(absl::MakeSpan(blocks)).ok()) std::exit(1);
    if (!pool.Free(blocks).ok()) std::exit(1);
  }
  SetItems(state, 2 * static_cast<int64_t>(blocks.size()));
}
BENCHMARK(BulkAllocate)->ArgName("blocks")->Arg(4 << 10)->Arg(64 << 10)->Arg(1 << 20);

BENCHMARK(Calibrate);

}  // namespace
}  // namespace terrace
