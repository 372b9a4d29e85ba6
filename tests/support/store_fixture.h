// A small deployment for tests of single operations: three layers (window only, ratio 4 with an
// indexer, ratio 128), a ledger, and a store with rope tables.

#ifndef TERRACE_TESTS_SUPPORT_STORE_FIXTURE_H_
#define TERRACE_TESTS_SUPPORT_STORE_FIXTURE_H_

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "src/model/geometry_builder.h"
#include "terrace/formats/rope.h"
#include "terrace/ledger.h"
#include "terrace/store.h"
#include "tests/support/backend_array.h"
#include "tests/support/store_oracle.h"

namespace terrace::testing {

using internal::MakeGeometry;

using BackendFactory = std::function<absl::StatusOr<std::shared_ptr<Backend>>()>;

inline void ExpectCode(const absl::Status& status, absl::StatusCode code) {
  EXPECT_EQ(status.code(), code) << status;
  EXPECT_EQ(status.message().find('\n'), absl::string_view::npos) << "one line: " << status;
  EXPECT_EQ(status.message().empty(), code == absl::StatusCode::kOk);
}

struct SmallOptions {
  RowFormat latent = RowFormat::kFlashMlaV4;
  RowFormat indexer = RowFormat::kIndexerFp8;
  PoolLayout layout = PoolLayout::kBlockMajor;
  bool rope_before_store = true;
  int32_t max_step_tokens = 300;
};

class SmallDeployment {
 public:
  static constexpr int kWindowLayer = 0;
  static constexpr int kCsaLayer = 1;
  static constexpr int kHcaLayer = 2;
  static constexpr int32_t kPositions = 1024;  // of the rope tables; the context is twice as long

  SmallDeployment(const SmallOptions& options, std::shared_ptr<Backend> backend)
      : backend_(std::move(backend)) {
    absl::StatusOr<ModelSpec> model = MakeModel({.ratios = {0, 4, 128},
                                                 .latent_format = options.latent,
                                                 .indexer_format = options.indexer,
                                                 .swa_block_tokens = 32,
                                                 .max_context_tokens = 2 * kPositions,
                                                 .layout = options.layout});
    EXPECT_TRUE(model.ok()) << model.status();
    model_ = *std::move(model);
    for (PoolSpec& pool : model_.pools) {
      for (PlaneSpec& plane : pool.planes) plane.rope_before_store = options.rope_before_store;
    }
    absl::StatusOr<Geometry> geometry = MakeGeometry(
        model_, {.max_sequences = 2, .max_step_tokens = options.max_step_tokens, .max_drafts = 2},
        {30, 10, 12, 6});
    EXPECT_TRUE(geometry.ok()) << geometry.status();
    geometry_ = *geometry;
    ledger_ = MakeLedger(1);
    store_ = MakeStore();
  }

  std::unique_ptr<Ledger> MakeLedger(uint64_t epoch) const {
    auto ledger =
        Ledger::Create({.geometry = geometry_, .epoch = epoch, .prefix = {.enabled = false}});
    EXPECT_TRUE(ledger.ok()) << ledger.status();
    return *std::move(ledger);
  }

  std::unique_ptr<Store> MakeStore() {
    auto store = Store::Create({.model = model_, .geometry = geometry_}, backend_);
    EXPECT_TRUE(store.ok()) << store.status();
    if (ropes_.empty()) {
      for (const RopeSpec& rope : model_.ropes) {
        host_ropes_.push_back(MakeRopeTable(kPositions, rope));
        ropes_.push_back(std::make_unique<BackendArray<float>>(*backend_, host_ropes_.back()));
        rope_views_.push_back({ropes_.back()->data(), kPositions});
      }
    }
    EXPECT_TRUE((*store)->SetRopeTables(rope_views_).ok());
    return *std::move(store);
  }

  const ModelSpec& model() const { return model_; }
  const Geometry& geometry() const { return geometry_; }
  Backend& backend() { return *backend_; }
  Ledger& ledger() { return *ledger_; }
  Store& store() { return *store_; }
  const float* RopeRow(int layer, int32_t position) const {
    return host_ropes_[model_.layers[layer].rope].data() + int64_t{position} * 64;
  }

