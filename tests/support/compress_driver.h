// CompressDriver runs steps of a small deployment (a window layer, a CSA and an HCA one) through a
// ledger and a store, and feeds the compressor raw rows that are a function of position and token
// id alone. So what the entries must be is what one pass over the same ids makes, in a deployment
// of its own.

#ifndef TERRACE_TESTS_SUPPORT_COMPRESS_DRIVER_H_
#define TERRACE_TESTS_SUPPORT_COMPRESS_DRIVER_H_

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "src/plan/step_expand.h"
#include "terrace/capacity.h"
#include "terrace/formats/bf16.h"
#include "terrace/formats/rope.h"
#include "terrace/ledger.h"
#include "terrace/store.h"
#include "terrace/units.h"
#include "tests/support/backend_array.h"
#include "tests/support/test_geometry.h"

namespace terrace::testing {

using internal::SlotOf;

inline constexpr int kCompressDrafts = 5;
inline constexpr int kCompressTokens = 1100;  // of one sequence, and of one step

// Number `i` of what `seed` names, uniform in -scale .. scale.
inline float RawNumber(uint64_t seed, int i, float scale) {
  uint64_t x = seed + static_cast<uint64_t>(i) * 0x9E3779B97F4A7C15u;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
  x ^= x >> 31;
  return (static_cast<float>(x >> 40) / 8388608.0f - 1.0f) * scale;
}

class CompressDriver;

struct CompressOptions {
  RowFormat latent = RowFormat::kBf16;
  RowFormat indexer = RowFormat::kIndexerFp8;
  FloatType rows = FloatType::kFloat32;
  bool prefix_reuse = true;
  int32_t in_flight_plans = 0;
  int32_t max_drafts = kCompressDrafts;
  int32_t infinite_token = -1;  // the position whose first kv of each plane is infinite; -1: none
  PoolLayout layout = PoolLayout::kBlockMajor;
  bool window = true;
  // Layer kHcaLayer stores the rows of tokens 0, 128, .. and has no state.
  bool strided_hca = false;
  // Begins a plan; empty: Store::Begin.
  std::function<absl::Status(CompressDriver&, const Plan&)> begin = {};
  // Makes the entries of the step that has begun; empty: CompressDriver::Compress.
  std::function<void(CompressDriver&)> make_entries = {};
};

class CompressDriver {
 public:
  static constexpr int kCsaLayer = 1;
  static constexpr int kHcaLayer = 2;

  CompressDriver(const CompressOptions& options, std::shared_ptr<Backend> backend)
      : options_(options), backend_(std::move(backend)) {
    model_ = ModelOf(options);
    absl::StatusOr<CapacityPlan> plan =
        PlanCapacity({.model = model_,
                      .memory_bytes = 64 * kMiB,
                      .limits = {.max_sequences = 6,
                                 .max_step_tokens = kCompressTokens,
                                 .max_drafts = options.max_drafts,
                                 .max_context_tokens = kCompressTokens},
                      .in_flight_plans = options.in_flight_plans});
    EXPECT_TRUE(plan.ok()) << plan.status();
    geometry_ = plan->geometry;
    auto ledger = Ledger::Create({.geometry = geometry_,
                                  .in_flight_plans = options.in_flight_plans,
                                  .prefix = {.enabled = options.prefix_reuse}});
    EXPECT_TRUE(ledger.ok()) << ledger.status();
    ledger_ = *std::move(ledger);
    auto store = Store::Create({.model = model_, .geometry = geometry_}, backend_);
    EXPECT_TRUE(store.ok()) << store.status();
    store_ = *std::move(store);
    std::vector<RopeTableView> views;
    for (const RopeSpec& rope : model_.ropes) {
      ropes_.push_back(
          std::make_unique<BackendArray<float>>(*backend_, MakeRopeTable(kCompressTokens, rope)));
      views.push_back({ropes_.back()->data(), kCompressTokens});
    }
    EXPECT_TRUE(store_->SetRopeTables(views).ok());
    projections_.emplace_back(*this, 1, 2 * kLatentChannels, kLatentChannels, 4);
    projections_.emplace_back(*this, 2, 2 * kIndexerChannels, kIndexerChannels, 4);
    projections_.emplace_back(*this, 3, kLatentChannels, kLatentChannels, 128);
  }

