// DeepSeek-V4.1 as a named model, and what models of its kind are described by.

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "src/model/page_layout.h"
#include "terrace/capacity.h"
#include "terrace/model.h"
#include "terrace/units.h"

namespace terrace::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

const PoolSpec& PoolNamed(const ModelSpec& model, const std::string& name) {
  for (const PoolSpec& pool : model.pools) {
    if (pool.name == name) return pool;
  }
  ADD_FAILURE() << "no pool " << name;
  return model.pools[0];
}

const LayerPool* PlaceIn(const ModelSpec& model, int layer, const std::string& name) {
  for (const LayerPool& use : model.layers[layer].pools) {
    if (model.pools[use.pool].name == name) return &use;
  }
  return nullptr;
}

std::string MessageOf(const LayeredModelOptions& options) {
  const absl::Status status = MakeModel(options).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  return std::string(status.message());
}

TEST(ModelV41Test, FourLayersMakeTheEntriesOfFortyLayers) {
  const ModelSpec model = DeepSeekV41Flash();
  ASSERT_TRUE(ValidateModel(model).ok()) << ValidateModel(model);
  ASSERT_EQ(model.layers.size(), 40u);
  for (int layer = 0; layer < 40; ++layer) {
    SCOPED_TRACE(layer);
    const bool pairs = layer >= 2 && layer < 20;
    const LayerPool* const use = PlaceIn(model, layer, pairs ? "c2" : "c1");
    EXPECT_EQ(model.layers[layer].rope, layer < 2 ? 0 : 1);
    EXPECT_EQ(FullPool(model, layer) == kNoPool, layer < 2);
    if (layer < 2) continue;
    ASSERT_NE(use, nullptr);
    EXPECT_EQ(use->index, layer < 8 ? 0 : layer < 14 ? 1 : layer < 20 ? 2 : 0);
    const bool is_source = layer == 2 || layer == 8 || layer == 14 || layer == 20;
    EXPECT_EQ(use->writes, is_source);
    // A pair's first token waits for its second: only those that make pairs keep it.
    EXPECT_EQ(PlaceIn(model, layer, "c2_state") != nullptr, is_source && pairs);
  }
  EXPECT_EQ(OverlapPool(model), kNoPool);
  EXPECT_EQ(model.top_k, 512);
  EXPECT_EQ(model.window_tokens, 128);
  EXPECT_EQ(model.max_context_tokens, 1048576);
  EXPECT_EQ(model.ropes[0].base, 10000);
  EXPECT_EQ(model.ropes[1].base, 160000);
  EXPECT_EQ(model.ropes[1].yarn_factor, 16);
}

TEST(ModelV41Test, RowsAreWhatFlashMlaAndDeepGemmRead) {
  const ModelSpec model = DeepSeekV41Flash();
  const PoolSpec& window = PoolNamed(model, "swa");
  EXPECT_EQ(window.planes[0].format, RowFormat::kMxfp8V41Il);
  EXPECT_EQ(window.block_align, 528);
  for (const char* const name : {"c1", "c2"}) {
    const PoolSpec& pool = PoolNamed(model, name);
    ASSERT_EQ(pool.planes.size(), 2u);
    EXPECT_EQ(pool.planes[0].format, RowFormat::kNvfp4V41Il);
    EXPECT_EQ(pool.planes[1].format, RowFormat::kIndexerMxfp4);
    EXPECT_TRUE(pool.planes[0].rope_before_store);
    EXPECT_EQ(pool.block_align, 288);
    EXPECT_EQ(pool.entries_per_page, 64);
    EXPECT_EQ(pool.entries_per_block * pool.ratio, 256);
    // The keys of a page begin on 16 bytes, and pages are whole rows apart.
    const PoolPages place = internal::PlacePages(pool, 3, 5);
    EXPECT_EQ(place.pages_per_block, pool.entries_per_block / 64);
    EXPECT_EQ(place.page_stride % 288, 0);
    EXPECT_EQ(place.plane_offset[1], 64 * 288);
    EXPECT_EQ(place.page_bytes[1], 64 * 68);
  }
}

TEST(ModelV41Test, ATokenTakes890Bytes) {
  const auto plan = [](const LayeredModelOptions& options) {
    return PlanCapacity({.model = MakeModel(options).value(), .memory_bytes = 40 * kGiB}).value();
  };
  LayeredModelOptions options = ModelOptionsByName("deepseek-v4.1-flash").value();
  EXPECT_DOUBLE_EQ(plan(options).useful_bytes_per_token, 890);  // (3/2 + 1) (288 + 68)
  // The same numbers in split rows.
  options.latent_format = RowFormat::kNvfp4;
  options.window_format = RowFormat::kMxfp8V41;
  const CapacityPlan split = plan(options);
  EXPECT_DOUBLE_EQ(split.useful_bytes_per_token, 890);
  EXPECT_TRUE(PoolNamed(split.model, "c1").planes[0].rope_before_store);
  EXPECT_EQ(PoolNamed(split.model, "swa").block_align, 512);
  // The rows of DeepSeek-V4 for both, as on devices before SM100.
  options.latent_format = RowFormat::kFlashMlaV4;
  options.window_format = RowFormat::kFlashMlaV4;
  EXPECT_DOUBLE_EQ(plan(options).useful_bytes_per_token, 2.5 * (584 + 68));
}

