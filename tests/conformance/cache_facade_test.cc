// Cache offers what Ledger and Store offer: every call that it passes on does what theirs does, with
// every argument.

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "terrace/terrace.h"

namespace terrace::testing {
namespace {

constexpr int32_t kTokens = 512;
constexpr int32_t kKeyChannels = 128;

// bf16 of a power of two, exact in every format: what the first channel of an entry's key holds.
uint16_t KeyOf(int32_t entry) { return static_cast<uint16_t>((127 + entry % 8) << 7); }

CacheOptions Options() {
  absl::StatusOr<ModelSpec> model =
      MakeModel({.name = "three layers", .ratios = {0, 4, 128}, .latent_format = RowFormat::kBf16});
  EXPECT_TRUE(model.ok()) << model.status();
  return {.model = *std::move(model),
          .memory_bytes = 64 * kMiB,
          .limits = {.max_sequences = 4, .max_step_tokens = 600, .max_context_tokens = 4096},
          .backend = {.kind = BackendKind::kHost, .host_threads = 1},
          .prefix = {.record_events = true}};
}

class CacheFacadeTest : public ::testing::Test {
 protected:
  void Make(const CacheOptions& options) {
    auto cache = Cache::Create(options);
    ASSERT_TRUE(cache.ok()) << cache.status();
    cache_ = *std::move(cache);
  }

  // One sequence of kTokens tokens, its step begun.
  void RunOneStep(int32_t padded_token_rows = 0) {
    const std::vector<int32_t> prompt(kTokens, 7);
    auto admission = cache_->AllocateSequence({.tokens = prompt});
    ASSERT_TRUE(admission.ok()) << admission.status();
    id_ = admission->id;
    auto plan = cache_->Append({{id_, kTokens}});
    ASSERT_TRUE(plan.ok()) << plan.status();
    const absl::Status status = cache_->Begin(*plan, Stream{}, padded_token_rows);
    ASSERT_TRUE(status.ok()) << status;
  }

