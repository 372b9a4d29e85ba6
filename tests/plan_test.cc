#include "terrace/plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "src/plan_checksum.h"
#include "terrace/expand.h"
#include "terrace/plan_builder.h"
#include "tests/test_geometry.h"

namespace terrace {
namespace {

using testing::HasSubstr;

LaneRecord Lane(int32_t lane, int32_t first, int32_t count, int32_t drafts, int32_t settled) {
  LaneRecord record{};
  record.lane = lane;
  record.first = first;
  record.count = count;
  record.drafts = drafts;
  record.settled = settled;
  return record;
}

// A step with all that a step can have.
Plan MakePlan(const Geometry& geometry) {
  PlanBuilder builder(geometry, PlanKind::kStep, {.lanes = 3, .patches = 2, .copies = 1});
  builder.AddLane(Lane(2, 0, 300, 0, 300));
  builder.AddLane(Lane(7, 127, 5, 4, 128));
  builder.AddLane(Lane(0, 1000, 1, 0, 1001));
  builder.AddPatch({1, 2, 0, 99});
  builder.AddPatch({0, 7, 1, 5});
  builder.AddCopy({2, 3, 4, 0});
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
  const Geometry geometry = MakeTestGeometry();
  const Plan plan = MakePlan(geometry);
  const absl::StatusOr<Plan> read = Plan::Parse(plan.bytes(), geometry);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->bytes(), plan.bytes());
  EXPECT_EQ(read->number(), PlanNumber(42));
  EXPECT_EQ(read->header().epoch, 17u);
  EXPECT_EQ(read->header().fingerprint, Fingerprint(geometry));
  EXPECT_FALSE(read->is_snapshot());
  ASSERT_EQ(read->lanes().size(), 3u);
  ASSERT_EQ(read->patches().size(), 2u);
  ASSERT_EQ(read->copies().size(), 1u);
  EXPECT_EQ(read->lanes()[1].lane, 7);
  EXPECT_EQ(read->lanes()[1].token_row, 300);
  EXPECT_EQ(read->lanes()[1].entry_row[1], 75);  // 300 tokens close 75 entries of 4
  EXPECT_EQ(read->lanes()[2].entry_row[2], 3);   // and 2 of 128; 127..131 closes one more
  EXPECT_EQ(read->header().num_token_rows, 306);
  EXPECT_EQ(read->patches()[0].block, 99);
  EXPECT_EQ(read->copies()[0].destination, 4);
}

TEST(PlanTest, HasNoGapsBetweenItsArrays) {
  const Plan plan = MakePlan(MakeTestGeometry());
  EXPECT_EQ(plan.bytes().size(), 128u + 3 * 64 + 2 * 16 + 16);
  EXPECT_EQ(plan.header().patches_offset, 128 + 3 * 64);
  EXPECT_EQ(plan.header().copies_offset, 128 + 3 * 64 + 2 * 16);
  EXPECT_EQ(plan.header().total_bytes, static_cast<int32_t>(plan.bytes().size()));
}

TEST(PlanTest, ACopyOfAPlanOwnsItsBytes) {
  const Geometry geometry = MakeTestGeometry();
  const Plan copy = [&] { return Plan(MakePlan(geometry)); }();
  EXPECT_TRUE(Plan::Parse(copy.bytes(), geometry).ok());
}

TEST(PlanTest, EveryCorruptByteIsRefused) {
  const Geometry geometry = MakeTestGeometry();
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
  for (const LaneRecord& lane : plan.lanes()) {
    ASSERT_TRUE(lane.lane >= 0 && lane.lane < geometry.max_sequences && !seen[lane.lane]);
    seen[lane.lane] = true;
    ASSERT_TRUE(lane.first >= 0 && lane.count >= 1);
    ASSERT_LE(int64_t{lane.first} + lane.count, geometry.max_context_tokens);
    ASSERT_TRUE(lane.drafts >= 0 && lane.drafts <= geometry.max_drafts);
    ASSERT_EQ(lane.token_row, rows);
    rows += lane.count;
  }
  ASSERT_LE(rows, geometry.max_step_tokens);
  ASSERT_EQ(rows, plan.header().num_token_rows);
  for (int p = 0; p < geometry.num_pools; ++p) {
    ASSERT_LE(plan.header().num_entry_rows[p], p == 0 ? 0 : MaxEntryRows(geometry, p));
  }
  for (const BlockPatch& patch : plan.patches()) {
    ASSERT_TRUE(patch.pool >= 0 && patch.pool < geometry.num_pools);
    ASSERT_TRUE(patch.lane >= 0 && patch.lane < geometry.max_sequences);
    ASSERT_TRUE(patch.index >= 0 && patch.index < geometry.pools[patch.pool].blocks_per_lane);
    ASSERT_TRUE(patch.block >= 0 && patch.block < geometry.pools[patch.pool].capacity_blocks);
  }
  for (const BlockCopy& copy : plan.copies()) {
    ASSERT_TRUE(copy.pool >= 0 && copy.pool < geometry.num_pools);
    const int32_t capacity = geometry.pools[copy.pool].capacity_blocks;
    ASSERT_TRUE(copy.source >= 0 && copy.source < capacity);
    ASSERT_TRUE(copy.destination >= 0 && copy.destination < capacity);
  }
}

TEST(PlanTest, ACorruptByteUnderAGoodChecksumIsRefusedOrHarmless) {
  const Geometry geometry = MakeTestGeometry();
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
  const Geometry geometry = MakeTestGeometry();
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
  const Geometry geometry = MakeTestGeometry();
  const Geometry other = MakeTestGeometry({.full_blocks = 101});
  const absl::Status status = Plan::Parse(MakePlan(other).bytes(), geometry).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("another deployment"));
}

