// Every operation of the cuda backend; see kHelp. Calls rotate through layers and buffers past the
// L2 unless the line says warm; all slots are distinct; small calls are timed in a graph, beside an
// empty kernel.

#include <algorithm>
#include <memory>
#include <numeric>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "bench/cuda_bench_step.h"
#include "bench/cuda_bench_util.h"
#include "kernels/device_support.h"
#include "src/ops/copy_params.h"
#include "src/ops/gather_params.h"
#include "src/ops/translate_params.h"
#include "src/ops/write_params.h"
#include "terrace/formats/rope.h"
#include "terrace/formats/row_format.h"

namespace terrace::internal {
namespace {

constexpr char kHelp[] = R"(usage: cuda_store_bench [FILTER]

Times every operation of the cuda backend: microseconds a call, GB/s of rows read plus rows written,
and their fraction of the device's own copy bandwidth, which is measured in the same run.

  FILTER    only the rows in whose name this regular expression is found
)";

constexpr int kBuffers = 4;      // that large inputs and outputs rotate through
constexpr int kLargeCalls = 16;  // in one graph
constexpr int kSmallCalls = 128;

constexpr RowFormat kLatents[] = {
    RowFormat::kFlashMlaV4, RowFormat::kBf16,         RowFormat::kFp8PerToken,
    RowFormat::kNvfp4,      RowFormat::kNvfp4V41Il,   RowFormat::kMxfp8V41,
    RowFormat::kMxfp8V41Il, RowFormat::kFp8PerTensor, RowFormat::kNvfp4Rope};
constexpr RowFormat kIndexers[] = {RowFormat::kIndexerFp8, RowFormat::kIndexerMxfp4};

int64_t StoredBytes(RowFormat format) { return PageBytes(format, 1); }
int64_t Bf16Bytes(RowFormat format) { return 2 * LayoutOf(format).channels; }
bool StoredUnrotated(RowFormat format) {
  return format == RowFormat::kFp8PerToken || format == RowFormat::kNvfp4;
}

class StoreBench {
 public:
  StoreBench(Backend& backend, GpuTimer& timer, BenchTable& table, int64_t pool_bytes)
      : backend_(Kernels(backend)), timer_(timer), table_(table), pool_(backend, pool_bytes) {
    rope_ = {OnDevice(backend_, MakeRopeTable(kContext, kCompressedRope)), kContext};
    const std::vector<uint16_t> rows = RandomBf16(random_, kRows * kLatentChannels);
    std::vector<int32_t> positions(kIndexerRows);  // of 4,096 consecutive tokens a sequence
    for (int32_t i = 0; i < kIndexerRows; ++i) positions[i] = i % 4096;
    positions_ = OnDevice(backend_, positions);
    for (int i = 0; i < kBuffers; ++i) {
      in_[i] = OnDevice(backend_, rows);
      out_[i] = OnDevice<uint16_t>(backend_, kRows * kLatentChannels);
    }
    consecutive_ = OnDevice(backend_, ConsecutiveSlots(random_, kIndexerRows, pool_.blocks()));
    scattered_ = OnDevice(backend_, RandomDistinct(random_, kRows, pool_.blocks() * 64));
  }

  void LaunchFloor() {
    Row("an empty kernel in a graph",
        InGraph(kSmallCalls,
                [](int, cudaStream_t stream) {
                  RequireCuda(static_cast<cudaError_t>(LaunchEmpty(stream)), "LaunchEmpty");
                }),
        0);
  }

  void Writes() {
    for (const RowFormat format : kLatents) {
      WriteLine(absl::StrCat("write ", Name(format), ", 65,536 rows, consecutive"), format, kRows,
                consecutive_);
    }
    WriteLine("write flashmla_v4, 65,536 rows, random", RowFormat::kFlashMlaV4, kRows, scattered_);
    for (const bool random : {false, true}) {
      WriteLine(absl::StrCat("write flashmla_v4, 65,536 rows, ", random ? "random" : "consecutive",
                             ", layer-major"),
                RowFormat::kFlashMlaV4, kRows, random ? scattered_ : consecutive_,
                PoolLayout::kLayerMajor);
    }
    for (const RowFormat format : kIndexers) {
      WriteLine(absl::StrCat("write ", Name(format), ", 262,144 rows, consecutive"), format,
                kIndexerRows, consecutive_);
    }
  }

