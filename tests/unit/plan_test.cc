#include "terrace/plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "src/plan/plan_builder.h"
#include "src/plan/plan_checksum.h"
#include "src/plan/step_expand.h"
#include "tests/support/test_geometry.h"

namespace terrace::testing {
namespace {

using internal::CheckpointsOf;
using internal::PlanBuilder;
using internal::PlanChecksum;

using ::testing::HasSubstr;

// Pools: 0 window, 1 of ratio 4, 2 of ratio 128, 3 overlap.
Geometry MakePlanGeometry(int32_t full_blocks = 100) {
  return MakeTestGeometry({.full_blocks = full_blocks, .overlap_blocks = 20});
}

SequenceStep Part(int32_t sequence_index, int32_t first, int32_t count, int32_t drafts,
                  int32_t settled) {
  SequenceStep record{};
  record.sequence_index = sequence_index;
  record.first = first;
  record.count = count;
  record.drafts = drafts;
  record.settled = settled;
  return record;
}

// A step with all that a step can have.
Plan MakePlan(const Geometry& geometry) {
  PlanBuilder builder(geometry, PlanKind::kStep,
                      {.sequences = 3, .checkpoints = 4, .restores = 2, .patches = 3, .copies = 2});
  builder.AddCheckpoint(
      {.sequence_index = 5, .position = 512, .overlap_block = 7, .state_block = kNoBlock});
  SequenceStep replay = Part(2, 256, 600, 0, 856);
  replay.write_from = 512;
  builder.AddSequence(replay);
  builder.AddCheckpoint(
      {.sequence_index = 2, .position = 512, .overlap_block = 3, .state_block = kNoBlock});
  builder.AddCheckpoint(
      {.sequence_index = 2, .position = 768, .overlap_block = 19, .state_block = kNoBlock});
  builder.AddSequence(Part(7, 127, 5, 4, 128));
  builder.AddSequence(Part(0, 1023, 1, 0, 1024));
  builder.AddCheckpoint(
      {.sequence_index = 0, .position = 1024, .overlap_block = 0, .state_block = kNoBlock});
  builder.AddRestore({.sequence_index = 2, .position = 256, .overlap_block = 7, .reserved = 0});
  builder.AddRestore(
      {.sequence_index = 7, .position = 127, .overlap_block = kNoBlock, .reserved = 0});
  builder.AddPatch({1, 2, 0, 99});
  builder.AddPatch({0, 7, 1, 5});
  builder.AddPatch({0, 2, 1, kNoBlock});
  builder.AddCopy({2, 3, 4, 0});
  builder.AddCopy({3, 0, 1, 0});
  return std::move(builder).Build(17, PlanNumber(42));
}

std::vector<std::byte> BytesOf(const Plan& plan) {
  return {plan.bytes().begin(), plan.bytes().end()};
}

void Seal(std::vector<std::byte>& bytes) {
  if (bytes.size() < sizeof(PlanHeader)) return;
  const uint64_t checksum = PlanChecksum(absl::MakeSpan(bytes));
  std::memcpy(bytes.data() + offsetof(PlanHeader, checksum), &checksum, sizeof(checksum));
}

TEST(PlanTest, SurvivesARoundTripThroughBytes) {
  const Geometry geometry = MakePlanGeometry();
  const Plan plan = MakePlan(geometry);
  const absl::StatusOr<Plan> read = Plan::Parse(plan.bytes(), geometry);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->bytes(), plan.bytes());
  EXPECT_EQ(read->number(), PlanNumber(42));
  EXPECT_EQ(read->header().epoch, 17u);
  EXPECT_EQ(read->header().fingerprint, Fingerprint(geometry));
  EXPECT_FALSE(read->is_snapshot());
  ASSERT_EQ(read->sequences().size(), 3u);
  ASSERT_EQ(read->checkpoints().size(), 4u);
  ASSERT_EQ(read->restores().size(), 2u);
  ASSERT_EQ(read->patches().size(), 3u);
  ASSERT_EQ(read->copies().size(), 2u);
  EXPECT_EQ(read->sequences()[0].write_from, 512);
  EXPECT_EQ(read->sequences()[1].sequence_index, 7);
  EXPECT_EQ(read->sequences()[1].token_row, 600);
  EXPECT_EQ(read->sequences()[1].entry_row[1], 150);  // 600 tokens close 150 entries of 4
  EXPECT_EQ(read->sequences()[2].entry_row[2], 5);    // and 4 of 128; 127..131 closes one more
  EXPECT_EQ(read->header().num_token_rows, 606);
  EXPECT_EQ(read->sequences()[0].checkpoint_begin, 1);  // one of a settled position comes before
  EXPECT_EQ(read->sequences()[1].checkpoint_begin, 3);
  EXPECT_EQ(read->sequences()[2].checkpoint_begin, 3);
  EXPECT_EQ(read->checkpoints()[0].sequence_index, 5);
  EXPECT_EQ(read->checkpoints()[2].position, 768);
  EXPECT_EQ(read->restores()[0].overlap_block, 7);
  EXPECT_EQ(read->patches()[0].block, 99);
  EXPECT_EQ(read->copies()[0].destination, 4);
}

TEST(PlanTest, HasNoGapsBetweenItsArrays) {
  const Plan plan = MakePlan(MakePlanGeometry());
  EXPECT_EQ(plan.bytes().size(), 128u + 3 * 64 + (4 + 2 + 3 + 2) * 16);
  EXPECT_EQ(plan.header().checkpoints_offset, 128 + 3 * 64);
  EXPECT_EQ(plan.header().restores_offset, 128 + 3 * 64 + 4 * 16);
  EXPECT_EQ(plan.header().patches_offset, 128 + 3 * 64 + (4 + 2) * 16);
  EXPECT_EQ(plan.header().copies_offset, 128 + 3 * 64 + (4 + 2 + 3) * 16);
  EXPECT_EQ(plan.header().total_bytes, static_cast<int32_t>(plan.bytes().size()));
}

TEST(PlanTest, ACopyOfAPlanOwnsItsBytes) {
  const Geometry geometry = MakePlanGeometry();
  const Plan copy = [&] { return Plan(MakePlan(geometry)); }();
  EXPECT_TRUE(Plan::Parse(copy.bytes(), geometry).ok());
}

TEST(PlanTest, EveryCorruptByteIsRefused) {
  const Geometry geometry = MakePlanGeometry();
  const std::vector<std::byte> good = BytesOf(MakePlan(geometry));
  for (size_t i = 0; i < good.size(); ++i) {
    for (int flip = 1; flip < 256; ++flip) {
      std::vector<std::byte> bad = good;
      bad[i] ^= static_cast<std::byte>(flip);
      const absl::StatusOr<Plan> read = Plan::Parse(bad, geometry);
      ASSERT_FALSE(read.ok()) << "byte " << i << " xor " << flip;
      ASSERT_EQ(read.status().message().find('\n'), std::string::npos);
    }
  }
}

// Whether a store that carries the plan out stays inside its tables and pools.
void ExpectHarmless(const Plan& plan, const Geometry& geometry) {
  std::vector<bool> seen(geometry.max_sequences);
  int64_t rows = 0;
  for (const SequenceStep& part : plan.sequences()) {
    ASSERT_TRUE(part.sequence_index >= 0 && part.sequence_index < geometry.max_sequences &&
                !seen[part.sequence_index]);
    seen[part.sequence_index] = true;
    ASSERT_TRUE(part.first >= 0 && part.count >= 1);
    ASSERT_LE(int64_t{part.first} + part.count, geometry.max_context_tokens);
    ASSERT_TRUE(part.drafts >= 0 && part.drafts <= geometry.max_drafts);
    ASSERT_TRUE(part.write_from >= 0 && part.write_from <= geometry.max_context_tokens);
    ASSERT_TRUE(part.checkpoint_begin >= 0 &&
                part.checkpoint_begin <= plan.header().num_checkpoints);
    ASSERT_EQ(part.token_row, rows);
    rows += part.count;
  }
  ASSERT_LE(rows, geometry.max_step_tokens);
  ASSERT_EQ(rows, plan.header().num_token_rows);
  for (int p = 0; p < geometry.num_pools; ++p) {
    ASSERT_LE(plan.header().num_entry_rows[p], p == 0 ? 0 : MaxEntryRows(geometry, PoolIndex(p)));
  }
  for (const BlockPatch& patch : plan.patches()) {
    ASSERT_TRUE(patch.pool >= 0 && patch.pool < geometry.num_pools);
    ASSERT_TRUE(patch.sequence_index >= 0 && patch.sequence_index < geometry.max_sequences);
    ASSERT_TRUE(patch.index >= 0 && patch.index < geometry.pools[patch.pool].blocks_per_sequence);
    ASSERT_TRUE(patch.block >= (patch.pool == 0 ? -1 : 0) &&
                patch.block < geometry.pools[patch.pool].capacity_blocks);
  }
  for (const CheckpointRecord& checkpoint : plan.checkpoints()) {
    ASSERT_TRUE(checkpoint.sequence_index >= 0 &&
                checkpoint.sequence_index < geometry.max_sequences);
    ASSERT_TRUE(checkpoint.position > 0 && checkpoint.position <= geometry.max_context_tokens);
    ASSERT_TRUE(checkpoint.overlap_block >= 0 && checkpoint.overlap_block < 20);
  }
  for (const RestoreRecord& restore : plan.restores()) {
    ASSERT_TRUE(restore.sequence_index >= 0 && seen[restore.sequence_index]);
    ASSERT_TRUE(restore.overlap_block >= -1 && restore.overlap_block < 20);
  }
  for (const BlockCopy& copy : plan.copies()) {
    ASSERT_TRUE(copy.pool >= 0 && copy.pool < geometry.num_pools);
    const int32_t capacity = geometry.pools[copy.pool].capacity_blocks;
    ASSERT_TRUE(copy.source >= 0 && copy.source < capacity);
    ASSERT_TRUE(copy.destination >= 0 && copy.destination < capacity);
  }
}

TEST(PlanTest, ACorruptByteUnderAGoodChecksumIsRefusedOrHarmless) {
  const Geometry geometry = MakePlanGeometry();
  const std::vector<std::byte> good = BytesOf(MakePlan(geometry));
  int refused = 0;
  for (size_t i = 0; i < good.size(); ++i) {
    for (int flip = 1; flip < 256; ++flip) {
      std::vector<std::byte> bad = good;
      bad[i] ^= static_cast<std::byte>(flip);
      Seal(bad);
      const absl::StatusOr<Plan> read = Plan::Parse(bad, geometry);
      refused += !read.ok();
      if (!read.ok()) continue;
      ExpectHarmless(*read, geometry);
      ASSERT_FALSE(HasFatalFailure()) << "byte " << i << " xor " << flip;
    }
  }
  // What may pass: epoch, number, the checksum itself (sealed over), and small ids.
  EXPECT_GT(refused, static_cast<int>(good.size()) * 255 * 3 / 4);
}

TEST(PlanTest, BytesCutShortOrTooManyAreRefused) {
  const Geometry geometry = MakePlanGeometry();
  const std::vector<std::byte> good = BytesOf(MakePlan(geometry));
  for (size_t size = 0; size < good.size(); ++size) {
    std::vector<std::byte> bad(good.begin(), good.begin() + size);
    Seal(bad);
    ASSERT_FALSE(Plan::Parse(bad, geometry).ok()) << size;
  }
  std::vector<std::byte> longer = good;
  longer.resize(good.size() + 16);
  Seal(longer);
  EXPECT_FALSE(Plan::Parse(longer, geometry).ok());
}

TEST(PlanTest, AnotherDeploymentsPlanIsAFailedPrecondition) {
  const Geometry geometry = MakePlanGeometry();
  const Geometry other = MakePlanGeometry(101);
  const absl::Status status = Plan::Parse(MakePlan(other).bytes(), geometry).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("another deployment"));
}

