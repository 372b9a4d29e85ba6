#include "terrace/cache.h"

#include <cstdint>
#include <limits>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "examples/attention.h"
#include "examples/serving_loop.h"
#include "examples/seven_checks.h"
#include "gtest/gtest.h"
#include "src/plan/step_expand.h"
#include "terrace/formats/rope.h"
#include "terrace/units.h"
#include "tests/support/use_of.h"

namespace terrace::testing {
namespace {

using examples::RandomRows;

constexpr int kChannels = kLatentChannels;

absl::StatusOr<std::unique_ptr<Cache>> HostCache(const LayeredModelOptions& layers,
                                                 const Limits& limits,
                                                 int64_t memory_bytes = 64 * kMiB,
                                                 const PrefixOptions& prefix = {}) {
  absl::StatusOr<ModelSpec> model = MakeModel(layers);
  if (!model.ok()) return model.status();
  return Cache::Create({.model = *model,
                        .memory_bytes = memory_bytes,
                        .limits = limits,
                        .backend = {.kind = BackendKind::kHost, .host_threads = 2},
                        .prefix = prefix});
}

// The row that a test's model computes for one token or entry: derived from who it is.
std::vector<uint16_t> RowOf(int sequence, int layer, int position, int what) {
  return RandomRows(1,
                    static_cast<uint32_t>(((sequence * 8 + layer) * 4 + what) * 8192 + position));
}

std::vector<uint16_t> Rotated(std::vector<uint16_t> row, int layer, int position) {
  const std::vector<float> table = layer == 0 ? MakeRopeTable(position + 1, kWindowRope)
                                              : MakeRopeTable(position + 1, kCompressedRope);
  const float* const angles = table.data() + int64_t{position} * kRopeChannels;
  RotatePairs<kRopePairs>(row.data() + kChannels - kRopeChannels, angles, angles + kRopePairs);
  return row;
}

// Three layers as DeepSeek-V4 has them (window only, CSA with an indexer, HCA) with bf16 latents,
// so that what is read can be compared in every bit.
LayeredModelOptions ThreeLayers() {
  return {.name = "three layers", .ratios = {0, 4, 128}, .latent_format = RowFormat::kBf16};
}

// A worker: computes the rows of a plan's step and writes them, on the host backend.
class Worker {
 public:
  explicit Worker(Cache& cache) : cache_(cache) {}

  // `sequence_of_index` names the test's sequence in each sequence.
  absl::Status Run(const Plan& plan, const std::map<int, int>& sequence_of_index) {
    if (absl::Status status = cache_.Begin(plan, {}); !status.ok()) return status;
    for (int layer = 0; layer < 3; ++layer) {
      std::vector<uint16_t> tokens;
      std::vector<uint16_t> entries;
      const int pool = layer;  // 0 swa, 1 csa, 2 hca
      for (const SequenceStep& part : plan.sequences()) {
        const int sequence = sequence_of_index.at(part.sequence_index);
        for (int t = part.first; t < part.first + part.count; ++t) {
          Append(RowOf(sequence, layer, t, 0), tokens);
        }
        if (layer == 0) continue;
        const PoolGeometry& geometry = cache_.ledger().geometry().pools[pool];
        const int end = EntriesClosed(geometry, part.first + part.count);
        for (int e = EntriesClosed(geometry, part.first); e < end; ++e) {
          Append(RowOf(sequence, layer, e, 1), entries);
        }
      }
      const std::vector<uint16_t> keys(entries.size() / 4, 0x3F80);
      LayerRows rows = {.swa = {.data = tokens.data()}};
      if (!entries.empty()) rows.entries.data = entries.data();
      if (!entries.empty() && layer == 1) rows.indexer.data = keys.data();
      if (absl::Status status = cache_.Write(layer, rows, {}); !status.ok()) return status;
    }
    return absl::OkStatus();
  }

 private:
  static void Append(const std::vector<uint16_t>& row, std::vector<uint16_t>& rows) {
    rows.insert(rows.end(), row.begin(), row.end());
  }

  Cache& cache_;
};

std::vector<uint16_t> RowAt(const std::vector<uint16_t>& rows, int index) {
  return {rows.begin() + int64_t{index} * kChannels, rows.begin() + int64_t{index + 1} * kChannels};
}

// docs/design.md section 3: a prefill piece, a decode and a decode with drafts in one step.
class DesignStep : public ::testing::Test {
 protected:
  void SetUp() override {
    auto cache = HostCache(
        ThreeLayers(),
        {.max_sequences = 4, .max_step_tokens = 600, .max_drafts = 4, .max_context_tokens = 4096});
    ASSERT_TRUE(cache.ok()) << cache.status();
    cache_ = *std::move(cache);
    for (const int prompt : {512, 300, 260}) {
      auto id = cache_->AllocateSequence({.tokens = std::vector<int32_t>(prompt, 7)});
      ASSERT_TRUE(id.ok()) << id.status();
      ids_.push_back(id->id);
      sequence_of_index_[id->id.index] = static_cast<int>(ids_.size()) - 1;
    }
    Step({{ids_[1], 300}, {ids_[2], 260}});
    ASSERT_TRUE(cache_->Commit(ids_[1], {42}).ok());
    ASSERT_TRUE(cache_->Commit(ids_[2], {43}).ok());
  }

