// What each operation of a store does, one by one.

#include <cstring>
#include <limits>
#include <numeric>
#include <utility>
#include <vector>

#include "src/plan/plan_builder.h"
#include "tests/support/row_formats.h"
#include "tests/support/store_fixture.h"

namespace terrace::testing {
namespace {

using internal::PlanBuilder;

std::vector<SmallOptions> EveryFormat() {
  std::vector<SmallOptions> all;
  for (const RowFormat latent : LatentFormats()) {
    all.push_back(
        {.latent = latent,
         .indexer = all.size() % 2 == 0 ? RowFormat::kIndexerFp8 : RowFormat::kIndexerMxfp4,
         .layout = all.size() % 2 == 0 ? PoolLayout::kLayerMajor : PoolLayout::kBlockMajor});
  }
  return all;
}

TEST_P(StoreTest, MemoryIsZeroAlignedAndRefusedWhereThereIsNotEnough) {
  absl::StatusOr<void*> memory = backend_->Allocate(100'003, Stream{});
  ASSERT_TRUE(memory.ok()) << memory.status();
  EXPECT_EQ(reinterpret_cast<uintptr_t>(*memory) % 256, 0u);
  EXPECT_EQ(DownloadArray<uint8_t>(*backend_, *memory, 100'003), std::vector<uint8_t>(100'003, 0));
  backend_->Free(*memory, Stream{});
  backend_->Free(nullptr, Stream{});
  const absl::Status status = backend_->Allocate(int64_t{1} << 50, Stream{}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
}

TEST_P(StoreTest, UploadedBytesMayBeReusedAtOnce) {
  std::vector<int32_t> values(50'000);
  BackendArray<int32_t> array(*backend_, 20 * 50'000);
  for (int i = 0; i < 20; ++i) {
    std::iota(values.begin(), values.end(), i);
    ASSERT_TRUE(backend_->Upload(array.data() + i * 50'000, values.data(), 200'000, Stream{}).ok());
  }
  const std::vector<int32_t> found = array.Read();
  for (int i = 0; i < 20; ++i) {
    std::iota(values.begin(), values.end(), i);
    ASSERT_TRUE(std::equal(values.begin(), values.end(), found.begin() + i * 50'000)) << i;
  }
}

// Every slot of every layer and plane gets a row of its own; then all are read, and found where
// Pages says they are.
TEST_P(StoreTest, EveryRowOfEveryBlockKeepsItsOwnPattern) {
  for (SmallOptions options : EveryFormat()) {
    SCOPED_TRACE(RowFormatName(options.latent).data());
    options.rope_before_store = false;
    SmallDeployment small(options, backend_);
    const auto content = [](const auto& at, int32_t slot) {
      return RowContent(slot, 0, at.layer + 3 * (at.pool == 0), at.plane, 1);
    };
    for (const auto& at : small.Planes()) {
      std::vector<RowBits> rows;
      for (int32_t slot = 0; slot < at.num_slots; ++slot) rows.push_back(content(at, slot));
      std::vector<int32_t> slots(at.num_slots);
      std::iota(slots.begin(), slots.end(), 0);
      BackendArray<uint16_t> in(*backend_, Flatten(rows));
      BackendArray<int32_t> in_slots(*backend_, slots);
      const absl::Status status = small.store().WriteSlots(
          at.layer, at.kind, static_cast<PlaneKind>(at.plane), {.data = in.data()},
          {.slots = in_slots.data(), .count = at.num_slots}, Stream{});
      ASSERT_TRUE(status.ok()) << status;
    }
    for (const auto& at : small.Planes()) {
      const RowLayout layout = LayoutOf(at.format);
      const PlaneKind plane = static_cast<PlaneKind>(at.plane);
      // Read in another order than written.
      std::vector<int32_t> slots(at.num_slots);
      for (int32_t i = 0; i < at.num_slots; ++i) slots[i] = at.num_slots - 1 - i;
      std::vector<RowBits> expected;
      absl::StatusOr<PageView> view = small.store().Pages(at.layer, at.kind, plane);
      ASSERT_TRUE(view.ok()) << view.status();
      EXPECT_EQ(view->format, at.format);
      EXPECT_EQ(view->page_bytes, PageBytes(at.format, view->entries_per_block));
      const auto pages = DownloadArray<uint8_t>(
          *backend_, view->base, (view->num_blocks - 1) * view->block_stride + view->page_bytes);
      for (const int32_t slot : slots) {
        std::vector<uint8_t> data(layout.data_bytes);
        std::vector<uint8_t> scale(layout.scale_bytes);
        EncodeContent(at.format, content(at, slot), nullptr, 1.0f, data.data(), scale.data());
        expected.push_back(DecodeContent(at.format, data.data(), scale.data(), nullptr, 1.0f));
        const uint8_t* page = pages.data() + slot / view->entries_per_block * view->block_stride;
        const int32_t row = slot % view->entries_per_block;
        ASSERT_EQ(std::memcmp(page + row * view->data_stride, data.data(), data.size()), 0) << slot;
        ASSERT_TRUE(std::equal(scale.begin(), scale.end(),
                               page + view->scale_offset + row * view->scale_stride))
            << slot;
      }
      BackendArray<int32_t> in_slots(*backend_, slots);
      BackendArray<uint16_t> out(*backend_, int64_t{at.num_slots} * layout.channels);
      const absl::Status status = small.store().ReadSlots(
          at.layer, at.kind, plane, {.slots = in_slots.data(), .count = at.num_slots},
          {.data = out.data()}, Stream{});
      ASSERT_TRUE(status.ok()) << status;
      ASSERT_TRUE(out.Read() == Flatten(expected)) << "layer " << at.layer << " plane " << at.plane;
    }
  }
}

TEST_P(StoreTest, SlotsPastTheEndAreSkippedAndCounted) {
  SmallDeployment small({}, backend_);
  const int32_t end = small.geometry().pools[1].capacity_blocks * 64;
  const uint64_t before = small.store().ReadCounters().skipped_slots;
  const std::vector<int32_t> slots = {end,
                                      3,
                                      -1,
                                      std::numeric_limits<int32_t>::max(),
                                      -2,
                                      end - 1,
                                      std::numeric_limits<int32_t>::min()};
  std::vector<RowBits> rows;
  for (size_t i = 0; i < slots.size(); ++i) rows.push_back(RowContent(7, i, 1, 0, 1));
  BackendArray<uint16_t> in(*backend_, Flatten(rows));
  BackendArray<int32_t> in_slots(*backend_, slots);
  BackendArray<int32_t> positions(*backend_, std::vector<int32_t>(slots.size(), 9));
  BackendArray<uint16_t> out(*backend_, std::vector<uint16_t>(slots.size() * 512, 0x5A5A));
  std::vector<uint8_t> bytes = small.PoolBytes();
  ASSERT_TRUE(small.store()
                  .WriteSlots(1, PoolKind::kFull, PlaneKind::kLatent, {.data = in.data()},
                              {.slots = in_slots.data(),
                               .positions = positions.data(),
                               .count = static_cast<int32_t>(slots.size())},
                              Stream{})
                  .ok());
  ASSERT_TRUE(
      small.store()
          .ReadSlots(1, PoolKind::kFull, PlaneKind::kLatent,
                     {.slots = in_slots.data(), .count = static_cast<int32_t>(slots.size())},
                     {.data = out.data()}, Stream{})
          .ok());
  const std::vector<uint16_t> found = out.Read();
  for (size_t i = 0; i < slots.size(); ++i) {
    RowBits expected(512, 0);
    if (slots[i] >= 0 && slots[i] < end) {
      uint8_t data[576];
      uint8_t scale[8];
      EncodeContent(RowFormat::kFlashMlaV4, rows[i], small.RopeRow(1, 9), 1.0f, data, scale);
      expected = DecodeContent(RowFormat::kFlashMlaV4, data, scale, nullptr, 1.0f);
    }
    EXPECT_TRUE(std::equal(expected.begin(), expected.end(), found.begin() + i * 512)) << i;
  }
  EXPECT_EQ(small.store().ReadCounters().skipped_slots, before + 8);  // 4 written, 4 read
  // Two rows of 576 + 8 bytes changed and nothing else.
  const std::vector<uint8_t> after = small.PoolBytes();
  int64_t changed = 0;
  for (size_t i = 0; i < bytes.size(); ++i) changed += bytes[i] != after[i];
  EXPECT_GT(changed, 0);
  EXPECT_LE(changed, 2 * 584);
}

TEST_P(StoreTest, PositionsBeyondTheRopeTableAreSkippedAndCounted) {
  SmallDeployment rotated({}, backend_);
  const std::vector<int32_t> slots = {0, 1, 2};
  const std::vector<int32_t> positions = {-1, SmallDeployment::kPositions,
                                          SmallDeployment::kPositions - 1};
  BackendArray<uint16_t> in(*backend_, Flatten({3, RowContent(1, 1, 1, 0, 3)}));
  BackendArray<int32_t> in_slots(*backend_, slots);
  BackendArray<int32_t> in_positions(*backend_, positions);
  BackendArray<uint16_t> out(*backend_, 3 * 512);
  const auto write = [&](SmallDeployment& small) {
    return small.store().WriteSlots(
        1, PoolKind::kFull, PlaneKind::kLatent, {.data = in.data()},
        {.slots = in_slots.data(), .positions = in_positions.data(), .count = 3}, Stream{});
  };
  const auto read = [&](SmallDeployment& small, bool rotate) {
    return small.store().ReadSlots(
        1, PoolKind::kFull, PlaneKind::kLatent,
        {.slots = in_slots.data(), .positions = in_positions.data(), .count = 3},
        {.data = out.data(), .rotate = rotate}, Stream{});
  };
  const auto is_zero = [&](const std::vector<uint16_t>& rows, int row) {
    return std::all_of(rows.begin() + row * 512, rows.begin() + (row + 1) * 512,
                       [](uint16_t bits) { return bits == 0; });
  };
  ASSERT_TRUE(write(rotated).ok());
  ASSERT_TRUE(read(rotated, false).ok());
  std::vector<uint16_t> rows = out.Read();
  EXPECT_TRUE(is_zero(rows, 0) && is_zero(rows, 1) && !is_zero(rows, 2));
  EXPECT_EQ(rotated.store().ReadCounters().skipped_positions, 2u);

  SmallDeployment unrotated({.rope_before_store = false}, backend_);
  ASSERT_TRUE(write(unrotated).ok());
  ASSERT_TRUE(read(unrotated, true).ok());
  rows = out.Read();
  EXPECT_TRUE(is_zero(rows, 0) && is_zero(rows, 1) && !is_zero(rows, 2));
  EXPECT_EQ(unrotated.store().ReadCounters().skipped_positions, 4u);  // of the backend
}

TEST_P(StoreTest, BadValuesAreMendedAndCountedAndSpoilNoNeighbour) {
  for (const SmallOptions& options : EveryFormat()) {
    SCOPED_TRACE(RowFormatName(options.latent).data());
    SmallDeployment small(options, backend_);
    for (const auto& at : small.Planes()) {
      const RowLayout layout = LayoutOf(at.format);
      const uint64_t before = small.store().ReadCounters().nonfinite_values;
      RowBits bad = RowContent(5, 5, at.layer, at.plane, 5);
      for (uint16_t& bits : bad) bits = (bits & 0x7F80) == 0x7F80 ? 0x3F80 : bits;
      RowBits mended = bad;
      for (const auto& [channel, value, instead] :
           {std::tuple(3, 0x7FC0, 0), std::tuple(40, 0x7F80, 0x7F7F), std::tuple(41, 0xFFFF, 0),
            std::tuple(100, 0xFF80, 0xFF7F), std::tuple(layout.channels - 1, 0xFF81, 0)}) {
        bad[channel] = static_cast<uint16_t>(value);
        mended[channel] = static_cast<uint16_t>(instead);
      }
      BackendArray<uint16_t> in(*backend_, Flatten({bad, mended}));
      BackendArray<int32_t> slots(*backend_, std::vector<int32_t>{1, 2});
      BackendArray<int32_t> positions(*backend_, std::vector<int32_t>{8, 8});
      BackendArray<uint16_t> out(*backend_, 2 * layout.channels);
      const PlaneKind plane = static_cast<PlaneKind>(at.plane);
      ASSERT_TRUE(
          small.store()
              .WriteSlots(at.layer, at.kind, plane, {.data = in.data()},
                          {.slots = slots.data(), .positions = positions.data(), .count = 2},
                          Stream{})
              .ok());
      ASSERT_TRUE(small.store()
                      .ReadSlots(at.layer, at.kind, plane, {.slots = slots.data(), .count = 2},
                                 {.data = out.data()}, Stream{})
                      .ok());
      const std::vector<uint16_t> rows = out.Read();
      EXPECT_TRUE(
          std::equal(rows.begin(), rows.begin() + layout.channels, rows.begin() + layout.channels));
      EXPECT_EQ(small.store().ReadCounters().nonfinite_values, before + 5);
    }
  }
}

TEST_P(StoreTest, CopiesMoveWholeBlocksAndNothingElse) {
  for (const SmallOptions& options : EveryFormat()) {
    SCOPED_TRACE(RowFormatName(options.latent).data());
    SmallDeployment small(options, backend_);
    PoolImage images[] = {small.MakeImage(0), small.MakeImage(1), small.MakeImage(2),
                          small.MakeImage(3)};
    const PageView overlap = *small.store().Pages(1, PoolKind::kOverlap);
    const auto page = [&](int32_t block) {
      return static_cast<uint8_t*>(overlap.base) + block * overlap.block_stride;
    };
    for (int32_t block = 0; block < overlap.num_blocks; ++block) {
      std::vector<uint8_t> opaque(overlap.page_bytes);
      for (size_t i = 0; i < opaque.size(); ++i) opaque[i] = static_cast<uint8_t>(block + 7 * i);
      std::copy(opaque.begin(), opaque.end(), images[3].Opaque(0, block));
      ASSERT_TRUE(backend_->Upload(page(block), opaque.data(), overlap.page_bytes, {}).ok());
    }
    for (const auto& at : small.Planes()) {
      const int row = at.pool == 0 ? at.layer : 0;
      std::vector<RowBits> rows;
      std::vector<int32_t> slots(at.num_slots);
      std::iota(slots.begin(), slots.end(), 0);
      for (const int32_t slot : slots) {
        rows.push_back(RowContent(slot, 1, at.layer, at.plane, 1));
        EncodeContent(at.format, rows.back(), nullptr, 1.0f,
                      images[at.pool].Data(row, at.plane, slot),
                      images[at.pool].Scale(row, at.plane, slot));
      }
      BackendArray<uint16_t> in(*backend_, Flatten(rows));
      BackendArray<int32_t> in_slots(*backend_, slots);
      ASSERT_TRUE(small.store()
                      .WriteSlots(at.layer, at.kind, static_cast<PlaneKind>(at.plane),
                                  {.data = in.data(), .rotated = true},
                                  {.slots = in_slots.data(), .count = at.num_slots}, Stream{})
                      .ok());
    }
    const std::vector<BlockCopy> direct = {
        {0, 3, 7, 0}, {1, 3, 7, 0}, {2, 0, 11, 0}, {0, 3, 9, 0}, {3, 5, 0, 0}};
    ASSERT_TRUE(small.store().CopyBlocks(direct, Stream{}).ok());
    // The same through a plan.
    const std::vector<BlockCopy> planned = {
        {0, 7, 29, 0}, {1, 0, 9, 0}, {2, 5, 6, 0}, {3, 0, 4, 0}};
    PlanBuilder builder(small.geometry(), PlanKind::kStep,
                        {.sequences = 1, .patches = 3, .copies = 4});
    SequenceStep part{};
    part.settled = part.count = 1;
    builder.AddSequence(part);
    for (int p = 0; p < 3; ++p)
      builder.AddPatch({.pool = p, .sequence_index = 0, .index = 0, .block = 1});
    for (const BlockCopy& copy : planned) builder.AddCopy(copy);
    const absl::Status begun =
        small.store().Begin(std::move(builder).Build(1, PlanNumber(1)), Stream{});
    ASSERT_TRUE(begun.ok()) << begun;
    for (const std::vector<BlockCopy>& copies : {direct, planned}) {
      for (const BlockCopy& copy : copies) {
        if (copy.pool == 3) {
          std::memcpy(images[3].Opaque(0, copy.destination), images[3].Opaque(0, copy.source),
                      overlap.page_bytes);
        }
        const int32_t entries = small.geometry().pools[copy.pool].entries_per_block;
        for (const auto& at : small.Planes()) {
          if (at.pool != copy.pool) continue;
          const int row = at.pool == 0 ? at.layer : 0;
          const RowLayout layout = LayoutOf(at.format);
          for (int32_t i = 0; i < entries; ++i) {
            const int64_t from = int64_t{copy.source} * entries + i;
            const int64_t to = int64_t{copy.destination} * entries + i;
            PoolImage& image = images[copy.pool];
            std::memcpy(image.Data(row, at.plane, to), image.Data(row, at.plane, from),
                        layout.data_bytes);
            std::memcpy(image.Scale(row, at.plane, to), image.Scale(row, at.plane, from),
                        layout.scale_bytes);
          }
        }
      }
    }
    std::vector<uint8_t> expected;
    for (const PoolImage& image : images) {
      expected.insert(expected.end(), image.bytes().begin(), image.bytes().end());
    }
    EXPECT_TRUE(small.PoolBytes() == expected);
  }
}

TEST_P(StoreTest, QueriesThatAreNotNamedAreAllRowsPaddingIncluded) {
  SmallDeployment small({}, backend_);
  ASSERT_TRUE(small.store().Begin(small.Feed(5), Stream{}, 8).ok());
  BackendArray<int32_t> slots(*backend_, std::vector<int32_t>(9 * 128, 77));
  BackendArray<int32_t> lengths(*backend_, std::vector<int32_t>(9, 77));
  ASSERT_TRUE(
      small.store()
          .TranslateWindow(0, {}, {.slots = slots.data(), .lengths = lengths.data()}, Stream{})
          .ok());
  EXPECT_EQ(lengths.Read(), (std::vector<int32_t>{1, 2, 3, 4, 5, 0, 0, 0, 77}));
  const std::vector<int32_t> found = slots.Read();
  for (int row = 0; row < 9; ++row) {
    for (int i = 0; i < 128; ++i) {
      const bool has_row = row < 5 && i <= row;
      const int32_t slot = found[row * 128 + i];
      EXPECT_EQ(slot >= 0, has_row || row == 8) << row << " " << i;
      EXPECT_EQ(slot == 77, row == 8) << row << " " << i;
    }
  }
  // The first two, by their count.
  BackendArray<int32_t> two(*backend_, std::vector<int32_t>(3, 77));
  ASSERT_TRUE(small.store()
                  .TranslateWindow(0, {.count = 2}, {.slots = slots.data(), .lengths = two.data()},
                                   Stream{})
                  .ok());
  EXPECT_EQ(two.Read(), (std::vector<int32_t>{1, 2, 77}));
}

}  // namespace
}  // namespace terrace::testing