TEST(PlanTest, AGeometryThatNobodyMadeIsRefused) {
  Geometry geometry = MakePlanGeometry();
  const Plan plan = MakePlan(geometry);
  geometry.num_pools = 1000;
  EXPECT_EQ(Plan::Parse(plan.bytes(), geometry).status().code(),
            absl::StatusCode::kInvalidArgument);
}

// Each line breaks one field of a good plan; the error names the record and the field.
struct Fault {
  const char* message;
  std::function<void(std::byte*)> plant;
};

// The first record of an array, found from the header as it is in a good plan.
PlanHeader& HeaderOf(std::byte* plan) { return *reinterpret_cast<PlanHeader*>(plan); }
SequenceStep* StepsOf(std::byte* plan) {
  return reinterpret_cast<SequenceStep*>(plan + sizeof(PlanHeader));
}
CheckpointRecord* CheckpointsOf(std::byte* plan) {
  return reinterpret_cast<CheckpointRecord*>(plan + HeaderOf(plan).checkpoints_offset);
}
RestoreRecord* RestoresOf(std::byte* plan) {
  return reinterpret_cast<RestoreRecord*>(plan + HeaderOf(plan).restores_offset);
}
BlockPatch* PatchesOf(std::byte* plan) {
  return reinterpret_cast<BlockPatch*>(plan + HeaderOf(plan).patches_offset);
}
BlockCopy* CopiesOf(std::byte* plan) {
  return reinterpret_cast<BlockCopy*>(plan + HeaderOf(plan).copies_offset);
}

