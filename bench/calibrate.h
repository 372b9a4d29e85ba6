// What benchmarks share: a loop of known cost, to run beside a benchmark: 1,000 dependent 64-bit
// multiply-adds, 4 cycles each on current cores. Where it is slow, so is everything that was timed
// beside it.

#ifndef TERRACE_BENCH_CALIBRATE_H_
#define TERRACE_BENCH_CALIBRATE_H_

#include <benchmark/benchmark.h>

#include <cstdint>

namespace terrace {

// Reports items per second, and seconds per item ("8.2n" is 8.2 ns).
inline void SetItems(benchmark::State& state, int64_t items_per_iteration) {
  state.SetItemsProcessed(state.iterations() * items_per_iteration);
  state.counters["s_per_item"] = benchmark::Counter(
      static_cast<double>(items_per_iteration),
      benchmark::Counter::kIsIterationInvariantRate | benchmark::Counter::kInvert);
}

inline void Calibrate(benchmark::State& state) {
  uint64_t value = 1;
  for (auto _ : state) {
    for (int i = 0; i < 1000; ++i) value = value * 6364136223846793005u + 1442695040888963407u;
    benchmark::DoNotOptimize(value);
  }
  SetItems(state, 1000);
}

}  // namespace terrace

#endif  // TERRACE_BENCH_CALIBRATE_H_
