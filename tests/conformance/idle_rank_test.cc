// A step of no sequence on a store, over every backend: layers that run all the same write nothing
// and read nothing, as on an idle rank of a data-parallel group that replays its graph.

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "terrace/cache.h"
#include "terrace/units.h"
#include "tests/support/backend_array.h"
#include "tests/support/compress_fixture.h"

namespace terrace::testing {
namespace {

constexpr int32_t kRows = 64;  // what the step is padded to
constexpr uint16_t kOne = 0x3F80;
constexpr uint16_t kTwo = 0x4000;

class IdleRankTest : public ::testing::TestWithParam<BackendKind> {
 protected:
  void SetUp() override {
    auto cache = Cache::Create(
        {.model =
             *MakeModel({.ratios = {0, 4, 128}, .latent_format = RowFormat::kBf16, .state = true}),
         .memory_bytes = 48 * kMiB,
         .limits = {.max_sequences = 4,
                    .max_step_tokens = 300,
                    .max_drafts = 3,
                    .max_context_tokens = 2048},
         .backend = {.kind = GetParam(), .host_threads = 2}});
    if (!cache.ok()) GTEST_SKIP() << cache.status();
    cache_ = *std::move(cache);
    Backend& backend = cache_->backend();
    for (const uint16_t value : {kOne, kTwo}) {
      rows_.push_back(std::make_unique<BackendArray<uint16_t>>(
          backend, std::vector<uint16_t>(300 * kLatentChannels, value)));
    }
    numbers_ = std::make_unique<BackendArray<float>>(
        backend, std::vector<float>(300 * 2 * kLatentChannels, 0.5f));
    window_ = std::make_unique<BackendArray<uint16_t>>(
        backend, std::vector<uint16_t>(kRows * 128 * kLatentChannels, kTwo));
    slots_ = std::make_unique<BackendArray<int32_t>>(backend, std::vector<int32_t>(kRows * 128, 5));
  }

  void Begin(const absl::StatusOr<Plan>& plan, int32_t padded = 0) {
    ASSERT_TRUE(plan.ok()) << plan.status();
    const absl::Status status = cache_->Begin(*plan, {}, padded);
    ASSERT_TRUE(status.ok()) << status;
  }

  // All that a layer writes, for up to `capacity` rows.
  void RunLayers(int rows, int32_t capacity) {
    for (int layer = 0; layer < 3; ++layer) {
      LayerRows write = {.swa = {.data = rows_[rows]->data(), .capacity = capacity}};
      ExpectOk(cache_->Write(layer, write, {}));
      if (layer == 0) continue;
      const CompressPlaneIn plane = {.kv = numbers_->data(),
                                     .score = numbers_->data(),
                                     .ape = numbers_->data(),
                                     .norm_weight = rows_[0]->data()};
      ExpectOk(cache_->Compress(layer,
                                {.latent = plane,
                                 .indexer = layer == 1 ? plane : CompressPlaneIn{},
                                 .capacity = capacity},
                                {}));
    }
  }

  std::vector<uint8_t> Pages() {
    std::vector<uint8_t> bytes;
    for (int layer = 0; layer < 3; ++layer) {
      for (const PoolKind kind :
           {PoolKind::kWindow, PoolKind::kFull, PoolKind::kState, PoolKind::kOverlap}) {
        const absl::StatusOr<PageView> view = cache_->Pages(layer, kind);
        if (!view.ok() || view->num_blocks == 0) continue;
        const auto pages =
            DownloadArray<uint8_t>(cache_->backend(), view->base,
                                   (view->num_blocks - 1) * view->block_stride + view->page_bytes);
        bytes.insert(bytes.end(), pages.begin(), pages.end());
      }
    }
    return bytes;
  }
  std::vector<int32_t> Tables() {
    std::vector<int32_t> tables;
    const Geometry& geometry = cache_->geometry();
    for (int p = 0; p < geometry.num_pools; ++p) {
      const int64_t count = int64_t{geometry.max_sequences} * geometry.pools[p].blocks_per_sequence;
      const auto table =
          DownloadArray<int32_t>(cache_->backend(), cache_->step_view().block_table[p], count);
      tables.insert(tables.end(), table.begin(), table.end());
    }
    return tables;
  }
  static void ExpectOk(const absl::Status& status) { EXPECT_TRUE(status.ok()) << status; }

  std::unique_ptr<Cache> cache_;
  std::vector<std::unique_ptr<BackendArray<uint16_t>>> rows_;  // all ones, all twos
  std::unique_ptr<BackendArray<float>> numbers_;
  std::unique_ptr<BackendArray<uint16_t>> window_;
  std::unique_ptr<BackendArray<int32_t>> slots_;
};

INSTANTIATE_TEST_SUITE_P(Backends, IdleRankTest, kEveryBackend, NameOfBackend);

TEST_P(IdleRankTest, LayersWriteNothingAndReadNothing) {
  const SequenceId id = cache_->AllocateSequence({})->id;
  Begin(cache_->Append({{id, 300}}));
  RunLayers(0, 0);
  const std::vector<uint8_t> pages = Pages();
  const std::vector<int32_t> tables = Tables();
  for (int again = 0; again < 3; ++again) {
    Begin(cache_->Append({}), kRows);
    RunLayers(1, kRows);
    RunLayers(1, 0);  // of its own rows: none
    ExpectOk(cache_->GatherWindow(0, {}, {.data = window_->data()}, {}));
    EXPECT_TRUE(window_->Read() == std::vector<uint16_t>(kRows * 128 * kLatentChannels, 0));
    ExpectOk(cache_->TranslateWindow(0, {}, {.slots = slots_->data()}, {}));
    EXPECT_TRUE(slots_->Read() == std::vector<int32_t>(kRows * 128, -1));
    EXPECT_TRUE(Pages() == pages);
    EXPECT_TRUE(Tables() == tables);
  }
  Begin(cache_->Append({{id, 1}}), kRows);
  EXPECT_EQ(cache_->step().number, 5u);
  RunLayers(0, kRows);
  ExpectOk(cache_->GatherWindow(0, {}, {.data = window_->data()}, {}));
  const std::vector<uint16_t> window = window_->Read();
  for (int row = 0; row < 128; ++row) EXPECT_EQ(window[row * kLatentChannels], kOne) << row;
  EXPECT_FALSE(Pages() == pages);
}

TEST_P(IdleRankTest, ComesBeforeTheFirstRequest) {
  const std::vector<uint8_t> pages = Pages();
  Begin(cache_->Append({}), kRows);
  RunLayers(1, kRows);
  EXPECT_TRUE(Pages() == pages);
  const SequenceId id = cache_->AllocateSequence({})->id;
  Begin(cache_->Append({{id, 1}}), kRows);
  RunLayers(0, kRows);
  ExpectOk(cache_->GatherWindow(0, {}, {.data = window_->data()}, {}));
  EXPECT_EQ(window_->Read()[0], kOne);
}

}  // namespace
}  // namespace terrace::testing
