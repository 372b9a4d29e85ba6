#include "src/ledger/eviction_order.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>
#include <vector>

namespace terrace::testing {
namespace {

using internal::EvictionOrder;

using ::testing::ElementsAre;

TEST(EvictionOrderTest, TheLowestPriorityGoesFirstAndThenTheOldest) {
  EvictionOrder order(8);
  EXPECT_EQ(order.Front(), std::nullopt);
  order.PushBack(5, Priority::kHigh, 1);
  order.PushBack(2, Priority::kLow, 1);
  order.PushBack(7, Priority::kNormal, 2);
  order.PushBack(0, Priority::kLow, 2);
  EXPECT_THAT(order.Ids(), ElementsAre(2, 0, 7, 5));
  EXPECT_EQ(order.Front(), 2);
  EXPECT_EQ(order.Next(2), 0);
  EXPECT_EQ(order.Next(0), 7);
  EXPECT_EQ(order.Next(7), 5);
  EXPECT_EQ(order.Next(5), std::nullopt);
  EXPECT_EQ(order.size(), 4);
  EXPECT_EQ(order.stamp(7), 2u);
  EXPECT_EQ(order.priority(7), Priority::kNormal);
  order.CheckInvariants();
}

TEST(EvictionOrderTest, TheDispensableOfAPriorityGoFirst) {
  EvictionOrder order(4);
  order.PushBack(0, Priority::kNormal, 0);
  order.PushBack(1, Priority::kNormal, 0, /*dispensable=*/true);
  order.PushBack(2, Priority::kLow, 0);
  order.PushBack(3, Priority::kNormal, 0, /*dispensable=*/true);
  EXPECT_THAT(order.Ids(), ::testing::ElementsAre(2, 1, 3, 0));
  EXPECT_EQ(order.Next(3), 0);
  EXPECT_EQ(order.priority(1), Priority::kNormal);
  order.CheckInvariants();
}

TEST(EvictionOrderTest, AnIdLeavesFromAnywhereAndComesBackLast) {
  for (const std::vector<int32_t>& erased :
       std::vector<std::vector<int32_t>>{{0}, {1}, {2}, {0, 1}, {2, 1}, {0, 2}, {1, 0, 2}}) {
    EvictionOrder order(3);
    for (int32_t id = 0; id < 3; ++id) order.PushBack(id, Priority::kNormal, 1);
    std::vector<int32_t> expected = {0, 1, 2};
    for (const int32_t id : erased) {
      order.Erase(id);
      std::erase(expected, id);
      order.CheckInvariants();
      EXPECT_FALSE(order.Contains(id));
      EXPECT_EQ(order.Ids(), expected);
    }
    for (const int32_t id : erased) {
      order.PushBack(id, Priority::kNormal, 2);
      expected.push_back(id);
    }
    EXPECT_EQ(order.Ids(), expected);
    order.CheckInvariants();
  }
}

TEST(EvictionOrderTest, CountsAmongTheNextSoManyThoseThatAreRetired) {
  EvictionOrder order(8);
  order.PushBack(0, Priority::kLow, 3);
  order.PushBack(1, Priority::kHigh, 3);
  order.PushBack(2, Priority::kLow, 5);
  order.PushBack(3, Priority::kHigh, 6);
  // In order of eviction the stamps are 3, 5, 3, 6.
  EXPECT_EQ(order.CountRetired(4, 2), 0);
  EXPECT_EQ(order.CountRetired(1, 3), 1);
  EXPECT_EQ(order.CountRetired(2, 3), 1);  // the second would drain
  EXPECT_EQ(order.CountRetired(3, 3), 2);
  EXPECT_EQ(order.CountRetired(9, 5), 3);
  EXPECT_EQ(order.CountRetired(9, 6), 4);
  EXPECT_EQ(order.CountRetired(0, 6), 0);
}

using EvictionOrderDeathTest = ::testing::Test;
TEST(EvictionOrderDeathTest, WhatIsOutOfOrderIsABrokenInvariant) {
  EvictionOrder order(4);
  order.PushBack(1, Priority::kLow, 3);
  EXPECT_DEATH(order.PushBack(1, Priority::kLow, 3), "is_linked");
  EXPECT_DEATH(order.PushBack(2, Priority::kHigh, 2), "stamp >= last_stamp_");
  EXPECT_DEATH(order.Erase(0), "Contains");
  EXPECT_DEATH(order.PushBack(100, Priority::kLow, 3), "capacity");
}

}  // namespace
}  // namespace terrace::testing
