#include "terrace/model.h"

#include <cmath>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "src/model/page_layout.h"

namespace terrace::testing {
namespace {

using ::testing::HasSubstr;

// Ratio of each layer's full pool, 0 where there is none.
std::vector<int> Ratios(const ModelSpec& model) {
  std::vector<int> ratios;
  for (const LayerSpec& layer : model.layers) {
    int ratio = 0;
    for (const LayerPool& use : layer.pools) {
      const PoolSpec& pool = model.pools[use.pool];
      if (pool.kind == PoolKind::kFull) ratio = pool.ratio;
    }
    ratios.push_back(ratio);
  }
  return ratios;
}

TEST(ModelTest, FlashHasTwoWindowOnlyThenAlternatingLayersEndingOnCsa) {
  const ModelSpec model = DeepSeekV4Flash();
  ASSERT_TRUE(ValidateModel(model).ok());
  const std::vector<int> ratios = Ratios(model);
  ASSERT_EQ(ratios.size(), 43u);
  EXPECT_EQ(ratios[0], 0);
  EXPECT_EQ(ratios[1], 0);
  for (size_t l = 2; l < ratios.size(); ++l) EXPECT_EQ(ratios[l], l % 2 == 0 ? 4 : 128) << l;
  EXPECT_EQ(ratios.back(), 4);
  const LayerRange all = {0, 43};
  ASSERT_EQ(model.pools.size(), 6u);
  EXPECT_EQ(model.pools[0].name, "swa");
  EXPECT_EQ(model.pools[1].name, "csa");
  EXPECT_EQ(model.pools[2].name, "hca");
  EXPECT_EQ(model.pools[4].name, "csa_state");
  EXPECT_EQ(model.pools[5].name, "hca_state");
  EXPECT_EQ(CountLayers(model, PoolIndex(0), all), 43);
  EXPECT_EQ(CountLayers(model, PoolIndex(1), all), 21);
  EXPECT_EQ(CountLayers(model, PoolIndex(2), all), 20);
  EXPECT_EQ(WindowPool(model), PoolIndex(0));
  EXPECT_EQ(model.top_k, 512);
  EXPECT_EQ(model.window_tokens, 128);
  EXPECT_EQ(model.max_context_tokens, 1048576);
  EXPECT_EQ(model.pools[1].planes[1].format, RowFormat::kIndexerFp8);
  EXPECT_EQ(model.pools[2].planes.size(), 1u);
}

TEST(ModelTest, EveryCsaLayerHasARowOfOverlap) {
  for (const ModelSpec& model : {DeepSeekV4Flash(), DeepSeekV4Pro()}) {
    ASSERT_EQ(OverlapPool(model), PoolIndex(3));
    const PoolSpec& pool = model.pools[3];
    EXPECT_EQ(pool.name, "overlap");
    EXPECT_EQ(pool.kind, PoolKind::kOverlap);
    EXPECT_EQ(pool.opaque_bytes, 4 * 2 * (512 + 128) * 4);  // 4 tokens, kv and score, float32
    EXPECT_EQ(pool.entries_per_block, 1);
    EXPECT_TRUE(pool.planes.empty());
    EXPECT_EQ(CountLayers(model, PoolIndex(3), {0, 100}),
              CountLayers(model, PoolIndex(1), {0, 100}));
    EXPECT_EQ(CountLayers(model, PoolIndex(3), {2, 5}), CountLayers(model, PoolIndex(1), {2, 5}));
  }
  EXPECT_EQ(MakeModel({.ratios = {4}, .indexer_ratio = 0})->pools[2].opaque_bytes, 4 * 2 * 512 * 4);
  EXPECT_EQ(OverlapPool(MakeModel({.ratios = {4}, .overlap = false}).value()), kNoPool);
  EXPECT_EQ(OverlapPool(MakeModel({.ratios = {0, 2, 128}}).value()), kNoPool);  // nothing overlaps
  EXPECT_EQ(OverlapPool(MakeModel({.ratios = {4}, .rule = EntryRule::kStrided}).value()), kNoPool);
}

TEST(ModelTest, ProHasTwoHcaThenAlternatingLayersEndingOnCsa) {
  const ModelSpec model = DeepSeekV4Pro();
  ASSERT_TRUE(ValidateModel(model).ok());
  const std::vector<int> ratios = Ratios(model);
  ASSERT_EQ(ratios.size(), 61u);
  EXPECT_EQ(ratios[0], 128);
  EXPECT_EQ(ratios[1], 128);
  for (size_t l = 2; l < ratios.size(); ++l) EXPECT_EQ(ratios[l], l % 2 == 0 ? 4 : 128) << l;
  EXPECT_EQ(CountLayers(model, PoolIndex(1), {0, 61}), 30);
  EXPECT_EQ(CountLayers(model, PoolIndex(2), {0, 61}), 31);
  EXPECT_EQ(model.top_k, 1024);
}

TEST(ModelTest, LayersWithACompressedPoolRotateWithTheLongBase) {
  const ModelSpec model = DeepSeekV4Flash();
  EXPECT_EQ(model.ropes[model.layers[0].rope].base, 10000);
  EXPECT_EQ(model.ropes[model.layers[0].rope].yarn_factor, 1);
  for (size_t l = 2; l < model.layers.size(); ++l) {
    EXPECT_EQ(model.ropes[model.layers[l].rope].base, 160000);
    EXPECT_EQ(model.ropes[model.layers[l].rope].yarn_factor, 16);
  }
}

TEST(ModelTest, RowsOfARangeAreThoseItsLayersWrite) {
  const ModelSpec model = DeepSeekV4Flash();
  EXPECT_EQ(CountLayers(model, PoolIndex(0), {2, 3}), 3);
  EXPECT_EQ(CountLayers(model, PoolIndex(1), {2, 3}), 2);
  EXPECT_EQ(CountLayers(model, PoolIndex(2), {2, 3}), 1);
  EXPECT_EQ(CountLayers(model, PoolIndex(0), {40, 100}), 3);
  EXPECT_EQ(CountLayers(model, PoolIndex(0), {7, 0}), 0);
}

TEST(ModelTest, ModelsAreFoundByNameAndAnUnknownNameListsThem) {
  EXPECT_EQ(ModelByName("deepseek-v4-flash")->layers.size(), 43u);
  EXPECT_EQ(ModelByName("deepseek-v4-pro")->layers.size(), 61u);
  EXPECT_EQ(ModelOptionsByName("deepseek-v4-pro")->top_k, 1024);
  const absl::Status status = ModelByName("deepseek-v5").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(status.message()), HasSubstr("deepseek-v4-flash"));
}

TEST(ModelTest, EachRatioHasItsPoolInAscendingOrder) {
  const ModelSpec model = MakeModel({.ratios = {128, 1, 0, 2, 4, 1}}).value();
  std::vector<std::string> names;
  for (const PoolSpec& pool : model.pools) names.push_back(pool.name);
  EXPECT_THAT(names, ::testing::ElementsAre("swa", "c1", "c2", "csa", "hca", "overlap"));
  EXPECT_THAT(Ratios(model), ::testing::ElementsAre(128, 1, 0, 2, 4, 1));
  EXPECT_EQ(model.pools[1].entries_per_block, 256);
  EXPECT_EQ(model.pools[4].entries_per_block, 2);
  EXPECT_EQ(CountLayers(model, PoolIndex(1), {0, 6}), 2);
}

TEST(ModelTest, ALayerOrAPoolThatTheModelHasNotIsNoPool) {
  const ModelSpec model = DeepSeekV4Flash();
  EXPECT_EQ(FullPool(model, 0), kNoPool);  // a window alone
  EXPECT_EQ(FullPool(model, 2), PoolIndex(1));
  EXPECT_EQ(FullPool(model, 3), PoolIndex(2));
  for (const int layer : {-1, 43, 99}) EXPECT_EQ(FullPool(model, layer), kNoPool) << layer;
  for (const int pool : {-1, 6, 99}) {
    EXPECT_EQ(CountLayers(model, PoolIndex(pool), {0, 43}), 0) << pool;
  }
}

TEST(ModelTest, KindsOfPoolsHaveNames) {
  EXPECT_EQ(PoolKindName(PoolKind::kWindow), "window");
  EXPECT_EQ(PoolKindName(PoolKind::kFull), "full");
  EXPECT_EQ(PoolKindName(PoolKind::kOverlap), "overlap");
  EXPECT_EQ(PoolKindName(static_cast<PoolKind>(9)), "unknown");
}

TEST(ModelTest, BlocksAreAlignedForTheReaderOfTheirFormat) {
  EXPECT_EQ(MakeModel({.ratios = {4}})->pools[0].block_align, 576);
  for (const auto& [format, align] :
       {std::pair(RowFormat::kBf16, 576), std::pair(RowFormat::kFp8PerToken, 576),
        std::pair(RowFormat::kNvfp4, 512), std::pair(RowFormat::kFlashMlaV4, 576),
        std::pair(RowFormat::kMxfp8V41, 512), std::pair(RowFormat::kMxfp8V41Il, 528),
        std::pair(RowFormat::kNvfp4V41Il, 288), std::pair(RowFormat::kFp8PerTensor, 512),
        std::pair(RowFormat::kNvfp4Rope, 16)}) {
    const ModelSpec model =
        MakeModel({.ratios = {4}, .latent_format = format, .page_align = 16}).value();
    EXPECT_EQ(model.pools[0].block_align, align) << RowFormatName(format);
    EXPECT_EQ(model.pools[1].block_align, align) << RowFormatName(format);
  }
  EXPECT_EQ(MakeModel({.ratios = {4}, .page_align = 128})->pools[0].block_align, 1152);
}

TEST(ModelTest, BlocksOfInterleavedRowsAreAWholeNumberOfRowsApart) {
  LayeredModelOptions options = {.ratios = {4}, .latent_format = RowFormat::kMxfp8V41Il};
  for (const PoolLayout layout : {PoolLayout::kBlockMajor, PoolLayout::kLayerMajor}) {
    options.layout = layout;
    const ModelSpec model = MakeModel(options).value();
    for (const PoolSpec& pool : model.pools) {
      if (!HoldsRows(pool.kind)) continue;
      EXPECT_EQ(internal::PlacePages(pool, 3, 5).block_stride % 528, 0) << pool.name;
    }
  }
  options.block_align = 576;
  const absl::Status status = MakeModel(options).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("pool swa: block_align 576 is not a multiple of 528, a row of "
                        "mxfp8_v41_il"));
}

