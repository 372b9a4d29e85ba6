// SmallCacheTest has a cache of three layers, a window one, a CSA and an HCA one, in which every row
// of a step holds one number: whoever reads another number reads what another step wrote.

#ifndef TERRACE_TESTS_SUPPORT_SMALL_CACHE_H_
#define TERRACE_TESTS_SUPPORT_SMALL_CACHE_H_

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "terrace/cache.h"
#include "terrace/units.h"

namespace terrace::testing {

// bf16 of powers of two.
inline constexpr uint16_t kOne = 0x3F80;
inline constexpr uint16_t kTwo = 0x4000;
inline constexpr uint16_t k256 = 0x4380;

class SmallCacheTest : public ::testing::Test {
 protected:
  void Make(MatchPolicy match = MatchPolicy::kAppended, int32_t in_flight_plans = 0) {
    absl::StatusOr<ModelSpec> model =
        MakeModel({.ratios = {0, 4, 128}, .latent_format = RowFormat::kBf16});
    ASSERT_TRUE(model.ok()) << model.status();
    auto cache = Cache::Create({.model = *std::move(model),
                                .memory_bytes = 60 * kMiB,
                                .limits = {.max_sequences = 4,
                                           .max_step_tokens = 1000,
                                           .max_drafts = 4,
                                           .max_context_tokens = 4096},
                                .backend = {.kind = BackendKind::kHost, .host_threads = 1},
                                .in_flight_plans = in_flight_plans,
                                .prefix = {.match = match}});
    ASSERT_TRUE(cache.ok()) << cache.status();
    cache_ = *std::move(cache);
  }

  static std::vector<int32_t> Prompt(int32_t count) {
    std::vector<int32_t> ids(count);
    for (int32_t i = 0; i < count; ++i) ids[i] = i;
    return ids;
  }
  Admission Allocate(int32_t count, absl::string_view salt = {}) {
    const std::vector<int32_t> prompt = Prompt(count);
    const auto admission = cache_->AllocateSequence({.tokens = prompt, .salt = salt});
    EXPECT_TRUE(admission.ok()) << admission.status();
    return *admission;
  }
  Plan Append(SequenceId id, int32_t tokens) {
    auto plan = cache_->Append({{id, tokens}});
    EXPECT_TRUE(plan.ok()) << plan.status();
    return *std::move(plan);
  }
  void Begin(const Plan& plan) {
    const absl::Status begun = cache_->Begin(plan, {});
    ASSERT_TRUE(begun.ok()) << begun;
  }
  // Every row and every entry is `value`.
  void WriteLayer(int layer, uint16_t value) {
    const std::vector<uint16_t> rows(1000 * kLatentChannels, value);
    LayerRows write{.swa = {.data = rows.data()}};
    if (layer > 0) write.entries.data = rows.data();
    if (layer == 1) write.indexer.data = rows.data();
    const absl::Status written = cache_->Write(layer, write, {});
    ASSERT_TRUE(written.ok()) << written;
  }
  void Run(const Plan& plan, uint16_t value) {
    Begin(plan);
    for (int layer = 0; layer < 3; ++layer) WriteLayer(layer, value);
  }
  void Recover(uint64_t first) {
    const auto abandoned = cache_->Abandon(PlanNumber(first));
    ASSERT_TRUE(abandoned.ok()) << abandoned.status();
    Begin(*cache_->Snapshot());
  }
  // The first channel, which is not rotated, of all that the step's last query reads.
  std::vector<uint16_t> Read() {
    std::vector<uint16_t> values;
    const int32_t query = cache_->step().num_token_rows - 1;
    const Queries queries = {.token_rows = &query, .count = 1};
    for (int layer = 0; layer < 3; ++layer) {
      std::vector<uint16_t> rows(250 * kLatentChannels);
      const auto add = [&](int begin, int end) {
        for (int i = begin; i < end; ++i) values.push_back(rows[i * kLatentChannels]);
      };
      EXPECT_TRUE(cache_->GatherWindow(layer, queries, {.data = rows.data()}, {}).ok());
      add(1, 128);  // a step keeps what the next one sees
      if (layer == 0) continue;
      EXPECT_TRUE(cache_->GatherVisible(layer, queries, 250, {.data = rows.data()}, {}).ok());
      add(0, layer == 1 ? 250 : 7);
    }
    return values;
  }

  std::unique_ptr<Cache> cache_;
};

}  // namespace terrace::testing

#endif  // TERRACE_TESTS_SUPPORT_SMALL_CACHE_H_
