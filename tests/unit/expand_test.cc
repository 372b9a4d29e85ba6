#include "src/plan/expand.h"

#include <gtest/gtest.h>

#include <vector>

#include "src/plan/plan_builder.h"
#include "tests/support/test_geometry.h"

namespace terrace {
namespace {

PoolGeometry Pool(int32_t ratio, EntryRule rule) {
  const Geometry geometry = MakeTestGeometry({.ratios = {ratio}, .rule = rule});
  return geometry.pools[1];
}

TEST(ExpandTest, APooledEntryExistsOnceItsLastTokenHasArrived) {
  for (const int32_t ratio : {1, 2, 4, 128}) {
    const PoolGeometry pool = Pool(ratio, EntryRule::kPooled);
    int32_t entries = 0;
    for (int32_t token = 0; token < 1000; ++token) {
      EXPECT_EQ(EntriesClosed(pool, token), entries);
      if (token == entries * ratio + ratio - 1) ++entries;
      EXPECT_EQ(EntriesVisible(pool, token), entries) << "ratio " << ratio << " token " << token;
    }
  }
}

TEST(ExpandTest, AStridedEntryExistsOnceItsFirstTokenHasArrived) {
  for (const int32_t ratio : {1, 2, 4, 128}) {
    const PoolGeometry pool = Pool(ratio, EntryRule::kStrided);
    int32_t entries = 0;
    for (int32_t token = 0; token < 1000; ++token) {
      EXPECT_EQ(EntriesClosed(pool, token), entries);
      if (token == entries * ratio) ++entries;
      EXPECT_EQ(EntriesVisible(pool, token), entries) << "ratio " << ratio << " token " << token;
    }
  }
}

LaneRecord Lane(int32_t first, int32_t count, int32_t drafts) {
  LaneRecord lane{};
  lane.first = first;
  lane.count = count;
  lane.drafts = drafts;
  return lane;
}

TEST(ExpandTest, AStepStoresTheRowsThatTheNextStepCanSee) {
  const Geometry geometry = MakeTestGeometry();
  // The next step's first query is at length - drafts if all drafts are taken back.
  EXPECT_EQ(FirstStoredPosition(geometry, Lane(0, 1000, 0)), 1000 - 127);
  EXPECT_EQ(FirstStoredPosition(geometry, Lane(0, 1000, 4)), 996 - 127);
  EXPECT_EQ(FirstStoredPosition(geometry, Lane(900, 100, 0)), 900);
  EXPECT_EQ(FirstStoredPosition(geometry, Lane(900, 128, 0)), 901);
  EXPECT_EQ(FirstStoredPosition(geometry, Lane(0, 1, 0)), 0);
}

TEST(ExpandTest, AStepStoresAllItsRowsWhereTheWholeChunkIsStored) {
  const Geometry geometry = MakeTestGeometry(
      {.limits = {.max_step_tokens = 4096, .max_drafts = 4, .store_whole_chunk = true}});
  EXPECT_EQ(FirstStoredPosition(geometry, Lane(0, 1000, 0)), 0);
  EXPECT_EQ(FirstStoredPosition(geometry, Lane(300, 1000, 4)), 300);
}

TEST(ExpandTest, AWindowHoldsAsManyTokensAsItIsLong) {
  const Geometry geometry = MakeTestGeometry();
  EXPECT_EQ(WindowBegin(geometry, 0), 0);
  EXPECT_EQ(WindowBegin(geometry, 127), 0);
  EXPECT_EQ(WindowBegin(geometry, 128), 1);
  EXPECT_EQ(WindowBegin(geometry, 5000), 5000 - 127);
}

TEST(ExpandTest, APrefillChunkLeavesAGapOfRowsThatAreNotStored) {
  const Geometry geometry = MakeTestGeometry();
  const LaneRecord lane = Lane(1000, 500, 2);
  for (int32_t position = 1000 - 127; position < 1500; ++position) {
    const bool old = position < 1000;
    const bool fresh = position >= 1500 - 2 - 127;
    EXPECT_EQ(WindowRowStored(geometry, lane, position), old || fresh) << position;
    EXPECT_EQ(WindowRowStored(1000, 1500 - 2 - 127, position), old || fresh) << position;
  }
}

TEST(ExpandTest, AStepAlsoWritesTheWindowOfEachCheckpointInsideIt) {
  const Geometry geometry = MakeTestGeometry({.overlap_blocks = 8});
  PlanBuilder builder(geometry, PlanKind::kStep, {.lanes = 4, .checkpoints = 5});
  const auto add_lane = [&](int32_t lane, int32_t first, int32_t count) {
    LaneRecord record = Lane(first, count, 0);
    record.lane = lane;
    builder.AddLane(record);
  };
  const auto add_checkpoint = [&](int32_t lane, int32_t position, int32_t block) {
    builder.AddCheckpoint({lane, position, block, kNoBlock});
  };
  add_checkpoint(3, 256, 0);  // settled since an earlier step: no row of this one
  add_lane(0, 0, 1500);
  add_lane(1, 200, 1100);
  add_checkpoint(1, 256, 1);
  add_checkpoint(1, 768, 2);
  add_checkpoint(1, 1280, 3);  // its rows run into the step's own end
  add_lane(2, 300, 1);
  add_lane(4, 500, 1000);
  add_checkpoint(4, 512, 4);
  const Plan plan = std::move(builder).Build(1, PlanNumber(1));
  ASSERT_TRUE(Plan::Parse(plan.bytes(), geometry).ok());
  const std::vector<std::vector<int32_t>> positions = {{}, {256, 768, 1280}, {}, {512}};
  for (int32_t l = 0; l < 4; ++l) {
    const LaneRecord& lane = plan.lanes()[l];
    const StepCheckpoints inside = CheckpointsOf(plan.header(), l);
    ASSERT_EQ(inside.end - inside.begin, static_cast<int64_t>(positions[l].size()));
    const int32_t first_stored = FirstStoredPosition(geometry, lane);
    for (int32_t row = lane.first; row < lane.first + lane.count; ++row) {
      bool expected = row >= lane.first + lane.count - 127;
      for (const int32_t b : positions[l]) expected = expected || (row >= b - 127 && row < b);
      EXPECT_EQ(WindowRowWritten(geometry, plan.header(), l, first_stored, row), expected)
          << "lane " << l << " row " << row;
    }
  }
}

TEST(ExpandTest, EntriesOfSharedBlocksHaveNoSlotToWrite) {
  for (const EntryRule rule : {EntryRule::kPooled, EntryRule::kStrided}) {
    const Geometry geometry = MakeTestGeometry({.rule = rule});
    LaneRecord lane = Lane(256, 1000, 0);
    lane.write_from = 512;
    const int32_t blocks[] = {9, 8, 7, 6, 5};
    for (int p = 1; p < 3; ++p) {
      const PoolGeometry& pool = geometry.pools[p];
      for (int32_t entry = 0; entry * pool.ratio < 1256; ++entry) {
        const int32_t slot = SlotOf(pool, blocks, entry);
        ASSERT_GE(slot, 0);
        EXPECT_EQ(EntrySlot(pool, lane, blocks, entry), entry * pool.ratio < 512 ? kNoSlot : slot);
      }
    }
  }
}

TEST(ExpandTest, ASlotIsABlockAndAnOffset) {
  const PoolGeometry pool = MakeTestGeometry({.swa_block_tokens = 16}).pools[0];
  const int32_t blocks[] = {7, -1, 3};
  EXPECT_EQ(SlotOf(pool, blocks, 0), 7 * 16);
  EXPECT_EQ(SlotOf(pool, blocks, 15), 7 * 16 + 15);
  EXPECT_EQ(SlotOf(pool, blocks, 16), kNoSlot);
  EXPECT_EQ(SlotOf(pool, blocks, 47), 3 * 16 + 15);
}

TEST(ExpandTest, ARowFindsItsLane) {
  const Geometry geometry = MakeTestGeometry();
  // Counts with lanes that close no entry of ratio 128, at the ends and in the middle.
  const std::vector<int32_t> counts = {1, 300, 1, 5, 129, 128, 2};
  const std::vector<int32_t> firsts = {0, 0, 3, 127, 0, 64, 1};
  PlanBuilder builder(geometry, PlanKind::kStep, {.lanes = static_cast<int32_t>(counts.size())});
  std::vector<int32_t> token_rows, csa_rows, hca_rows;  // the lane of each row
  for (int32_t i = 0; i < static_cast<int32_t>(counts.size()); ++i) {
    LaneRecord lane = Lane(firsts[i], counts[i], 0);
    lane.lane = i;
    builder.AddLane(lane);
    for (int32_t t = firsts[i]; t < firsts[i] + counts[i]; ++t) {
      token_rows.push_back(i);
      if (t % 4 == 3) csa_rows.push_back(i);
      if (t % 128 == 127) hca_rows.push_back(i);
    }
  }
  const Plan plan = std::move(builder).Build(1, PlanNumber(1));
  const LaneRecord* const lanes = plan.lanes().data();
  const int32_t num_lanes = plan.header().num_lanes;
  ASSERT_EQ(plan.header().num_token_rows, static_cast<int32_t>(token_rows.size()));
  ASSERT_EQ(plan.header().num_entry_rows[0], 0);
  ASSERT_EQ(plan.header().num_entry_rows[1], static_cast<int32_t>(csa_rows.size()));
  ASSERT_EQ(plan.header().num_entry_rows[2], static_cast<int32_t>(hca_rows.size()));
  for (size_t row = 0; row < token_rows.size(); ++row) {
    EXPECT_EQ(LaneOfTokenRow(lanes, num_lanes, static_cast<int32_t>(row)), token_rows[row]);
  }
  for (size_t row = 0; row < csa_rows.size(); ++row) {
    EXPECT_EQ(LaneOfEntryRow(lanes, num_lanes, 1, static_cast<int32_t>(row)), csa_rows[row]);
  }
  for (size_t row = 0; row < hca_rows.size(); ++row) {
    EXPECT_EQ(LaneOfEntryRow(lanes, num_lanes, 2, static_cast<int32_t>(row)), hca_rows[row]);
  }
}

}  // namespace
}  // namespace terrace