TEST(PlanTest, AGeometryThatNobodyMadeIsRefused) {
  Geometry geometry = MakeTestGeometry();
  const Plan plan = MakePlan(geometry);
  geometry.num_pools = 1000;
  EXPECT_EQ(Plan::Parse(plan.bytes(), geometry).status().code(),
            absl::StatusCode::kInvalidArgument);
}

// Each line breaks one field of a good plan; the error names the record and the field.
struct Fault {
  const char* message;
  std::function<void(PlanHeader*, LaneRecord*, BlockPatch*, BlockCopy*)> plant;
};

TEST(PlanTest, TheErrorNamesTheRecordAndTheField) {
  const Geometry geometry = MakeTestGeometry();
  using H = PlanHeader*;
  using L = LaneRecord*;
  using P = BlockPatch*;
  using C = BlockCopy*;
  const std::vector<Fault> faults = {
      {"header: magic", [](H h, L, P, C) { h->magic ^= 1; }},
      {"header: version", [](H h, L, P, C) { h->version = 2; }},
      {"header: kind", [](H h, L, P, C) { h->kind = static_cast<PlanKind>(2); }},
      {"header: number", [](H h, L, P, C) { h->number = 0; }},
      {"header: num_lanes", [](H h, L, P, C) { h->num_lanes = -1; }},
      {"header: num_patches", [](H h, L, P, C) { h->num_patches = -1; }},
      {"header: num_copies", [](H h, L, P, C) { h->num_copies = 2; }},
      {"header: patches_offset", [](H h, L, P, C) { h->patches_offset += 16; }},
      {"header: copies_offset", [](H h, L, P, C) { h->copies_offset -= 16; }},
      {"header: total_bytes", [](H h, L, P, C) { h->total_bytes += 16; }},
      {"header: num_token_rows", [](H h, L, P, C) { ++h->num_token_rows; }},
      {"header: num_entry_rows", [](H h, L, P, C) { ++h->num_entry_rows[2]; }},
      {"header: reserved", [](H h, L, P, C) { h->reserved[5] = 1; }},
      {"a snapshot has no lanes", [](H h, L, P, C) { h->kind = PlanKind::kSnapshot; }},
      {"lane record 0: lane", [](H, L l, P, C) { l[0].lane = 8; }},
      {"lane record 1: lane", [](H, L l, P, C) { l[1].lane = 2; }},  // twice
      {"lane record 2: first", [](H, L l, P, C) { l[2].first = -1; }},
      {"lane record 2: first", [](H, L l, P, C) { l[2].first = 8192; }},
      {"lane record 2: count", [](H, L l, P, C) { l[2].count = 0; }},
      {"lane record 2: count", [](H, L l, P, C) { l[2].count = 8192 - 1000 + 1; }},
      {"lane record 1: drafts", [](H, L l, P, C) { l[1].drafts = 5; }},
      {"lane record 2: drafts", [](H, L l, P, C) { l[2].drafts = 2; }},  // more than tokens
      {"lane record 0: settled", [](H, L l, P, C) { l[0].settled = 301; }},
      {"lane record 1: token_row", [](H, L l, P, C) { l[1].token_row = 299; }},
      {"lane record 1: entry_row", [](H, L l, P, C) { l[1].entry_row[1] = 76; }},
      {"lane record 1: entry_row", [](H, L l, P, C) { l[1].entry_row[7] = 1; }},  // no such pool
      {"lane record 0: reserved", [](H, L l, P, C) { l[0].reserved[1] = 1; }},
      {"patch 0: pool", [](H, L, P p, C) { p[0].pool = 3; }},
      {"patch 0: lane", [](H, L, P p, C) { p[0].lane = 8; }},
      {"patch 0: index", [](H, L, P p, C) { p[0].index = 32; }},
      {"patch 1: block", [](H, L, P p, C) { p[1].block = 100; }},
      {"copy 0: pool", [](H, L, P, C c) { c[0].pool = -1; }},
      {"copy 0: source", [](H, L, P, C c) { c[0].source = 100; }},
      {"copy 0: destination", [](H, L, P, C c) { c[0].destination = -1; }},
      {"copy 0: destination", [](H, L, P, C c) { c[0].destination = 3; }},  // onto itself
      {"copy 0: reserved", [](H, L, P, C c) { c[0].reserved = 1; }},
  };
  const Plan good = MakePlan(geometry);
  for (const Fault& fault : faults) {
    std::vector<std::byte> bytes = BytesOf(good);
    fault.plant(reinterpret_cast<H>(bytes.data()),
                reinterpret_cast<L>(bytes.data() + sizeof(PlanHeader)),
                reinterpret_cast<P>(bytes.data() + good.header().patches_offset),
                reinterpret_cast<C>(bytes.data() + good.header().copies_offset));
    Seal(bytes);
    const absl::Status status = Plan::Parse(bytes, geometry).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << fault.message;
    EXPECT_THAT(std::string(status.message()), HasSubstr(fault.message));
  }
}

TEST(PlanTest, MoreRowsThanAStepMayHaveAreRefused) {
  const Geometry geometry = MakeTestGeometry();  // 4096 a step, 8192 a context
  PlanBuilder builder(geometry, PlanKind::kStep, {.lanes = 1, .patches = 0, .copies = 0});
  builder.AddLane(Lane(0, 0, 4097, 0, 0));
  const Plan plan = std::move(builder).Build(1, PlanNumber(1));
  EXPECT_THAT(std::string(Plan::Parse(plan.bytes(), geometry).status().message()),
              HasSubstr("num_token_rows is 4097"));
}

}  // namespace
}  // namespace terrace