TEST(PlanTest, TheErrorNamesTheRecordAndTheField) {
  const Geometry geometry = MakePlanGeometry();
  using P = std::byte*;
  const std::vector<Fault> faults = {
      {"header: magic", [](P p) { HeaderOf(p).magic ^= 1; }},
      {"header: version", [](P p) { HeaderOf(p).version = 1; }},
      {"header: kind", [](P p) { HeaderOf(p).kind = static_cast<PlanKind>(2); }},
      {"header: number", [](P p) { HeaderOf(p).number = 0; }},
      {"header: num_sequences", [](P p) { HeaderOf(p).num_sequences = -1; }},
      {"header: num_checkpoints", [](P p) { HeaderOf(p).num_checkpoints = -1; }},
      {"header: num_restores", [](P p) { HeaderOf(p).num_restores = -1; }},
      {"header: num_patches", [](P p) { HeaderOf(p).num_patches = -1; }},
      {"header: num_copies", [](P p) { HeaderOf(p).num_copies = 3; }},
      {"header: checkpoints_offset", [](P p) { HeaderOf(p).checkpoints_offset += 16; }},
      {"header: restores_offset", [](P p) { HeaderOf(p).restores_offset += 16; }},
      {"header: restores_offset", [](P p) { ++HeaderOf(p).num_checkpoints; }},
      {"header: patches_offset", [](P p) { HeaderOf(p).patches_offset += 16; }},
      {"header: patches_offset", [](P p) { ++HeaderOf(p).num_restores; }},
      {"header: copies_offset", [](P p) { HeaderOf(p).copies_offset -= 16; }},
      {"header: total_bytes", [](P p) { HeaderOf(p).total_bytes += 16; }},
      {"header: num_token_rows", [](P p) { ++HeaderOf(p).num_token_rows; }},
      {"header: num_entry_rows", [](P p) { ++HeaderOf(p).num_entry_rows[2]; }},
      {"header: reserved", [](P p) { HeaderOf(p).reserved = 1; }},
      {"header: generation", [](P p) { HeaderOf(p).generation = 0; }},
      {"a snapshot has patches", [](P p) { HeaderOf(p).kind = PlanKind::kSnapshot; }},
      {"sequence record 0: sequence_index", [](P p) { StepsOf(p)[0].sequence_index = 8; }},
      {"sequence record 1: sequence_index", [](P p) { StepsOf(p)[1].sequence_index = 2; }},
      {"sequence record 2: first", [](P p) { StepsOf(p)[2].first = -1; }},
      {"sequence record 2: first", [](P p) { StepsOf(p)[2].first = 8192; }},
      {"sequence record 2: count", [](P p) { StepsOf(p)[2].count = 0; }},
      {"sequence record 2: count", [](P p) { StepsOf(p)[2].count = 8192 - 1023 + 1; }},
      {"sequence record 1: drafts", [](P p) { StepsOf(p)[1].drafts = 5; }},
      {"sequence record 2: drafts", [](P p) { StepsOf(p)[2].drafts = 2; }},  // more than tokens
      {"sequence record 0: settled", [](P p) { StepsOf(p)[0].settled = 857; }},
      {"sequence record 1: token_row", [](P p) { StepsOf(p)[1].token_row = 599; }},
      {"sequence record 1: entry_row", [](P p) { StepsOf(p)[1].entry_row[1] = 151; }},
      {"sequence record 1: entry_row",
       [](P p) { StepsOf(p)[1].entry_row[7] = 1; }},  // no such pool
      {"sequence record 0: write_from", [](P p) { StepsOf(p)[0].write_from = -256; }},
      {"sequence record 0: write_from", [](P p) { StepsOf(p)[0].write_from = 511; }},
      {"sequence record 0: write_from", [](P p) { StepsOf(p)[0].write_from = 8192 + 256; }},
      {"sequence record 0: checkpoint_begin", [](P p) { StepsOf(p)[0].checkpoint_begin = -1; }},
      {"sequence record 1: checkpoint_begin", [](P p) { StepsOf(p)[1].checkpoint_begin = 0; }},
      {"sequence record 2: checkpoint_begin", [](P p) { StepsOf(p)[2].checkpoint_begin = 5; }},
      {"checkpoint 0: sequence_index", [](P p) { CheckpointsOf(p)[0].sequence_index = 8; }},
      {"checkpoint 0: sequence_index",
       [](P p) { StepsOf(p)[0].checkpoint_begin = 0; }},  // of sequence 5
      {"checkpoint 1: sequence_index", [](P p) { CheckpointsOf(p)[1].sequence_index = 7; }},
      {"checkpoint 2: sequence_index", [](P p) { StepsOf(p)[1].checkpoint_begin = 2; }},
      {"checkpoint 0: position", [](P p) { CheckpointsOf(p)[0].position = 0; }},
      {"checkpoint 0: position", [](P p) { CheckpointsOf(p)[0].position = 511; }},
      {"checkpoint 0: position", [](P p) { CheckpointsOf(p)[0].position = 8192 + 256; }},
      {"checkpoint 1: position", [](P p) { CheckpointsOf(p)[1].position = 256; }},  // the first row
      {"checkpoint 2: position", [](P p) { CheckpointsOf(p)[2].position = 512; }},  // again
      {"checkpoint 2: position", [](P p) { CheckpointsOf(p)[2].position = 1024; }},
      {"checkpoint 0: overlap_block", [](P p) { CheckpointsOf(p)[0].overlap_block = -1; }},
      {"checkpoint 0: overlap_block", [](P p) { CheckpointsOf(p)[0].overlap_block = 20; }},
      {"checkpoint 1: overlap_block", [](P p) { CheckpointsOf(p)[1].overlap_block = 7; }},  // again
      {"checkpoint 1: state_block", [](P p) { CheckpointsOf(p)[1].state_block = 0; }},
      {"restore 0: sequence_index", [](P p) { RestoresOf(p)[0].sequence_index = -1; }},
      {"restore 0: sequence_index",
       [](P p) { RestoresOf(p)[0].sequence_index = 1; }},  // not in the step
      {"restore 1: sequence_index", [](P p) { RestoresOf(p)[1].sequence_index = 2; }},  // twice
      {"restore 0: position", [](P p) { RestoresOf(p)[0].position = 512; }},
      {"restore 0: overlap_block", [](P p) { RestoresOf(p)[0].overlap_block = 20; }},
      {"restore 0: overlap_block", [](P p) { RestoresOf(p)[0].overlap_block = -2; }},
      {"restore 1: reserved", [](P p) { RestoresOf(p)[1].reserved = 1; }},
      {"patch 0: pool", [](P p) { PatchesOf(p)[0].pool = 4; }},
      {"patch 0: pool", [](P p) { PatchesOf(p)[0].pool = 3; }},  // the overlap pool has no tables
      {"patch 0: sequence_index", [](P p) { PatchesOf(p)[0].sequence_index = 8; }},
      {"patch 0: index", [](P p) { PatchesOf(p)[0].index = 32; }},
      {"patch 0: block", [](P p) { PatchesOf(p)[0].block = -1; }},  // full pools have no holes
      {"patch 1: block", [](P p) { PatchesOf(p)[1].block = 100; }},
      {"patch 2: block", [](P p) { PatchesOf(p)[2].block = -2; }},
      {"index 1 of sequence 7 in pool 0 is patched twice",
       [](P p) { PatchesOf(p)[2].sequence_index = 7; }},
      {"copy 0: pool", [](P p) { CopiesOf(p)[0].pool = -1; }},
      {"copy 0: source", [](P p) { CopiesOf(p)[0].source = 100; }},
      {"copy 1: source", [](P p) { CopiesOf(p)[1].source = 20; }},
      {"copy 0: destination", [](P p) { CopiesOf(p)[0].destination = -1; }},
      {"copy 0: reserved", [](P p) { CopiesOf(p)[0].reserved = 1; }},
      {"block 3 of pool 2 is both", [](P p) { CopiesOf(p)[0].destination = 3; }},  // onto itself
      {"block 4 of pool 2 is both",
       [](P p) {
         CopiesOf(p)[1] = {2, 4, 5, 0};
       }},
      {"block 4 of pool 2 is the destination",
       [](P p) {
         CopiesOf(p)[1] = {2, 7, 4, 0};
       }},
  };
  const Plan good = MakePlan(geometry);
  for (const Fault& fault : faults) {
    std::vector<std::byte> bytes = BytesOf(good);
    fault.plant(bytes.data());
    Seal(bytes);
    const absl::Status status = Plan::Parse(bytes, geometry).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << fault.message;
    EXPECT_THAT(std::string(status.message()), HasSubstr(fault.message));
  }
}