  void Step(const std::vector<StepRequest>& batch) {
    auto plan = cache_->Append(batch);
    ASSERT_TRUE(plan.ok()) << plan.status();
    const absl::Status status = Worker(*cache_).Run(*plan, sequence_of_index_);
    ASSERT_TRUE(status.ok()) << status;
    cache_->ledger().CheckInvariants();
  }

  std::unique_ptr<Cache> cache_;
  std::vector<SequenceId> ids_;
  std::map<int, int> sequence_of_index_;
};

TEST_F(DesignStep, EveryQueryFindsItsWindowAndItsChosenEntries) {
  Step({{ids_[0], 512}, {ids_[1], 1}, {ids_[2], 5, 4}});
  const std::vector<int32_t> queries = {511, 512, 513, 517};  // last of a, b, first and last of c
  const std::vector<std::pair<int, int>> who = {{0, 511}, {1, 300}, {2, 260}, {2, 264}};

  for (int layer = 0; layer < 3; ++layer) {
    std::vector<uint16_t> window(queries.size() * 128 * kChannels);
    const absl::Status status = cache_->GatherWindow(
        layer, {.token_rows = queries.data(), .count = 4}, {.data = window.data()}, {});
    ASSERT_TRUE(status.ok()) << status;
    for (size_t q = 0; q < queries.size(); ++q) {
      const auto [sequence, position] = who[q];
      for (const int row : {0, 1, 63, 64, 126, 127}) {
        const int token = position - 127 + row;
        // Of a prefill piece only what later steps can see is stored: not token 384.
        const bool stored = sequence != 0 || token >= 512 - 127;
        EXPECT_EQ(RowAt(window, static_cast<int>(q) * 128 + row),
                  stored ? Rotated(RowOf(sequence, layer, token, 0), layer, token)
                         : std::vector<uint16_t>(kChannels, 0))
            << "layer " << layer << ", query " << q << ", row " << row;
      }
    }
  }

  // Layer 1: the newest entry that each query sees, the oldest, none, and one beyond its sight.
  std::vector<int32_t> top_k;
  for (const auto& [sequence, position] : who) {
    const int visible = (position + 1) / 4;
    top_k.insert(top_k.end(), {visible - 1, 0, -1, visible});
  }
  std::vector<uint16_t> rows(who.size() * 4 * kChannels, 1);
  absl::Status status =
      cache_->GatherTopK(1, {.token_rows = queries.data(), .count = 4},
                         {.entries = top_k.data(), .k = 4}, {.data = rows.data()}, {});
  ASSERT_TRUE(status.ok()) << status;
  for (size_t q = 0; q < who.size(); ++q) {
    const auto [sequence, position] = who[q];
    const int newest = (position + 1) / 4 - 1;
    const int at = static_cast<int>(q) * 4;
    EXPECT_EQ(RowAt(rows, at), Rotated(RowOf(sequence, 1, newest, 1), 1, newest * 4)) << q;
    EXPECT_EQ(RowAt(rows, at + 1), Rotated(RowOf(sequence, 1, 0, 1), 1, 0)) << q;
    EXPECT_EQ(RowAt(rows, at + 2), std::vector<uint16_t>(kChannels, 0)) << q;
    EXPECT_EQ(RowAt(rows, at + 3), std::vector<uint16_t>(kChannels, 0)) << q;
  }
  EXPECT_EQ(cache_->store().ReadCounters().skipped_entries, 4u);

  // The slots lead to the same rows through the page view.
  std::vector<int32_t> slots(who.size() * 64);
  std::vector<int32_t> lengths(who.size());
  status = cache_->TranslateTopK(1, {.token_rows = queries.data(), .count = 4},
                                 {.entries = top_k.data(), .k = 4},
                                 {.slots = slots.data(), .lengths = lengths.data()}, {});
  ASSERT_TRUE(status.ok()) << status;
  const absl::StatusOr<PageView> view = cache_->Pages(1, PoolKind::kFull);
  ASSERT_TRUE(view.ok()) << view.status();
  for (size_t q = 0; q < who.size(); ++q) {
    EXPECT_EQ(lengths[q], 2);
    for (int k = 0; k < 64; ++k) {
      const int32_t slot = slots[q * 64 + k];
      if (k >= 2) {
        EXPECT_EQ(slot, -1) << q << " " << k;
        continue;
      }
      const uint16_t* const row =
          reinterpret_cast<const uint16_t*>(static_cast<const uint8_t*>(view->base) +
                                            slot / view->entries_per_block * view->block_stride +
                                            slot % view->entries_per_block * view->data_stride);
      EXPECT_EQ(std::vector<uint16_t>(row, row + kChannels),
                RowAt(rows, static_cast<int>(q) * 4 + k));
    }
  }
}

TEST_F(DesignStep, RejectedDraftsLeaveNoTrace) {
  Step({{ids_[0], 512}, {ids_[1], 1}, {ids_[2], 5, 4}});
  ASSERT_TRUE(cache_->Commit(ids_[1], {1}).ok());
  ASSERT_TRUE(cache_->Truncate(ids_[2], 262).ok());  // one of four drafts accepted
  ASSERT_TRUE(cache_->Commit(ids_[2], {1, 2}).ok());
  Step({{ids_[2], 3, 2}});
  std::vector<uint16_t> window(3 * 128 * kChannels);
  const absl::Status status = cache_->GatherWindow(2, {}, {.data = window.data()}, {});
  ASSERT_TRUE(status.ok()) << status;
  for (int q = 0; q < 3; ++q) {
    for (int row = 0; row < 128; ++row) {
      const int token = 262 + q - 127 + row;
      ASSERT_EQ(RowAt(window, q * 128 + row), Rotated(RowOf(2, 2, token, 0), 2, token));
    }
  }
  std::vector<uint16_t> entries(3 * 4 * kChannels, 1);
  ASSERT_TRUE(cache_->GatherVisible(2, {}, 4, {.data = entries.data()}, {}).ok());
  EXPECT_EQ(RowAt(entries, 1), Rotated(RowOf(2, 2, 1, 1), 2, 128));
  EXPECT_EQ(RowAt(entries, 2), std::vector<uint16_t>(kChannels, 0));
}

TEST_F(DesignStep, FreedSequencesGiveAllTheirBlocksBack) {
  Step({{ids_[0], 512}, {ids_[1], 1}, {ids_[2], 5, 4}});
  for (const SequenceId id : ids_) ASSERT_TRUE(cache_->FreeSequence(id).ok());
  for (int p = 0; p < cache_->ledger().geometry().num_pools; ++p) {
    const PoolUse use = UseOf(cache_->ledger(), p);
    EXPECT_EQ(use.free + use.cached, use.capacity);  // what was settled may be reused
    EXPECT_EQ(use.live, 0);
  }
  cache_->ledger().CheckInvariants();
}

TEST(CacheTest, TheLastPositionOfTheLongestContextRotates) {
  auto cache =
      HostCache({.name = "one layer", .ratios = {0}, .latent_format = RowFormat::kBf16},
                {.max_sequences = 1, .max_step_tokens = 8192, .max_context_tokens = 40000});
  ASSERT_TRUE(cache.ok()) << cache.status();
  auto id = (*cache)->AllocateSequence({});
  ASSERT_TRUE(id.ok());
  std::vector<uint16_t> rows(8192 * kChannels, 0x3F80);
  for (int length = 0; length < 40000; length += 8000) {
    auto plan = (*cache)->Append({{id->id, 8000}});
    ASSERT_TRUE(plan.ok()) << plan.status();
    ASSERT_TRUE((*cache)->Begin(*plan, {}).ok());
    ASSERT_TRUE((*cache)->Write(0, {.swa = {.data = rows.data()}}, {}).ok());
  }
  const int32_t last_row = 7999;
  std::vector<uint16_t> window(128 * kChannels);
  ASSERT_TRUE(
      (*cache)
          ->GatherWindow(0, {.token_rows = &last_row, .count = 1}, {.data = window.data()}, {})
          .ok());
  EXPECT_EQ(RowAt(window, 127), Rotated(std::vector<uint16_t>(kChannels, 0x3F80), 0, 39999));
  EXPECT_EQ((*cache)->store().ReadCounters().skipped_positions, 0u);
}

TEST(CacheTest, AModelWhoseLayersAllHaveAFullPoolNeedsNoWindowOnlyTable) {
  auto cache = HostCache({.name = "hca", .ratios = {128}, .latent_format = RowFormat::kBf16},
                         {.max_sequences = 1, .max_step_tokens = 128, .max_context_tokens = 1024});
  ASSERT_TRUE(cache.ok()) << cache.status();
  EXPECT_EQ((*cache)->capacity().geometry.max_context_tokens, 1024);
  EXPECT_LE((*cache)->store().memory_bytes(), 64 * kMiB);
}

TEST(CacheTest, MemoryThatCannotBeIsOneLineThatSaysSo) {
  for (const int64_t bytes :
       {int64_t{0}, int64_t{-1}, int64_t{1}, 100 * kKiB, std::numeric_limits<int64_t>::min(),
        std::numeric_limits<int64_t>::max(), int64_t{1} << 62, int64_t{1} << 50}) {
    for (const LayeredModelOptions& layers :
         {ThreeLayers(), LayeredModelOptions{.name = "hca", .ratios = {128}}}) {
      auto cache = HostCache(layers, {.max_context_tokens = 4096}, bytes);
      ASSERT_FALSE(cache.ok()) << bytes;
      EXPECT_FALSE(cache.status().message().empty());
      EXPECT_EQ(cache.status().message().find('\n'), absl::string_view::npos) << cache.status();
      EXPECT_NE(cache.status().code(), absl::StatusCode::kInternal) << cache.status();
    }
  }
}

TEST(CacheTest, ACudaCacheWithoutAUsableDeviceSaysWhy) {
  BackendOptions options = {.kind = BackendKind::kCuda};
  if (MakeBackend(options).ok()) GTEST_SKIP() << "a device is usable here";
  auto cache = Cache::Create({.model = DeepSeekV4Flash(),
                              .memory_bytes = 4 * kGiB,
                              .limits = {.max_sequences = 1, .max_context_tokens = 4096},
                              .backend = options});
  EXPECT_EQ(cache.status().code(), absl::StatusCode::kFailedPrecondition) << cache.status();
}

TEST(CacheTest, RetireFreesWhatDrained) {
  absl::StatusOr<ModelSpec> model = MakeModel(ThreeLayers());
  ASSERT_TRUE(model.ok());
  auto cache = Cache::Create({.model = *model,
                              .memory_bytes = 64 * kMiB,
                              .limits = {.max_sequences = 1, .max_context_tokens = 4096},
                              .backend = {.kind = BackendKind::kHost},
                              .in_flight_plans = 2});
  ASSERT_TRUE(cache.ok()) << cache.status();
  auto id = (*cache)->AllocateSequence({});
  ASSERT_TRUE(id.ok());
  auto plan = (*cache)->Append({{id->id, 300}});
  ASSERT_TRUE(plan.ok()) << plan.status();
  ASSERT_TRUE((*cache)->FreeSequence(id->id).ok());
  EXPECT_EQ(UseOf((*cache)->ledger(), 1).draining, 2);
  ASSERT_TRUE((*cache)->Retire(plan->number()).ok());
  EXPECT_EQ(UseOf((*cache)->ledger(), 1).draining, 0);
  EXPECT_EQ(UseOf((*cache)->ledger(), 1).free, UseOf((*cache)->ledger(), 1).capacity);
}

// Three chunks for two sequences of two: one is preempted, starts again, and reads the same rows.
TEST(CacheTest, APreemptedSequenceReadsTheSameRowsAfterRecomputation) {
  const LayeredModelOptions layers = examples::OneLayer(1, RowFormat::kBf16);
  const Limits limits = {
      .max_sequences = 2, .max_step_tokens = 64, .max_drafts = 2, .max_context_tokens = 512};
  const absl::StatusOr<ModelSpec> model = MakeModel(layers);
  ASSERT_TRUE(model.ok());
  const absl::StatusOr<CapacityPlan> large = PlanCapacity(
      {.model = *model, .memory_bytes = 64 * kMiB, .limits = limits, .prefix_reuse = false});
  ASSERT_TRUE(large.ok()) << large.status();
  const int64_t chunk = large->pools[1].place.reserved_bytes_per_block();
  const int64_t memory =
      64 * kMiB - large->unused_bytes - (large->pools[1].blocks - int64_t{3}) * chunk;
  auto cache = HostCache(layers, limits, memory, {.enabled = false});
  ASSERT_TRUE(cache.ok()) << cache.status();
  ASSERT_EQ(UseOf((*cache)->ledger(), 1).capacity, 3);

  const std::vector<examples::Request> requests = {examples::RandomRequest(330, 200, 1, 7),
                                                   examples::RandomRequest(310, 190, 1, 8)};
  auto loop = examples::ServingLoop::Make(**cache, {.drafts = 2}, {});
  ASSERT_TRUE(loop.ok()) << loop.status();
  auto results = (*loop)->Run(requests);
  ASSERT_TRUE(results.ok()) << results.status();
  EXPECT_GT((*loop)->preemptions(), 0);
  for (size_t i = 0; i < requests.size(); ++i) {
    EXPECT_EQ((*results)[i].attention, examples::ReferenceAttention(requests[i], 1, 0));
  }
  EXPECT_EQ(UseOf((*cache)->ledger(), 1).free, 3);
}

}  // namespace
}  // namespace terrace::testing