  // (layer, pool, plane) of everything that is stored.
  struct PlaneOfLayer {
    int layer;
    int pool;
    PoolKind kind;
    int plane;
    RowFormat format;
    int32_t num_slots;
  };
  std::vector<PlaneOfLayer> Planes() const {
    std::vector<PlaneOfLayer> planes;
    for (size_t l = 0; l < model_.layers.size(); ++l) {
      for (const LayerPool& use : model_.layers[l].pools) {
        const PoolSpec& pool = model_.pools[use.pool];
        const int32_t slots =
            geometry_.pools[use.pool].capacity_blocks * geometry_.pools[use.pool].entries_per_block;
        for (size_t plane = 0; plane < pool.planes.size(); ++plane) {
          planes.push_back({static_cast<int>(l), use.pool, pool.kind, static_cast<int>(plane),
                            pool.planes[plane].format, slots});
        }
      }
    }
    return planes;
  }

  // All bytes of all pools.
  std::vector<uint8_t> PoolBytes() {
    std::vector<uint8_t> all;
    for (int pool = 0; pool < geometry_.num_pools; ++pool) {
      const PoolKind kind = model_.pools[pool].kind;
      const int layer = FirstLayerOf(pool);
      const PoolImage image = MakeImage(pool);
      const auto bytes =
          DownloadArray<uint8_t>(*backend_, store_->Pages(layer, kind)->base, image.bytes().size());
      all.insert(all.end(), bytes.begin(), bytes.end());
    }
    return all;
  }

  // An empty image of the whole pool.
  PoolImage MakeImage(int pool) const {
    return {model_.pools[pool], CountLayers(model_, PoolIndex(pool), {0, 3}),
            geometry_.pools[pool].capacity_blocks};
  }
  int FirstLayerOf(int pool) const {
    int layer = 0;
    while (CountLayers(model_, PoolIndex(pool), {layer, 1}) == 0) ++layer;
    return layer;
  }

  // A first sequence with `tokens` rows, and the plan that feeds them.
  Plan Feed(int32_t tokens) {
    auto id = ledger_->AllocateSequence({.tokens = std::vector<int32_t>(tokens, 1)});
    EXPECT_TRUE(id.ok()) << id.status();
    sequence_ = id->id;
    auto plan = ledger_->Append({{{.id = sequence_, .tokens = tokens}}});
    EXPECT_TRUE(plan.ok()) << plan.status();
    return *std::move(plan);
  }
  Plan Continue(int32_t tokens) {
    auto plan = ledger_->Append({{{.id = sequence_, .tokens = tokens}}});
    EXPECT_TRUE(plan.ok()) << plan.status();
    return *std::move(plan);
  }

 private:
  std::shared_ptr<Backend> backend_;
  ModelSpec model_;
  Geometry geometry_{};
  std::vector<std::vector<float>> host_ropes_;
  std::vector<std::unique_ptr<BackendArray<float>>> ropes_;
  std::vector<RopeTableView> rope_views_;
  std::unique_ptr<Ledger> ledger_;
  std::unique_ptr<Store> store_;
  SequenceId sequence_;
};

// Joins rows into one array.
inline std::vector<uint16_t> Flatten(const std::vector<RowBits>& rows) {
  std::vector<uint16_t> bits;
  for (const RowBits& row : rows) bits.insert(bits.end(), row.begin(), row.end());
  return bits;
}

// Skips the test where the backend cannot run, with the reason.
class StoreTest : public ::testing::TestWithParam<BackendFactory> {
 protected:
  void SetUp() override {
    absl::StatusOr<std::shared_ptr<Backend>> backend = GetParam()();
    if (!backend.ok()) GTEST_SKIP() << backend.status();
    backend_ = *std::move(backend);
  }

  std::shared_ptr<Backend> backend_;
};

}  // namespace terrace::testing

#endif  // TERRACE_TESTS_SUPPORT_STORE_FIXTURE_H_