TEST(ModelTest, RowsThatAreRotatedAfterLoadAreStoredUnrotated) {
  const ModelSpec model =
      MakeModel({.ratios = {4}, .latent_format = RowFormat::kFp8PerToken}).value();
  EXPECT_FALSE(model.pools[1].planes[0].rope_before_store);
  EXPECT_TRUE(model.pools[1].planes[1].rope_before_store);
}

TEST(ModelTest, LayeredOptionsThatMakeNoModelAreErrorsThatNameTheField) {
  const auto message = [](const LayeredModelOptions& options) {
    const auto model = MakeModel(options);
    EXPECT_EQ(model.status().code(), absl::StatusCode::kInvalidArgument);
    return std::string(model.status().message());
  };
  EXPECT_THAT(message({}), HasSubstr("no layers"));
  EXPECT_THAT(message({.ratios = {0, 8}}), HasSubstr("ratios[1] is 8"));
  EXPECT_THAT(message({.ratios = {4}, .latent_format = RowFormat::kIndexerFp8}),
              HasSubstr("indexer_fp8"));
  EXPECT_THAT(message({.ratios = {4}, .indexer_format = RowFormat::kBf16}), HasSubstr("bf16"));
  EXPECT_THAT(message({.ratios = {4}, .swa_block_tokens = 48}), HasSubstr("entries_per_block"));
  EXPECT_THAT(message({.ratios = {4}, .chunk_tokens = 100}), HasSubstr("chunk_tokens is 100"));
  EXPECT_THAT(message({.ratios = {4}, .chunk_tokens = 0}), HasSubstr("chunk_tokens is 0"));
  EXPECT_THAT(message({.ratios = {128}, .chunk_tokens = 384}), HasSubstr("entries_per_block is 3"));
  EXPECT_THAT(message({.ratios = {4}, .page_align = 0}), HasSubstr("page_align is 0"));
  EXPECT_THAT(message({.ratios = {4}, .page_align = 24}), HasSubstr("page_align is 24"));
  EXPECT_THAT(message({.ratios = {4}, .page_align = 32, .block_align = 48}),
              HasSubstr("block_align 48"));
  EXPECT_THAT(message({.ratios = {4}, .top_k = 0}), HasSubstr("top_k is 0"));
}

