// Cost of one row on one core, by format: encode (rotated before store), encode without rotation,
// decode. Rows come from a set that stays in the second-level cache, so that the figures are
// arithmetic and not memory.

#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "benchmark/benchmark.h"
#include "src/base/multiversion.h"
#include "terrace/formats/row_codec.h"

namespace terrace {
namespace {

constexpr int kRows = 128;

template <RowFormat F>
TERRACE_MULTIVERSION int EncodeRows(const uint16_t* rows, const float* rope, uint8_t* page) {
  constexpr RowLayout kLayout = LayoutOf(F);
  uint8_t* const scales = page + kLayout.scale_offset(kRows);
  int bad = 0;
  for (int i = 0; i < kRows; ++i) {
    bad += EncodeRow<F>(rows + i * kLayout.channels, rope, 1.0f, page + i * kLayout.data_stride(),
                        scales + i * kLayout.scale_stride());
  }
  return bad;
}

template <RowFormat F>
TERRACE_MULTIVERSION void DecodeRows(const uint8_t* page, const float* rope, uint16_t* rows) {
  constexpr RowLayout kLayout = LayoutOf(F);
  const uint8_t* const scales = page + kLayout.scale_offset(kRows);
  for (int i = 0; i < kRows; ++i) {
    DecodeRow<F>(page + i * kLayout.data_stride(), scales + i * kLayout.scale_stride(), rope, 1.0f,
                 rows + i * kLayout.channels);
  }
}

template <RowFormat F>
struct Buffers {
  static constexpr RowLayout kLayout = LayoutOf(F);
  std::vector<uint16_t> rows = std::vector<uint16_t>(kRows * kLayout.channels);
  std::vector<uint8_t> page = std::vector<uint8_t>(PageBytes(F, kRows));
  std::vector<float> rope = MakeRopeTable(1000, kWindowRope);

  Buffers() {
    std::mt19937 random(1);
    std::normal_distribution<float> normal;
    for (uint16_t& channel : rows) channel = Bf16FromFloat(normal(random));
  }
  const float* LastRopeRow() const { return rope.data() + rope.size() - kRopeChannels; }
};

void ReportRows(benchmark::State& state) {
  state.SetItemsProcessed(state.iterations() * kRows);
  state.counters["per_row"] =
      benchmark::Counter(static_cast<double>(state.iterations()) * kRows,
                         benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
}

template <RowFormat F>
void BM_Encode(benchmark::State& state) {
  Buffers<F> buffers;
  const float* rope = state.range(0) != 0 ? buffers.LastRopeRow() : nullptr;
  for (auto _ : state) {
    benchmark::DoNotOptimize(EncodeRows<F>(buffers.rows.data(), rope, buffers.page.data()));
    benchmark::ClobberMemory();
  }
  ReportRows(state);
}

template <RowFormat F>
void BM_Decode(benchmark::State& state) {
  Buffers<F> buffers;
  const float* rope = state.range(0) != 0 ? buffers.LastRopeRow() : nullptr;
  EncodeRows<F>(buffers.rows.data(), nullptr, buffers.page.data());
  for (auto _ : state) {
    DecodeRows<F>(buffers.page.data(), rope, buffers.rows.data());
    benchmark::ClobberMemory();
  }
  ReportRows(state);
}

[[maybe_unused]] const bool kRegistered = [] {
  for (int i = 0; i < kNumRowFormats; ++i) {
    const RowFormat format = static_cast<RowFormat>(i);
    const std::string name(RowFormatName(format).data(), RowFormatName(format).size());
    DispatchRowFormat(format, [&]<RowFormat F>() {
      benchmark::RegisterBenchmark(("Encode/" + name).c_str(), BM_Encode<F>)
          ->ArgName("rope")
          ->Arg(0)
          ->Arg(1);
      benchmark::RegisterBenchmark(("Decode/" + name).c_str(), BM_Decode<F>)
          ->ArgName("rope")
          ->Arg(0)
          ->Arg(1);
    });
  }
  return true;
}();

}  // namespace
}  // namespace terrace