  const ModelSpec& model() const { return model_; }
  const Geometry& geometry() const { return geometry_; }
  Ledger& ledger() { return *ledger_; }
  Store& store() { return *store_; }
  Backend& backend() { return *backend_; }

  // Begins the plan and compresses its rows. `ids[i]` spells the sequence of sequence step i, up to
  // its last row of the step at least.
  void Run(const Plan& plan, const std::vector<std::vector<int32_t>>& ids) {
    const absl::Status begun =
        options_.begin ? options_.begin(*this, plan) : store_->Begin(plan, Stream{});
    ASSERT_TRUE(begun.ok()) << begun;
    for (Projection& projection : projections_) Fill(plan, ids, projection);
    options_.make_entries ? options_.make_entries(*this) : Compress(Stream{});
  }

  // Of both layers, launched for up to `capacity` token rows (0: those of the step).
  void Compress(Stream stream, int32_t capacity = 0) {
    for (const int layer : {kCsaLayer, kHcaLayer}) {
      const absl::Status status = store_->Compress(layer, Inputs(layer, capacity), stream);
      ASSERT_TRUE(status.ok()) << status;
    }
  }

  CompressInputs Inputs(int layer, int32_t capacity = 0) {
    CompressInputs inputs;
    inputs.capacity = capacity;
    inputs.latent = projections_[layer == kCsaLayer ? 0 : 2].in();
    if (layer == kCsaLayer) inputs.indexer = projections_[1].in();
    inputs.rows = options_.rows;
    return inputs;
  }

  int FullPool(int layer) const { return terrace::FullPool(model_, layer).value(); }

  // The stored bytes of a sequence's entries that `length` tokens close: CSA latent, indexer, HCA.
  std::vector<uint8_t> Entries(int32_t sequence_index, int32_t length) {
    std::vector<uint8_t> bytes;
    for (const auto& [layer, plane] :
         {std::pair(kCsaLayer, PlaneKind::kLatent), std::pair(kCsaLayer, PlaneKind::kIndexer),
          std::pair(kHcaLayer, PlaneKind::kLatent)}) {
      const int pool = FullPool(layer);
      const PoolGeometry& geometry = geometry_.pools[pool];
      const auto blocks =
          DownloadArray<int32_t>(*backend_,
                                 store_->step_view().block_table[pool] +
                                     int64_t{sequence_index} * geometry.blocks_per_sequence,
                                 geometry.blocks_per_sequence);
      const PageView pages = *store_->Pages(layer, PoolKind::kFull, plane);
      for (int32_t entry = 0; entry < EntriesClosed(geometry, length); ++entry) {
        const int32_t slot = SlotOf(geometry, blocks.data(), entry);
        EXPECT_GE(slot, 0) << "sequence index " << sequence_index << ", entry " << entry;
        if (slot < 0) return {};
        const int64_t in_block = slot % geometry.entries_per_block;
        const uint8_t* page = static_cast<const uint8_t*>(pages.base) +
                              slot / geometry.entries_per_block * pages.block_stride;
        const auto append = [&](const uint8_t* from, int64_t count) {
          const auto row = DownloadArray<uint8_t>(*backend_, from, count);
          bytes.insert(bytes.end(), row.begin(), row.end());
        };
        append(page + in_block * pages.data_stride, pages.data_bytes);
        append(page + pages.scale_offset + in_block * pages.scale_stride, pages.scale_bytes);
      }
    }
    return bytes;
  }

  // What one pass over `ids` stores.
  std::vector<uint8_t> OnePass(const std::vector<int32_t>& ids) {
    const auto admission = ledger_->AllocateSequence({.tokens = ids});
    EXPECT_TRUE(admission.ok()) << admission.status();
    const int32_t tokens = static_cast<int32_t>(ids.size());
    const auto plan = ledger_->Append({{{.id = admission->id, .tokens = tokens}}});
    EXPECT_TRUE(plan.ok()) << plan.status();
    Run(*plan, {ids});
    std::vector<uint8_t> bytes = Entries(admission->id.index, tokens);
    EXPECT_TRUE(ledger_->FreeSequence(admission->id).ok());
    return bytes;
  }