TEST(ModelTest, ABrokenSpecIsRefusedWithTheFieldAndItsValue) {
  struct Case {
    std::function<void(ModelSpec&)> spoil;
    std::string message;
  };
  const std::vector<Case> cases = {
      {[](ModelSpec& m) { m.window_tokens = 1; }, "window_tokens is 1"},
      {[](ModelSpec& m) { m.max_context_tokens = 0; }, "max_context_tokens is 0"},
      {[](ModelSpec& m) { m.ropes.clear(); }, "ropes is empty"},
      {[](ModelSpec& m) { m.ropes[1].yarn_factor = 0.5; }, "ropes[1].yarn_factor is 0.5"},
      {[](ModelSpec& m) { m.ropes[0].base = std::nan(""); }, "ropes[0].base"},
      {[](ModelSpec& m) { m.pools.clear(); }, "pools has 0"},
      {[](ModelSpec& m) { m.pools.resize(9, m.pools[1]); }, "pools has 9"},
      {[](ModelSpec& m) { m.pools[2].name = "csa"; }, "two pools are named csa"},
      {[](ModelSpec& m) { m.pools[1].name = ""; }, "no name"},
      {[](ModelSpec& m) { m.pools[0].ratio = 4; }, "pool swa: ratio is 4"},
      {[](ModelSpec& m) { m.pools[3].ratio = 4; }, "pool overlap: ratio is 4"},
      {[](ModelSpec& m) { m.pools[3].entries_per_block = 2; }, "pool overlap: entries_per_block"},
      {[](ModelSpec& m) { m.pools[3].planes = m.pools[2].planes; }, "pool overlap: 1 planes"},
      {[](ModelSpec& m) { m.pools[3].opaque_bytes = 0; }, "pool overlap: opaque_bytes is 0"},
      {[](ModelSpec& m) { m.pools[3].opaque_bytes = 40; }, "pool overlap: opaque_bytes is 40"},
      {[](ModelSpec& m) { m.pools[1].opaque_bytes = 16; }, "pool csa: opaque_bytes is 16"},
      {[](ModelSpec& m) {
         m.pools.push_back(m.pools[3]);
         m.pools.back().name = "second";
       },
       "more than one overlap pool"},
      {[](ModelSpec& m) {
         m.pools.push_back(m.pools[0]);
         m.pools.back().name = "second";
       },
       "more than one window pool"},
      {[](ModelSpec& m) { m.pools[1].ratio = 8; }, "pool csa: ratio 8 x entries_per_block 64"},
      {[](ModelSpec& m) { m.pools[1].ratio = -4; }, "pool csa: ratio is -4"},
      {[](ModelSpec& m) { m.pools[1].planes.clear(); }, "pool csa: 0 planes"},
      {[](ModelSpec& m) { m.pools[1].planes.resize(3); }, "pool csa: 3 planes"},
      {[](ModelSpec& m) { m.pools[1].planes[0].format = static_cast<RowFormat>(99); }, "format 99"},
      {[](ModelSpec& m) { m.pools[1].kind = static_cast<PoolKind>(5); }, "unknown kind 5"},
      {[](ModelSpec& m) { m.pools[1].rule = static_cast<EntryRule>(5); }, "unknown rule 5"},
      {[](ModelSpec& m) { m.pools[1].layout = static_cast<PoolLayout>(5); }, "unknown layout 5"},
      {[](ModelSpec& m) { m.pools[1].page_align = 8; }, "page_align is 8"},
      {[](ModelSpec& m) { m.pools[1].block_align = 100; }, "block_align is 100"},
      {[](ModelSpec& m) { m.layers.clear(); }, "no layers"},
      {[](ModelSpec& m) { m.layers[3].rope = 2; }, "layer 3: rope is 2"},
      {[](ModelSpec& m) { m.layers[3].pools.clear(); }, "layer 3: it has no pool"},
      {[](ModelSpec& m) { m.layers[3].pools[0].pool = 6; }, "layer 3: pool is 6"},
      {[](ModelSpec& m) { m.layers[3].pools[0].index = -1; }, "layer 3: row of pool swa is -1"},
      {[](ModelSpec& m) { m.layers[3].pools[0].index = 2; }, "written by an earlier layer too"},
      {[](ModelSpec& m) { m.layers[3].pools[0].writes = false; }, "no earlier layer writes it"},
      {[](ModelSpec& m) {
         m.layers[3].pools.push_back({1, 21, true});
       },
       "second full pool"},
      {[](ModelSpec& m) { m.layers[42].pools[1].index = 21; }, "the last is 21"},
      {[](ModelSpec& m) {
         m.pools.push_back(m.pools[1]);
         m.pools.back().name = "idle";
       },
       "pool idle: no layer writes it"},
  };
  for (const Case& c : cases) {
    ModelSpec model = DeepSeekV4Flash();
    c.spoil(model);
    const absl::Status status = ValidateModel(model);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << c.message;
    EXPECT_THAT(std::string(status.message()), HasSubstr(c.message));
  }
}

// What resumes from a checkpoint could not go on without the rows before it.
TEST(ModelTest, TheStateOfOverlappingEntriesNeedsAnOverlapPool) {
  const auto make = [](std::vector<int32_t> ratios, bool overlap) {
    return MakeModel({.ratios = std::move(ratios), .overlap = overlap, .state = true}).status();
  };
  EXPECT_TRUE(make({4, 128}, true).ok());
  EXPECT_TRUE(make({0, 128}, false).ok());  // nothing overlaps
  EXPECT_THAT(std::string(make({4, 128}, false).message()), HasSubstr("no overlap pool"));
}

TEST(ModelTest, LayersMayShareARowThatAnEarlierLayerWrites) {
  ModelSpec model = MakeModel({.ratios = {4, 4, 128}}).value();
  model.layers[1].pools[1] = {1, 0, /*writes=*/false};
  EXPECT_TRUE(ValidateModel(model).ok()) << ValidateModel(model);
  EXPECT_EQ(CountLayers(model, PoolIndex(1), {0, 3}), 1);
}

}  // namespace
}  // namespace terrace::testing
