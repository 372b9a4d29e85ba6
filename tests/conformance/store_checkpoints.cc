// What a store does with the parts of a plan that prefix reuse adds: shared entries, checkpoints,
// holes in the window's tables, more patches than a step has room for. Plans are built by hand.

#include <algorithm>
#include <cstdint>
#include <functional>
#include <numeric>
#include <utility>
#include <vector>

#include "src/plan/plan_builder.h"
#include "tests/support/store_fixture.h"

namespace terrace::testing {
namespace {

using internal::PlanBuilder;

// One step of sequence 0, and whatever else the test adds to it.
struct SequencePart {
  int32_t first = 0;
  int32_t count = 1;
  int32_t write_from = 0;
  std::vector<CheckpointRecord> settled = {};
  std::vector<CheckpointRecord> inside = {};
  std::vector<RestoreRecord> restores = {};
  std::vector<BlockPatch> patches = {};
  std::vector<BlockCopy> copies = {};
};

Plan BuildStep(const Geometry& geometry, const SequencePart& step, uint64_t number) {
  PlanBuilder builder(
      geometry, PlanKind::kStep,
      {.sequences = 1,
       .checkpoints = static_cast<int64_t>(step.settled.size() + step.inside.size()),
       .restores = static_cast<int64_t>(step.restores.size()),
       .patches = static_cast<int64_t>(step.patches.size()),
       .copies = static_cast<int64_t>(step.copies.size())});
  for (const CheckpointRecord& record : step.settled) builder.AddCheckpoint(record);
  SequenceStep part{};
  part.first = step.first;
  part.count = step.count;
  part.settled = step.first + step.count;
  part.write_from = step.write_from;
  builder.AddSequence(part);
  for (const CheckpointRecord& record : step.inside) builder.AddCheckpoint(record);
  for (const RestoreRecord& record : step.restores) builder.AddRestore(record);
  for (const BlockPatch& patch : step.patches) builder.AddPatch(patch);
  for (const BlockCopy& copy : step.copies) builder.AddCopy(copy);
  Plan plan = std::move(builder).Build(1, PlanNumber(number));
  const absl::StatusOr<Plan> read = Plan::Parse(plan.bytes(), geometry);
  EXPECT_TRUE(read.ok()) << read.status();
  return plan;
}

// Indices begin .. end - 1 of a pool's table to the blocks from `block` on.
void AddPatches(int32_t pool, int32_t begin, int32_t end, int32_t block, SequencePart* step) {
  for (int32_t i = begin; i < end; ++i) step->patches.push_back({pool, 0, i, block + i - begin});
}

// Writes rows of the step to every plane of every layer, all channels `value`.
void WriteConstant(SmallDeployment& small, int32_t rows, uint16_t value) {
  BackendArray<uint16_t> in(small.backend(), std::vector<uint16_t>(rows * 512, value));
  for (int layer = 0; layer < 3; ++layer) {
    const RowsIn rows_in = {.data = in.data(), .rotated = true};
    LayerRows all = {.swa = rows_in};
    if (layer != SmallDeployment::kWindowLayer) all.entries = rows_in;
    if (layer == SmallDeployment::kCsaLayer) all.indexer = rows_in;
    const absl::Status status = small.store().Write(layer, all, Stream{});
    ASSERT_TRUE(status.ok()) << status;
  }
}

// The first channel of `count` slots of a pool's latent rows, from `first` on.
std::vector<uint16_t> ReadFirstChannels(SmallDeployment& small, int layer, PoolKind pool,
                                        int32_t first, int32_t count) {
  std::vector<int32_t> slots(count);
  std::iota(slots.begin(), slots.end(), first);
  BackendArray<int32_t> at(small.backend(), slots);
  BackendArray<uint16_t> out(small.backend(), count * 512);
  EXPECT_TRUE(small.store()
                  .ReadSlots(layer, pool, PlaneKind::kLatent, {.slots = at.data(), .count = count},
                             {.data = out.data()}, Stream{})
                  .ok());
  const std::vector<uint16_t> rows = out.Read();
  std::vector<uint16_t> channels;
  for (int32_t i = 0; i < count; ++i) channels.push_back(rows[int64_t{i} * 512]);
  return channels;
}

constexpr uint16_t kOne = 0x3F80;  // bf16
constexpr uint16_t kTwo = 0x4000;
constexpr SmallOptions kExact = {.latent = RowFormat::kBf16};

TEST_P(StoreTest, EntriesOfSharedBlocksAreNotWrittenAgain) {
  SmallDeployment small(kExact, backend_);
  SequencePart step = {.first = 0, .count = 300};
  AddPatches(0, 0, 10, 0, &step);
  AddPatches(1, 0, 2, 0, &step);
  AddPatches(2, 0, 2, 0, &step);
  ASSERT_TRUE(small.store().Begin(BuildStep(small.geometry(), step, 1), Stream{}).ok());
  WriteConstant(small, 300, kOne);

  // Positions 128 .. 299 are fed again; the first chunk is shared.
  const SequencePart replay = {.first = 128, .count = 172, .write_from = 256};
  ASSERT_TRUE(small.store().Begin(BuildStep(small.geometry(), replay, 2), Stream{}).ok());
  EXPECT_EQ(small.store().step().num_entry_rows[1], 172 / 4);
  WriteConstant(small, 172, kTwo);
  for (int32_t entry = 0; entry < 75; ++entry) {
    const auto found =
        ReadFirstChannels(small, SmallDeployment::kCsaLayer, PoolKind::kFull, entry, 1);
    EXPECT_EQ(found[0], entry < 64 ? kOne : kTwo) << entry;
  }
  EXPECT_EQ(ReadFirstChannels(small, SmallDeployment::kHcaLayer, PoolKind::kFull, 0, 2),
            (std::vector<uint16_t>{kOne, kOne}));
  // Window rows are the sequence's own: written wherever a later step sees them.
  const auto window = ReadFirstChannels(small, 0, PoolKind::kWindow, 0, 300);
  for (int32_t row = 173; row < 300; ++row) EXPECT_EQ(window[row], kTwo) << row;
}

TEST_P(StoreTest, ACheckpointInsideAStepStoresTheWindowBeforeIt) {
  SmallDeployment small({.latent = RowFormat::kBf16, .max_step_tokens = 700}, backend_);
  SequencePart step = {.first = 0, .count = 700};
  step.inside = {
      {.sequence_index = 0, .position = 256, .overlap_block = 2, .state_block = kNoBlock}};
  AddPatches(0, 4, 8, 20, &step);   // rows 128 .. 255
  AddPatches(0, 17, 22, 5, &step);  // rows 544 .. 703
  AddPatches(1, 0, 3, 0, &step);
  AddPatches(2, 0, 3, 0, &step);
  // A record of a settled position stores nothing.
  step.settled = {
      {.sequence_index = 1, .position = 512, .overlap_block = 3, .state_block = kNoBlock}};
  step.restores = {{.sequence_index = 0, .position = 0, .overlap_block = kNoBlock, .reserved = 0}};
  ASSERT_TRUE(small.store().Begin(BuildStep(small.geometry(), step, 1), Stream{}).ok());
  WriteConstant(small, 700, kOne);
  for (int layer = 0; layer < 3; ++layer) {
    const auto rows = ReadFirstChannels(small, layer, PoolKind::kWindow, 20 * 32, 128);
    for (int32_t i = 0; i < 128; ++i) EXPECT_EQ(rows[i], i == 0 ? 0 : kOne) << i;  // 129 .. 255
    const auto end = ReadFirstChannels(small, layer, PoolKind::kWindow, 5 * 32, 160);
    for (int32_t i = 0; i < 160; ++i) {
      EXPECT_EQ(end[i], 544 + i >= 573 && 544 + i < 700 ? kOne : 0) << i;
    }
  }
  // What the queries of the step read does not depend on the checkpoint.
  std::vector<int32_t> queries = {255, 256, 300, 699};
  BackendArray<int32_t> asked(*backend_, queries);
  BackendArray<int32_t> slots(*backend_, 4 * 128);
  ASSERT_TRUE(
      small.store()
          .TranslateWindow(0, {asked.data(), 4}, {.slots = slots.data(), .pitch = 128}, Stream{})
          .ok());
  const std::vector<int32_t> found = slots.Read();
  for (int32_t i = 0; i < 3 * 128; ++i) EXPECT_EQ(found[i], kNoSlot) << i;
  for (int32_t i = 0; i < 128; ++i) {
    const int32_t position = 572 + i;
    EXPECT_EQ(found[3 * 128 + i],
              position < 573 ? kNoSlot : (5 + position / 32 - 17) * 32 + position % 32);
  }
}

TEST_P(StoreTest, HolesInTheWindowsTableReadAsZeros) {
  SmallDeployment small(kExact, backend_);
  // Another sequence was in this sequence, and wrote everywhere.
  SequencePart before = {.first = 0, .count = 300};
  AddPatches(0, 0, 10, 0, &before);
  AddPatches(1, 0, 2, 0, &before);
  AddPatches(2, 0, 2, 0, &before);
  ASSERT_TRUE(small.store().Begin(BuildStep(small.geometry(), before, 1), Stream{}).ok());
  WriteConstant(small, 300, kOne);
  // This one goes on at 128, where no window row exists before.
  SequencePart step = {.first = 128, .count = 100, .write_from = 256};
  for (int32_t i = 0; i < 4; ++i) step.patches.push_back({0, 0, i, kNoBlock});
  AddPatches(0, 4, 8, 12, &step);
  ASSERT_TRUE(small.store().Begin(BuildStep(small.geometry(), step, 2), Stream{}).ok());
  WriteConstant(small, 100, kTwo);
  BackendArray<uint16_t> out(*backend_, std::vector<uint16_t>(100 * 128 * 512, 0x5A5A));
  ASSERT_TRUE(small.store().GatherWindow(0, {}, {.data = out.data()}, Stream{}).ok());
  const std::vector<uint16_t> rows = out.Read();
  for (int32_t query : {0, 1, 50, 99}) {
    for (int32_t i = 0; i < 128; ++i) {
      const int32_t position = 128 + query - 127 + i;
      EXPECT_EQ(rows[(int64_t{query} * 128 + i) * 512], position < 128 ? 0 : kTwo)
          << query << " " << position;
    }
  }
  EXPECT_EQ(small.store().ReadCounters().skipped_entries, 0u);
}

TEST_P(StoreTest, APlanLargerThanTheRoomForAStepIsUploadedInPieces) {
  SmallDeployment small({.latent = RowFormat::kBf16, .max_step_tokens = 4}, backend_);
  // A sequence that shares seven chunks, and copies of blocks besides.
  SequencePart step = {.first = 7 * 256 - 4, .count = 4, .write_from = 7 * 256};
  AddPatches(1, 0, 7, 1, &step);
  AddPatches(2, 0, 7, 2, &step);
  for (int32_t i = 0; i < 52; ++i) step.patches.push_back({0, 0, i, kNoBlock});
  AddPatches(0, 52, 56, 3, &step);
  step.restores = {
      {.sequence_index = 0, .position = step.first, .overlap_block = 5, .reserved = 0}};
  step.copies = {{0, 0, 29, 0}, {1, 0, 9, 0}, {2, 0, 11, 0}, {3, 0, 1, 0}};
  for (int32_t i = 0; i < 20; ++i) step.copies.push_back({0, 1, 8 + i, 0});
  const Plan plan = BuildStep(small.geometry(), step, 1);
  ASSERT_GT(int64_t{plan.header().total_bytes}, MaxStepPlanBytes(small.geometry()));

  const auto fill = [&](int layer, PoolKind pool, int32_t block, int32_t entries, uint16_t value) {
    std::vector<int32_t> slots(entries);
    std::iota(slots.begin(), slots.end(), block * entries);
    BackendArray<int32_t> at(*backend_, slots);
    BackendArray<uint16_t> in(*backend_, std::vector<uint16_t>(entries * 512, value));
    ASSERT_TRUE(small.store()
                    .WriteSlots(layer, pool, PlaneKind::kLatent,
                                {.data = in.data(), .rotated = true},
                                {.slots = at.data(), .count = entries}, Stream{})
                    .ok());
  };
  fill(0, PoolKind::kWindow, 0, 32, kOne);
  fill(0, PoolKind::kWindow, 1, 32, kTwo);
  fill(1, PoolKind::kFull, 0, 64, kTwo);
  ASSERT_TRUE(small.store().Begin(plan, Stream{}).ok());
  // The step's own rows: all of them below write_from, all of them in the window.
  WriteConstant(small, 4, kOne);

  // A query sees every shared entry where the patches put it.
  const auto slots_of = [&](int layer, int32_t entries) {
    BackendArray<int32_t> slots(*backend_, 4 * 512);
    const SlotsOut out = {.slots = slots.data(), .pitch = 512};
    EXPECT_TRUE(small.store().TranslateVisible(layer, {}, entries, out, Stream{}).ok());
    return slots.Read();
  };
  const std::vector<int32_t> csa = slots_of(1, 448);
  for (int32_t entry = 0; entry < 448; ++entry) {
    EXPECT_EQ(csa[3 * 512 + entry], (1 + entry / 64) * 64 + entry % 64);
  }
  const std::vector<int32_t> hca = slots_of(2, 14);
  for (int32_t entry = 0; entry < 14; ++entry) EXPECT_EQ(hca[3 * 512 + entry], 4 + entry);
  BackendArray<int32_t> window(*backend_, 4 * 128);
  ASSERT_TRUE(
      small.store().TranslateWindow(0, {}, {.slots = window.data(), .pitch = 128}, Stream{}).ok());
  const std::vector<int32_t> found = window.Read();
  for (int32_t i = 0; i < 128; ++i) {
    const int32_t position = 7 * 256 - 128 + i;
    const int32_t block = position / 32 - 52;
    EXPECT_EQ(found[3 * 128 + i], block < 0 ? kNoSlot : (3 + block) * 32 + position % 32) << i;
  }
  const auto table = DownloadArray<int32_t>(*backend_, small.store().step_view().block_table[0],
                                            small.geometry().pools[0].blocks_per_sequence);
  for (int32_t i = 0; i < static_cast<int32_t>(table.size()); ++i) {
    EXPECT_EQ(table[i], i >= 52 && i < 56 ? 3 + i - 52 : kNoBlock) << i;
  }
  // And the blocks were copied.
  EXPECT_EQ(ReadFirstChannels(small, 0, PoolKind::kWindow, 29 * 32, 32),
            std::vector<uint16_t>(32, kOne));
  EXPECT_EQ(ReadFirstChannels(small, 0, PoolKind::kWindow, 8 * 32, 20 * 32),
            std::vector<uint16_t>(20 * 32, kTwo));
  EXPECT_EQ(ReadFirstChannels(small, 1, PoolKind::kFull, 9 * 64, 64),
            std::vector<uint16_t>(64, kTwo));
  // Copies of the caller's own leave the step as it is.
  std::vector<BlockCopy> copies;
  for (int32_t i = 2; i < 20; ++i) copies.push_back({0, 29, i, 0});
  ASSERT_TRUE(small.store().CopyBlocks(copies, Stream{}).ok());
  EXPECT_EQ(slots_of(1, 448), csa);
  EXPECT_EQ(ReadFirstChannels(small, 0, PoolKind::kWindow, 2 * 32, 18 * 32),
            std::vector<uint16_t>(18 * 32, kOne));
}

TEST_P(StoreTest, APlanWithMoreRecordsThanAnyStepIsRefused) {
  SmallDeployment small({.max_step_tokens = 4}, backend_);
  const int64_t most = MaxStepPlanBytes(small.geometry()) / sizeof(CheckpointRecord);
  SequencePart step = {.first = 0, .count = 1};
  PlanBuilder builder(small.geometry(), PlanKind::kStep, {.sequences = 1, .checkpoints = most});
  SequenceStep part{};
  part.count = 1;
  for (int64_t i = 0; i < most; ++i) builder.AddCheckpoint({0, 256, 0, kNoBlock});
  builder.AddSequence(part);
  ExpectCode(small.store().Begin(std::move(builder).Build(1, PlanNumber(1)), Stream{}),
             absl::StatusCode::kInvalidArgument);
  ExpectCode(small.store().Begin(BuildStep(small.geometry(), step, 1), Stream{}),
             absl::StatusCode::kOk);
}

}  // namespace
}  // namespace terrace::testing