TEST(PlanTest, ACheckpointHasAnOverlapBlockOnlyWhereThereIsSuchAPool) {
  const Geometry geometry = MakeTestGeometry();
  for (const int32_t block : {kNoBlock, 0}) {
    PlanBuilder builder(geometry, PlanKind::kStep,
                        {.sequences = 1, .checkpoints = 1, .restores = 1});
    builder.AddSequence(Part(0, 0, 256, 0, 256));
    builder.AddCheckpoint(
        {.sequence_index = 0, .position = 256, .overlap_block = block, .state_block = kNoBlock});
    builder.AddRestore(
        {.sequence_index = 0, .position = 0, .overlap_block = kNoBlock, .reserved = 0});
    const Plan plan = std::move(builder).Build(1, PlanNumber(1));
    EXPECT_EQ(Plan::Parse(plan.bytes(), geometry).ok(), block == kNoBlock);
  }
}

TEST(PlanTest, MoreRowsThanAStepMayHaveAreRefused) {
  const Geometry geometry = MakePlanGeometry();  // 4096 a step, 8192 a context
  PlanBuilder builder(geometry, PlanKind::kStep, {.sequences = 1});
  builder.AddSequence(Part(0, 0, 4097, 0, 0));
  const Plan plan = std::move(builder).Build(1, PlanNumber(1));
  EXPECT_THAT(std::string(Plan::Parse(plan.bytes(), geometry).status().message()),
              HasSubstr("num_token_rows is 4097"));
}

}  // namespace
}  // namespace terrace::testing
