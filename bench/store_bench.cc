// Rows through the host backend against this machine's own memory: 65,536 rows of each format
// written to and gathered from random slots. `of_copy` is the bytes read and written a second over
// those of a parallel memcpy measured in the same run, before each benchmark.

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <memory>
#include <numeric>
#include <random>
#include <thread>
#include <vector>

#include "benchmark/benchmark.h"
#include "src/model/geometry_builder.h"
#include "terrace/formats/rope.h"
#include "terrace/store.h"

namespace terrace {
namespace {

using internal::MakeGeometry;

constexpr int32_t kRows = 65'536;
constexpr int32_t kPositions = 4'096;

// Bytes read and written a second by as many threads as the host backend has, each copying its part
// of 256 MiB; the best of a few rounds.
double CopyBandwidth() {
  constexpr int64_t kBytes = int64_t{1} << 27;
  static std::vector<char> from(kBytes, 1);
  static std::vector<char> to(kBytes, 2);
  const int threads = std::max(1u, std::thread::hardware_concurrency());
  double best = 0;
  for (int round = 0; round < 5; ++round) {
    const auto begin = std::chrono::steady_clock::now();
    std::vector<std::thread> copiers;
    for (int t = 0; t < threads; ++t) {
      copiers.emplace_back([t, threads] {
        const int64_t part = kBytes / threads;
        std::memcpy(to.data() + t * part, from.data() + t * part, part);
      });
    }
    for (std::thread& copier : copiers) copier.join();
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
    best = std::max(best, 2.0 * kBytes / seconds.count());
  }
  return best;
}

// One layer with room for kRows rows in a full pool of ratio 1, and rows that go to all its slots
// in random order.
class Rows {
 public:
  explicit Rows(RowFormat format) : layout_(LayoutOf(format)) {
    const bool is_indexer = layout_.channels == kIndexerChannels;
    plane_ = is_indexer ? PlaneKind::kIndexer : PlaneKind::kLatent;
    const ModelSpec model =
        *MakeModel({.ratios = {4},
                    .latent_format = is_indexer ? RowFormat::kFlashMlaV4 : format,
                    .indexer_format = is_indexer ? format : RowFormat::kIndexerFp8,
                    .overlap = false});
    const Geometry geometry = *MakeGeometry(model, {.max_sequences = 1}, {8, kRows / 64});
    backend_ = *MakeBackend({.kind = BackendKind::kHost});
    store_ = *Store::Create({.model = model, .geometry = geometry}, backend_);
    table_ = MakeRopeTable(kPositions, kWindowRope);
    (void)store_->SetRopeTables({{table_.data(), kPositions}, {table_.data(), kPositions}});

    std::mt19937_64 random(1);
    in_.resize(int64_t{kRows} * layout_.channels);
    for (uint16_t& bits : in_) bits = static_cast<uint16_t>((random() & 0x83FF) | 0x3C00);
    out_.resize(in_.size());
    slots_.resize(kRows);
    std::iota(slots_.begin(), slots_.end(), 0);
    std::shuffle(slots_.begin(), slots_.end(), random);
    for (int32_t i = 0; i < kRows; ++i) positions_.push_back(i % kPositions);
  }

  absl::Status Write() {
    return store_->WriteSlots(
        0, PoolKind::kFull, plane_, {.data = in_.data()},
        {.slots = slots_.data(), .positions = positions_.data(), .count = kRows}, Stream{});
  }
  absl::Status Gather() {
    return store_->ReadSlots(0, PoolKind::kFull, plane_, {.slots = slots_.data(), .count = kRows},
                             {.data = out_.data()}, Stream{});
  }
  int64_t bytes() const {
    return int64_t{kRows} * (2 * layout_.channels + layout_.data_bytes + layout_.scale_bytes);
  }

 private:
  RowLayout layout_;
  PlaneKind plane_;
  std::shared_ptr<Backend> backend_;
  std::unique_ptr<Store> store_;
  std::vector<float> table_;
  std::vector<uint16_t> in_;
  std::vector<uint16_t> out_;
  std::vector<int32_t> slots_;
  std::vector<int32_t> positions_;
};

template <typename Operation>
void Measure(benchmark::State& state, Rows& rows, const Operation& operation) {
  const double copy = CopyBandwidth();
  const auto begin = std::chrono::steady_clock::now();
  for (auto _ : state) {
    const absl::Status status = operation();
    if (!status.ok()) return state.SkipWithError(status.ToString().c_str());
  }
  const double bytes = static_cast<double>(rows.bytes()) * state.iterations();
  state.SetBytesProcessed(static_cast<int64_t>(bytes));
  state.SetItemsProcessed(state.iterations() * kRows);
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
  state.counters["of_copy"] = bytes / seconds.count() / copy;
  state.counters["copy_GB/s"] = copy / 1e9;
}

void BM_Write(benchmark::State& state, RowFormat format) {
  Rows rows(format);
  (void)rows.Write();  // makes the pages resident
  Measure(state, rows, [&] { return rows.Write(); });
}

void BM_Gather(benchmark::State& state, RowFormat format) {
  Rows rows(format);
  if (absl::Status status = rows.Write(); !status.ok()) {
    return state.SkipWithError(status.ToString().c_str());
  }
  Measure(state, rows, [&] { return rows.Gather(); });
}

#define TERRACE_BENCH_FORMAT(name, format)                                           \
  BENCHMARK_CAPTURE(BM_Write, name, RowFormat::format)->UseRealTime()->MinTime(0.3); \
  BENCHMARK_CAPTURE(BM_Gather, name, RowFormat::format)->UseRealTime()->MinTime(0.3)
TERRACE_BENCH_FORMAT(bf16, kBf16);
TERRACE_BENCH_FORMAT(fp8_per_token, kFp8PerToken);
TERRACE_BENCH_FORMAT(nvfp4, kNvfp4);
TERRACE_BENCH_FORMAT(flashmla_v4, kFlashMlaV4);
TERRACE_BENCH_FORMAT(mxfp8_v41, kMxfp8V41);
TERRACE_BENCH_FORMAT(mxfp8_v41_il, kMxfp8V41Il);
TERRACE_BENCH_FORMAT(nvfp4_v41_il, kNvfp4V41Il);
TERRACE_BENCH_FORMAT(fp8_per_tensor, kFp8PerTensor);
TERRACE_BENCH_FORMAT(nvfp4_rope, kNvfp4Rope);
TERRACE_BENCH_FORMAT(indexer_fp8, kIndexerFp8);
TERRACE_BENCH_FORMAT(indexer_mxfp4, kIndexerMxfp4);

}  // namespace
}  // namespace terrace
