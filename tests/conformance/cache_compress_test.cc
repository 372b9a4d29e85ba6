// How an engine lets a cache make its entries (docs/guide.md quotes it).

#include <cstdint>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "terrace/cache.h"
#include "terrace/units.h"

namespace terrace::testing {
namespace {

// What a model's projections give one plane of one layer in a step, and its weights: here kv is 2
// in even channels and -2 in odd ones for all tokens, so that an entry is 1 and -1.
struct Projection {
  Projection(int64_t tokens, int32_t ratio, int32_t channels) {
    const int32_t columns = ratio == 4 ? 2 * channels : channels;
    for (int64_t i = 0; i < tokens * columns; ++i) kv.push_back(i % 2 == 0 ? 2.0f : -2.0f);
    score.resize(kv.size());
    ape.resize(int64_t{ratio} * columns);
    norm_weight.resize(channels, 0x3F80);
  }
  std::vector<float> kv;
  std::vector<float> score;
  std::vector<float> ape;
  std::vector<uint16_t> norm_weight;
};

absl::Status CompressStep(Cache& cache, const Plan& plan) {
  if (absl::Status status = cache.Begin(plan, {}); !status.ok()) return status;
  const int64_t tokens = plan.header().num_token_rows;
  const std::vector<uint16_t> window_rows(tokens * kLatentChannels, 0x3F80);
  for (int layer = 0; layer < 3; ++layer) {
    absl::Status status = cache.Write(layer, {.swa = {.data = window_rows.data()}}, {});
    if (layer > 0 && status.ok()) {
      const Projection latent(tokens, layer == 1 ? 4 : 128, kLatentChannels);
      const Projection indexer(tokens, 4, kIndexerChannels);
      CompressInputs inputs;
      inputs.latent = {.kv = latent.kv.data(),
                       .score = latent.score.data(),
                       .ape = latent.ape.data(),
                       .norm_weight = latent.norm_weight.data()};
      if (layer == 1) {
        inputs.indexer = {.kv = indexer.kv.data(),
                          .score = indexer.score.data(),
                          .ape = indexer.ape.data(),
                          .norm_weight = indexer.norm_weight.data()};
      }
      status = cache.Compress(layer, inputs, {});
    }
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

TEST(CacheCompressTest, CompressMakesTheEntriesOfTokensThatCameInSeveralSteps) {
  const absl::StatusOr<ModelSpec> model =
      MakeModel({.ratios = {0, 4, 128}, .latent_format = RowFormat::kBf16, .state = true});
  ASSERT_TRUE(model.ok()) << model.status();
  auto cache = Cache::Create({.model = *model,
                              .memory_bytes = 64 * kMiB,
                              .limits = {.max_sequences = 2, .max_context_tokens = 512},
                              .backend = {.kind = BackendKind::kHost, .host_threads = 2}});
  ASSERT_TRUE(cache.ok()) << cache.status();
  const auto sequence = (*cache)->AllocateSequence({.tokens = std::vector<int32_t>(130, 7)});
  ASSERT_TRUE(sequence.ok()) << sequence.status();
  for (const int32_t tokens : {5, 100, 1, 24}) {
    const auto plan = (*cache)->Append({{sequence->id, tokens}});
    ASSERT_TRUE(plan.ok()) << plan.status();
    const absl::Status status = CompressStep(**cache, *plan);
    ASSERT_TRUE(status.ok()) << status;
  }
  const int32_t last = 23;  // of the step: position 129
  for (const auto& [layer, entries] : {std::pair(1, 32), std::pair(2, 1)}) {
    std::vector<uint16_t> rows((entries + 1) * int64_t{kLatentChannels});
    const absl::Status status = (*cache)->GatherVisible(layer, {.token_rows = &last, .count = 1},
                                                        entries + 1, {.data = rows.data()}, {});
    ASSERT_TRUE(status.ok()) << status;
    for (int entry = 0; entry < entries; ++entry) {
      EXPECT_EQ(rows[entry * kLatentChannels], 0x3F80) << layer << " " << entry;
      EXPECT_EQ(rows[entry * kLatentChannels + 1], 0xBF80) << layer << " " << entry;
    }
    EXPECT_EQ(rows[entries * kLatentChannels], 0) << layer;  // nothing more is in sight
  }
}

}  // namespace
}  // namespace terrace::testing
