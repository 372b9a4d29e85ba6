#include <gtest/gtest.h>

#include <vector>

#include "src/plan/plan_builder.h"
#include "src/plan/step_expand.h"
#include "tests/support/test_geometry.h"

namespace terrace::testing {
namespace {

using internal::CheckpointsOf;
using internal::EntrySlot;
using internal::FirstStoredPosition;
using internal::PlanBuilder;
using internal::SlotOf;
using internal::StepCheckpoints;
using internal::WindowRowStored;
using internal::WindowRowWritten;

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

SequenceStep Part(int32_t first, int32_t count, int32_t drafts) {
  SequenceStep part{};
  part.first = first;
  part.count = count;
  part.drafts = drafts;
  return part;
}

TEST(ExpandTest, AStepStoresTheRowsThatTheNextStepCanSee) {
  const Geometry geometry = MakeTestGeometry();
  // The next step's first query is at length - drafts if all drafts are taken back.
  EXPECT_EQ(FirstStoredPosition(geometry, Part(0, 1000, 0)), 1000 - 127);
  EXPECT_EQ(FirstStoredPosition(geometry, Part(0, 1000, 4)), 996 - 127);
  EXPECT_EQ(FirstStoredPosition(geometry, Part(900, 100, 0)), 900);
  EXPECT_EQ(FirstStoredPosition(geometry, Part(900, 128, 0)), 901);
  EXPECT_EQ(FirstStoredPosition(geometry, Part(0, 1, 0)), 0);
}

TEST(ExpandTest, AStepStoresAllItsRowsWhereTheWholeChunkIsStored) {
  const Geometry geometry = MakeTestGeometry(
      {.limits = {.max_step_tokens = 4096, .max_drafts = 4, .store_whole_chunk = true}});
  EXPECT_EQ(FirstStoredPosition(geometry, Part(0, 1000, 0)), 0);
  EXPECT_EQ(FirstStoredPosition(geometry, Part(300, 1000, 4)), 300);
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
  const SequenceStep part = Part(1000, 500, 2);
  for (int32_t position = 1000 - 127; position < 1500; ++position) {
    const bool old = position < 1000;
    const bool fresh = position >= 1500 - 2 - 127;
    EXPECT_EQ(WindowRowStored(geometry, part, position), old || fresh) << position;
    EXPECT_EQ(WindowRowStored(1000, 1500 - 2 - 127, position), old || fresh) << position;
  }
}

TEST(ExpandTest, AStepAlsoWritesTheWindowOfEachCheckpointInsideIt) {
  const Geometry geometry = MakeTestGeometry({.overlap_blocks = 8});
  PlanBuilder builder(geometry, PlanKind::kStep, {.sequences = 4, .checkpoints = 5});
  const auto add_sequence = [&](int32_t sequence_index, int32_t first, int32_t count) {
    SequenceStep record = Part(first, count, 0);
    record.sequence_index = sequence_index;
    builder.AddSequence(record);
  };
  const auto add_checkpoint = [&](int32_t sequence_index, int32_t position, int32_t block) {
    builder.AddCheckpoint({sequence_index, position, block, kNoBlock});
  };
  add_checkpoint(3, 256, 0);  // settled since an earlier step: no row of this one
  add_sequence(0, 0, 1500);
  add_sequence(1, 200, 1100);
  add_checkpoint(1, 256, 1);
  add_checkpoint(1, 768, 2);
  add_checkpoint(1, 1280, 3);  // its rows run into the step's own end
  add_sequence(2, 300, 1);
  add_sequence(4, 500, 1000);
  add_checkpoint(4, 512, 4);
  const Plan plan = std::move(builder).Build(1, PlanNumber(1));
  ASSERT_TRUE(Plan::Parse(plan.bytes(), geometry).ok());
  const std::vector<std::vector<int32_t>> positions = {{}, {256, 768, 1280}, {}, {512}};
  for (int32_t l = 0; l < 4; ++l) {
    const SequenceStep& part = plan.sequences()[l];
    const StepCheckpoints inside = CheckpointsOf(plan.header(), l);
    ASSERT_EQ(inside.end - inside.begin, static_cast<int64_t>(positions[l].size()));
    const int32_t first_stored = FirstStoredPosition(geometry, part);
    for (int32_t row = part.first; row < part.first + part.count; ++row) {
      bool expected = row >= part.first + part.count - 127;
      for (const int32_t b : positions[l]) expected = expected || (row >= b - 127 && row < b);
      EXPECT_EQ(WindowRowWritten(geometry, plan.header(), l, first_stored, row), expected)
          << "sequence index " << l << " row " << row;
    }
  }
}

TEST(ExpandTest, EntriesOfSharedBlocksHaveNoSlotToWrite) {
  for (const EntryRule rule : {EntryRule::kPooled, EntryRule::kStrided}) {
    const Geometry geometry = MakeTestGeometry({.rule = rule});
    SequenceStep part = Part(256, 1000, 0);
    part.write_from = 512;
    const int32_t blocks[] = {9, 8, 7, 6, 5};
    for (int p = 1; p < 3; ++p) {
      const PoolGeometry& pool = geometry.pools[p];
      for (int32_t entry = 0; entry * pool.ratio < 1256; ++entry) {
        const int32_t slot = SlotOf(pool, blocks, entry);
        ASSERT_GE(slot, 0);
        EXPECT_EQ(EntrySlot(pool, part, blocks, entry), entry * pool.ratio < 512 ? kNoSlot : slot);
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

TEST(ExpandTest, ARowFindsItsSequence) {
  const Geometry geometry = MakeTestGeometry();
  // Counts with sequences that close no entry of ratio 128, at the ends and in the middle.
  const std::vector<int32_t> counts = {1, 300, 1, 5, 129, 128, 2};
  const std::vector<int32_t> firsts = {0, 0, 3, 127, 0, 64, 1};
  PlanBuilder builder(geometry, PlanKind::kStep,
                      {.sequences = static_cast<int32_t>(counts.size())});
  std::vector<int32_t> token_rows, csa_rows, hca_rows;  // the sequence of each row
  for (int32_t i = 0; i < static_cast<int32_t>(counts.size()); ++i) {
    SequenceStep part = Part(firsts[i], counts[i], 0);
    part.sequence_index = i;
    builder.AddSequence(part);
    for (int32_t t = firsts[i]; t < firsts[i] + counts[i]; ++t) {
      token_rows.push_back(i);
      if (t % 4 == 3) csa_rows.push_back(i);
      if (t % 128 == 127) hca_rows.push_back(i);
    }
  }
  const Plan plan = std::move(builder).Build(1, PlanNumber(1));
  const SequenceStep* const parts = plan.sequences().data();
  const int32_t num_sequences = plan.header().num_sequences;
  ASSERT_EQ(plan.header().num_token_rows, static_cast<int32_t>(token_rows.size()));
  ASSERT_EQ(plan.header().num_entry_rows[0], 0);
  ASSERT_EQ(plan.header().num_entry_rows[1], static_cast<int32_t>(csa_rows.size()));
  ASSERT_EQ(plan.header().num_entry_rows[2], static_cast<int32_t>(hca_rows.size()));
  for (size_t row = 0; row < token_rows.size(); ++row) {
    EXPECT_EQ(StepOfTokenRow(parts, num_sequences, static_cast<int32_t>(row)), token_rows[row]);
  }
  for (size_t row = 0; row < csa_rows.size(); ++row) {
    EXPECT_EQ(StepOfEntryRow(parts, num_sequences, 1, static_cast<int32_t>(row)), csa_rows[row]);
  }
  for (size_t row = 0; row < hca_rows.size(); ++row) {
    EXPECT_EQ(StepOfEntryRow(parts, num_sequences, 2, static_cast<int32_t>(row)), hca_rows[row]);
  }
}

}  // namespace
}  // namespace terrace::testing
