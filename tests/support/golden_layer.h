// One layer's compressor fed with golden tokens, and how close its entries must come.

#ifndef TERRACE_TESTS_SUPPORT_GOLDEN_LAYER_H_
#define TERRACE_TESTS_SUPPORT_GOLDEN_LAYER_H_

#include <algorithm>
#include <cmath>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "terrace/capacity.h"
#include "terrace/formats/bf16.h"
#include "terrace/formats/rope.h"
#include "terrace/ledger.h"
#include "terrace/store.h"
#include "terrace/units.h"
#include "tests/support/backend_array.h"
#include "tests/support/golden.h"

namespace terrace::testing {

// What a step of golden tokens stores in a model of one layer, decoded.
class GoldenLayer {
 public:
  // `table`: rows of 64 floats, for positions 0 on.
  GoldenLayer(std::shared_ptr<Backend> backend, int32_t ratio, RowFormat latent, RowFormat indexer,
              const std::vector<float>& table)
      : backend_(std::move(backend)) {
    const absl::StatusOr<ModelSpec> model = MakeModel(
        {.ratios = {ratio}, .latent_format = latent, .indexer_format = indexer, .state = true});
    EXPECT_TRUE(model.ok()) << model.status();
    const absl::StatusOr<CapacityPlan> plan =
        PlanCapacity({.model = *model,
                      .memory_bytes = 64 * kMiB,
                      .limits = {.max_sequences = 1, .max_step_tokens = 512}});
    EXPECT_TRUE(plan.ok()) << plan.status();
    store_ = *Store::Create({.model = *model, .geometry = plan->geometry}, backend_);
    ledger_ = *Ledger::Create({.geometry = plan->geometry});
    rope_ = std::make_unique<BackendArray<float>>(*backend_, table);
    const RopeTableView view = {rope_->data(), static_cast<int32_t>(table.size() / kRopeChannels)};
    EXPECT_TRUE(store_->SetRopeTables({view, view}).ok());
  }

  // A golden set as inputs of a plane.
  CompressPlaneIn Plane(const std::string& name) {
    return {.kv = Upload(name + "/kv"),
            .score = Upload(name + "/score"),
            .ape = reinterpret_cast<const float*>(Upload(name + "/ape")),
            .norm_weight = Upload(name + "/norm_weight")};
  }

  void Compress(const CompressInputs& inputs, int32_t tokens) {
    const auto admission = ledger_->AllocateSequence({.tokens = std::vector<int32_t>(tokens, 1)});
    const auto plan = ledger_->Append({{{.id = admission->id, .tokens = tokens}}});
    ASSERT_TRUE(plan.ok()) << plan.status();
    ASSERT_TRUE(store_->Begin(*plan, Stream{}).ok());
    const absl::Status status = store_->Compress(0, inputs, Stream{});
    ASSERT_TRUE(status.ok()) << status;
  }

  std::vector<uint16_t> Rows(PlaneKind plane, int entries, int channels) {
    constexpr int kFullPool = 1;
    BackendArray<uint16_t> rows(*backend_, int64_t{entries} * channels);
    const absl::Status status =
        store_->ReadSlots(0, PoolKind::kFull, plane,
                          {.slots = store_->step_view().slots[kFullPool], .count = entries},
                          {.data = rows.data()}, Stream{});
    EXPECT_TRUE(status.ok()) << status;
    return rows.Read();
  }

 private:
  const uint8_t* Upload(const std::string& name) {
    arrays_.push_back(std::make_unique<BackendArray<uint8_t>>(*backend_, Golden(name).bytes));
    return arrays_.back()->data();
  }

  std::shared_ptr<Backend> backend_;
  std::unique_ptr<Store> store_;
  std::unique_ptr<Ledger> ledger_;
  std::unique_ptr<BackendArray<float>> rope_;
  std::vector<std::unique_ptr<BackendArray<uint8_t>>> arrays_;
};

// Decoded rows equal the golden ones, but where rounding falls on the other side: there a value is
// one code off, at most `relative` of itself and `absolute` of the row's largest.
inline void ExpectDecoded(const std::vector<uint16_t>& rows, const uint16_t* expected, int channels,
                          double relative, double absolute) {
  int64_t differ = 0;
  for (size_t row = 0; row < rows.size() / channels; ++row) {
    double largest = 0;
    for (int c = 0; c < channels; ++c) {
      largest = std::max<double>(largest, std::abs(FloatFromBf16(expected[row * channels + c])));
    }
    for (int c = 0; c < channels; ++c) {
      const size_t i = row * channels + c;
      const double a = FloatFromBf16(rows[i]);
      const double b = FloatFromBf16(expected[i]);
      differ += rows[i] != expected[i];
      ASSERT_LE(std::abs(a - b), relative * std::max(std::abs(a), std::abs(b)) + absolute * largest)
          << "row " << row << ", channel " << c;
    }
  }
  EXPECT_LE(differ, static_cast<int64_t>(rows.size()) / 100);
}

inline void ExpectDecoded(const std::vector<uint16_t>& rows, const NpyArray& golden, int channels,
                          double relative, double absolute) {
  ExpectDecoded(rows, golden.data<uint16_t>(), channels, relative, absolute);
}

inline constexpr double kE4m3Step = 1.0 / 8;
inline constexpr double kE4m3Least = 2.0 / 448 / 512;
inline constexpr double kE2m1Step = 1.0 / 2;
inline constexpr double kE2m1Least = 2.0 / 6 / 2;
inline constexpr double kBf16Step = 1.0 / 128;

}  // namespace terrace::testing

#endif  // TERRACE_TESTS_SUPPORT_GOLDEN_LAYER_H_
