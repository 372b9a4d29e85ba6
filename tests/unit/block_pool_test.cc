#include "src/ledger/block_pool.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <utility>
#include <vector>

namespace terrace::testing {
namespace {

using internal::BlockPool;

using ::testing::HasSubstr;

std::vector<BlockId> Take(BlockPool& pool, size_t count) {
  std::vector<BlockId> blocks(count);
  const absl::Status status = pool.Allocate(absl::MakeSpan(blocks));
  EXPECT_TRUE(status.ok()) << status;
  return blocks;
}

TEST(BlockPoolTest, HandsOutEachBlockOnceAndTheLowestFirst) {
  BlockPool pool(5);
  const std::vector<BlockId> blocks = Take(pool, 5);
  for (int i = 0; i < 5; ++i) EXPECT_EQ(blocks[i], BlockId(i));
  EXPECT_EQ(pool.num_free(), 0);
  EXPECT_EQ(pool.num_live(), 5);
  pool.CheckInvariants();
}

TEST(BlockPoolTest, ReusesTheBlockFreedLast) {
  BlockPool pool(8);
  const std::vector<BlockId> blocks = Take(pool, 8);
  ASSERT_TRUE(pool.Free({&blocks[3], 1}).ok());
  ASSERT_TRUE(pool.Free({&blocks[6], 1}).ok());
  EXPECT_EQ(Take(pool, 2), (std::vector<BlockId>{blocks[6], blocks[3]}));
}

TEST(BlockPoolTest, OneBlockGoesByTheSameRulesAsMany) {
  BlockPool pool(2);
  const BlockId a = *pool.Allocate();
  const BlockId b = *pool.Allocate();
  EXPECT_EQ(pool.Allocate().status().code(), absl::StatusCode::kResourceExhausted);
  ASSERT_TRUE(pool.AddReference(a).ok());
  ASSERT_TRUE(pool.Free(a).ok());
  EXPECT_EQ(pool.references(a), 1);
  ASSERT_TRUE(pool.Free(a).ok());
  EXPECT_EQ(pool.Free(a).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(pool.Free(BlockId(2)).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(pool.num_free(), 1);
  const BlockPool::Reservation all = *pool.Reserve(1);
  EXPECT_FALSE(pool.Allocate().ok());
  ASSERT_TRUE(pool.Free(b).ok());
  EXPECT_EQ(*pool.Allocate(), b);
  pool.CheckInvariants();
}

TEST(BlockPoolTest, AllocatesAllOrNothing) {
  BlockPool pool(4);
  Take(pool, 2);
  std::vector<BlockId> blocks(3, BlockId(77));
  const absl::Status status = pool.Allocate(absl::MakeSpan(blocks));
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(status.message(), "3 blocks asked for, 2 of 4 available");
  EXPECT_EQ(blocks[0], BlockId(77));
  EXPECT_EQ(pool.num_free(), 2);
  pool.CheckInvariants();
}

TEST(BlockPoolTest, FreeingTwiceIsAnError) {
  BlockPool pool(4);
  const std::vector<BlockId> blocks = Take(pool, 1);
  ASSERT_TRUE(pool.Free(blocks).ok());
  const absl::Status status = pool.Free(blocks);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("block 0 is not live"));
  EXPECT_EQ(pool.num_free(), 4);
  pool.CheckInvariants();
}

TEST(BlockPoolTest, FreeingABlockThatDrainsIsAnError) {
  BlockPool pool(4);
  const std::vector<BlockId> blocks = Take(pool, 1);
  ASSERT_TRUE(pool.Free(blocks, PlanNumber(1)).ok());
  EXPECT_EQ(pool.Free(blocks).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(pool.num_draining(), 1);
}

TEST(BlockPoolTest, ForeignBlocksAreAnError) {
  BlockPool pool(4);
  Take(pool, 4);
  for (const int32_t id : {-1, 4, 5, INT32_MAX, INT32_MIN}) {
    const BlockId block(id);
    EXPECT_EQ(pool.Free({&block, 1}).code(), absl::StatusCode::kInvalidArgument) << id;
    EXPECT_EQ(pool.AddReference(block).code(), absl::StatusCode::kInvalidArgument) << id;
    EXPECT_EQ(pool.references(block), 0) << id;
  }
  EXPECT_EQ(pool.num_live(), 4);
}

TEST(BlockPoolTest, ASharedBlockIsFreeWhenItsLastReferenceIsDropped) {
  BlockPool pool(4);
  const std::vector<BlockId> blocks = Take(pool, 1);
  ASSERT_TRUE(pool.AddReference(blocks[0]).ok());
  ASSERT_TRUE(pool.AddReference(blocks[0]).ok());
  for (const int32_t left : {2, 1, 0}) {
    EXPECT_EQ(pool.references(blocks[0]), left + 1);
    ASSERT_TRUE(pool.Free(blocks).ok());
    EXPECT_EQ(pool.references(blocks[0]), left);
    EXPECT_EQ(pool.num_live(), left > 0 ? 1 : 0);
    pool.CheckInvariants();
  }
  EXPECT_EQ(pool.Free(blocks).code(), absl::StatusCode::kInvalidArgument);  // underflow
}

TEST(BlockPoolTest, AReferenceToAFreeBlockIsAnError) {
  BlockPool pool(4);
  const std::vector<BlockId> blocks = Take(pool, 1);
  ASSERT_TRUE(pool.Free(blocks).ok());
  EXPECT_EQ(pool.AddReference(blocks[0]).code(), absl::StatusCode::kInvalidArgument);
}

TEST(BlockPoolTest, AFailedFreeChangesNothing) {
  for (const bool drain : {false, true}) {
    BlockPool pool(8);
    const std::vector<BlockId> blocks = Take(pool, 6);
    ASSERT_TRUE(pool.AddReference(blocks[1]).ok());
    // Block 0 is named twice with one reference, after 1 lost both of its own and 2 its only one.
    const std::vector<BlockId> wrong = {blocks[1], blocks[2], blocks[1], blocks[0], blocks[0]};
    const auto plan = drain ? std::optional<PlanNumber>(PlanNumber(3)) : std::nullopt;
    EXPECT_EQ(pool.Free(wrong, plan).code(), absl::StatusCode::kInvalidArgument);
    pool.CheckInvariants();
    EXPECT_EQ(pool.num_live(), 6);
    EXPECT_EQ(pool.num_draining(), 0);
    EXPECT_EQ(pool.references(blocks[0]), 1);
    EXPECT_EQ(pool.references(blocks[1]), 2);
    EXPECT_EQ(pool.references(blocks[2]), 1);
    EXPECT_EQ(Take(pool, 2), (std::vector<BlockId>{BlockId(6), BlockId(7)}));  // the order too
  }
}

TEST(BlockPoolTest, ABlockDrainsUntilItsPlanIsRetired) {
  BlockPool pool(4);
  const std::vector<BlockId> blocks = Take(pool, 4);
  ASSERT_TRUE(pool.Free({&blocks[0], 1}, PlanNumber(5)).ok());
  ASSERT_TRUE(pool.Free({&blocks[1], 2}, PlanNumber(7)).ok());
  EXPECT_EQ(pool.num_draining(), 3);
  EXPECT_EQ(pool.num_available(), 0);
  pool.CheckInvariants();
  pool.Retire(PlanNumber(4));
  EXPECT_EQ(pool.num_draining(), 3);
  pool.Retire(PlanNumber(6));
  EXPECT_EQ(pool.num_draining(), 2);
  EXPECT_EQ(Take(pool, 1)[0], blocks[0]);
  pool.Retire(PlanNumber(7));
  EXPECT_EQ(pool.num_draining(), 0);
  EXPECT_EQ(pool.num_free(), 2);
  pool.CheckInvariants();
}

TEST(BlockPoolTest, TheDrainingQueueGoesRoundItsRing) {
  BlockPool pool(3);
  for (uint64_t plan = 1; plan < 20; ++plan) {
    const std::vector<BlockId> blocks = Take(pool, 2);
    ASSERT_TRUE(pool.Free(blocks, PlanNumber(plan)).ok());
    pool.CheckInvariants();
    pool.Retire(PlanNumber(plan));
    EXPECT_EQ(pool.num_free(), 3);
  }
}

TEST(BlockPoolTest, AnIndexedBlockIsCachedWhenItsLastReferenceIsDropped) {
  BlockPool pool(4);
  const BlockId block = *pool.Allocate();
  EXPECT_FALSE(pool.IsReusable(block));
  pool.MarkReusable(block);
  EXPECT_TRUE(pool.IsReusable(block));
  EXPECT_EQ(pool.num_live(), 1);
  ASSERT_TRUE(pool.AddReference(block).ok());
  ASSERT_TRUE(pool.Free(block).ok());
  EXPECT_EQ(pool.references(block), 1);
  EXPECT_FALSE(pool.IsCached(block));
  ASSERT_TRUE(pool.Free(block).ok());
  EXPECT_TRUE(pool.IsCached(block));
  EXPECT_TRUE(pool.IsReusable(block));
  EXPECT_EQ(pool.references(block), 0);
  EXPECT_EQ(pool.num_cached(), 1);
  EXPECT_EQ(pool.num_live(), 0);
  EXPECT_EQ(pool.num_available(), 3);  // a pool never evicts by itself
  EXPECT_FALSE(pool.Reserve(4).ok());
  pool.CheckInvariants();
}

TEST(BlockPoolTest, AReferenceToACachedBlockMakesItLiveAgain) {
  BlockPool pool(2);
  const BlockId block = *pool.Allocate();
  pool.MarkReusable(block);
  for (int i = 0; i < 3; ++i) {
    // It is never free between, so it drains for no plan.
    ASSERT_TRUE(pool.Free({&block, 1}, PlanNumber(5)).ok());
    EXPECT_EQ(pool.num_cached(), 1);
    EXPECT_EQ(pool.num_draining(), 0);
    ASSERT_TRUE(pool.AddReference(block).ok());
    EXPECT_EQ(pool.references(block), 1);
    EXPECT_EQ(pool.num_cached(), 0);
    EXPECT_TRUE(pool.IsReusable(block));
    pool.CheckInvariants();
  }
}

TEST(BlockPoolTest, ACachedBlockKnowsTheLastPlanThatMayNameIt) {
  BlockPool pool(2);
  const BlockId block = *pool.Allocate();
  pool.MarkReusable(block);
  ASSERT_TRUE(pool.AddReference(block).ok());
  EXPECT_FALSE(pool.IsHeldByOne(block));
  ASSERT_TRUE(pool.Free({&block, 1}, PlanNumber(5)).ok());
  ASSERT_TRUE(pool.Free({&block, 1}, PlanNumber(7)).ok());
  EXPECT_EQ(pool.last_plan(block), PlanNumber(7));
  ASSERT_TRUE(pool.AddReference(block).ok());
  ASSERT_TRUE(pool.Free({&block, 1}).ok());
  EXPECT_EQ(pool.last_plan(block), PlanNumber(0));
  const BlockId other = *pool.Allocate();
  EXPECT_TRUE(pool.IsHeldByOne(other));
  pool.MarkReusable(other);
  EXPECT_FALSE(pool.IsHeldByOne(other));  // it would be cached
}

TEST(BlockPoolTest, FreeingACachedBlockIsAnError) {
  BlockPool pool(2);
  const BlockId block = *pool.Allocate();
  pool.MarkReusable(block);
  ASSERT_TRUE(pool.Free(block).ok());
  EXPECT_EQ(pool.Free(block).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(pool.Free({&block, 1}, PlanNumber(1)).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(pool.IsCached(block));
  pool.CheckInvariants();
}

TEST(BlockPoolTest, ACachedBlockOutOfTheIndexIsFreeOrDrains) {
  BlockPool pool(2);
  const std::vector<BlockId> blocks = Take(pool, 2);
  for (const BlockId block : blocks) pool.MarkReusable(block);
  ASSERT_TRUE(pool.Free(blocks).ok());
  pool.UnmarkReusable(blocks[0]);
  pool.UnmarkReusable(blocks[1], PlanNumber(3));
  EXPECT_EQ(pool.num_cached(), 0);
  EXPECT_EQ(pool.num_free(), 1);
  EXPECT_EQ(pool.num_draining(), 1);
  EXPECT_FALSE(pool.IsReusable(blocks[1]));
  EXPECT_EQ(pool.AddReference(blocks[1]).code(), absl::StatusCode::kInvalidArgument);
  pool.CheckInvariants();
  pool.Retire(PlanNumber(3));
  EXPECT_EQ(pool.num_free(), 2);
  pool.CheckInvariants();
}

TEST(BlockPoolTest, ALiveBlockOutOfTheIndexGoesWithItsLastReference) {
  BlockPool pool(2);
  const std::vector<BlockId> blocks = Take(pool, 2);
  for (const BlockId block : blocks) pool.MarkReusable(block);
  ASSERT_TRUE(pool.AddReference(blocks[0]).ok());
  for (const BlockId block : blocks) pool.UnmarkReusable(block, PlanNumber(1));
  EXPECT_EQ(pool.num_live(), 2);
  EXPECT_EQ(pool.references(blocks[0]), 2);
  ASSERT_TRUE(pool.Free(blocks).ok());
  EXPECT_EQ(pool.references(blocks[0]), 1);
  EXPECT_EQ(pool.num_free(), 1);
  ASSERT_TRUE(pool.Free({&blocks[0], 1}, PlanNumber(2)).ok());
  EXPECT_EQ(pool.num_draining(), 1);
  pool.CheckInvariants();
}

TEST(BlockPoolTest, AFailedFreeOfIndexedBlocksChangesNothing) {
  BlockPool pool(8);
  const std::vector<BlockId> blocks = Take(pool, 6);
  for (const int i : {0, 1, 2}) pool.MarkReusable(blocks[i]);
  ASSERT_TRUE(pool.AddReference(blocks[1]).ok());
  // Block 2 becomes cached and is named again, after 1 lost both of its references, 3 its only one.
  const std::vector<BlockId> wrong = {blocks[1], blocks[3], blocks[1], blocks[2], blocks[2]};
  EXPECT_EQ(pool.Free(wrong).code(), absl::StatusCode::kInvalidArgument);
  pool.CheckInvariants();
  EXPECT_EQ(pool.num_live(), 6);
  EXPECT_EQ(pool.num_cached(), 0);
  for (const int i : {0, 1, 2, 3}) {
    EXPECT_EQ(pool.IsReusable(blocks[i]), i < 3) << i;
    EXPECT_EQ(pool.references(blocks[i]), i == 1 ? 2 : 1) << i;
  }
  EXPECT_EQ(Take(pool, 2), (std::vector<BlockId>{BlockId(6), BlockId(7)}));
}

TEST(BlockPoolTest, NoForeignBlockIsReusable) {
  BlockPool pool(4);
  for (const int32_t id : {-1, 4, INT32_MAX, INT32_MIN}) {
    EXPECT_FALSE(pool.IsReusable(BlockId(id))) << id;
    EXPECT_FALSE(pool.IsCached(BlockId(id))) << id;
  }
}

TEST(BlockPoolTest, WhatIsReservedIsNotGivenToOthers) {
  BlockPool pool(10);
  absl::StatusOr<BlockPool::Reservation> reservation = pool.Reserve(7);
  ASSERT_TRUE(reservation.ok());
  EXPECT_EQ(pool.num_available(), 3);
  EXPECT_EQ(pool.Reserve(4).status().code(), absl::StatusCode::kResourceExhausted);
  std::vector<BlockId> blocks(4);
  EXPECT_FALSE(pool.Allocate(absl::MakeSpan(blocks)).ok());
  EXPECT_FALSE(pool.Reserve(-1).ok());

  std::set<BlockId> taken;
  while (reservation->count() > 0) taken.insert(reservation->Take());
  EXPECT_EQ(taken.size(), 7u);
  EXPECT_EQ(pool.num_live(), 7);
  EXPECT_EQ(pool.num_available(), 3);
}

TEST(BlockPoolTest, AReservationGivesBackWhatWasNotTaken) {
  BlockPool pool(10);
  {
    BlockPool::Reservation reservation = *pool.Reserve(6);
    reservation.Take();
    BlockPool::Reservation moved = std::move(reservation);
    EXPECT_EQ(moved.count(), 5);
    EXPECT_EQ(reservation.count(), 0);  // NOLINT: moved from, and says so
    reservation = std::move(moved);
    EXPECT_EQ(pool.num_available(), 4);
  }
  EXPECT_EQ(pool.num_available(), 9);
  EXPECT_EQ(pool.num_live(), 1);
  pool.CheckInvariants();
}

TEST(BlockPoolTest, AReservationMayCountOnBlocksThatItsHolderFrees) {
  BlockPool pool(4);
  const std::vector<BlockId> blocks = Take(pool, 3);
  EXPECT_FALSE(pool.Reserve(3).ok());
  EXPECT_FALSE(pool.Reserve(4, 2).ok());
  BlockPool::Reservation reservation = *pool.Reserve(3, 2);
  ASSERT_TRUE(pool.Free({blocks.data(), 2}).ok());
  for (int i = 0; i < 3; ++i) reservation.Take();
  EXPECT_EQ(pool.num_free(), 0);
  pool.CheckInvariants();
}

TEST(BlockPoolTest, APoolOfNoBlocksIsAlwaysShort) {
  BlockPool pool(0);
  EXPECT_TRUE(pool.Reserve(0).ok());
  EXPECT_FALSE(pool.Reserve(1).ok());
  pool.CheckInvariants();
}

TEST(BlockPoolTest, BlocksAreCountedByThePlanThatTheyWaitFor) {
  BlockPool pool(6);
  BlockId blocks[5];
  ASSERT_TRUE(pool.Allocate(absl::MakeSpan(blocks)).ok());
  pool.MarkReusable(blocks[0]);
  pool.MarkReusable(blocks[1]);
  ASSERT_TRUE(pool.Free(absl::MakeConstSpan(blocks, 1)).ok());  // cached, for no plan
  ASSERT_TRUE(pool.Free({{blocks[1], blocks[2]}}, PlanNumber(3)).ok());
  ASSERT_TRUE(pool.Free({{blocks[3]}}, PlanNumber(5)).ok());
  EXPECT_EQ(pool.CountCached(2), 1);
  EXPECT_EQ(pool.CountCached(3), 2);
  EXPECT_EQ(pool.CountDraining(2), 0);
  EXPECT_EQ(pool.CountDraining(4), 1);
  EXPECT_EQ(pool.CountDraining(5), 2);
  pool.Retire(PlanNumber(3));
  EXPECT_EQ(pool.CountDraining(5), 1);
}

using BlockPoolDeathTest = ::testing::Test;
TEST(BlockPoolDeathTest, TakingMoreThanWasReservedIsABrokenInvariant) {
  BlockPool pool(4);
  BlockPool::Reservation reservation = *pool.Reserve(1);
  reservation.Take();
  EXPECT_DEATH(reservation.Take(), "check failed: count_ > 0");
}

TEST(BlockPoolDeathTest, IndexingWhatIsNotLiveOrTwiceIsABrokenInvariant) {
  BlockPool pool(4);
  const BlockId block = *pool.Allocate();
  EXPECT_DEATH(pool.MarkReusable(BlockId(1)), "check failed: IsLive");
  EXPECT_DEATH(pool.MarkReusable(BlockId(4)), "check failed: IsLive");
  EXPECT_DEATH(pool.UnmarkReusable(block), "check failed: IsReusable");
  pool.MarkReusable(block);
  EXPECT_DEATH(pool.MarkReusable(block), "check failed: IsLive");
}

}  // namespace
}  // namespace terrace::testing
