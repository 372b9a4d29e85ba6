// Wrong rows that a replay must find and name.

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "terrace/backend.h"
#include "terrace/formats/row_format.h"
#include "terrace/page_view.h"
#include "terrace/pool_kinds.h"
#include "terrace/prefix.h"
#include "terrace/store.h"
#include "tests/tools/replay_fixture.h"
#include "tools/terrace/engine/replay.h"
#include "tools/terrace/verify/verifier.h"

namespace terrace::testing {
namespace {

using tools::VerifierStats;

using ::testing::HasSubstr;

class ReplayFaultsTest : public ReplayFixture {};

INSTANTIATE_TEST_SUITE_P(Backends, ReplayFaultsTest,
                         ::testing::Values(BackendKind::kHost, BackendKind::kCuda),
                         ReplayBackendName);

TEST_P(ReplayFaultsTest, OverlapRowsThatAreWrongAreFoundAndNamed) {
  ReplayOptions options = Options();
  options.prefix.checkpoints = CheckpointPolicy::EveryTokens(256);
  options.after_write = [&](Store& store) -> absl::Status {
    const absl::StatusOr<PageView> pages = store.Pages(2, PoolKind::kOverlap);
    if (!pages.ok()) return pages.status();
    const std::vector<uint8_t> zeros(pages->page_bytes);
    for (int32_t block = 0; block < pages->num_blocks; ++block) {
      void* page = static_cast<uint8_t*>(pages->base) + block * pages->block_stride;
      absl::Status status = store.backend().Upload(page, zeros.data(), pages->page_bytes, {});
      if (!status.ok()) return status;
    }
    return absl::OkStatus();
  };
  const ReplayResult result = Run(options);
  EXPECT_GT(result.verifier.corrupt_rows, 0);
  ASSERT_FALSE(result.verifier.first_corrupt.empty());
  EXPECT_THAT(result.verifier.first_corrupt[0], HasSubstr("overlap rows restored before position"));
  EXPECT_THAT(result.verifier.first_corrupt[0], HasSubstr("layer 2"));
}

TEST_P(ReplayFaultsTest, ARowWrittenByAnotherIsFoundAndNamed) {
  ReplayOptions options = Options();
  // From the tenth step on, block 0 of CSA holds what block 1 holds: rows of another sequence or of
  // other positions, all of them whole and of the right form.
  int steps = 0;
  options.after_write = [&](Store& store) {
    return ++steps < 10 ? absl::OkStatus() : store.CopyBlocks({{1, 1, 0, 0}}, {});
  };
  const ReplayResult result = Run(options);
  EXPECT_FALSE(result.ok());
  EXPECT_GT(result.verifier.corrupt_rows, 0);
  EXPECT_LT(result.verifier.corrupt_rows, result.verifier.verified_rows / 2);
  ASSERT_THAT(result.verifier.first_corrupt, ::testing::SizeIs(VerifierStats::kMostReported));
  for (const std::string& line : result.verifier.first_corrupt) {
    EXPECT_THAT(line, HasSubstr("csa"));
    EXPECT_THAT(line, HasSubstr("request "));
    EXPECT_THAT(line, HasSubstr("position "));
    EXPECT_THAT(line, HasSubstr("layer "));
  }
}

TEST_P(ReplayFaultsTest, OneRowOverwrittenInTheWindowIsFound) {
  ReplayOptions options = Options();
  options.scheduler.serial = true;
  int steps = 0;
  options.after_write = [&](Store& store) -> absl::Status {
    if (++steps != 5) return absl::OkStatus();
    // Zeros over the row of the step's first token, layer 2.
    Backend& backend = store.backend();
    absl::StatusOr<void*> zeros = backend.Allocate(kLatentChannels * sizeof(uint16_t), Stream{});
    if (!zeros.ok()) return zeros.status();
    absl::Status status =
        store.WriteSlots(2, PoolKind::kWindow, PlaneKind::kLatent, {.data = *zeros},
                         {.slots = store.step_view().slots[0],
                          .positions = store.step_view().token_position,
                          .count = 1},
                         {});
    status.Update(backend.Synchronize({}));
    backend.Free(*zeros, Stream{});
    return status;
  };
  const ReplayResult result = Run(options, /*requests=*/5);
  EXPECT_GT(result.verifier.corrupt_rows, 0);
  EXPECT_LT(result.verifier.corrupt_rows, 2000);
  ASSERT_FALSE(result.verifier.first_corrupt.empty());
  EXPECT_THAT(result.verifier.first_corrupt[0], HasSubstr("layer 2, swa latent"));
}

}  // namespace
}  // namespace terrace::testing
