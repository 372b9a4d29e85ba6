#include "terrace/expand.h"

#include <gtest/gtest.h>

#include <vector>

#include "terrace/plan_builder.h"
#include "tests/test_geometry.h"

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
  for (int32_t position = 0; position < 1500; ++position) {
    const bool old = position >= 1000 - 127 && position < 1000;
    const bool fresh = position >= 1500 - 2 - 127;
    EXPECT_EQ(WindowRowStored(geometry, lane, position), old || fresh) << position;
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
  PlanBuilder builder(geometry, PlanKind::kStep,
                      {.lanes = static_cast<int32_t>(counts.size()), .patches = 0, .copies = 0});
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
