// Launches that overlap (programmatic dependent launch): each kernel runs directly behind one that
// lets it start at once and finishes its inputs late, again and again, and must read none of them
// before they are there.

#include <cuda_runtime_api.h>

#include <algorithm>
#include <deque>
#include <numeric>
#include <utility>
#include <vector>

#include "absl/types/span.h"
#include "kernels/device_support.h"
#include "src/model/state_pages.h"
#include "tests/cuda/cuda_fixture.h"
#include "tests/cuda/cuda_overlap_kernels.h"
#include "tests/support/compress_traffic.h"
#include "tests/support/store_fixture.h"

namespace terrace::testing {
namespace {

constexpr int kRounds = 30;
constexpr int64_t kDelayNs = 30'000;  // several times what a launch takes

// An input that arrives late: the fresh values lie ready, and a kernel copies them to where the
// next one reads.
template <typename T>
class LateInput {
 public:
  LateInput(Backend& backend, cudaStream_t stream, int64_t size)
      : backend_(backend),
        stream_(stream),
        size_(size),
        fresh_(backend, size),
        live_(backend, size) {}

  T* data() { return live_.data(); }
  LateCopies::Copy Arrive(const std::vector<T>& values) {
    const int64_t bytes = size_ * static_cast<int64_t>(sizeof(T));
    EXPECT_EQ(static_cast<int64_t>(values.size()), size_);
    EXPECT_TRUE(backend_.Upload(fresh_.data(), values.data(), bytes, Stream{stream_}).ok());
    return {fresh_.data(), live_.data(), bytes};
  }

 private:
  Backend& backend_;
  cudaStream_t stream_;
  int64_t size_;
  BackendArray<T> fresh_;
  BackendArray<T> live_;
};

// On a stream of its own, because the default stream may not overlap anything.
class CudaOverlapTest : public CudaTest {
 protected:
  void SetUp() override {
    CudaTest::SetUp();
    if (IsSkipped()) return;
    ASSERT_EQ(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), cudaSuccess);
  }
  void TearDown() override {
    if (stream_ == nullptr) return;
    EXPECT_EQ(cudaStreamDestroy(stream_), cudaSuccess);
  }

  void LaunchLate(absl::Span<const LateCopies::Copy> copies) {
    ASSERT_LE(copies.size(), kMaxLateCopies);
    LateCopies params = {.delay_ns = kDelayNs, .num_copies = 0, .copies = {}};
    for (const LateCopies::Copy& copy : copies) params.copies[params.num_copies++] = copy;
    ASSERT_EQ(LaunchLateCopies(params, stream_), 0);
  }
  void Finish() { ASSERT_EQ(cudaStreamSynchronize(stream_), cudaSuccess); }

