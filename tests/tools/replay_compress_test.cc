// Entries that the store makes in a replay are right.

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "terrace/backend.h"
#include "terrace/formats/row_format.h"
#include "terrace/model.h"
#include "terrace/prefix.h"
#include "terrace/units.h"
#include "tests/tools/replay_compress_fixture.h"
#include "tests/tools/replay_fixture.h"
#include "tools/terrace/engine/replay.h"

namespace terrace::testing {
namespace {

class ReplayCompressTest : public ReplayCompressFixture {};

INSTANTIATE_TEST_SUITE_P(Backends, ReplayCompressTest,
                         ::testing::Values(BackendKind::kHost, BackendKind::kCuda),
                         ReplayBackendName);

TEST_P(ReplayCompressTest, NoEntryIsWrongWithDraftsCheckpointsAndPreemptions) {
  ReplayOptions options = CompressOptions();
  options.memory_bytes = 38 * kMiB;
  const ReplayResult result = Run(options);
  ExpectRight(result);
  EXPECT_GT(result.verifier.verified_entries, 1000);
  EXPECT_LE(result.verifier.largest_entry_error, 1);
  EXPECT_GT(result.verifier.largest_entry_error, 0.5);  // so what is tolerated is not slack
  EXPECT_GT(result.scheduler.preemptions, 0);
  EXPECT_GT(result.scheduler.rejected_drafts, 100);
  EXPECT_GT(result.prefix.resumed_tokens, 0);
  EXPECT_GT(result.prefix.evicted_chunks, 0);
}

TEST_P(ReplayCompressTest, NoEntryIsWrongBehindARefeedWithoutCheckpoint) {
  ReplayOptions options = CompressOptions();
  options.prefix.checkpoints = CheckpointPolicy::None();
  const ReplayResult result = Run(options);
  ExpectRight(result);
  EXPECT_GT(result.prefix.refed_tokens, 0);
  EXPECT_GT(result.prefix.skipped_tokens, 0);
}

TEST_P(ReplayCompressTest, EntriesOfEveryFormatAreWithinWhatIsTolerated) {
  struct Variant {
    RowFormat latent;
    RowFormat indexer;
    PoolLayout layout;
  };
  const Variant variants[] = {
      {RowFormat::kBf16, RowFormat::kIndexerFp8, PoolLayout::kLayerMajor},
      {RowFormat::kFp8PerToken, RowFormat::kIndexerFp8, PoolLayout::kBlockMajor},
      {RowFormat::kNvfp4, RowFormat::kIndexerMxfp4, PoolLayout::kBlockMajor},
      {RowFormat::kMxfp8V41, RowFormat::kIndexerMxfp4, PoolLayout::kBlockMajor},
      {RowFormat::kMxfp8V41Il, RowFormat::kIndexerMxfp4, PoolLayout::kBlockMajor},
      {RowFormat::kNvfp4V41Il, RowFormat::kIndexerMxfp4, PoolLayout::kLayerMajor},
      {RowFormat::kFp8PerTensor, RowFormat::kIndexerFp8, PoolLayout::kLayerMajor},
      {RowFormat::kNvfp4Rope, RowFormat::kIndexerFp8, PoolLayout::kBlockMajor},
  };
  for (const Variant& variant : variants) {
    SCOPED_TRACE(RowFormatName(variant.latent));
    ReplayOptions options = CompressOptions();
    options.model = Model(variant.latent, variant.indexer, variant.layout);
    options.verifier.rate = 0.05;
    const ReplayResult result = Run(options, /*requests=*/8);
    EXPECT_TRUE(result.ok());
    EXPECT_THAT(result.verifier.first_corrupt, ::testing::IsEmpty());
    EXPECT_GT(result.verifier.verified_entries, 100);
    EXPECT_GT(result.verifier.largest_entry_error, 0.3);
  }
}

}  // namespace
}  // namespace terrace::testing