  void SmallWrites() {
    const auto layer = [&](int call) {
      WriteParams params = OneSegment(RowFormat::kFlashMlaV4, 256, consecutive_, call);
      params.num_segments = 3;
      params.segments[1] = OneSegment(RowFormat::kFlashMlaV4, 64, scattered_, call + 1).segments[0];
      params.segments[2] = OneSegment(RowFormat::kIndexerFp8, 64, scattered_, call + 2).segments[0];
      return params;
    };
    constexpr double kLayerBytes = 320 * (584.0 + 1024.0) + 64 * (132.0 + 256.0);
    Row("write a layer, 256 SWA + 64 CSA + 64 indexer, one launch",
        InGraph(kSmallCalls,
                [&](int call, cudaStream_t stream) {
                  Require(backend_.Write(layer(call), Stream{stream}));
                }),
        kLayerBytes);
    Row("the same in three launches",
        InGraph(kSmallCalls,
                [&](int call, cudaStream_t stream) {
                  const WriteParams all = layer(call);
                  for (int i = 0; i < 3; ++i) {
                    WriteParams one = all;
                    one.num_segments = 1;
                    one.segments[0] = all.segments[i];
                    Require(backend_.Write(one, Stream{stream}));
                  }
                }),
        kLayerBytes);
    for (const int32_t rows : {1, 256}) {
      const int32_t* count = OnDevice(backend_, std::vector<int32_t>{rows});
      Row(absl::StrCat("write flashmla_v4, ", rows, " rows, launched for 1,024"),
          InGraph(kSmallCalls,
                  [&](int call, cudaStream_t stream) {
                    WriteParams params =
                        OneSegment(RowFormat::kFlashMlaV4, 1024, consecutive_, call);
                    params.segments[0].count = count;
                    Require(backend_.Write(params, Stream{stream}));
                  }),
          rows * (584.0 + 1024.0));
    }
  }

  void GatherTopK() {
    const BenchStep step(backend_, pool_.blocks(), kQueries, 1);
    const int32_t* entries = OnDevice(backend_, RandomTopK(random_, kQueries, kTopK));
    for (const RowFormat format : kLatents) {
      for (const bool rotate : {false, true}) {
        if (rotate && !StoredUnrotated(format)) continue;
        const auto gather = [&](int call, cudaStream_t stream) {
          GatherParams params = Gather(format, step, SelectKind::kTopK, kQueries, kTopK, call);
          params.select.entries = entries;
          params.select.entries_pitch = kTopK;
          if (rotate) params.rope = rope_;
          Require(backend_.Gather(params, Stream{stream}));
        };
        Row(absl::StrCat("gather top-k ", Name(format), rotate ? " + RoPE" : "",
                         ", 128 x 512, random"),
            InGraph(kLargeCalls, gather), kRows * (StoredBytes(format) + Bf16Bytes(format)));
      }
    }
    Row("gather top-k flashmla_v4, 128 x 512, random, layer-major",
        InGraph(kLargeCalls,
                [&](int call, cudaStream_t stream) {
                  GatherParams params = Gather(RowFormat::kFlashMlaV4, step, SelectKind::kTopK,
                                               kQueries, kTopK, call, PoolLayout::kLayerMajor);
                  params.select.entries = entries;
                  params.select.entries_pitch = kTopK;
                  Require(backend_.Gather(params, Stream{stream}));
                }),
        kRows * (584.0 + 1024.0));
    const BenchStep one_sequence(backend_, pool_.blocks(), 1, 1);
    const auto one = [&](int call, cudaStream_t stream) {
      GatherParams params =
          Gather(RowFormat::kFlashMlaV4, one_sequence, SelectKind::kTopK, 1, kTopK, call);
      params.select.entries = entries + call % kQueries * kTopK;
      params.select.entries_pitch = kTopK;
      Require(backend_.Gather(params, Stream{stream}));
    };
    Row("gather top-k flashmla_v4, 1 x 512", InGraph(kSmallCalls, one), kTopK * (584.0 + 1024.0));
  }

  void GatherWindow() {
    constexpr int32_t kSequences = 256;
    constexpr int32_t kWindow = 128;
    const BenchStep step(backend_, pool_.blocks(), kSequences, 1);
    const auto gather = [&](int call, cudaStream_t stream) {
      Require(backend_.Gather(
          Gather(RowFormat::kFlashMlaV4, step, SelectKind::kWindow, kSequences, kWindow, call),
          Stream{stream}));
    };
    Row("gather window flashmla_v4, 256 x 128", InGraph(kLargeCalls, gather),
        kSequences * kWindow * (584.0 + 1024.0));
  }

