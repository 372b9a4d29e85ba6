// Replays over every backend that the machine has.

#include "tools/terrace/engine/replay.h"

#include <numeric>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "terrace/units.h"
#include "tests/tools/replay_fixture.h"
#include "tools/terrace/report/report.h"

namespace terrace::testing {
namespace {

using ::testing::HasSubstr;

class ReplayTest : public ReplayFixture {};

INSTANTIATE_TEST_SUITE_P(Backends, ReplayTest,
                         ::testing::Values(BackendKind::kHost, BackendKind::kCuda),
                         ReplayBackendName);

TEST_P(ReplayTest, NoRowIsWrongAndNoBlockIsLost) {
  const ReplayResult result = Run(Options());
  ExpectRight(result);
  EXPECT_EQ(result.backend, GetParam() == BackendKind::kCuda ? "cuda" : "host");
  EXPECT_EQ(result.layers.count, 5);
  EXPECT_GT(result.verifier.absent_rows, 0);
}

TEST_P(ReplayTest, ATenthOfTheRowsIsOnBordersOfEveryClass) {
  const VerifierStats stats = Run(Options()).verifier;
  const auto& by_class = stats.verified_by_class;
  EXPECT_EQ(std::accumulate(by_class.begin(), by_class.end(), int64_t{0}), stats.verified_rows);
  for (int64_t rows : by_class) EXPECT_GT(rows, 0);
  const int64_t inside = by_class[static_cast<int>(RowClass::kInterior)];
  EXPECT_GE(stats.verified_rows - inside, stats.verified_rows / 10);
}

TEST_P(ReplayTest, PreemptedRequestsReadNothingStale) {
  ReplayOptions options = Options();
  options.memory_bytes = 325 * kMiB;
  const ReplayResult result = Run(options);
  ExpectRight(result);
  EXPECT_GT(result.scheduler.preemptions, 0);
}

TEST_P(ReplayTest, EveryDraftRejectedReadsNothingStale) {
  ReplayOptions options = Options();
  options.scheduler.drafts = 5;
  options.scheduler.acceptance = 0.2;
  const ReplayResult result = Run(options);
  ExpectRight(result);
  EXPECT_GT(result.scheduler.rejected_drafts, result.scheduler.drafts / 2);
}

TEST_P(ReplayTest, RowsThatOthersWroteAreRight) {
  const CheckpointPolicy policies[] = {CheckpointPolicy::EndOfPromptAndOutput(),
                                       CheckpointPolicy::EveryTokens(512),
                                       CheckpointPolicy::None()};
  for (const CheckpointPolicy& policy : policies) {
    SCOPED_TRACE(static_cast<int>(policy.kind));
    ReplayOptions options = Options();
    options.prefix.checkpoints = policy;
    options.scheduler.in_flight = 2;
    options.scheduler.step_tokens = 512;  // prompts meet while they are fed
    options.verifier.rate = 0.25;
    const ReplayResult result = Run(options);
    ExpectRight(result);
    EXPECT_GT(result.prefix.matched_tokens, 0);
    EXPECT_EQ(result.prefix.resumed_tokens > 0, policy != CheckpointPolicy::None());
    const auto& by_class = result.verifier.verified_by_class;
    EXPECT_GT(by_class[static_cast<int>(RowClass::kShared)], 1000);
  }
}

TEST_P(ReplayTest, CollidingDigestsShareNothingThatDiffers) {
  ReplayOptions options = Options();
  options.prefix.hash = [](const ChunkDigest&, absl::Span<const int32_t>) { return ChunkDigest{}; };
  const ReplayResult result = Run(options);
  ExpectRight(result);
  EXPECT_EQ(result.prefix.matched_tokens, Run(Options()).prefix.matched_tokens);
}

TEST_P(ReplayTest, AnApproximateReplayWritesRowsThatAreRight) {
  ReplayOptions options = Options();
  options.prefix.checkpoints = CheckpointPolicy::None();
  options.scheduler.refeed.approximate_tokens = 128;
  const ReplayResult result = Run(options);
  ExpectRight(result);
  EXPECT_GT(result.prefix.skipped_tokens, 0);
}

TEST_P(ReplayTest, SharedBlocksThatAreEvictedAndTakenAgainReadNothingStale) {
  ReplayOptions options = Options();
  options.memory_bytes = 330 * kMiB;
  options.verifier.rate = 0.25;
  const ReplayResult result = Run(options, /*requests=*/60);
  ExpectRight(result);
  EXPECT_GT(result.prefix.evicted_chunks, 0);
  EXPECT_GT(result.prefix.matched_tokens, 0);
}

TEST_P(ReplayTest, OverlapRowsThatAreWrongAreFoundAndNamed) {
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

TEST_P(ReplayTest, EveryFormatLayoutAndRuleComesBackBitForBit) {
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

TEST_P(ReplayTest, ARowWrittenByAnotherIsFoundAndNamed) {
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

TEST_P(ReplayTest, OneRowOverwrittenInTheWindowIsFound) {
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
                         store.step_view().slots[0], store.step_view().token_position, 1, {});
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

TEST_P(ReplayTest, TheLedgerAloneTakesTheSameSteps) {
  ReplayOptions options = Options();
  options.verifier.rate = 0;
  const ReplayResult with_data = Run(options);
  options.with_data = false;
  const ReplayResult alone = Run(options);
  EXPECT_EQ(alone.backend, "none");
  EXPECT_EQ(alone.verifier.verified_rows, 0);
  EXPECT_EQ(alone.scheduler.steps, with_data.scheduler.steps);
  EXPECT_EQ(alone.scheduler.sequence_steps, with_data.scheduler.sequence_steps);
  EXPECT_EQ(alone.scheduler.rejected_drafts, with_data.scheduler.rejected_drafts);
  EXPECT_EQ(alone.occupancy.peak(), with_data.occupancy.peak());
}

TEST(ReplayWithoutDataTest, TenTebibytesCostNothing) {
  ReplayOptions options;
  options.model = DeepSeekV4Flash();
  options.memory_bytes = int64_t{10} << 40;
  options.with_data = false;
  const std::vector<TraceRequest> workload = SmallWorkload();
  const auto result = Replay(workload, options);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_TRUE(result->ok());
  EXPECT_EQ(result->scheduler.completed, 24);
  EXPECT_GT(result->capacity.max_tokens, 2'000'000'000);
}

TEST(ReplayWithoutDataTest, ImpossibleMemoryIsAnError) {
  ReplayOptions options;
  options.model = DeepSeekV4Flash();
  options.memory_bytes = 1000;
  options.with_data = false;
  const auto result = Replay(SmallWorkload(), options);
  EXPECT_TRUE(absl::IsOutOfRange(result.status())) << result.status();
}

}  // namespace
}  // namespace terrace::testing