  cudaStream_t stream_ = nullptr;
};

TEST_F(CudaOverlapTest, LaunchesAreEarlyIffTheCodeThatRunsWasCompiledToWait) {
  BackendArray<int32_t> architecture(*cuda_, 1);
  ASSERT_EQ(LaunchArchitecture(architecture.data(), nullptr), 0);
  const int32_t compiled_for = architecture.Read()[0];
  RecordProperty("architecture", compiled_for);
  EXPECT_GE(compiled_for, 800);
  EXPECT_EQ(internal::KernelsCanLaunchEarly(), compiled_for >= 900) << compiled_for;
}

// Where rows are of the step, Begin has written their count, slots and positions before.
class CudaOverlapWriteTest : public CudaOverlapTest, public ::testing::WithParamInterface<bool> {};
INSTANTIATE_TEST_SUITE_P(OfStep, CudaOverlapWriteTest, ::testing::Bool());

TEST_P(CudaOverlapWriteTest, WriteWaitsForAllThatBeginDidNotWrite) {
  const bool of_step = GetParam();
  constexpr int32_t kMaxRows = 300;
  constexpr int32_t kPositions = 100;
  const std::vector<float> table = MakeRopeTable(kPositions, kWindowRope);
  for (const RowFormat format :
       {RowFormat::kFlashMlaV4, RowFormat::kNvfp4, RowFormat::kIndexerFp8}) {
    SCOPED_TRACE(RowFormatName(format).data());
    TestPlane cuda(*cuda_, {.format = format});
    TestPlane host(*host_, {.format = format});
    LateInput<uint16_t> rows(*cuda_, stream_, kMaxRows * cuda.channels());
    LateInput<int32_t> slots(*cuda_, stream_, kMaxRows);
    LateInput<int32_t> positions(*cuda_, stream_, kMaxRows);
    LateInput<int32_t> count(*cuda_, stream_, 1);
    LateInput<float> rope(*cuda_, stream_, static_cast<int64_t>(table.size()));
    WriteParams params{};
    params.num_segments = 1;
    params.counters = cuda_->counters();
    params.segments[0] = {.rows = rows.data(),
                          .row_pitch = cuda.channels(),
                          .count = count.data(),
                          .max_rows = kMaxRows,
                          .slots = slots.data(),
                          .positions = positions.data(),
                          .of_step = of_step,
                          .rope = {rope.data(), kPositions},
                          .pages = cuda.pages()};
    std::mt19937_64 random(1);
    for (int round = 0; round < kRounds && !HasFailure(); ++round) {
      const int32_t live = round % 3 == 0 ? kMaxRows : static_cast<int32_t>(random() % kMaxRows);
      std::vector<uint16_t> row_values = RandomRows(random, kMaxRows, cuda.channels(), true);
      std::vector<int32_t> slot_values(cuda.num_slots());
      std::iota(slot_values.begin(), slot_values.end(), 0);
      std::shuffle(slot_values.begin(), slot_values.end(), random);
      slot_values.resize(kMaxRows);
      std::vector<int32_t> position_values(kMaxRows);
      for (int32_t& position : position_values) position = random() % kPositions;
      const LateCopies::Copy tables[] = {slots.Arrive(slot_values),
                                         positions.Arrive(position_values), count.Arrive({live})};
      if (of_step) {
        LaunchLate({tables[0], tables[1], tables[2]});
        Finish();
        LaunchLate({rows.Arrive(row_values), rope.Arrive(table)});
      } else {
        LaunchLate({rows.Arrive(row_values), rope.Arrive(table), tables[0], tables[1], tables[2]});
      }
      ASSERT_TRUE(KernelsOf(*cuda_).Write(params, Stream{stream_}).ok());
      Finish();
      row_values.resize(live * cuda.channels());
      slot_values.resize(live);
      position_values.resize(live);
      host.Write(row_values, slot_values, position_values, table);
      EXPECT_TRUE(cuda.Bytes() == host.Bytes()) << "round " << round;
    }
  }
}

TEST_F(CudaOverlapTest, GatherWaitsForSlotsAndPages) {
  constexpr int32_t kRows = 400;
  for (const RowFormat format : {RowFormat::kFlashMlaV4, RowFormat::kMxfp8V41}) {
    SCOPED_TRACE(RowFormatName(format).data());
    TestPlane cuda(*cuda_, {.format = format});
    TestPlane host(*host_, {.format = format});
    BackendArray<uint8_t> fresh(*cuda_, cuda.num_bytes());
    LateInput<int32_t> slots(*cuda_, stream_, kRows);
    BackendArray<uint16_t> out(*cuda_, kRows * cuda.channels());
    GatherParams params{};
    params.select.kind = SelectKind::kSlots;
    params.select.num_queries = 1;
    params.select.rows_per_query = kRows;
    params.select.entries = slots.data();
    params.select.entries_pitch = kRows;
    params.select.num_slots = cuda.num_slots();
    params.select.counters = cuda_->counters();
    params.pages = cuda.pages();
    params.out = out.data();
    params.out_row_pitch = cuda.channels();
    params.out_query_pitch = kRows * cuda.channels();
    std::mt19937_64 random(2);
    for (int round = 0; round < kRounds && !HasFailure(); ++round) {
      std::vector<uint8_t> pages(cuda.num_bytes());
      for (uint8_t& byte : pages) byte = static_cast<uint8_t>(random());
      std::vector<int32_t> slot_values(kRows);
      for (int32_t& slot : slot_values) slot = static_cast<int32_t>(random() % cuda.num_slots());
      ASSERT_TRUE(
          cuda_->Upload(fresh.data(), pages.data(), cuda.num_bytes(), Stream{stream_}).ok());
      ASSERT_TRUE(host_->Upload(host.data(), pages.data(), host.num_bytes(), Stream{}).ok());
      LaunchLate({slots.Arrive(slot_values), {fresh.data(), cuda.data(), cuda.num_bytes()}});
      ASSERT_TRUE(KernelsOf(*cuda_).Gather(params, Stream{stream_}).ok());
      Finish();
      EXPECT_TRUE(out.Read() == host.Read(slot_values, host.channels())) << "round " << round;
    }
  }
}

TEST_F(CudaOverlapTest, TranslationWaitsForQueriesAndEntries) {
  constexpr int32_t kTokens = 290;
  constexpr int32_t kQueries = 40;
  constexpr int32_t kTopK = 64;
  SmallDeployment cuda({}, std::move(cuda_));
  SmallDeployment host({}, std::move(host_));
  Backend& device = cuda.backend();
  LateInput<int32_t> queries(device, stream_, kQueries);
  LateInput<int32_t> entries(device, stream_, kQueries * kTopK);
  BackendArray<int32_t> slots(device, kQueries * 128);
  BackendArray<int32_t> lengths(device, kQueries);
  BackendArray<int32_t> host_slots(host.backend(), kQueries * 128);
  BackendArray<int32_t> host_lengths(host.backend(), kQueries);
  std::mt19937_64 random(3);
  for (int round = 0; round < kRounds && !HasFailure(); ++round) {
    SCOPED_TRACE(round);
    if (round % 10 == 0) {  // a new step, whose tables are read before any wait
      const int32_t tokens = round == 0 ? kTokens : 8;
      ASSERT_TRUE(
          cuda.store()
              .Begin(round == 0 ? cuda.Feed(tokens) : cuda.Continue(tokens), Stream{stream_})
              .ok());
      ASSERT_TRUE(
          host.store().Begin(round == 0 ? host.Feed(tokens) : host.Continue(tokens), {}).ok());
    }
    const int32_t rows = cuda.store().step().num_token_rows;
    std::vector<int32_t> query_values(kQueries);
    for (int32_t& query : query_values) query = static_cast<int32_t>(random() % rows);
    std::vector<int32_t> entry_values(kQueries * kTopK);
    for (int32_t& entry : entry_values) entry = static_cast<int32_t>(random() % (kTokens / 4));
    BackendArray<int32_t> host_queries(host.backend(), query_values);
    BackendArray<int32_t> host_entries(host.backend(), entry_values);
    const auto translate = [&](Store& store, const int32_t* token_rows, const int32_t* listed,
                               const SlotsOut& out, Stream stream) {
      const Queries asked = {token_rows, kQueries};
      const int layer = SmallDeployment::kCsaLayer;
      return round % 3 == 0   ? store.TranslateTopK(layer, asked, {listed, 0, kTopK}, out, stream)
             : round % 3 == 1 ? store.TranslateVisible(layer, asked, kTopK, out, stream)
                              : store.TranslateWindow(layer, asked, out, stream);
    };
    LaunchLate({queries.Arrive(query_values), entries.Arrive(entry_values)});
    ASSERT_TRUE(translate(cuda.store(), queries.data(), entries.data(),
                          {.slots = slots.data(), .lengths = lengths.data()}, Stream{stream_})
                    .ok());
    Finish();
    ASSERT_TRUE(translate(host.store(), host_queries.data(), host_entries.data(),
                          {.slots = host_slots.data(), .lengths = host_lengths.data()}, {})
                    .ok());
    EXPECT_TRUE(slots.Read() == host_slots.Read());
    EXPECT_TRUE(lengths.Read() == host_lengths.Read());
  }
}

// Runs Compress twice a step: behind nothing, then behind a kernel that brings late what the first
// run found.
class CudaOverlapCompressTest : public CudaOverlapTest,
                                public ::testing::WithParamInterface<FloatType> {
 protected:
  void CompressTwice(CompressDriver& driver, int layer) {
    Store& store = driver.store();
    Backend& backend = driver.backend();
    const bool csa = layer == CompressDriver::kCsaLayer;
    CompressInputs inputs = driver.Inputs(layer);
    const std::vector<uint8_t> state = ReadPool(store, layer, PoolKind::kState);
    BackendArray<uint8_t> state_before(backend, state);
    ASSERT_TRUE(backend.Synchronize(Stream{}).ok());
    ASSERT_TRUE(store.Compress(layer, inputs, Stream{stream_}).ok());
    Finish();
    const std::vector<uint8_t> state_after = ReadPool(store, layer, PoolKind::kState);
    std::vector<uint8_t> overlap;
    if (csa) overlap = ReadPool(store, layer, PoolKind::kOverlap);

    std::vector<LateCopies::Copy> copies;
    const auto late = [&](const void* from, void* to, int64_t bytes) {
      // Until then a large number: what is made of it differs from all that is made of rows.
      ASSERT_EQ(cudaMemsetAsync(to, 0x7F, bytes, stream_), cudaSuccess);
      copies.push_back({from, to, bytes});
    };
    late(state_before.data(), store.Pages(layer, PoolKind::kState)->base, state.size());
    std::deque<BackendArray<float>> live;
    const auto input_late = [&](auto& input, int64_t bytes) {
      live.emplace_back(backend, bytes / 4);
      late(input, live.back().data(), bytes);
      input = live.back().data();
    };
    for (CompressPlaneIn* const plane : {&inputs.latent, &inputs.indexer}) {
      if (plane->kv == nullptr) continue;
      const int64_t channels = plane == &inputs.latent ? kLatentChannels : kIndexerChannels;
      const int64_t width = csa ? 2 * channels : channels;
      const int64_t row_bytes = width * (inputs.rows == FloatType::kBf16 ? 2 : 4);
      input_late(plane->kv, store.step().num_token_rows * row_bytes);
      input_late(plane->score, store.step().num_token_rows * row_bytes);
      input_late(plane->ape, (csa ? kCsaRatio : kHcaRatio) * width * 4);
      input_late(plane->norm_weight, channels * 2);
    }
    LaunchLate(copies);
    ASSERT_TRUE(store.Compress(layer, inputs, Stream{stream_}).ok());
    Finish();
    EXPECT_TRUE(ReadPool(store, layer, PoolKind::kState) == state_after) << "layer " << layer;
    if (!csa) return;
    EXPECT_TRUE(ReadPool(store, layer, PoolKind::kOverlap) == overlap);
  }

 private:
  // All bytes of a pool in which `layer` alone has pages.
  static std::vector<uint8_t> ReadPool(Store& store, int layer, PoolKind kind) {
    const PageView pages = *store.Pages(layer, kind);
    return DownloadArray<uint8_t>(store.backend(), pages.base,
                                  pages.block_stride * pages.num_blocks);
  }
};
INSTANTIATE_TEST_SUITE_P(Rows, CudaOverlapCompressTest,
                         ::testing::Values(FloatType::kFloat32, FloatType::kBf16));

// The entries are held against one pass over the same tokens.
TEST_P(CudaOverlapCompressTest, CompressWaitsForInputsAndState) {
  CompressOptions options = {.rows = GetParam()};
  options.make_entries = [this](CompressDriver& driver) {
    CompressTwice(driver, CompressDriver::kCsaLayer);
    CompressTwice(driver, CompressDriver::kHcaLayer);
  };
  CompressTraffic traffic(options, std::move(cuda_), /*seed=*/4);
  for (int i = 0; i < 80 && !HasFailure(); ++i) traffic.Act();
  traffic.FreeAll();  // nothing was stale: a header that came late was not read before
  EXPECT_GT(traffic.figures().steps, 40);
  EXPECT_GT(traffic.figures().rejections, 10);
  EXPECT_GT(traffic.figures().snapshots_in_step, 2);
  EXPECT_GT(traffic.figures().checks, 20);
}

}  // namespace
}  // namespace terrace::testing