  std::unique_ptr<Cache> cache_;
  SequenceId id_;
};

TEST_F(CacheFacadeTest, GathersReadTheIndexerPlane) {
  Make(Options());
  RunOneStep();
  const int32_t entries = kTokens / 4;
  std::vector<uint16_t> latents(entries * kLatentChannels, 0x3F80);
  std::vector<uint16_t> keys(entries * kKeyChannels);
  for (int32_t e = 0; e < entries; ++e) keys[e * kKeyChannels] = KeyOf(e);
  const LayerRows rows = {.entries = {.data = latents.data(), .rotated = true},
                          .indexer = {.data = keys.data(), .rotated = true}};
  ASSERT_TRUE(cache_->Write(1, rows, Stream{}).ok());

  const int32_t last = kTokens - 1;
  const Queries query = {.token_rows = &last, .count = 1};
  const std::vector<int32_t> chosen = {5, 0, 127};
  std::vector<uint16_t> out(3 * kKeyChannels);
  absl::Status status = cache_->GatherTopK(1, query, {.entries = chosen.data(), .k = 3},
                                           {.data = out.data()}, Stream{}, PlaneKind::kIndexer);
  ASSERT_TRUE(status.ok()) << status;
  for (int i = 0; i < 3; ++i) EXPECT_EQ(out[i * kKeyChannels], KeyOf(chosen[i]));

  out.assign(entries * kKeyChannels, 0);
  status =
      cache_->GatherVisible(1, query, entries, {.data = out.data()}, Stream{}, PlaneKind::kIndexer);
  ASSERT_TRUE(status.ok()) << status;
  for (int32_t e = 0; e < entries; ++e) EXPECT_EQ(out[e * kKeyChannels], KeyOf(e));
}

TEST_F(CacheFacadeTest, BeginPadsTheStep) {
  Make(Options());
  RunOneStep(kTokens + 3);
  EXPECT_EQ(cache_->step().num_token_rows, kTokens);
  EXPECT_EQ(cache_->step_view().tokens[kTokens - 1].position, kTokens - 1);
  for (int32_t row = kTokens; row < kTokens + 3; ++row) {
    EXPECT_EQ(cache_->step_view().tokens[row].sequence_index, -1);
  }
}

TEST_F(CacheFacadeTest, RawSlotsAreWrittenReadCopiedAndCounted) {
  Make(Options());
  RunOneStep();
  const std::vector<uint16_t> row(kLatentChannels, 0x4000);
  const int32_t slots[] = {3, 1 << 30};
  ASSERT_TRUE(cache_
                  ->WriteSlots(0, PoolKind::kWindow, PlaneKind::kLatent,
                               {.data = row.data(), .rotated = true}, {.slots = slots, .count = 1},
                               Stream{})
                  .ok());
  const int32_t per_block = cache_->geometry().pools[0].entries_per_block;
  ASSERT_TRUE(cache_->CopyBlocks({{0, 0, 9, 0}}, Stream{}).ok());
  const int32_t copied[] = {9 * per_block + 3, 1 << 30};
  std::vector<uint16_t> out(2 * kLatentChannels, 1);
  ASSERT_TRUE(cache_
                  ->ReadSlots(0, PoolKind::kWindow, PlaneKind::kLatent,
                              {.slots = copied, .count = 2}, {.data = out.data()}, Stream{})
                  .ok());
  EXPECT_EQ(out[0], 0x4000);
  EXPECT_EQ(out[kLatentChannels], 0);
  EXPECT_EQ(cache_->ReadCounters().skipped_slots, 1);
  EXPECT_FALSE(cache_->SetGlobalScale(0, PoolKind::kWindow, -1).ok());
}

TEST_F(CacheFacadeTest, FiguresEventsTimeAndClearing) {
  Make(Options());
  RunOneStep();
  EXPECT_EQ(cache_->num_sequences(), 1);
  EXPECT_EQ(cache_->last_plan(), PlanNumber(1));
  EXPECT_EQ(cache_->Info(id_)->length, kTokens);
  EXPECT_EQ(cache_->prefix_figures().stored_chunks, 2);
  EXPECT_GT(cache_->Use(PoolIndex(1))->live, 0);
  for (const int pool : {-1, 4, 99}) {
    EXPECT_EQ(cache_->Use(PoolIndex(pool)).status(),
              cache_->ledger().Use(PoolIndex(pool)).status());
    EXPECT_FALSE(cache_->Use(PoolIndex(pool)).ok());
  }
  EXPECT_FALSE(cache_->TakeEvents().empty());
  EXPECT_TRUE(cache_->TakeEvents().empty());
  EXPECT_TRUE(cache_->SetTime(100).ok());
  EXPECT_FALSE(cache_->SetTime(99).ok());

  const std::vector<int32_t> prompt(kTokens, 7);
  EXPECT_EQ(cache_->Probe({.tokens = prompt})->matched, 256);
  cache_->ClearPrefixes();
  EXPECT_EQ(cache_->Probe({.tokens = prompt})->matched, 0);
  EXPECT_EQ(cache_->TakeEvents().back().kind, PrefixEvent::Kind::kCleared);
}

TEST_F(CacheFacadeTest, ASnapshotRebuildsTheTables) {
  Make(Options());
  RunOneStep();
  auto snapshot = cache_->Snapshot();
  ASSERT_TRUE(snapshot.ok()) << snapshot.status();
  EXPECT_TRUE(snapshot->is_snapshot());
  EXPECT_TRUE(cache_->Begin(*snapshot, Stream{}).ok());
}

TEST_F(CacheFacadeTest, OptionsReachTheCapacityAndTheLedger) {
  CacheOptions options = Options();
  options.epoch = 77;
  options.prefill_sequences = 2;
  options.checkpoints = 5;
  Make(options);
  EXPECT_EQ(cache_->capacity().prefill_sequences, 2);
  EXPECT_EQ(cache_->capacity().checkpoints, 5);
  EXPECT_EQ(cache_->Snapshot()->header().epoch, 77);
  EXPECT_EQ(cache_->epoch(), 77u);
  EXPECT_EQ(cache_->generation(), 1u);
  EXPECT_EQ(cache_->backend().name(), "host");
  EXPECT_GT(cache_->memory_bytes(), 0);
  EXPECT_LE(cache_->memory_bytes(), options.memory_bytes);
}

}  // namespace
}  // namespace terrace::testing
