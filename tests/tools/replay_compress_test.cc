// Replays in which the store makes the entries, over every backend that the machine has.

#include <cstring>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "src/model/state_pages.h"
#include "terrace/units.h"
#include "tests/tools/replay_fixture.h"
#include "tools/terrace/engine/replay.h"

namespace terrace::testing {
namespace {

using tools::ReplayOptions;
using tools::ReplayResult;

using ::testing::HasSubstr;

class ReplayCompressTest : public ReplayFixture {
 protected:
  static ModelSpec Model(RowFormat latent = RowFormat::kFlashMlaV4,
                         RowFormat indexer = RowFormat::kIndexerFp8,
                         PoolLayout layout = PoolLayout::kBlockMajor) {
    auto made = MakeModel({.ratios = {0, 4, 128, 4},
                           .latent_format = latent,
                           .indexer_format = indexer,
                           .state = true,
                           .max_context_tokens = 8192,
                           .layout = layout});
    EXPECT_TRUE(made.ok()) << made.status();
    return *std::move(made);
  }

  ReplayOptions CompressOptions() const {
    ReplayOptions options = Options();
    options.model = Model();
    options.memory_bytes = 60 * kMiB;
    options.layers = "all";
    options.compress = true;
    options.scheduler.drafts = 3;
    options.scheduler.in_flight = 2;
    options.verifier.rate = 0.1;
    return options;
  }

  // Calls change(page, layer) with every block's page of `kind` of one layer, after every step.
  template <typename Change>
  static std::function<absl::Status(Store&)> ChangePages(int layer, PoolKind kind, Change change) {
    return [=](Store& store) -> absl::Status {
      const absl::StatusOr<PageView> pages = store.Pages(layer, kind);
      if (!pages.ok()) return pages.status();
      std::vector<float> page(pages->page_bytes / sizeof(float));
      for (int32_t block = 0; block < pages->num_blocks; ++block) {
        void* at = static_cast<uint8_t*>(pages->base) + block * pages->block_stride;
        absl::Status status = store.backend().Download(page.data(), at, pages->page_bytes, {});
        change(page.data());
        status.Update(store.backend().Upload(at, page.data(), pages->page_bytes, {}));
        if (!status.ok()) return status;
      }
      return absl::OkStatus();
    };
  }

  void ExpectFound(const ReplayOptions& options, const std::string& where) const {
    const ReplayResult result = Run(options);
    EXPECT_FALSE(result.ok());
    EXPECT_GT(result.verifier.corrupt_rows, 0);
    EXPECT_LT(result.verifier.corrupt_rows, result.verifier.verified_entries);
    EXPECT_GT(result.verifier.largest_entry_error, 4);
    ASSERT_FALSE(result.verifier.first_corrupt.empty());
    for (const std::string& line : result.verifier.first_corrupt) {
      EXPECT_THAT(line, HasSubstr(where));
      EXPECT_THAT(line, HasSubstr("times the tolerance"));
    }
  }
};

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

TEST_P(ReplayCompressTest, NoEntryIsWrongBehindAReplayWithoutCheckpoint) {
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

TEST_P(ReplayCompressTest, AStateThatAnotherSequenceLeftIsFoundAndNamed) {
  ReplayOptions options = CompressOptions();
  const int pool = StatePool(options.model, kCsaRatio);
  const int32_t sequences = options.scheduler.sequences;
  options.after_write = [pool, sequences](Store& store) {
    std::vector<BlockCopy> copies;
    for (int32_t block = 0; block + 1 < sequences; block += 2) {
      copies.push_back({pool, block + 1, block, 0});
    }
    return store.CopyBlocks(copies, {});
  };
  ExpectFound(options, "csa");
}

TEST_P(ReplayCompressTest, AFlippedBitOfTheStateIsFound) {
  ReplayOptions options = CompressOptions();
  // The sign of one channel of the window's own columns, in every row of the ring.
  const CsaStateLayout layout = {kIndexerChannels, options.scheduler.drafts};
  options.after_write = ChangePages(1, PoolKind::kState, [layout](float* page) {
    for (int32_t t = 0; t < layout.rows(1); ++t) {
      float& kv = page[layout.row_offset(1, t) + 17];
      kv = -kv;
    }
  });
  ExpectFound(options, "layer 1, csa latent");
}

TEST_P(ReplayCompressTest, AcceptedDraftsThatAreNotFoldedAreFound) {
  ReplayOptions options = CompressOptions();
  const int32_t drafts = options.scheduler.drafts;
  // HCA takes its drafts for folded, so the next step goes on behind those that were accepted.
  options.after_write = ChangePages(2, PoolKind::kState, [drafts](float* page) {
    int32_t folded = 0;
    std::memcpy(&folded, page, sizeof(folded));
    folded += drafts;
    std::memcpy(page, &folded, sizeof(folded));
  });
  ExpectFound(options, "layer 2, hca latent");
}

TEST_P(ReplayCompressTest, WrongRowsAtACheckpointAreFound) {
  ReplayOptions options = CompressOptions();
  options.after_write = ChangePages(3, PoolKind::kOverlap, [](float* page) {
    std::memset(page, 0, CsaStateLayout{kIndexerChannels, 0}.overlap_page_bytes());
  });
  options.prefix.checkpoints = CheckpointPolicy::EveryTokens(256);
  options.verifier.rate = 0.3;
  ExpectFound(options, "layer 3, csa");
}

}  // namespace
}  // namespace terrace::testing
