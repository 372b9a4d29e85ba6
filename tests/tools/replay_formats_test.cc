// Replays of every row format, layout and rule.

#include <cstdint>

#include "gtest/gtest.h"
#include "terrace/backend.h"
#include "terrace/formats/row_format.h"
#include "terrace/model.h"
#include "terrace/pool_kinds.h"
#include "tests/tools/replay_fixture.h"
#include "tools/terrace/engine/replay.h"

namespace terrace::testing {
namespace {

class ReplayFormatsTest : public ReplayFixture {};

INSTANTIATE_TEST_SUITE_P(Backends, ReplayFormatsTest,
                         ::testing::Values(BackendKind::kHost, BackendKind::kCuda),
                         ReplayBackendName);

TEST_P(ReplayFormatsTest, EveryFormatLayoutAndRuleComesBackBitForBit) {
  struct Variant {
    RowFormat latent;
    RowFormat indexer;
    EntryRule rule;
    PoolLayout layout;
    int32_t swa_block;
    bool whole_chunk;
  };
  constexpr EntryRule kPooled = EntryRule::kPooled;
  constexpr PoolLayout kBlockMajor = PoolLayout::kBlockMajor;
  const Variant variants[] = {
      {RowFormat::kBf16, RowFormat::kIndexerFp8, kPooled, PoolLayout::kLayerMajor, 64, false},
      {RowFormat::kFp8PerToken, RowFormat::kIndexerFp8, EntryRule::kStrided, kBlockMajor, 64,
       false},
      {RowFormat::kNvfp4, RowFormat::kIndexerMxfp4, kPooled, kBlockMajor, 128, false},
      {RowFormat::kMxfp8V41, RowFormat::kIndexerMxfp4, kPooled, kBlockMajor, 16, true},
      {RowFormat::kMxfp8V41Il, RowFormat::kIndexerMxfp4, kPooled, kBlockMajor, 64, false},
      {RowFormat::kNvfp4V41Il, RowFormat::kIndexerMxfp4, kPooled, PoolLayout::kLayerMajor, 64,
       false},
      {RowFormat::kFp8PerTensor, RowFormat::kIndexerFp8, kPooled, PoolLayout::kLayerMajor, 64,
       false},
      {RowFormat::kNvfp4Rope, RowFormat::kIndexerFp8, EntryRule::kStrided, kBlockMajor, 16, true},
  };
  for (const Variant& asked : variants) {
    SCOPED_TRACE(RowFormatName(asked.latent));
    LayeredModelOptions variant;
    variant.ratios = {0, 4, 128, 2, 1};
    variant.latent_format = asked.latent;
    variant.indexer_format = asked.indexer;
    variant.rule = asked.rule;
    variant.layout = asked.layout;
    variant.swa_block_tokens = asked.swa_block;
    variant.max_context_tokens = 8192;
    const auto model = MakeModel(variant);
    ASSERT_TRUE(model.ok()) << model.status();
    ReplayOptions options = Options();
    options.model = *model;
    options.layers = "all";
    options.verifier.rate = 0.25;
    options.store_whole_chunk = asked.whole_chunk;
    options.verifier.store_whole_chunk = asked.whole_chunk;
    ExpectRight(Run(options));
  }
}

}  // namespace
}  // namespace terrace::testing
