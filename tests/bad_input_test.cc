// Bad input through the public API: each is one line that names the thing, and changes nothing.

#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "terrace/cache.h"
#include "terrace/geometry_builder.h"
#include "terrace/plan_builder.h"
#include "terrace/units.h"

namespace terrace {
namespace {

constexpr int32_t kMost = std::numeric_limits<int32_t>::max();
constexpr int32_t kLeast = std::numeric_limits<int32_t>::min();

using enum absl::StatusCode;

// One way to go wrong: what is called, what it must answer, and a word that the answer must hold.
struct BadCall {
  const char* what;
  absl::StatusCode code;
  const char* names;
  std::function<absl::Status()> call;
};

void ExpectOneLine(const absl::Status& status, absl::StatusCode code, const std::string& names) {
  EXPECT_EQ(status.code(), code) << status;
  const std::string message(status.message());
  EXPECT_EQ(message.find('\n'), std::string::npos) << message;
  EXPECT_NE(message.find(names), std::string::npos) << "no \"" << names << "\" in: " << message;
  EXPECT_GT(message.size(), 10u) << message;
}

// Layers: window only, CSA with an indexer, HCA. On the host backend, so that any memory will do.
class BadInputTest : public testing::Test {
 protected:
  void SetUp() override {
    absl::StatusOr<ModelSpec> model = MakeModel({.name = "three layers", .ratios = {0, 4, 128}});
    ASSERT_TRUE(model.ok()) << model.status();
    model_ = *std::move(model);
    auto cache = Cache::Create({.model = model_,
                                .memory_bytes = 8 * kMiB,
                                .limits = kLimits,
                                .backend = {.kind = BackendKind::kHost, .host_threads = 1}});
    ASSERT_TRUE(cache.ok()) << cache.status();
    cache_ = *std::move(cache);
    live_ = cache_->AllocateSequence({.tokens = std::vector<int32_t>(300, 7)})->id;
    drafting_ = cache_->AllocateSequence({.tokens = std::vector<int32_t>(10, 7)})->id;
    stale_ = cache_->AllocateSequence({})->id;
    auto first = cache_->Append({{live_, 300}, {drafting_, 13, 3}, {stale_, 5}});
    ASSERT_TRUE(first.ok()) << first.status();
    first_ = *std::move(first);
    ASSERT_TRUE(cache_->Begin(*first_, {}).ok());
    ASSERT_TRUE(cache_->Write(0, {.swa = {.data = memory_.data(), .rotated = true}}, {}).ok());
    ASSERT_TRUE(cache_->FreeSequence(stale_).ok());
    auto second = cache_->Append({{live_, 1}});
    ASSERT_TRUE(second.ok()) << second.status();
    second_ = *std::move(second);
  }

  // Everything that a call which failed must have left alone.
  struct State {
    std::vector<PoolUse> pools;
    std::vector<SequenceInfo> sequences;
    int32_t num_sequences;
    PlanNumber last_plan;
    uint64_t store_plan;
    int32_t step_rows;
    Counters counters;
    std::vector<uint8_t> pages;
    std::vector<int32_t> tables;
  };

  State Look() const {
    State state;
    const Ledger& ledger = cache_->ledger();
    const Geometry& geometry = ledger.geometry();
    const StepView& view = cache_->store().step_view();
    for (int p = 0; p < geometry.num_pools; ++p) {
      state.pools.push_back(ledger.Use(p));
      state.tables.insert(
          state.tables.end(), view.block_table[p],
          view.block_table[p] + geometry.max_sequences * geometry.pools[p].blocks_per_lane);
      const int layer = p == geometry.overlap_pool ? 1 : p;
      const PageView pages = *cache_->Pages(layer, geometry.pools[p].kind);
      const uint8_t* const base = static_cast<const uint8_t*>(pages.base);
      state.pages.insert(state.pages.end(), base, base + pages.num_blocks * pages.block_stride);
    }
    for (const SequenceId id : {live_, drafting_}) state.sequences.push_back(*ledger.Info(id));
    state.num_sequences = ledger.num_sequences();
    state.last_plan = ledger.last_plan();
    state.store_plan = cache_->store().step().number;
    state.step_rows = cache_->store().step().num_token_rows;
    state.counters = cache_->store().ReadCounters();
    return state;
  }

