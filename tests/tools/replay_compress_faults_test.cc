// Wrong state of the compressor, which a replay must find and name.

#include <cstdint>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "src/model/state_pages.h"
#include "terrace/backend.h"
#include "terrace/formats/row_format.h"
#include "terrace/model.h"
#include "terrace/page_view.h"
#include "terrace/pool_kinds.h"
#include "terrace/prefix.h"
#include "terrace/store.h"
#include "tests/tools/replay_compress_fixture.h"
#include "tests/tools/replay_fixture.h"
#include "tools/terrace/engine/replay.h"

namespace terrace::testing {
namespace {

using internal::CsaStateLayout;

using ::testing::HasSubstr;

class ReplayCompressFaultsTest : public ReplayCompressFixture {
 protected:
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

INSTANTIATE_TEST_SUITE_P(Backends, ReplayCompressFaultsTest,
                         ::testing::Values(BackendKind::kHost, BackendKind::kCuda),
                         ReplayBackendName);

TEST_P(ReplayCompressFaultsTest, AStateThatAnotherSequenceLeftIsFoundAndNamed) {
  ReplayOptions options = CompressOptions();
  const int pool = StatePool(options.model, kCsaRatio).value();
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

TEST_P(ReplayCompressFaultsTest, AFlippedBitOfTheStateIsFound) {
  ReplayOptions options = CompressOptions();
  // The sign of one channel of the group's own columns, in every row of the ring.
  const CsaStateLayout layout = {kIndexerChannels, options.scheduler.drafts};
  options.after_write = ChangePages(1, PoolKind::kState, [layout](float* page) {
    for (int32_t t = 0; t < layout.rows(1); ++t) {
      float& kv = page[layout.row_offset(1, t) + 17];
      kv = -kv;
    }
  });
  ExpectFound(options, "layer 1, csa latent");
}

TEST_P(ReplayCompressFaultsTest, AcceptedDraftsThatAreNotFoldedAreFound) {
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

TEST_P(ReplayCompressFaultsTest, WrongRowsAtACheckpointAreFound) {
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