  void Translate() {
    for (const int32_t queries : {256, 8192}) {
      const BenchStep step(backend_, pool_.blocks(), kQueries, queries / kQueries);
      const std::vector<int32_t> entries = RandomTopK(random_, queries, kTopK);
      for (const bool warm : {false, true}) {
        const int sets = warm ? 1 : (queries == 256 ? 64 : kBuffers);
        std::vector<int32_t*> in(sets);
        std::vector<int32_t*> out(sets);
        for (int i = 0; i < sets; ++i) {
          in[i] = OnDevice(backend_, entries);
          out[i] = OnDevice<int32_t>(backend_, int64_t{queries} * kTopK);
        }
        const auto translate = [&](int call, cudaStream_t stream) {
          TranslateParams params{};
          params.select = Select(step, SelectKind::kTopK, queries, kTopK);
          params.select.entries = in[call % sets];
          params.select.entries_pitch = kTopK;
          params.slots = out[call % sets];
          params.slots_pitch = params.padded_rows = kTopK;
          Require(backend_.Translate(params, Stream{stream}));
        };
        Row(absl::StrCat("translate top-k, ", queries, " x 512", warm ? ", warm" : ""),
            InGraph(kSmallCalls, translate), 8.0 * queries * kTopK);
        for (int i = 0; i < sets; ++i) {
          backend_.Free(in[i], Stream{});
          backend_.Free(out[i], Stream{});
        }
      }
    }
  }

  void Begin() {
    const BenchStep step(backend_, pool_.blocks(), 256, 1);
    Row("an empty kernel on a stream",
        OnStream(kSmallCalls,
                 [](int, cudaStream_t stream) {
                   RequireCuda(static_cast<cudaError_t>(LaunchEmpty(stream)), "LaunchEmpty");
                 }),
        0);
    const auto begin = [&](int, cudaStream_t stream) {
      Require(backend_.Begin(step.begin, Stream{stream}));
    };
    Row("begin, 256 sequences: upload, patch, expand (on a stream)", OnStream(kSmallCalls, begin),
        0);
  }

  void CopyBlocks() {
    constexpr int32_t kCopies = 4096;
    const std::vector<int32_t> blocks = RandomDistinct(random_, 2 * kCopies, pool_.blocks());
    std::vector<BlockCopy> copies(kCopies);
    for (int32_t i = 0; i < kCopies; ++i) {
      copies[i] = {kCsaPool, blocks[i], blocks[kCopies + i], 0};
    }
    CopyParams params{};
    params.pools[kCsaPool] = {pool_.base(), pool_.block_bytes(), 0, pool_.block_bytes(), 1};
    params.copies = OnDevice(backend_, copies);
    params.count = kCopies;
    Row("copy blocks, 4,096 blocks",
        InGraph(1,
                [&](int, cudaStream_t stream) {
                  Require(backend_.CopyBlocks(params, Stream{stream}));
                }),
        2.0 * kCopies * pool_.block_bytes());
  }

 private:
  static constexpr int64_t kRows = 65536;
  static constexpr int32_t kIndexerRows = 262144;
  static constexpr int32_t kQueries = 128;
  static constexpr int32_t kTopK = 512;

  static std::string Name(RowFormat format) {
    return std::string(RowFormatName(format).data(), RowFormatName(format).size());
  }

  WriteParams OneSegment(RowFormat format, int32_t rows, const int32_t* slots, int call,
                         PoolLayout layout = PoolLayout::kBlockMajor) const {
    WriteParams params{};
    params.num_segments = 1;
    params.counters = backend_.counters();
    WriteSegment& segment = params.segments[0];
    segment.rows = in_[call % kBuffers];
    segment.row_pitch = LayoutOf(format).channels;
    segment.max_rows = rows;
    segment.slots = slots;
    segment.of_step = true;  // as Store::Write has it
    segment.pages = pool_.Pages(format, call, layout);
    if (!StoredUnrotated(format)) {
      segment.positions = positions_;
      segment.rope = rope_;
    }
    return params;
  }

  void WriteLine(const std::string& work, RowFormat format, int32_t rows, const int32_t* slots,
                 PoolLayout layout = PoolLayout::kBlockMajor) {
    const auto write = [&](int call, cudaStream_t stream) {
      Require(backend_.Write(OneSegment(format, rows, slots, call, layout), Stream{stream}));
    };
    Row(work, InGraph(kLargeCalls, write), 1.0 * rows * (StoredBytes(format) + Bf16Bytes(format)));
  }