 private:
  static ModelSpec ModelOf(const CompressOptions& options) {
    absl::StatusOr<ModelSpec> made = MakeModel({.ratios = {options.window ? 0 : 128, 4, 128},
                                                .latent_format = options.latent,
                                                .indexer_format = options.indexer,
                                                .state = true,
                                                .swa_block_tokens = 32,
                                                .max_context_tokens = 2048,
                                                .layout = options.layout});
    EXPECT_TRUE(made.ok()) << made.status();
    ModelSpec model = options.window ? *std::move(made) : WithoutWindow(*std::move(made));
    if (options.strided_hca) {
      model.pools[model.layers[kHcaLayer].pools[1].pool].rule = EntryRule::kStrided;
      model.pools.pop_back();  // its state
      model.layers[kHcaLayer].pools.pop_back();
    }
    return model;
  }

  // One plane of a layer: its learned parameters, and room for a step's rows.
  struct Projection {
    Projection(CompressDriver& driver, int seed, int width, int channels, int ratio)
        : seed(seed),
          width(width),
          ape(*driver.backend_, Numbers(seed * 10 + 1, ratio * width, 1.0f)),
          weight(*driver.backend_, Weights(seed * 10 + 2, channels)),
          kv(*driver.backend_, int64_t{kCompressTokens} * width * 4),
          score(*driver.backend_, int64_t{kCompressTokens} * width * 4) {}

    CompressPlaneIn in() {
      return {
          .kv = kv.data(), .score = score.data(), .ape = ape.data(), .norm_weight = weight.data()};
    }
    static std::vector<float> Numbers(int seed, int count, float scale) {
      std::vector<float> numbers(count);
      for (int i = 0; i < count; ++i) numbers[i] = RawNumber(seed, i, scale);
      return numbers;
    }
    static std::vector<uint16_t> Weights(int seed, int count) {
      std::vector<uint16_t> weights(count);
      for (int i = 0; i < count; ++i) weights[i] = Bf16FromFloat(1 + RawNumber(seed, i, 0.2f));
      return weights;
    }

    int seed;
    int width;
    BackendArray<float> ape;
    BackendArray<uint16_t> weight;
    BackendArray<uint8_t> kv;
    BackendArray<uint8_t> score;
  };

  void Fill(const Plan& plan, const std::vector<std::vector<int32_t>>& ids,
            Projection& projection) {
    const int64_t rows = plan.header().num_token_rows;
    for (const bool score : {false, true}) {
      std::vector<float> numbers(rows * projection.width);
      for (size_t l = 0; l < plan.sequences().size(); ++l) {
        const SequenceStep& part = plan.sequences()[l];
        for (int32_t i = 0; i < part.count; ++i) {
          const int32_t position = part.first + i;
          const uint64_t seed = (static_cast<uint64_t>(ids[l][position]) << 32 | position) * 16 +
                                projection.seed * 2 + score;
          float* const row = numbers.data() + (part.token_row + i) * int64_t{projection.width};
          for (int c = 0; c < projection.width; ++c) row[c] = RawNumber(seed, c, score ? 6 : 3);
          if (!score && position == options_.infinite_token) row[0] = INFINITY;
        }
      }
      void* const to = score ? projection.score.data() : projection.kv.data();
      const bool bf16 = options_.rows == FloatType::kBf16;
      std::vector<uint16_t> narrow(bf16 ? numbers.size() : 0);
      std::transform(numbers.begin(), numbers.begin() + narrow.size(), narrow.begin(),
                     [](float number) { return Bf16FromFloat(number); });
      const absl::Status status =
          backend_->Upload(to, bf16 ? static_cast<const void*>(narrow.data()) : numbers.data(),
                           static_cast<int64_t>(numbers.size()) * (bf16 ? 2 : 4), Stream{});
      ASSERT_TRUE(status.ok()) << status;
    }
  }

  CompressOptions options_;
  std::shared_ptr<Backend> backend_;
  ModelSpec model_;
  Geometry geometry_{};
  std::unique_ptr<Ledger> ledger_;
  std::unique_ptr<Store> store_;
  std::vector<std::unique_ptr<BackendArray<float>>> ropes_;
  std::deque<Projection> projections_;  // which do not move
};

}  // namespace terrace::testing

#endif  // TERRACE_TESTS_SUPPORT_COMPRESS_DRIVER_H_
