// Bad input of a worker: layers, rows, reads, raw slots, scales and rope tables.

#include <cmath>

#include "tests/unit/bad_input.h"

namespace terrace::testing {
namespace {

TEST_F(BadInputTest, OfALayerOrItsRowsChangesNothing) {
  const RowsIn good = {.data = memory_.data()};
  const auto write = [&](int layer, const LayerRows& rows) {
    return cache_->store().Write(layer, rows, {});
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
       [&] { return cache_->store().GatherTopK(0, one, top_k, out, {}); }},
      {"a layer past the last", kInvalidArgument, "layer 9",
       [&] { return cache_->store().GatherWindow(9, one, out, {}); }},
      {"k of 0", kInvalidArgument, "k is 0",
       [&] {
         return cache_->store().GatherTopK(1, one, {.entries = ints_.data(), .k = 0}, out, {});
       }},
      {"a negative k", kInvalidArgument, "k is -4",
       [&] {
         return cache_->store().TranslateTopK(1, one, {.entries = ints_.data(), .k = -4}, slots,
                                              {});
       }},
      {"no entries", kInvalidArgument, "entries",
       [&] { return cache_->store().TranslateTopK(1, one, {.k = 4}, slots, {}); }},
      {"a pitch below k", kInvalidArgument, "pitch",
       [&] {
         return cache_->store().TranslateTopK(1, one, {.entries = ints_.data(), .pitch = 3, .k = 4},
                                              slots, {});
       }},
      {"no most entries", kInvalidArgument, "max_entries is 0",
       [&] { return cache_->store().GatherVisible(1, one, 0, out, {}); }},
      {"negative most entries", kInvalidArgument, "max_entries is -2147483648",
       [&] { return cache_->store().TranslateVisible(1, one, kLeast, slots, {}); }},
      {"entries beyond any memory", kInvalidArgument, "max_entries",
       [&] { return cache_->store().TranslateVisible(1, one, kMost, slots, {}); }},
      {"a negative number of queries", kInvalidArgument, "queries",
       [&] {
         return cache_->store().GatherWindow(1, {.token_rows = ints_.data(), .count = -1}, out, {});
       }},
      {"no slots", kInvalidArgument, "slots",
       [&] { return cache_->store().TranslateWindow(1, one, {}, {}); }},
      {"a slot pitch below the window", kInvalidArgument, "127",
       [&] {
         return cache_->store().TranslateWindow(1, one, {.slots = ints_.data(), .pitch = 127}, {});
       }},
      {"no rows out", kInvalidArgument, "rows",
       [&] { return cache_->store().GatherWindow(1, one, {}, {}); }},
      {"unaligned rows out", kInvalidArgument, "16-byte",
       [&] { return cache_->store().GatherWindow(1, one, {.data = memory_.data() + 4}, {}); }},
      {"a row pitch below the channels", kInvalidArgument, "row_pitch",
       [&] {
         return cache_->store().GatherWindow(1, one, {.data = memory_.data(), .row_pitch = 256},
                                             {});
       }},
      {"a query pitch below the rows", kInvalidArgument, "query_pitch",
       [&] {
         return cache_->store().GatherWindow(1, one, {.data = memory_.data(), .query_pitch = 512},
                                             {});
       }},
      {"rows that are rotated already", kInvalidArgument, "rotated",
       [&] {
         return cache_->store().GatherWindow(1, one, {.data = memory_.data(), .rotate = true}, {});
       }},
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
         return store.WriteSlots(0, PoolKind::kWindow, PlaneKind::kLatent, rows,
                                 {.slots = ints_.data(), .count = -1}, {});
       }},
      {"a negative count to read", kInvalidArgument, "count is -1",
       [&] {
         return store.ReadSlots(0, PoolKind::kWindow, PlaneKind::kLatent,
                                {.slots = ints_.data(), .count = -1}, {.data = memory_.data()}, {});
       }},
      {"no slots", kInvalidArgument, "slots",
       [&] {
         return store.WriteSlots(0, PoolKind::kWindow, PlaneKind::kLatent, rows,
                                 {.slots = nullptr, .count = 1}, {});
       }},
      {"no positions where rows rotate", kInvalidArgument, "positions",
       [&] {
         return store.WriteSlots(0, PoolKind::kWindow, PlaneKind::kLatent, {.data = memory_.data()},
                                 {.slots = ints_.data(), .count = 1}, {});
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
                  .WriteSlots(0, PoolKind::kWindow, PlaneKind::kLatent, rows,
                              {.slots = outside.data(), .count = 5}, {})
                  .ok());
  EXPECT_TRUE(before.pages == Look().pages);
  EXPECT_EQ(store.ReadCounters().skipped_slots, before.counters.skipped_slots + 4);
  std::vector<uint16_t> out(5 * kLatentChannels, 1);
  ASSERT_TRUE(store
                  .ReadSlots(0, PoolKind::kWindow, PlaneKind::kLatent,
                             {.slots = outside.data(), .count = 5}, {.data = out.data()}, {})
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

}  // namespace
}  // namespace terrace::testing