  Selection Select(const BenchStep& step, SelectKind kind, int32_t queries, int32_t rows) const {
    Selection select{};
    select.kind = kind;
    SelectFromStep(step.begin.geometry, step.begin.step,
                   kind == SelectKind::kWindow ? kWindowPool : kCsaPool, select);
    select.num_queries = queries;
    select.rows_per_query = rows;
    select.num_slots = pool_.blocks() * 64;
    return select;
  }

  GatherParams Gather(RowFormat format, const BenchStep& step, SelectKind kind, int32_t queries,
                      int32_t rows, int call, PoolLayout layout = PoolLayout::kBlockMajor) const {
    GatherParams params{};
    params.select = Select(step, kind, queries, rows);
    params.pages = pool_.Pages(format, call, layout);
    params.out = out_[call % kBuffers];
    params.out_row_pitch = kLatentChannels;
    params.out_query_pitch = int64_t{rows} * kLatentChannels;
    return params;
  }

  // What Row measures if its line is asked for.
  struct Measurement {
    bool in_graph;
    int calls;
    GpuTimer::Work work;
  };
  static Measurement InGraph(int calls, GpuTimer::Work work) {
    return {.in_graph = true, .calls = calls, .work = std::move(work)};
  }
  static Measurement OnStream(int calls, GpuTimer::Work work) {
    return {.in_graph = false, .calls = calls, .work = std::move(work)};
  }
  void Row(const std::string& name, const Measurement& what, double bytes) {
    if (!table_.Wants(name)) return;
    table_.Row(name,
               what.in_graph ? timer_.InGraph(what.calls, what.work)
                             : timer_.OnStream(what.calls, what.work),
               bytes);
  }

  KernelBackend& backend_;
  GpuTimer& timer_;
  BenchTable& table_;
  BenchPool pool_;
  std::mt19937_64 random_{3};
  RopeTableView rope_;
  int32_t* positions_ = nullptr;
  int32_t* consecutive_ = nullptr;
  int32_t* scattered_ = nullptr;
  uint16_t* in_[kBuffers] = {};
  uint16_t* out_[kBuffers] = {};
};

int Run(const std::string& filter) {
  auto backend = MakeBackend({.kind = BackendKind::kCuda});
  if (!backend.ok()) {
    std::printf("SKIPPED: %s\n", backend.status().ToString().c_str());
    return 0;
  }
  cudaDeviceProp device;
  RequireCuda(cudaGetDeviceProperties(&device, 0), "cudaGetDeviceProperties");
  GpuTimer timer;
  const double copy = CopyBandwidth(timer);
  size_t free = 0;
  size_t total = 0;
  RequireCuda(cudaMemGetInfo(&free, &total), "cudaMemGetInfo");
  constexpr int64_t kRest = int64_t{4} << 30;  // inputs, outputs and tables
  const int64_t pool_bytes = std::min(int64_t{33} << 30, static_cast<int64_t>(free) - kRest);
  if (pool_bytes < int64_t{16} << 30) {
    std::printf("SKIPPED: needs 20 GiB of free device memory\n");
    return 0;
  }
  std::printf("%s; copy %.0f GB/s (2 GiB device to device, read + written); pool %.1f GiB\n",
              device.name, copy, static_cast<double>(pool_bytes) / (1 << 30));
  BenchTable table(copy, filter);
  StoreBench bench(**backend, timer, table, pool_bytes);
  bench.LaunchFloor();
  bench.Writes();
  bench.SmallWrites();
  bench.GatherTopK();
  bench.GatherWindow();
  bench.Translate();
  bench.Begin();
  bench.CopyBlocks();
  const Counters counters = (*backend)->ReadCounters();
  if (counters.skipped_slots + counters.skipped_entries + counters.skipped_positions != 0) {
    std::fprintf(stderr, "rows were skipped: the figures above are of less work than they say\n");
    return 1;
  }
  if (table.num_rows() == 0) {
    std::fprintf(stderr, "'%s' is found in no row's name; see --help\n", filter.c_str());
    return 1;
  }
  return 0;
}

}  // namespace
}  // namespace terrace::internal

int main(int argc, char** argv) {
  return terrace::internal::BenchMain(argc, argv, terrace::internal::kHelp,
                                      &terrace::internal::Run);
}