TEST(ModelV41Test, AKeyOfStateIsARawRowAndOneForEachDraft) {
  const PoolSpec state = PoolNamed(DeepSeekV41Flash(), "c2_state");
  EXPECT_EQ(state.kind, PoolKind::kState);
  EXPECT_EQ(state.ratio, 2);
  EXPECT_EQ(state.opaque_bytes, 32 + 4096);  // kv and score of 512 channels, float32
  EXPECT_EQ(state.opaque_bytes_per_draft, 4096);
}

TEST(ModelV41Test, SourcesThatMakeNoModelAreErrorsThatNameTheField) {
  const std::vector<int32_t> ratios = {0, 2, 2, 1, 1};
  EXPECT_THAT(MessageOf({.ratios = ratios, .kv_sources = {1, 1}}),
              HasSubstr("kv_sources[1] is 1, not in 2..4"));
  EXPECT_THAT(MessageOf({.ratios = ratios, .kv_sources = {1, 5}}), HasSubstr("kv_sources[1] is 5"));
  EXPECT_THAT(MessageOf({.ratios = ratios, .kv_sources = {-1}}), HasSubstr("kv_sources[0] is -1"));
  EXPECT_THAT(MessageOf({.ratios = ratios, .kv_sources = {0}}), HasSubstr("ratio is 0"));
  EXPECT_THAT(MessageOf({.ratios = ratios, .kv_sources = {2, 3}}),
              HasSubstr("layer 1 of ratio 2 reads what the last source before it makes, which is "
                        "none"));
  EXPECT_THAT(MessageOf({.ratios = ratios, .kv_sources = {1}}),
              HasSubstr("layer 3 of ratio 1 reads what the last source before it makes, which is "
                        "layer 1 of ratio 2"));
  EXPECT_TRUE(MakeModel({.ratios = ratios, .kv_sources = {1, 3}}).ok());
}

TEST(ModelV41Test, AlignmentsAndPagesAreThoseOfSinglePools) {
  LayeredModelOptions options = {.ratios = {0, 1, 2}, .page_align = 16};
  options.block_aligns = {{"swa", 528}, {"c1", 1024}};
  options.entries_per_page = 32;
  const ModelSpec model = MakeModel(options).value();
  EXPECT_EQ(PoolNamed(model, "swa").block_align, 528);
  EXPECT_EQ(PoolNamed(model, "c1").block_align, 1024);
  EXPECT_EQ(PoolNamed(model, "c2").block_align, 576);
  EXPECT_EQ(PoolNamed(model, "swa").entries_per_page, 0);
  EXPECT_EQ(PoolNamed(model, "c2").entries_per_page, 32);
  options.block_aligns = {{"c3", 16}};
  EXPECT_THAT(MessageOf(options), HasSubstr("block_aligns names pool \"c3\", not swa, c1"));
  options.block_aligns = {{"c1", 24}};
  EXPECT_THAT(MessageOf(options), HasSubstr("pool c1: block_align is 24"));
  options.block_aligns = {};
  for (const int32_t entries : {-1, 3, 24}) {
    options.entries_per_page = entries;
    EXPECT_THAT(MessageOf(options), HasSubstr("pool c1: entries_per_page is")) << entries;
  }
  ModelSpec window = model;
  window.pools[0].entries_per_page = 32;
  EXPECT_THAT(std::string(ValidateModel(window).message()),
              HasSubstr("pool swa: entries_per_page is 32, not 0 as of window pools"));
}

TEST(ModelV41Test, KeysLieBesideTheEntriesOfEveryRatioThatIsNamed) {
  const ModelSpec one = MakeModel({.ratios = {1, 2, 4}}).value();
  EXPECT_EQ(PoolNamed(one, "c1").planes.size(), 1u);
  EXPECT_EQ(PoolNamed(one, "csa").planes.size(), 2u);
  const ModelSpec two = MakeModel({.ratios = {1, 2, 4}, .indexer_ratios = {1, 2}}).value();
  EXPECT_EQ(PoolNamed(two, "c1").planes.size(), 2u);
  EXPECT_EQ(PoolNamed(two, "c2").planes.size(), 2u);
  EXPECT_EQ(PoolNamed(two, "csa").planes.size(), 1u);
}

}  // namespace
}  // namespace terrace::testing