  static void ExpectSame(const State& a, const State& b) {
    for (size_t p = 0; p < a.pools.size(); ++p) {
      EXPECT_TRUE(a.pools[p] == b.pools[p]) << "pool " << p;
    }
    for (size_t i = 0; i < a.sequences.size(); ++i) {
      EXPECT_TRUE(a.sequences[i] == b.sequences[i]) << i;
    }
    EXPECT_EQ(a.num_sequences, b.num_sequences);
    EXPECT_EQ(a.last_plan, b.last_plan);
    EXPECT_EQ(a.store_plan, b.store_plan);
    EXPECT_EQ(a.step_rows, b.step_rows);
    EXPECT_EQ(std::memcmp(&a.counters, &b.counters, sizeof(Counters)), 0);
    EXPECT_TRUE(a.pages == b.pages) << "the pages changed";
    EXPECT_TRUE(a.tables == b.tables) << "the block tables changed";
  }

  void ExpectErrors(const std::vector<BadCall>& calls) {
    const State before = Look();
    for (const BadCall& bad : calls) {
      SCOPED_TRACE(bad.what);
      ExpectOneLine(bad.call(), bad.code, bad.names);
      ExpectSame(before, Look());
    }
    cache_->ledger().CheckInvariants();
    // And what is right still works.
    EXPECT_TRUE(cache_->Begin(*second_, {}).ok());
    EXPECT_TRUE(cache_->Write(0, {.swa = {.data = memory_.data()}}, {}).ok());
    EXPECT_TRUE(cache_->Commit(live_, {1, 2}).ok());
    EXPECT_TRUE(cache_->Append({{live_, 1}}).ok());
  }

  absl::Status Append(const std::vector<StepRequest>& batch) {
    return cache_->Append(batch).status();
  }

