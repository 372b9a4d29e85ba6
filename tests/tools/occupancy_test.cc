#include "tools/terrace/engine/occupancy.h"

#include <algorithm>
#include <cstdint>

#include "gtest/gtest.h"

namespace terrace::testing {
namespace {

using tools::OccupancySeries;

TEST(OccupancySeriesTest, KeepsEveryPeakInABoundedNumberOfPoints) {
  OccupancySeries series(8);
  for (int i = 0; i < 1000; ++i) {
    const int32_t live = i == 617 ? 99 : i % 7;
    series.Add(i, {live}, {live + (i == 41 ? 200 : 1)});
  }
  EXPECT_LE(series.points().size(), 8);
  EXPECT_GE(series.points().size(), 4);
  EXPECT_EQ(series.peak()[0], 99);
  EXPECT_EQ(series.peak_held()[0], 206);
  int32_t highest = 0;
  int32_t most_held = 0;
  double before = -1;
  for (const auto& point : series.points()) {
    EXPECT_GT(point.seconds, before);
    before = point.seconds;
    highest = std::max(highest, point.live[0]);
    most_held = std::max(most_held, point.held[0]);
    EXPECT_GT(point.held[0], point.live[0]);
  }
  EXPECT_EQ(highest, 99);
  EXPECT_EQ(most_held, 206);
}

}  // namespace
}  // namespace terrace::testing