  static constexpr Limits kLimits = {
      .max_sequences = 4, .max_step_tokens = 400, .max_drafts = 4, .max_context_tokens = 2048};
  ModelSpec model_;
  std::unique_ptr<Cache> cache_;
  SequenceId live_, drafting_, stale_;
  std::optional<Plan> first_, second_;  // begun; made but not begun
  // Rows in and out of the calls; never reached by a call that is refused.
  std::vector<uint16_t> memory_ = std::vector<uint16_t>(400 * 130 * 8, 0x3F80);
  std::vector<int32_t> ints_ = std::vector<int32_t>(4096, 0);
};

TEST_F(BadInputTest, OfTheSchedulerChangesNothing) {
  const std::vector<int32_t> long_prompt(2049, 1);
  const std::vector<int32_t> many(1749, 1);
  ExpectErrors({
      {"a prompt beyond the context", kInvalidArgument, "2049",
       [&] { return cache_->AllocateSequence({.tokens = long_prompt}).status(); }},
      {"an empty batch", kInvalidArgument, "at least one", [&] { return Append({}); }},
      {"a stale handle", kNotFound, "generation 1",
       [&] {
         return Append({{stale_, 1}});
       }},
      {"a stale handle behind a good one", kNotFound, "lane 2",
       [&] {
         return Append({{live_, 1}, {stale_, 1}});
       }},
      {"no handle", kNotFound, "lane -1",
       [&] {
         return Append({{SequenceId{}, 1}});
       }},
      {"an unknown lane", kNotFound, "lane 99",
       [&] {
         return Append({{{99, 1}, 1}});
       }},
      {"an unknown generation", kNotFound, "generation 77",
       [&] {
         return Append({{{live_.lane, 77}, 1}});
       }},
      {"a lane never used", kNotFound, "lane 3",
       [&] {
         return Append({{{3, 0}, 1}});
       }},
      {"a sequence twice", kInvalidArgument, "twice",
       [&] {
         return Append({{live_, 1}, {live_, 1}});
       }},
      {"no tokens", kInvalidArgument, "tokens is 0",
       [&] {
         return Append({{live_, 0}});
       }},
      {"negative tokens", kInvalidArgument, "tokens is -5",
       [&] {
         return Append({{live_, -5}});
       }},
      {"too many tokens", kInvalidArgument, "tokens",
       [&] {
         return Append({{live_, kMost}});
       }},
      {"negative drafts", kInvalidArgument, "drafts is -1",
       [&] {
         return Append({{live_, 1, -1}});
       }},
      {"more drafts than tokens", kInvalidArgument, "drafts is 3",
       [&] {
         return Append({{live_, 2, 3}});
       }},
      {"more drafts than declared", kInvalidArgument, "drafts is 5",
       [&] {
         return Append({{live_, 8, 5}});
       }},
      {"undecided drafts", kFailedPrecondition, "3 undecided drafts",
       [&] {
         return Append({{drafting_, 1}});
       }},
      {"undecided drafts behind a good one", kFailedPrecondition, "undecided drafts",
       [&] {
         return Append({{live_, 300}, {drafting_, 1}});
       }},
      {"a stale handle to Commit", kNotFound, "lane 2",
       [&] { return cache_->Commit(stale_, {1}); }},
      {"an unknown handle to Commit", kNotFound, "lane -7",
       [&] {
         return cache_->Commit({-7, 1}, {1});
       }},
      {"ids beyond the context", kInvalidArgument, "2048",
       [&] { return cache_->Commit(live_, many); }},
  });
}

TEST_F(BadInputTest, OfTruncateAndFreeChangesNothing) {
  ExpectErrors({
      {"a stale handle to Truncate", kNotFound, "lane 2",
       [&] { return cache_->Truncate(stale_, 0); }},
      {"a negative length", kInvalidArgument, "-1",
       [&] { return cache_->Truncate(drafting_, -1); }},
      {"beyond the rows", kInvalidArgument, "14", [&] { return cache_->Truncate(drafting_, 14); }},
      {"settled rows", kInvalidArgument, "9", [&] { return cache_->Truncate(drafting_, 9); }},
      {"an undeclared row", kInvalidArgument, "300", [&] { return cache_->Truncate(live_, 300); }},
      {"the smallest number", kInvalidArgument, "-2147483648",
       [&] { return cache_->Truncate(drafting_, kLeast); }},
      {"freed twice", kNotFound, "lane 2", [&] { return cache_->FreeSequence(stale_); }},
      {"never allocated", kNotFound, "lane 3",
       [&] {
         return cache_->FreeSequence({3, 1});
       }},
      {"Retire without plans in flight", kFailedPrecondition, "in_flight_plans",
       [&] { return cache_->Retire(PlanNumber(1)); }},
  });
}

TEST_F(BadInputTest, OfAFullCacheChangesNothing) {
  ASSERT_TRUE(cache_->AllocateSequence({}).ok());
  ASSERT_TRUE(cache_->AllocateSequence({}).ok());
  ExpectErrors({{"no lane is left", kResourceExhausted, "all 4 lanes",
                 [&] { return cache_->AllocateSequence({}).status(); }}});
}

TEST_F(BadInputTest, OfALayerOrItsRowsChangesNothing) {
  const RowsIn good = {.data = memory_.data()};
  const auto write = [&](int layer, const LayerRows& rows) {
    return cache_->Write(layer, rows, {});
  };
  ExpectErrors({
      {"a negative layer", kInvalidArgument, "layer -1", [&] { return write(-1, {.swa = good}); }},
      {"a layer past the last", kInvalidArgument, "layer 3",
       [&] { return write(3, {.swa = good}); }},
      {"a layer past the last, no rows", kInvalidArgument, "layer 3", [&] { return write(3, {}); }},
      {"entries for a window layer", kInvalidArgument, "layer 0",
       [&] { return write(0, {.swa = good, .entries = good}); }},
      {"indexer keys without an indexer", kInvalidArgument, "hca",
       [&] { return write(2, {.swa = good, .indexer = good}); }},
      {"a pitch below the channels", kInvalidArgument, "504",
       [&] { return write(0, {.swa = {.data = memory_.data(), .pitch = 504}}); }},
      {"a pitch that is no multiple of 8", kInvalidArgument, "516",
       [&] { return write(0, {.swa = {.data = memory_.data(), .pitch = 516}}); }},
      {"a negative pitch", kInvalidArgument, "-512",
       [&] { return write(0, {.swa = {.data = memory_.data(), .pitch = -512}}); }},
      {"a pitch that overflows", kInvalidArgument, "pitch",
       [&] { return write(0, {.swa = {.data = memory_.data(), .pitch = int64_t{1} << 60}}); }},
      {"unaligned rows", kInvalidArgument, "16-byte",
       [&] { return write(0, {.swa = {.data = memory_.data() + 1}}); }},
      {"a capacity below the step", kInvalidArgument, "capacity is 10",
       [&] { return write(0, {.swa = {.data = memory_.data(), .capacity = 10}}); }},
      {"a capacity beyond any step", kInvalidArgument, "capacity",
       [&] { return write(0, {.swa = {.data = memory_.data(), .capacity = kMost}}); }},
      {"a negative capacity", kInvalidArgument, "capacity is -1",
       [&] { return write(0, {.swa = {.data = memory_.data(), .capacity = -1}}); }},
  });
}

TEST_F(BadInputTest, OfAReadChangesNothing) {
  const RowsOut out = {.data = memory_.data()};
  const SlotsOut slots = {.slots = ints_.data()};
  const Queries one = {.token_rows = ints_.data(), .count = 1};
  const TopK top_k = {.entries = ints_.data(), .k = 4};
  Store& store = cache_->store();
  ExpectErrors({
      {"no full pool", kInvalidArgument, "layer 0",
       [&] { return cache_->GatherTopK(0, one, top_k, out, {}); }},
      {"a layer past the last", kInvalidArgument, "layer 9",
       [&] { return cache_->GatherWindow(9, one, out, {}); }},
      {"k of 0", kInvalidArgument, "k is 0",
       [&] { return cache_->GatherTopK(1, one, {.entries = ints_.data(), .k = 0}, out, {}); }},
      {"a negative k", kInvalidArgument, "k is -4",
       [&] {
         return cache_->TranslateTopK(1, one, {.entries = ints_.data(), .k = -4}, slots, {});
       }},
      {"no entries", kInvalidArgument, "entries",
       [&] { return cache_->TranslateTopK(1, one, {.k = 4}, slots, {}); }},
      {"a pitch below k", kInvalidArgument, "pitch",
       [&] {
         return cache_->TranslateTopK(1, one, {.entries = ints_.data(), .pitch = 3, .k = 4}, slots,
                                      {});
       }},
      {"no most entries", kInvalidArgument, "max_entries is 0",
       [&] { return cache_->GatherVisible(1, one, 0, out, {}); }},
      {"negative most entries", kInvalidArgument, "max_entries is -2147483648",
       [&] { return cache_->TranslateVisible(1, one, kLeast, slots, {}); }},
      {"entries beyond any memory", kInvalidArgument, "max_entries",
       [&] { return cache_->TranslateVisible(1, one, kMost, slots, {}); }},
      {"a negative number of queries", kInvalidArgument, "queries",
       [&] { return cache_->GatherWindow(1, {.token_rows = ints_.data(), .count = -1}, out, {}); }},
      {"no slots", kInvalidArgument, "slots",
       [&] { return cache_->TranslateWindow(1, one, {}, {}); }},
      {"a slot pitch below the window", kInvalidArgument, "127",
       [&] { return cache_->TranslateWindow(1, one, {.slots = ints_.data(), .pitch = 127}, {}); }},
      {"no rows out", kInvalidArgument, "rows",
       [&] { return cache_->GatherWindow(1, one, {}, {}); }},
      {"unaligned rows out", kInvalidArgument, "16-byte",
       [&] { return cache_->GatherWindow(1, one, {.data = memory_.data() + 4}, {}); }},
      {"a row pitch below the channels", kInvalidArgument, "row_pitch",
       [&] {
         return cache_->GatherWindow(1, one, {.data = memory_.data(), .row_pitch = 256}, {});
       }},
      {"a query pitch below the rows", kInvalidArgument, "query_pitch",
       [&] {
         return cache_->GatherWindow(1, one, {.data = memory_.data(), .query_pitch = 512}, {});
       }},
      {"rows that are rotated already", kInvalidArgument, "rotated",
       [&] { return cache_->GatherWindow(1, one, {.data = memory_.data(), .rotate = true}, {}); }},
      {"an indexer that is not there", kInvalidArgument, "hca",
       [&] { return store.GatherVisible(2, one, 4, out, {}, PlaneKind::kIndexer); }},
      {"an unknown plane", kInvalidArgument, "plane",
       [&] { return store.GatherVisible(1, one, 4, out, {}, static_cast<PlaneKind>(7)); }},
      {"pages of an unknown pool", kInvalidArgument, "pool",
       [&] { return cache_->Pages(1, static_cast<PoolKind>(5)).status(); }},
      {"pages of a pool that the layer lacks", kInvalidArgument, "layer 0",
       [&] { return cache_->Pages(0, PoolKind::kFull).status(); }},
      {"overlap pages of a layer without", absl::StatusCode::kInvalidArgument, "no overlap pool",
       [&] { return cache_->Pages(2, PoolKind::kOverlap).status(); }},
      {"another plane of overlap pages", absl::StatusCode::kInvalidArgument, "no planes",
       [&] { return cache_->Pages(1, PoolKind::kOverlap, PlaneKind::kIndexer).status(); }},
      {"pages of a negative plane", kInvalidArgument, "plane",
       [&] { return cache_->Pages(1, PoolKind::kFull, static_cast<PlaneKind>(-1)).status(); }},
  });
}

TEST_F(BadInputTest, OfRawSlotsIsRefusedOrSkippedAndCounted) {
  Store& store = cache_->store();
  const RowsIn rows = {.data = memory_.data(), .rotated = true};
  ExpectErrors({
      {"a negative count", kInvalidArgument, "count is -1",
       [&] {
         return store.WriteSlots(0, PoolKind::kWindow, PlaneKind::kLatent, rows, ints_.data(),
                                 nullptr, -1, {});
       }},
      {"a negative count to read", kInvalidArgument, "count is -1",
       [&] {
         return store.ReadSlots(0, PoolKind::kWindow, PlaneKind::kLatent, ints_.data(), nullptr, -1,
                                {.data = memory_.data()}, {});
       }},
      {"no slots", kInvalidArgument, "slots",
       [&] {
         return store.WriteSlots(0, PoolKind::kWindow, PlaneKind::kLatent, rows, nullptr, nullptr,
                                 1, {});
       }},
      {"no positions where rows rotate", kInvalidArgument, "positions",
       [&] {
         return store.WriteSlots(0, PoolKind::kWindow, PlaneKind::kLatent, {.data = memory_.data()},
                                 ints_.data(), nullptr, 1, {});
       }},
      {"a copy in no pool", kInvalidArgument, "pool is 9",
       [&] {
         return store.CopyBlocks({{9, 0, 1, 0}}, {});
       }},
      {"a copy from no block", kInvalidArgument, "source is -1",
       [&] {
         return store.CopyBlocks({{0, -1, 1, 0}}, {});
       }},
      {"a copy past the end", kInvalidArgument, "destination is 2147483647",
       [&] {
         return store.CopyBlocks({{0, 0, kMost, 0}}, {});
       }},
      {"a block that is copied both ways", kInvalidArgument, "both",
       [&] {
         return store.CopyBlocks({{0, 0, 1, 0}, {0, 1, 2, 0}}, {});
       }},
      {"two copies to one block", kInvalidArgument, "two copies",
       [&] {
         return store.CopyBlocks({{0, 0, 2, 0}, {0, 1, 2, 0}}, {});
       }},
  });

  const State before = Look();
  const PageView view = *cache_->Pages(0, PoolKind::kWindow);
  const int32_t end = view.num_blocks * view.entries_per_block;
  const std::vector<int32_t> outside = {end, kMost, kLeast, -2, -1};  // -1 is not counted
  ASSERT_TRUE(store
                  .WriteSlots(0, PoolKind::kWindow, PlaneKind::kLatent, rows, outside.data(),
                              nullptr, 5, {})
                  .ok());
  EXPECT_TRUE(before.pages == Look().pages);
  EXPECT_EQ(store.ReadCounters().skipped_slots, before.counters.skipped_slots + 4);
  std::vector<uint16_t> out(5 * kLatentChannels, 1);
  ASSERT_TRUE(store
                  .ReadSlots(0, PoolKind::kWindow, PlaneKind::kLatent, outside.data(), nullptr, 5,
                             {.data = out.data()}, {})
                  .ok());
  EXPECT_EQ(out, std::vector<uint16_t>(out.size(), 0));
  EXPECT_EQ(store.ReadCounters().skipped_slots, before.counters.skipped_slots + 8);
}

TEST_F(BadInputTest, OfScalesAndRopeTablesChangesNothing) {
  Store& store = cache_->store();
  const auto scale = [&](int layer, float value) {
    return store.SetGlobalScale(layer, PoolKind::kWindow, value);
  };
  ExpectErrors({
      {"zero", kInvalidArgument, "scale", [&] { return scale(1, 0); }},
      {"negative", kInvalidArgument, "scale", [&] { return scale(1, -1); }},
      {"infinite", kInvalidArgument, "scale", [&] { return scale(1, INFINITY); }},
      {"not a number", kInvalidArgument, "scale", [&] { return scale(1, NAN); }},
      {"no such layer", kInvalidArgument, "layer 4", [&] { return scale(4, 1); }},
      {"a layer that was written", kFailedPrecondition, "written", [&] { return scale(0, 1); }},
      {"too few tables", kInvalidArgument, "1 rope tables",
       [&] {
         return store.SetRopeTables({{reinterpret_cast<const float*>(memory_.data()), 4}});
       }},
      {"an empty table", kInvalidArgument, "rope table 0",
       [&] {
         return store.SetRopeTables({{nullptr, 4}, {nullptr, 4}});
       }},
  });
}

TEST_F(BadInputTest, OfPlansOutOfOrderChangesNothing) {
  auto third = cache_->Append({{live_, 1}});
  ASSERT_TRUE(third.ok());
  PlanBuilder stranger(cache_->ledger().geometry(), PlanKind::kStep, {});
  const Plan other_epoch = std::move(stranger).Build(2, PlanNumber(2));
  Limits limits = kLimits;
  limits.max_drafts = 3;
  auto foreign = Cache::Create({.model = model_,
                                .memory_bytes = 8 * kMiB,
                                .limits = limits,
                                .backend = {.kind = BackendKind::kHost, .host_threads = 1}});
  ASSERT_TRUE(foreign.ok());
  auto foreign_id = (*foreign)->AllocateSequence({});
  auto foreign_plan = (*foreign)->Append({{foreign_id->id, 1}});
  ASSERT_TRUE(foreign_plan.ok());

  const State before = Look();
  ExpectOneLine(cache_->Begin(*first_, {}), kInvalidArgument, "plan 1");
  ExpectSame(before, Look());
  ExpectOneLine(cache_->Begin(*third, {}), kFailedPrecondition, "snapshot");
  ExpectSame(before, Look());
  ExpectOneLine(cache_->Begin(other_epoch, {}), kFailedPrecondition, "epoch 2");
  ExpectSame(before, Look());
  ExpectOneLine(cache_->Begin(*foreign_plan, {}), kInvalidArgument, "geometry");
  ExpectSame(before, Look());
  ExpectOneLine(Plan::Parse(foreign_plan->bytes(), cache_->ledger().geometry()).status(),
                kFailedPrecondition, "another deployment");
  ExpectOneLine((*foreign)->Write(0, {.swa = {.data = memory_.data()}}, {}), kFailedPrecondition,
                "Begin");
  for (const int32_t padded : {-1, 10, 401, kMost}) {
    // Plan 1 had 318 rows; plan 2 has one.
    if (padded == 10) continue;
    ExpectOneLine(cache_->store().Begin(*second_, {}, padded), kInvalidArgument,
                  "padded_token_rows");
    ExpectSame(before, Look());
  }
  EXPECT_TRUE(cache_->Begin(*second_, {}).ok());
  EXPECT_TRUE(cache_->Begin(*third, {}).ok());
}

TEST_F(BadInputTest, OfAPlansBytesIsAlwaysNoticed) {
  const Geometry& geometry = cache_->ledger().geometry();
  const std::vector<std::byte> bytes(first_->bytes().begin(), first_->bytes().end());
  ASSERT_TRUE(Plan::Parse(bytes, geometry).ok());
  for (size_t at = 0; at < bytes.size(); ++at) {
    std::vector<std::byte> corrupt = bytes;
    corrupt[at] ^= std::byte{0x40};
    const absl::Status status = Plan::Parse(corrupt, geometry).status();
    ASSERT_FALSE(status.ok()) << "byte " << at;
    ASSERT_EQ(std::string(status.message()).find('\n'), std::string::npos);
  }
  for (size_t size = 0; size < bytes.size(); ++size) {
    ASSERT_FALSE(Plan::Parse(absl::MakeConstSpan(bytes).first(size), geometry).ok()) << size;
  }
  std::vector<std::byte> longer = bytes;
  longer.push_back(std::byte{0});
  EXPECT_FALSE(Plan::Parse(longer, geometry).ok());
}

TEST_F(BadInputTest, OfTheMakersIsRefused) {
  const Geometry good = cache_->ledger().geometry();
  const auto ledger = [&](const std::function<void(Geometry&)>& spoil) {
    LedgerOptions options = {.geometry = good};
    spoil(options.geometry);
    return Ledger::Create(options).status();
  };
  const auto store = [&](LayerRange layers) {
    return Store::Create({.model = model_, .geometry = good, .layers = layers},
                         *MakeBackend({.kind = BackendKind::kHost, .host_threads = 1}))
        .status();
  };
  const auto cache = [&](const std::function<void(CacheOptions&)>& spoil) {
    CacheOptions options = {.model = model_,
                            .memory_bytes = 8 * kMiB,
                            .limits = kLimits,
                            .backend = {.kind = BackendKind::kHost, .host_threads = 1}};
    spoil(options);
    return Cache::Create(options).status();
  };
  ExpectErrors({
      {"an empty geometry", kInvalidArgument, "geometry",
       [&] { return Ledger::Create({.geometry = Geometry{}}).status(); }},
      {"no pools", kInvalidArgument, "num_pools",
       [&] { return ledger([](Geometry& g) { g.num_pools = 0; }); }},
      {"too many pools", kInvalidArgument, "num_pools",
       [&] { return ledger([](Geometry& g) { g.num_pools = 99; }); }},
      {"more sequences than any machine", kInvalidArgument, "max_sequences",
       [&] { return ledger([](Geometry& g) { g.max_sequences = kMost; }); }},
      {"longer steps than any machine", kInvalidArgument, "max_step_tokens",
       [&] { return ledger([](Geometry& g) { g.max_step_tokens = kMost; }); }},
      {"a negative capacity", kInvalidArgument, "capacity_blocks",
       [&] { return ledger([](Geometry& g) { g.pools[1].capacity_blocks = -1; }); }},
      {"blocks of no power of two", kInvalidArgument, "entries_per_block",
       [&] { return ledger([](Geometry& g) { g.pools[1].entries_per_block = 48; }); }},
      {"a table that is too short", kInvalidArgument, "blocks_per_lane",
       [&] { return ledger([](Geometry& g) { g.pools[0].blocks_per_lane = 1; }); }},
      {"negative plans in flight", kInvalidArgument, "in_flight_plans",
       [&] { return Ledger::Create({.geometry = good, .in_flight_plans = -1}).status(); }},
      {"a store without a backend", kInvalidArgument, "backend",
       [&] { return Store::Create({.model = model_, .geometry = good}, nullptr).status(); }},
      {"a store of another model", kInvalidArgument, "geometry",
       [&] {
         return Store::Create({.model = *MakeModel({.ratios = {0, 2}}), .geometry = good},
                              *MakeBackend({.kind = BackendKind::kHost}))
             .status();
       }},
      {"layers past the last", kInvalidArgument, "layers",
       [&] {
         return store({2, 2});
       }},
      {"negative layers", kInvalidArgument, "layers",
       [&] {
         return store({-1, 2});
       }},
      {"layers that overflow", kInvalidArgument, "layers",
       [&] {
         return store({2, kMost});
       }},
      {"a negative device", kInvalidArgument, "device",
       [&] { return MakeBackend({.kind = BackendKind::kHost, .device = -1}).status(); }},
      {"negative threads", kInvalidArgument, "threads",
       [&] { return MakeBackend({.kind = BackendKind::kHost, .host_threads = -1}).status(); }},
      {"an unknown backend", kInvalidArgument, "kind",
       [&] { return MakeBackend({.kind = static_cast<BackendKind>(9)}).status(); }},
      {"a model without layers", kInvalidArgument, "layers",
       [&] { return cache([](CacheOptions& o) { o.model.layers.clear(); }); }},
      {"no sequences", kInvalidArgument, "max_sequences",
       [&] { return cache([](CacheOptions& o) { o.limits.max_sequences = 0; }); }},
      {"negative drafts", kInvalidArgument, "max_drafts",
       [&] { return cache([](CacheOptions& o) { o.limits.max_drafts = -1; }); }},
      {"a context longer than the model's", kInvalidArgument, "max_context_tokens",
       [&] { return cache([](CacheOptions& o) { o.limits.max_context_tokens = 1 << 21; }); }},
      {"negative memory", kInvalidArgument, "memory_bytes",
       [&] { return cache([](CacheOptions& o) { o.memory_bytes = -1; }); }},
      {"too little memory", kOutOfRange, "at least",
       [&] { return cache([](CacheOptions& o) { o.memory_bytes = kKiB; }); }},
      {"more memory than slots can name", kInvalidArgument, "32-bit",
       [&] { return cache([](CacheOptions& o) { o.memory_bytes = int64_t{1} << 62; }); }},
  });
}

// In a process of its own, with little memory.
TEST_F(BadInputTest, OfMoreBlocksThanThereIsMemoryForIsAnError) {
#ifdef TERRACE_SANITIZED
  GTEST_SKIP() << "a sanitizer needs the address space that this test takes away";
#endif
  const absl::StatusOr<ModelSpec> model = MakeModel({.ratios = {128}});
  ASSERT_TRUE(model.ok());
  const absl::StatusOr<Geometry> geometry = MakeGeometry(*model, kLimits, {64, 1 << 29});
  ASSERT_TRUE(geometry.ok()) << geometry.status();
  const pid_t child = fork();
  if (child == 0) {
    const rlimit limit = {kGiB, kGiB};
    setrlimit(RLIMIT_AS, &limit);
    const absl::Status status = Ledger::Create({.geometry = *geometry}).status();
    _exit(status.code() == kResourceExhausted ? 0 : 1);
  }
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

TEST_F(BadInputTest, BeyondTheContextOrTheStepChangesNothing) {
  ASSERT_TRUE(cache_->Truncate(drafting_, 10).ok());
  for (int length = 301; length + 400 <= 2048; length += 400) {
    ASSERT_TRUE(cache_->Append({{live_, 400}}).ok());
  }
  const State before = Look();
  ExpectOneLine(Append({{live_, 348}}), kInvalidArgument, "max_context_tokens");
  ExpectOneLine(Append({{drafting_, 400}, {live_, 1}}), kInvalidArgument, "max_step_tokens");
  ExpectSame(before, Look());
}

}  // namespace
}  // namespace terrace
